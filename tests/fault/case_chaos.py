"""Everything at once, by chance."""
import time

import cluster
from load import Flipper, History
from nemesis import Nemesis


def chaos(net, args):
    """F12: faults of every kind by chance, from a seed, also several at once, while some keys are made hot and cold again."""
    with cluster.Cluster(net, args.build, workers=2, relay=True) as c:
        c.start()
        h = History(c, c.proxies + c.nodes, 900, clients=10, keys=14, hot=6, hot_share=30, timeout_ms=1000)
        flipper = Flipper(c, 6, args.seed)
        time.sleep(0.5)
        Nemesis(net, c, args.seed, 120 if args.long else 20).run()
        flipper.end()
        h.conclude(2000)


CASES = {"f12_chaos": chaos}

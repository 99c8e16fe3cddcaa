"""Processes that stand still and go on."""
import time

import cluster
from load import History

LEASE = 0.4


def short_stops(net, args):
    """F4: a replica stands still for 0.5, 1 and 2 times the lease, again and again; then a proxy does."""
    with cluster.Cluster(net, args.build) as c:
        c.start()
        h = History(c, c.proxies + c.nodes, 200, clients=10, keys=10, timeout_ms=1500)
        time.sleep(1)
        for r in range(8 if args.long else 2):
            for length in (0.5, 1, 2):
                victim = c.nodes[r % 3]
                victim.stop()
                time.sleep(length * LEASE)
                victim.go_on()
                time.sleep(0.5)
        c.proxies[0].stop()
        time.sleep(2 * LEASE)
        c.proxies[0].go_on()
        h.conclude(3000)


CASES = {"f4_short_stops": short_stops}

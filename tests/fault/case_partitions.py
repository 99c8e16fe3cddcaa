"""Hosts that do not hear each other."""
import time

import cluster
from load import History, report

SHUT = 1.1  # seconds a partition lasts: several leases


def apart(net, c):
    """The partitions, each a name and what makes it. `net.heal()` ends it."""
    one, two, three = (n.host for n in c.nodes)
    proxies = [p.host for p in c.proxies]
    everybody = [one, two, three, *[w.host for w in c.witnesses], *proxies]
    others = [h for h in everybody if h is not three]
    return [
        ("one way, 1 to 2", lambda: net.cut_one_way(one, two)),
        ("one way, 2 to 1", lambda: net.cut_one_way(two, one)),
        ("a ring: 1 and 3 do not hear each other", lambda: net.cut(one, three)),
        ("3 is alone, but clients reach it", lambda: net.cut(three, *others)),
        ("clients and proxies do not reach 2, its peers do", lambda: net.cut(two, net.clients, *proxies)),
        ("3 hears nobody", lambda: three.lose_from(*[h for h in others], net.clients)),
        ("nobody hears 3", lambda: [h.lose_from(three) for h in [*others, net.clients]]),
        ("everybody is alone", lambda: net.split([one], [two], [three])),
        ("links of 1 are reset", lambda: [one.refuse_from(two, three), two.refuse_from(one), three.refuse_from(one)]),
    ]


def partitions(net, args):
    """F5: partitions of every shape, under load from clients of the proxies and of the replicas themselves: one way, rings, a replica
    alone with its clients, one without them, resets; service comes back by itself after each."""
    with cluster.Cluster(net, args.build) as c:
        c.start()
        h = History(c, c.proxies + c.nodes, 400, clients=10, keys=12, timeout_ms=1000)
        time.sleep(1)
        for _ in range(4 if args.long else 1):
            for name, make in apart(net, c):
                begin = time.monotonic()
                make()
                time.sleep(SHUT)
                net.heal()
                c.wait_serving(30)
                report("%-50s healed %.1f s after its end" % (name, time.monotonic() - begin - SHUT))
                time.sleep(0.2)
        h.conclude(3000)


CASES = {"f5_partitions": partitions}

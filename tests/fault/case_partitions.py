"""Hosts that do not hear each other."""
import re
import threading
import time

import cluster
from harness import Failed
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


def proxies_apart(net, args):
    """F5: proxies that do not hear each other, while all of them reach the nodes and the acceptors: hot keys stay coherent, and
    writes of them go on, because who does not answer is left out."""
    with cluster.Cluster(net, args.build, proxies=3, proxy_opts=["hot-cool 1"]) as c:
        c.start()
        keys = ["h:%s%d" % (f, i) for i, f in enumerate(("reg", "mix", "cnt", "app"))]
        churn = Churn(c.proxies, keys)
        churn.start()
        h = History(c, c.proxies, 400, clients=9, keys=8, hot=4, expire=50, timeout_ms=4000)
        time.sleep(2)
        hosts = [p.host for p in c.proxies]
        for _ in range(6 if args.long else 1):
            for name, make in [("one does not hear the others", lambda: net.cut(hosts[0], hosts[1], hosts[2])),
                               ("one way, 1 to 2", lambda: net.cut_one_way(hosts[1], hosts[2])),
                               ("two do not hear each other", lambda: net.cut(hosts[1], hosts[2])),
                               ("none hears another", lambda: net.split([hosts[0]], [hosts[1]], [hosts[2]]))]:
                begin = time.monotonic_ns()
                make()
                time.sleep(5)
                end = time.monotonic_ns()
                net.heal()
                h.expect_writes(begin + 1500000000, end, 5, "while " + name)
                time.sleep(2)
        churn.end()
        report("%d answers came from the caches" % sum(churn.hits(p) for p in c.proxies))
        h.conclude(1000)


class Churn(threading.Thread):
    """Keys become hot and cold all the time."""

    def __init__(self, proxies, keys):
        super().__init__(daemon=True)
        self.proxies, self.keys, self.ending = proxies, keys, threading.Event()

    def run(self):
        n = 0
        while not self.ending.wait(0.1):
            n += 1
            for i, k in enumerate(self.keys):
                try:
                    self.proxies[n % 3].command("HALCYON", "DEMOTE" if (n + i) % 5 == 0 else "PROMOTE", k)
                except (OSError, Failed):
                    pass

    def hits(self, p):
        return int(re.search(rb"hotcache_hits:(\d+)", p.command("INFO", "hotcache")).group(1))

    def end(self):
        self.ending.set()
        self.join(20)


CASES = {"f5_partitions": partitions, "f5_proxies": proxies_apart}

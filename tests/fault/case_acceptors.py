"""The acceptors are what fails: a majority of them is gone, or cannot write."""
import os
import time

import cluster
from harness import check
from load import SECOND, History, Probe, fill, ms, refused, report

AT_REST = "rest:"
LEASE = 0.4


def answers_refused(c, seconds):
    """Every replica refuses reads, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for n in c.nodes:
            answer = n.command("GET", AT_REST + "1")
            check(refused(answer), n.name, "answered without a lease:", answer)
        time.sleep(0.01)


def until_refused(c):
    """Seconds until no replica answers reads any more."""
    return cluster.seconds_until(lambda: all(refused(n.command("GET", AT_REST + "1")) for n in c.nodes), 5, "replicas without a lease to say so")


def majority(net, args):
    """F2: a majority of the acceptors dies, hangs, or is cut off: clear errors within the lease time and no lie; service comes back
    with them."""
    with cluster.Cluster(net, args.build, witnesses=3) as c:
        c.start()
        fill(c, AT_REST, 10)
        h = History(c, c.proxies + c.nodes, 200, clients=10, keys=12, timeout_ms=1500)
        time.sleep(1)
        two = c.witnesses[1:]
        ways = [("killed", lambda: [w.kill() for w in two], lambda: [w.start() for w in two]),
                ("stopped", lambda: [w.stop() for w in two], lambda: [w.go_on() for w in two]),
                ("cut off", lambda: [net.cut(w.host, *[p.host for p in c.everything if p is not w]) for w in two], net.heal)]
        for name, break_them, mend in ways * (4 if args.long else 1):
            break_them()
            silent = until_refused(c)
            check(silent < 5 * LEASE, "answers without a majority for", silent, "s")
            answers_refused(c, 1)
            mend()
            back = cluster.seconds_until(lambda: all(n.serves() and not refused(n.command("GET", AT_REST + "1")) for n in c.nodes), 20,
                                         "service to come back")
            report("acceptors %-8s no reads after %s, reads again %s after they returned" % (name, ms(silent * SECOND), ms(back * SECOND)))
            time.sleep(0.5)
        h.conclude(2000)


def fill_disk(process):
    """Its file system has no byte left."""
    path = os.path.join(process.dir, "ballast")
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass
    return path


def disk_full(net, args):
    """F8: an acceptor's disk is full when its vote is needed: it goes on promising leases, so reads go on, but nothing is decided
    until there is room again."""
    with cluster.Cluster(net, args.build, disk="1m") as c:
        c.start()
        fill(c, AT_REST, 100)
        h = History(c, c.proxies + c.nodes, 200, clients=10, keys=12, timeout_ms=1500)
        time.sleep(1)
        for r in range(6 if args.long else 2):
            good, full, victim = (c.nodes[(r + i) % 3] for i in range(3))
            ballast = fill_disk(full)
            probes = [Probe(n, "read", AT_REST) for n in (good, full)]
            victim.kill()
            time.sleep(1.2)  # a view without the victim would be there by now
            begin = time.monotonic_ns()
            time.sleep(1)
            check(good.members() == 3, "a view was decided without a majority that can write")
            for p in probes:
                p.end()
                check(not p.errors(begin, begin + SECOND), "reads failed:", p.errors(begin, begin + SECOND)[:2])
            os.unlink(ballast)
            took = cluster.seconds_until(lambda n=good: n.members() == 2, 10, "the view without the victim")
            report("decided %.2f s after there was room" % took)
            victim.start()
            c.wait_serving(30)
        h.conclude(2000)


CASES = {"f2_acceptors": majority, "f8_disk_full": disk_full}

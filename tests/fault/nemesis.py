"""Faults by chance: a schedule drawn from a seed, and what carries it out.

The seed gives the same schedule again; what the processes make of it differs, time being real. One rule keeps the promise
testable: an acknowledged write survives while one replica does, so a replica is killed only when all three serve.
"""
import random
import time

from harness import say

SHORTEST, LONGEST = 0.1, 2.0  # seconds of one fault
LEASE = 0.4


class Fault:
    """One fault from `at` to `until`, in seconds from the start."""

    def __init__(self, at, until, kind, who, detail=0):
        self.at, self.until, self.kind, self.who, self.detail = at, until, kind, who, detail

    def __str__(self):
        more = " %d ms" % self.detail if self.detail else ""
        return "%5.2f-%5.2f %s %s%s" % (self.at, self.until, self.kind, " ".join(self.who), more)


# kind: (weight, what it hits)
KINDS = {
    "kill": (3, "node"), "stop": (4, "node"), "kill proxy": (1, "proxy"), "stop proxy": (1, "proxy"),
    "cut": (3, "pair"), "one way": (3, "pair"), "reset": (1, "pair"), "hold": (2, "nodes"), "delay": (2, "nodes"),
    "alone": (2, "server"), "no clients": (1, "node"),
}


def draw(seed, seconds, nodes, proxies, acceptors):
    """Faults, by the time of their start. nodes, proxies, acceptors: names of hosts."""
    r = random.Random(seed)
    at, faults = 0.3, []
    while at < seconds:
        kind = r.choices(list(KINDS), [w for w, _ in KINDS.values()])[0]
        hits = KINDS[kind][1]
        if hits in ("node", "proxy", "server"):
            who = [r.choice({"node": nodes, "proxy": proxies, "server": nodes + proxies}[hits])]
        elif hits == "nodes":
            who = r.sample(nodes, 2)
        else:
            who = r.sample(nodes + proxies + acceptors, 2)
        length = r.choice([r.uniform(SHORTEST, LONGEST), r.choice([0.5, 1, 2]) * LEASE])
        faults.append(Fault(at, at + length, kind, who, r.randint(1, 200) if kind == "delay" else 0))
        # one in three begins before this one has ended
        at += r.uniform(0, length) if r.random() < 0.33 else length + r.uniform(0.1, 1.0)
    return faults


class Nemesis:
    def __init__(self, net, cluster, seed, seconds):
        self.net, self.cluster = net, cluster
        self.by_name = {p.name: p for p in cluster.everything}
        self.faults = draw(seed, seconds, [n.name for n in cluster.nodes], [p.name for p in cluster.proxies],
                           [w.name for w in cluster.witnesses])
        self.skipped = 0
        self.begun = []
        say("    seed %d, %d faults:" % (seed, len(self.faults)))
        for f in self.faults:
            say("    ", f)

    def run(self):
        start = time.monotonic()
        moments = sorted([(f.at, 0, i) for i, f in enumerate(self.faults)] + [(f.until, 1, i) for i, f in enumerate(self.faults)])
        for at, ending, i in moments:
            time.sleep(max(0, start + at - time.monotonic()))
            f = self.faults[i]
            if ending and f in self.begun:
                self._end(f)
            elif not ending:
                self._begin(f)
        say("     %d of %d faults happened" % (len(self.begun), len(self.faults)))

    def _hosts(self, f):
        return [self.net.hosts[name] for name in f.who]

    def _may_kill(self, p):
        if p.kind == "proxy":
            return p.alive()
        return not self.net.disturbed() and all(n.alive() and not n.stopped and n.serves() for n in self.cluster.nodes)

    def _begin(self, f):
        a = self.by_name.get(f.who[0])
        hosts = self._hosts(f)
        if f.kind.startswith("kill"):
            if not self._may_kill(a):
                return
            a.kill()
        elif f.kind.startswith("stop"):
            if not a.alive() or a.stopped:
                return
            a.stop()
        elif f.kind == "cut":
            self.net.cut(*hosts)
        elif f.kind == "one way":
            self.net.cut_one_way(*hosts)
        elif f.kind == "reset":
            hosts[0].refuse_from(hosts[1])
            hosts[1].refuse_from(hosts[0])
        elif f.kind == "hold":
            self.net.hold(*hosts)
        elif f.kind == "delay":
            hosts[0].relay.tell("delay", "out", hosts[1].address, f.detail)
        elif f.kind == "alone":
            self.net.cut(hosts[0], *[h for h in self.net.hosts.values() if h is not hosts[0]])
        else:
            self.net.cut(hosts[0], self.net.clients)
        self.begun.append(f)

    def _end(self, f):
        a = self.by_name.get(f.who[0])
        hosts = self._hosts(f)
        if f.kind.startswith("kill"):
            if not a.alive():
                a.start()
        elif f.kind.startswith("stop"):
            if a.stopped:
                a.go_on()
        elif f.kind in ("hold", "delay"):
            hosts[0].relay.tell("pass", "out", hosts[1].address)
            hosts[1].relay.tell("pass", "in", hosts[0].address)
        elif f.kind in ("cut", "one way", "reset"):
            hosts[0].hear(hosts[1])
            hosts[1].hear(hosts[0])
        else:
            others = [self.net.clients, *[h for h in self.net.hosts.values() if h is not hosts[0]]]
            hosts[0].hear(*others)
            for o in others:
                o.hear(hosts[0])

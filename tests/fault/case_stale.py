"""Replicas that are stopped past their lease and asked meanwhile."""
import threading
import time

import cluster
from harness import Conn, check
from load import Everywhere, patient, refused, report


class Try:
    """One replica stopped past its lease while its key gets a new value; what it was asked after that value was
    acknowledged it may refuse, but not answer with the old one."""

    def __init__(self, victim, other, key, value):
        self.victim, self.other, self.key, self.value = victim, other, key, value
        self.writer = other.conn(timeout=20)
        self.answers = {"new": 0, "refused": 0, "closed": 0}
        patient(self.writer, other, "SET", key, "old")
        self.asked = [Conn(victim.port, 5, victim.host.address) for _ in range(4)]
        for c in self.asked:
            patient(c, victim, "GET", key)

    def stop(self):
        self.victim.stop()

    def write(self):
        """The others go on without it."""
        patient(self.writer, self.other, "SET", self.key, self.value)

    def ask(self):
        for c in self.asked[:3]:
            c.send(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(self.key), self.key) * 5)

    def note(self, answer):
        if refused(answer):
            self.answers["refused"] += 1
            return
        check(answer == b"$%d\r\n%s\r\n" % (len(self.value), self.value), self.victim.name, "stopped past its lease, answered",
              self.key, "with", answer, "after", self.value, "was acknowledged")
        self.answers["new"] += 1

    def listen(self):
        """After it goes on."""
        late = self.asked.pop()
        for c in self.asked:
            try:
                for _ in range(5):
                    self.note(c.reply())
            except OSError:
                self.answers["closed"] += 1
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            try:
                self.note(late.command("GET", self.key))
                time.sleep(0.001)
            except OSError:
                late.close()
                late = reconnected(self.victim)
        for c in [*self.asked, late, self.writer]:
            c.close()


def reconnected(process):
    end = time.monotonic() + 5
    while True:
        try:
            return Conn(process.port, 5, process.host.address)
        except OSError:
            check(time.monotonic() < end, process.name, "cannot be reached")
            time.sleep(0.01)


def key_of(node):
    """A key that this node's shard serves."""
    c = node.conn()
    return next(b"f3:%d" % i for i in range(1000) if not c.command("GET", "f3:%d" % i).startswith(b"-MOVED "))


def stopped_past_lease(net, args):
    """F3: replicas stand still until they are out of the view, are asked meanwhile, and go on: 50 tries, no old value."""
    shards, rounds = 5, 40 if args.long else 10
    totals = {}
    with cluster.Cluster(net, args.build, shards=shards, witnesses=3) as c:
        c.start()
        keys = [key_of(of[0]) for of in c.shards]
        for r in range(rounds):
            tries = [Try(of[r % 3], of[(r + 1) % 3], keys[s], b"new %d" % r) for s, of in enumerate(c.shards)]
            for step in (Try.stop, Try.write, Try.ask):
                for t in tries:
                    step(t)
            time.sleep(0.05)
            for t in tries:
                t.victim.go_on()
            for t in tries:
                t.listen()
                for k, n in t.answers.items():
                    totals[k] = totals.get(k, 0) + n
            c.wait_serving(30)
        report("%d tries; requests sent into stopped replicas were answered: %s" % (rounds * shards, totals))
        check(sum(totals.values()) >= rounds * shards * 10, "too little was asked", totals)


def hot_at(proxy):
    return int(proxy.info("hotcache").get("hotcache_entries", "0"))


def make_hot(c, key):
    """True if all proxies have it; asks for it otherwise, which may have to be done again."""
    if all(hot_at(p) == 1 for p in c.proxies):
        return True
    for p in c.proxies:
        p.command("HALCYON", "PROMOTE", key)
    time.sleep(0.1)
    return False


def make_cold(proxy, key):
    if hot_at(proxy) == 0:
        return True
    proxy.command("HALCYON", "DEMOTE", key)
    time.sleep(0.1)
    return False


def stopped_proxies(net, args):
    """F3, hot: proxies that hold a hot key stand still past their lease, are asked meanwhile, and go on: no old value."""
    rounds, totals, waits = 40 if args.long else 8, {}, []
    with cluster.Cluster(net, args.build, proxies=3) as c:
        c.start()
        key = b"f3:hot"
        patient(Everywhere(c.proxies[0]), c.proxies[0], "SET", key, "first")
        for r in range(rounds):
            victim, other = c.proxies[r % 3], c.proxies[(r + 1) % 3]
            waits.append(cluster.seconds_until(lambda: make_hot(c, key), 20, "the key to be hot at all proxies"))
            t = Try(victim, other, key, b"new %d" % r)
            t.stop()
            if r % 4 == 3:  # it is not hot any more when the proxy goes on, and nobody tells it again
                cluster.wait_for(lambda other=other: make_cold(other, key), 20, "the key to be cold at " + other.name)
            t.write()
            t.ask()
            time.sleep(0.05)
            victim.go_on()
            t.listen()
            c.wait_serving(30)
            for _ in range(20):
                answer = victim.command("GET", key)
                check(answer == b"$%d\r\n%s\r\n" % (len(t.value), t.value), victim.name, "back among the proxies, answered", answer)
                time.sleep(0.02)
            for k, n in t.answers.items():
                totals[k] = totals.get(k, 0) + n
        report("%d tries; requests sent into stopped proxies were answered: %s" % (rounds, totals))
        report("the key was hot at all proxies after %s" % ", ".join("%.1f s" % w for w in waits))
        check(sum(totals.values()) >= rounds * 10, "too little was asked", totals)


class Watcher(threading.Thread):
    """Asks one replica for one key all the time."""

    def __init__(self, node, key):
        super().__init__(daemon=True)
        self.node, self.key = node, key
        self.seen = []  # (call in ns, answer)
        self.ending = threading.Event()
        self.start()

    def run(self):
        c = reconnected(self.node)
        while not self.ending.wait(0.0005):
            call = time.monotonic_ns()
            try:
                self.seen.append((call, c.command("GET", self.key)))
            except OSError:
                c = reconnected(self.node)

    def end(self):
        self.ending.set()
        self.join(10)


def cut_off(net, c, victim, counts, tag):
    """The victim is cut off from all but clients, who ask it all the time; the others write. Returns what it answered that
    was older than what had been acknowledged before it was asked."""
    other = next(n for n in c.nodes if n is not victim)
    key, old, new = "cut:" + victim.name, "old %s" % tag, "new %s" % tag
    writer = other.conn(timeout=20)
    patient(writer, other, "SET", key, old)
    time.sleep(0.3)
    watcher = Watcher(victim, key)
    time.sleep(0.2)
    net.cut(victim.host, *[p.host for p in c.everything if p is not victim])
    patient(writer, other, "SET", key, new)
    acknowledged = time.monotonic_ns()
    time.sleep(0.7)
    watcher.end()
    net.heal()
    lies = []
    for call, answer in watcher.seen:
        kind = "refused" if refused(answer) else "new" if new.encode() in answer else "old"
        counts[kind] = counts.get(kind, 0) + 1
        if kind == "old" and call > acknowledged:
            lies.append("%r %.1f ms after the next was acknowledged" % (answer, (call - acknowledged) / 1e6))
    writer.close()
    c.wait_serving(30)
    return lies


def late_promises(net, args):
    """R3: what the acceptors grant reaches a replica late, almost a lease late; it is cut off from all but clients, and asked: no old
    value after the others went on."""
    with cluster.Cluster(net, args.build, witnesses=3, relay=True) as c:
        c.start()
        victim, counts = c.nodes[2], {}
        for r in range(20 if args.long else 3):
            for w in c.witnesses:
                victim.host.relay.tell("delay", "in", w.host.address, 330)
            time.sleep(0.7)
            lies = cut_off(net, c, victim, counts, r)
            check(not lies, victim.name, "answered", lies[:3])
        report("answers of the replica with late leases: %s" % counts)
        check(counts.get("old", 0) > 0, "it answered nothing before it was cut off")


def clocks(net, args):
    """F9: a replica's clocks run 1 % slow and the acceptors' 1 % fast, which is what the lease allows for: no old value. At half
    the speed there are some: the case would see it."""
    with cluster.Cluster(net, args.build, witnesses=3) as c:
        victim, counts, rounds = c.nodes[2], {}, 20 if args.long else 2
        victim.drift = -10000
        for w in c.witnesses:
            w.drift = 10000
        c.start()
        for r in range(rounds):
            lies = cut_off(net, c, victim, counts, r)
            check(not lies, victim.name, "answered", lies[:3])
        report("clocks within the bound: %s" % counts)
        victim.kill()
        victim.drift = -500000
        victim.start()
        c.wait_serving(30)
        lies = [lie for r in range(rounds) for lie in cut_off(net, c, victim, {}, rounds + r)]
        report("at half the speed: %d old answers, such as %s" % (len(lies), lies[:1]))
        check(lies, "a clock at half the speed was not noticed: this case sees nothing")


CASES = {"f3_stopped": stopped_past_lease, "f3_hot": stopped_proxies, "f9_clocks": clocks, "r3_late": late_promises}

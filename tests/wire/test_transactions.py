"""Transactions on a shard of three replicas, through three proxies, while a replica is killed and comes back: transfers keep their
sum, nobody ever sees half of one, WATCH notices every conflict, and in the end all replicas are the same."""
import os
import random
import re
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from harness import Cluster, Conn, arguments, check, encode, run, say, wait_for  # noqa: E402
from replies import parse  # noqa: E402

TOTAL = 1000
UNSURE = (b"-UNKNOWN", b"-TRYAGAIN", b"-CLUSTERDOWN", b"-LOADING")


class Unsure(Exception):
    """The client was told that nothing was done, or that nobody knows; what: which."""

    def __init__(self, what):
        super().__init__(what)
        self.unknown = what.startswith(b"-UNKNOWN")


class Client(threading.Thread):
    """Does the same thing over and over until told to stop. done, unknown, conflicts: counts."""

    def __init__(self, load, port, seed):
        super().__init__(daemon=True)
        self.load, self.port, self.random = load, port, random.Random(seed)
        self.done = self.unknown = self.refused = self.conflicts = 0
        self.failure = None
        self.conn = None

    def transaction(self, *commands):
        """The replies, None if a watched key had changed. One round trip."""
        c = self.conn
        c.send(b"".join(encode(*a) for a in (("MULTI",), *commands, ("EXEC",))))
        for reply in [c.reply() for _ in range(len(commands) + 1)]:
            check(reply in (b"+OK\r\n", b"+QUEUED\r\n"), "queueing answered", reply)
        return self.sure(c.reply())

    def sure(self, reply):
        if reply.startswith(UNSURE):
            raise Unsure(reply)
        check(not reply.startswith(b"-"), type(self).__name__, "was answered", reply)
        kind, value = parse(reply)
        return None if value is None or reply.startswith(b"*-1") else value

    def number(self, *command):
        kind, value = self.sure_one(self.conn.command(*command))
        return int(value)

    def sure_one(self, reply):
        if reply.startswith(UNSURE):
            raise Unsure(reply)
        return parse(reply)

    def run(self):
        try:
            while not self.load.ending.is_set():
                if self.conn is None:
                    self.conn = Conn(self.port, timeout=20)
                try:
                    self.once()
                    self.done += 1
                except Unsure as e:
                    self.unknown += e.unknown
                    self.refused += not e.unknown
                    self.conn.command("UNWATCH")
                    time.sleep(0.01)
        except Exception as e:  # noqa: BLE001
            self.failure = "%s: %r" % (type(self).__name__, e)
            self.load.ending.set()


def numbers(values):
    return [int(v[1]) for v in values]


class Transfer(Client):
    def once(self):
        a, b = self.random.sample(self.load.accounts, 2)
        n = self.random.randint(1, 50)
        values = numbers(self.transaction(("DECRBY", a, n), ("INCRBY", b, n), *(("GET", k) for k in self.load.accounts)))
        check(sum(values[2:]) == TOTAL, "a transfer saw accounts", values)


class WatchedTransfer(Client):
    """Reads first, writes what it worked out: right only if nobody wrote in between."""

    def once(self):
        a, b = self.random.sample(self.load.watched, 2)
        n = self.random.randint(1, 50)
        check(self.sure_one(self.conn.command("WATCH", a, b)) == (b"+", b"OK"), "WATCH")
        x, y = self.number("GET", a), self.number("GET", b)
        if self.transaction(("SET", a, x - n), ("SET", b, y + n)) is None:
            self.conflicts += 1


class Counter(Client):
    """Counts by hand: an update that gets lost is a count that is missing."""

    def once(self):
        check(self.sure_one(self.conn.command("WATCH", self.load.counter)) == (b"+", b"OK"), "WATCH")
        v = self.number("GET", self.load.counter)
        if self.transaction(("SET", self.load.counter, v + 1)) is None:
            self.conflicts += 1
        else:
            self.load.counted.append(v + 1)


class Reader(Client):
    def once(self):
        values = numbers(self.transaction(*(("GET", k) for k in self.load.accounts + self.load.watched)))
        check(sum(values[:3]) == TOTAL and sum(values[3:]) == TOTAL, "a reader saw accounts", values)


class Mover(Client):
    """One thing that is moved about: it is always in exactly one place."""

    def once(self):
        places = self.load.places
        if self.random.random() < 0.5:
            here, there = self.random.sample(places, 2)
            reply = self.conn.command("RENAME", here, there)
            if not reply.startswith(b"-ERR no such key"):
                self.sure_one(reply)
        values = numbers(self.transaction(*(("EXISTS", k) for k in places)))
        check(sum(values) == 1, "the thing that moves was seen", values)


class Load:
    def __init__(self, ports, tag):
        self.ending = threading.Event()
        self.accounts = ["{%s}account:%d" % (tag, i) for i in range(3)]
        self.watched = ["{%s}watched:%d" % (tag, i) for i in range(3)]
        self.places = ["{%s}place:%d" % (tag, i) for i in range(3)]
        self.counter = "{%s}counter" % tag
        self.counted = []
        c = Conn(ports[0])
        for k, v in zip(self.accounts + self.watched, 2 * (TOTAL - 300, 200, 100)):
            check(c.command("SET", k, v) == b"+OK\r\n", "SET")
        check(c.command("SET", self.counter, 0) == b"+OK\r\n", "SET")
        check(c.command("RPUSH", self.places[0], *range(200)) == b":200\r\n", "RPUSH")
        kinds = [Transfer, WatchedTransfer, Counter, Reader, Mover]
        self.clients = [kind(self, port, 100 * i + j) for i, kind in enumerate(kinds) for j, port in enumerate(ports)]

    def start(self):
        for c in self.clients:
            c.start()

    def end(self):
        self.ending.set()
        for c in self.clients:
            c.join(30)
            check(not c.is_alive(), type(c).__name__, "hangs")
        for c in self.clients:
            check(c.failure is None, c.failure)

    def sum(self, kind, what):
        return sum(getattr(c, what) for c in self.clients if isinstance(c, kind))

    def judge(self, port):
        c = Conn(port)
        for keys in (self.accounts, self.watched):
            left = [int(parse(c.command("GET", k))[1]) for k in keys]
            check(sum(left) == TOTAL, "in the end the accounts hold", left)
        check(sum(c.command("EXISTS", k) == b":1\r\n" for k in self.places) == 1, "the thing that moves is lost")
        check(len(set(self.counted)) == len(self.counted), "two clients counted to the same number: an update was lost")
        last = int(parse(c.command("GET", self.counter))[1])
        sure, unknown = len(self.counted), self.sum(Counter, "unknown")
        check(sure <= last <= sure + unknown, "counted", sure, "and", unknown, "unknown, but the counter says", last)
        for kind in (Transfer, WatchedTransfer, Counter, Reader, Mover):
            say("    %-16s %6d done, %5d conflicts, %3d unknown, %4d refused" % (
                kind.__name__, *(self.sum(kind, w) for w in ("done", "conflicts", "unknown", "refused"))))
            check(self.sum(kind, "done") > 100, kind.__name__, "hardly got anything done")
        for kind in (WatchedTransfer, Counter):
            conflicts, done = self.sum(kind, "conflicts"), self.sum(kind, "done")
            check(0 < conflicts < done - 20, kind.__name__, "met", conflicts, "conflicts in", done)


def state(port):
    text = Conn(port).command("INFO", "hermes").decode()
    return re.search(r"hermes_replica:(.*)\r", text).group(1)


def serving(cluster):
    for r in range(3):
        wait_for(lambda p=cluster.node_port(0, r): "state=serving" in state(p), 30, "replica %d serves" % r)


def same_digests(cluster):
    def digests():
        return {Conn(cluster.node_port(0, r)).command("DEBUG", "DIGEST") for r in range(3)}
    wait_for(lambda: len(digests()) == 1, 10, "equal digests")


def undisturbed(cluster):
    say("  3 proxies, 15 clients, 5 s")
    load = Load(cluster.ports(), "calm")
    load.start()
    time.sleep(5)
    load.end()
    load.judge(cluster.port)
    check(load.sum(Client, "unknown") == 0 and load.sum(Client, "refused") == 0, "something was refused or is not known")
    same_digests(cluster)


def killed(cluster, victim):
    say("  the same, while replica %d is killed and comes back" % victim)
    load = Load(cluster.ports(), "kill%d" % victim)
    load.start()
    time.sleep(2)
    cluster.kill("node-0-%d" % victim)
    wait_for(lambda: not cluster.alive("node-0-%d" % victim), 5, "the replica to die")
    time.sleep(4)
    before = load.sum(Transfer, "done")
    time.sleep(1)
    check(load.sum(Transfer, "done") > before + 10, "transfers do not go on without the replica")
    cluster.start("node-0-%d" % victim)
    time.sleep(4)
    load.end()
    load.judge(cluster.port)
    serving(cluster)
    same_digests(cluster)


def direct(cluster):
    say("  clients of the replicas themselves: the grant goes round")
    load = Load([cluster.node_port(0, r) for r in range(3)], "direct")
    load.start()
    time.sleep(6)
    load.end()
    load.judge(cluster.node_port(0, 1))
    same_digests(cluster)


def hotcache(port, name):
    text = Conn(port).command("INFO", "hotcache").decode()
    return int(re.search(r"hotcache_%s:(\d+)\r" % name, text).group(1))


def on_hot_keys(cluster):
    say("  transactions on keys that are hot: demoted first, then whole, seen at once at every proxy")
    a, b = "{hot}a", "{hot}b"
    ports = cluster.ports()
    c = Conn(ports[0])
    check(c.command("MSET", a, TOTAL, b, 0) == b"+OK\r\n", "MSET")

    def cached():
        before = hotcache(ports[1], "hits")
        Conn(ports[1]).command("GET", a)
        return hotcache(ports[1], "hits") > before
    rounds = hot_rounds = 0
    end = time.monotonic() + 4
    while time.monotonic() < end or (hot_rounds == 0 and rounds < 400):
        if rounds % 10 == 0:
            check(c.command("HALCYON", "PROMOTE", a) == b"+OK\r\n", "PROMOTE")
            time.sleep(0.1)
        hot_rounds += cached()
        other = Conn(ports[rounds % 3])
        other.send(b"".join(encode(*w) for w in [("MULTI",), ("DECR", a), ("INCR", b), ("GET", a), ("EXEC",)]))
        replies = [other.reply() for _ in range(5)]
        rounds += 1
        check(replies[4] == b"*3\r\n:%d\r\n:%d\r\n$%d\r\n%d\r\n" % (TOTAL - rounds, rounds, len(str(TOTAL - rounds)), TOTAL - rounds), "round",
              rounds, replies)
        for port in ports:
            check(Conn(port).command("GET", a) == b"$%d\r\n%d\r\n" % (len(str(TOTAL - rounds)), TOTAL - rounds), "an old value at port", port)
    check(hot_rounds > 0, "the key was never hot")
    say("    %d transactions, the key was hot before %d of them" % (rounds, hot_rounds))


def main():
    args = arguments()
    with Cluster(args.build, proxies=3, shards=1, replicas=3, proxy_opts=["hot-cool 1"],
                 node_opts=["enable-debug-command local"]) as cluster:
        serving(cluster)
        undisturbed(cluster)
        on_hot_keys(cluster)
        for victim in (0, 1, 2):
            killed(cluster, victim)
        direct(cluster)


run(main)

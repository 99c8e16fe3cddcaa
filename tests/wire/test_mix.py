"""A random mix of commands over all types on a shard of three replicas that are killed and come back, against the same mix on
one redis-server: afterwards every key is the same at all replicas, and what redis-server has."""
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Cluster, Conn, RedisServer, arguments, check, encode, run, say, wait_for  # noqa: E402
from membership import state  # noqa: E402
from mix import Mix  # noqa: E402
from replies import parse, plain  # noqa: E402

BATCH = 8  # what may be of unknown outcome at once: a combination for each subset is tried
REFUSED = (b"-TRYAGAIN", b"-LOADING", b"-CLUSTERDOWN", b"-EXECABORT")  # nothing was done


class Halcyon:
    """The cluster through its proxies in turns; nothing is outstanding when the proxy changes."""

    def __init__(self, cluster):
        self.conns = [Conn(p, timeout=30) for p in cluster.ports()]
        self.turn = 0

    def run(self, lines):
        """Replies of commands sent together."""
        self.turn += 1
        c = self.conns[self.turn % len(self.conns)]
        c.send(b"".join(encode(*line) for line in lines))
        return [c.reply() for _ in lines]

    def command(self, *words):
        """One command, sent again as long as nobody served it."""
        end = time.monotonic() + 20
        while True:
            raw = self.run([words])[0]
            if not raw.startswith(REFUSED) or time.monotonic() > end:
                return raw
            time.sleep(0.01)


def reading(conn, key):
    """All that can be read of a key, in a form that is the same however it is kept."""
    kind = conn.command("TYPE", key)[1:-2].decode()
    if kind == "none":
        return None
    read = {"string": ["GET", key], "hash": ["HGETALL", key], "list": ["LRANGE", key, 0, -1], "set": ["SMEMBERS", key],
            "zset": ["ZRANGE", key, 0, -1, "WITHSCORES"], "stream": ["XRANGE", key, "-", "+"]}[kind]
    value = plain(parse(conn.command(*read)))
    if kind == "string" and value.startswith("HYLL"):
        raw = conn.command(*read)  # PFCOUNT of Redis writes its count into the value
        start = raw.index(b"HYLL")
        value = raw[start:start + 8] + raw[start + 16:]
    elif kind == "set":
        value.sort()
    elif kind == "hash":
        value = sorted(zip(value[::2], value[1::2]))
    elif kind == "stream":
        about = plain(parse(conn.command("XINFO", "STREAM", key)))
        about = dict(zip(about[::2], about[1::2]))
        value = value, [about[f] for f in ("length", "last-generated-id", "max-deleted-entry-id", "entries-added")]
    expiry = int(conn.command("PEXPIRETIME", key)[1:])
    return kind, value, expiry


def same(a, b):
    if a is None or b is None:
        return a is b
    return a[:2] == b[:2] and (a[2] == b[2] or (min(a[2], b[2]) > 0 and abs(a[2] - b[2]) < 300000))


class Pair:
    """The mix on both; what Halcyon does not know the outcome of is looked up."""

    def __init__(self, halcyon, redis):
        self.halcyon, self.redis = halcyon, redis
        self.keys, self.unknown, self.refused, self.done = set(), 0, 0, 0

    def compare(self, unit, ours, theirs):
        for line, a, b in zip(unit.lines, ours, theirs):
            check(a[:1] == b[:1], "replies of another kind:", line, a[:200], b[:200])

    def batch(self, units):
        """Many together, none of them split. What was refused (a link was given up) comes after the others, at both."""
        lines = [line for u in units for line in u.lines]
        ours = self.halcyon.run(lines)
        at, served, again = 0, [], []
        for u in units:
            answers = ours[at:at + len(u.lines)]
            at += len(u.lines)
            if answers[-1].startswith(REFUSED):
                again.append(u)
            else:
                served.append((u, answers))
        self.keys.update(k for u in units for k in u.keys)
        if any(x.startswith(b"-UNKNOWN") for _, answers in served for x in answers):
            self.look_up([u for u, _ in served], [answers for _, answers in served])
        else:
            self.redis.send(b"".join(encode(*line) for u, _ in served for line in u.lines))
            for u, answers in served:
                self.compare(u, answers, [self.redis.reply() for _ in u.lines])
        self.done += sum(len(u.lines) for u, _ in served)
        self.refused += len(again)
        for u in again:
            self.one(u)

    def one(self, unit):
        """While replicas come and go."""
        self.keys.update(unit.keys)
        self.done += len(unit.lines)
        end = time.monotonic() + 30
        while True:
            ours = self.halcyon.run(unit.lines)
            if any(a.startswith(b"-UNKNOWN") for a in ours):
                parts = unit.parts()
                return self.look_up(parts, [ours] * len(parts))
            if not any(a.startswith(REFUSED) for a in ours):
                break
            # of a split command some keys may be done: doing them again is the same
            check(time.monotonic() < end, "nobody serves", unit.lines, ours)
            self.refused += 1
            time.sleep(0.01)
        return self.compare(unit, ours, [self.redis.command(*line) for line in unit.lines])

    def restore(self, before):
        for k, (was, dump) in before.items():
            self.redis.command("DEL", k)
            if was is not None:
                payload = dump.split(b"\r\n", 1)[1][:-2]
                answer = self.redis.command("RESTORE", k, max(was[2], 0), payload, "ABSTTL")
                check(answer == b"+OK\r\n", "RESTORE", answer)

    def fits(self, units, answers, skipped, want):
        """Runs them at redis-server without the skipped ones: are the replies and the keys Halcyon's?"""
        for i, u in enumerate(units):
            if i not in skipped:
                theirs = [self.redis.command(*line) for line in u.lines]
                known = not any(a.startswith(b"-UNKNOWN") for a in answers[i])
                if known and any(a[:1] != b[:1] for a, b in zip(answers[i], theirs)):
                    return False
        return all(same(want[k], reading(self.redis, k)) for k in want)

    def look_up(self, units, answers):
        """Some outcomes are unknown: each unit was done or not, wholly. One combination of them must explain what is there."""
        unknown = [i for i, a in enumerate(answers) if any(x.startswith(b"-UNKNOWN") for x in a)]
        check(len(unknown) <= BATCH, "too many outcomes are unknown:", [units[i].lines for i in unknown])
        self.unknown += len(unknown)
        keys = sorted({k for u in units for k in u.keys})
        before = {k: (reading(self.redis, k), self.redis.command("DUMP", k)) for k in keys}
        want = {k: reading(self.halcyon, k) for k in keys}
        for bits in range(1 << len(unknown)):
            if self.fits(units, answers, {i for n, i in enumerate(unknown) if bits >> n & 1}, want):
                return
            self.restore(before)
        check(False, "neither done nor not:", [units[i].lines for i in unknown], want, {k: b[0] for k, b in before.items()})


class Trouble(threading.Thread):
    """One replica is killed and comes back."""

    def __init__(self, cluster, replica, delay):
        super().__init__(daemon=True)
        self.cluster, self.replica, self.delay, self.error = cluster, replica, delay, None

    def run(self):
        name, port = "node-0-%d" % self.replica, self.cluster.node_port(0, self.replica)
        try:
            time.sleep(self.delay)
            self.cluster.kill(name)
            time.sleep(1.0 + self.delay)
            self.cluster.start(name)
            wait_for(lambda: "state=serving" in state(port), 60, name + " to serve again")
        except Exception as e:  # pylint: disable=broad-except
            self.error = e


def can(conn, *words):
    return b"cannot do yet" not in conn.command(*words) and not conn.command(*words).startswith(b"-ERR unknown command")


def settled(nodes, key):
    def values():
        return {c.command("DEBUG", "DIGEST-VALUE", key) for c in nodes}
    wait_for(lambda: len(values()) == 1, 10, "the replicas to agree on " + key)


def check_all(cluster, pair):
    nodes = [Conn(cluster.node_port(0, r), timeout=30) for r in range(3)]
    there = 0
    for key in sorted(pair.keys):
        settled(nodes, key)
        ours, theirs = reading(pair.halcyon, key), reading(pair.redis, key)
        check(same(ours, theirs), "differs from redis-server:", key, str(ours)[:1500], "\n", str(theirs)[:1500])
        there += ours is not None
    check(len({c.command("DEBUG", "DIGEST") for c in nodes}) == 1, "the stores differ as wholes")
    check(there > len(pair.keys) // 3, "only", there, "of", len(pair.keys), "keys are there")
    return there


def main():
    options = arguments(commands=20000, kills=3, seed=1)
    chance = random.Random(options.seed)
    with RedisServer() as redis, Cluster(options.build, proxies=2, shards=1, replicas=3,
                                         node_opts=["enable-debug-command local"]) as cluster:
        halcyon = Halcyon(cluster)
        multikey = can(halcyon, "RENAME", "{none}a", "{none}b")
        transactions = multikey and can(halcyon, "DISCARD")
        say("several keys at once:", "yes" if multikey else "not yet", " transactions:", "yes" if transactions else "not yet")
        mix = Mix(options.seed, multikey, transactions)
        pair = Pair(halcyon, Conn(redis.port, timeout=30))
        started = time.monotonic()
        for kill in range(options.kills + 1):
            target = options.commands * (kill + 1) // (options.kills + 1)
            trouble = Trouble(cluster, chance.randrange(3), chance.random() / 5) if kill < options.kills else None
            if trouble:
                trouble.start()
                while trouble.is_alive():
                    pair.one(mix.unit())
                check(trouble.error is None, trouble.error)
            while pair.done < target:
                units = [mix.unit() for _ in range(BATCH)]
                pair.batch([u for u in units if u.atomic])
                for u in units:
                    if not u.atomic:
                        pair.one(u)
        there = check_all(cluster, pair)
        say("%d commands in %.0f s, %d kills, %d outcomes unknown and looked up, %d refused and sent again: %d keys (%d there) the same at "
            "all replicas and as at redis-server" % (pair.done, time.monotonic() - started, options.kills, pair.unknown, pair.refused,
                                                     len(pair.keys), there))


run(main)

"""Hot keys in three real proxies over two shards of three replicas: what the cache answers is what the shards would; histories of
concurrent clients are linearizable while keys are promoted and demoted all the time, and while proxies die, stop and join."""
import itertools
import os
import re
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from harness import Cluster, Conn, arguments, check, encode, run, say, wait_for  # noqa: E402
from histories import Recording  # noqa: E402
from membership import Membership  # noqa: E402

OPTIONS = ["membership injected", "enable-debug-command local", "hot-cool 1", "hot-tracking no"]
CHURN_S = 0.1


def info(port):
    text = Conn(port).command("INFO", "hotcache").decode()
    return dict(re.findall(r"hotcache_(\w+):([^\r]*)\r", text))


def number(port, name):
    return int(info(port)[name])


def total(cluster, name, ports=None):
    return sum(number(p, name) for p in (ports or cluster.ports()))


def state(port):
    return info(port)["worker"]


def serving(ports, epoch):
    for p in ports:
        wait_for(lambda port=p: "epoch=%d," % epoch in state(port) and "state=serving" in state(port), 10,
                 "proxy on port %d serves in epoch %d" % (p, epoch))


def hot(cluster, *keys, ports=None):
    """Promotes keys and waits until every proxy answers them from its cache."""
    ports = ports or cluster.ports()
    for k in keys:
        check(Conn(ports[0]).command("HALCYON", "PROMOTE", k) == b"+OK\r\n", "PROMOTE")
    for p in ports:
        c = Conn(p)
        for k in keys:
            def cached(port=p, key=k, conn=c):
                before = number(port, "hits")
                conn.command("GET", key)
                return number(port, "hits") > before
            wait_for(cached, 5, "key %s is hot at port %d" % (k, p))


def cold(cluster, *keys):
    port = cluster.ports()[0]
    for k in keys:
        check(Conn(port).command("HALCYON", "DEMOTE", k) == b"+OK\r\n", "DEMOTE")
    wait_for(lambda: all(number(p, "entries") == 0 for p in cluster.ports()), 5, "keys are cold")


class Churn(threading.Thread):
    """Promotes and demotes keys all the time, asking one proxy after the other."""

    def __init__(self, ports, keys):
        super().__init__(daemon=True)
        self.ports, self.keys = ports, keys
        self.ending = threading.Event()
        self.rounds = 0

    def run(self):
        while not self.ending.wait(CHURN_S):
            self.rounds += 1
            try:
                c = Conn(self.ports[self.rounds % len(self.ports)], timeout=0.5)
                for i, k in enumerate(self.keys):
                    # each key is hot for two thirds of the time, in stays of its own
                    word = "DEMOTE" if (self.rounds + i) % 3 == 0 else "PROMOTE"
                    c.command("HALCYON", word, k)
                c.close()
            except OSError:
                pass

    def end(self):
        self.ending.set()
        self.join(5)


# ---- what is answered ----

READS = [("GET", "{}"), ("STRLEN", "{}"), ("GETRANGE", "{}", "1", "3"), ("GETRANGE", "{}", "-3", "-1"), ("GETRANGE", "{}", "5", "2"),
         ("SUBSTR", "{}", "0", "0"), ("EXISTS", "{}"), ("TTL", "{}"), ("PTTL", "{}"), ("EXPIRETIME", "{}"), ("PEXPIRETIME", "{}"),
         ("TYPE", "{}"), ("MGET", "{}", "{}"), ("GETRANGE", "{}", "x", "1"), ("GETBIT", "{}", "3"), ("DUMP", "{}"),
         ("OBJECT", "ENCODING", "{}"), ("LLEN", "{}")]


def ask(conn, words, key):
    return conn.command(*[w.replace("{}", key) for w in words])


def test_same_answers(cluster):
    say("  every read is answered as without the cache, in both protocol versions and in other databases")
    keys = {"text": "hello world", "number": "12345", "empty": "", "binary": b"\x00\xff\r\n$-1", "none": None}
    for db in (0, 3):
        for proto in (2, 3):
            conns = [Conn(p) for p in cluster.ports()]
            for c in conns:
                c.command("HELLO", proto)
                c.command("SELECT", db)
            for name, value in keys.items():
                if value is not None:
                    conns[0].command("SET", name, value)
            before = {(k, w): ask(conns[0], w, k) for k in keys for w in READS}
            for k in keys:
                conns[1].command("HALCYON", "PROMOTE", k)
            wait_for(lambda: all(number(p, "entries") == len(keys) for p in cluster.ports()), 5, "promoted")
            time.sleep(0.3)
            hits = total(cluster, "hits")
            for c in conns:
                for k in keys:
                    for w in READS:
                        now = ask(c, w, k)
                        check(now == before[k, w], w, "of", k, "says", now, "and said", before[k, w])
            grown = total(cluster, "hits") - hits
            # MGET only in database 0; errors, GETBIT, DUMP, OBJECT and LLEN are the nodes'
            check(grown >= 3 * len(keys) * 12, "only", grown, "answers came from the cache")
            for k in keys:
                conns[0].command("HALCYON", "DEMOTE", k)
            wait_for(lambda: all(number(p, "entries") == 0 for p in cluster.ports()), 5, "cold again")


WRITES = [(("SET", "{}", "a"), b"+OK\r\n", b"$1\r\na\r\n"), (("APPEND", "{}", "bc"), b":3\r\n", b"$3\r\nabc\r\n"),
          (("SETRANGE", "{}", "1", "X"), b":3\r\n", b"$3\r\naXc\r\n"), (("GETSET", "{}", "5"), b"$3\r\naXc\r\n", b"$1\r\n5\r\n"),
          (("INCR", "{}"), b":6\r\n", b"$1\r\n6\r\n"), (("DECRBY", "{}", "2"), b":4\r\n", b"$1\r\n4\r\n"),
          (("INCRBYFLOAT", "{}", "0.5"), b"$3\r\n4.5\r\n", b"$3\r\n4.5\r\n"), (("SETNX", "{}", "no"), b":0\r\n", b"$3\r\n4.5\r\n"),
          (("EXPIRE", "{}", "100"), b":1\r\n", b"$3\r\n4.5\r\n"), (("TTL", "{}"), b":100\r\n", b"$3\r\n4.5\r\n"),
          (("PERSIST", "{}"), b":1\r\n", b"$3\r\n4.5\r\n"), (("TTL", "{}"), b":-1\r\n", b"$3\r\n4.5\r\n"),
          (("GETEX", "{}", "EX", "50"), b"$3\r\n4.5\r\n", b"$3\r\n4.5\r\n"), (("TTL", "{}"), b":50\r\n", b"$3\r\n4.5\r\n"),
          (("PEXPIREAT", "{}", "1"), b":1\r\n", b"$-1\r\n"), (("SET", "{}", "n", "XX"), b"$-1\r\n", b"$-1\r\n"),
          (("SET", "{}", "n", "NX", "EX", "90"), b"+OK\r\n", b"$1\r\nn\r\n"), (("GETDEL", "{}"), b"$1\r\nn\r\n", b"$-1\r\n"),
          (("SETEX", "{}", "30", "s"), b"+OK\r\n", b"$1\r\ns\r\n"), (("DEL", "{}"), b":1\r\n", b"$-1\r\n"),
          (("UNLINK", "{}"), b":0\r\n", b"$-1\r\n"), (("SETBIT", "{}", "1", "1"), b":0\r\n", b"$1\r\n@\r\n"),
          (("INCR", "{}"), b"-ERR value is not an integer or out of range\r\n", b"$1\r\n@\r\n"),
          (("SET", "{}", "q", "BAD"), b"-ERR syntax error\r\n", b"$1\r\n@\r\n")]


def test_writes(cluster):
    say("  every kind of write through one proxy is seen at the others at once")
    hot(cluster, "w")
    conns = [Conn(p) for p in cluster.ports()]
    before = total(cluster, "hotwrites")
    for rounds in range(3):
        conns[0].command("DEL", "w")
        for i, (words, reply, value) in enumerate(WRITES):
            at = (i + rounds) % 3
            got = ask(conns[at], words, "w")
            check(got == reply, words, "answered", got)
            for c in conns:
                got = c.command("GET", "w")
                check(got == value, "after", words, "GET says", got)
    check(total(cluster, "hotwrites") - before >= 3 * (len(WRITES) - 2), "they were hot writes")
    cold(cluster, "w")


def test_pipelines(cluster, promote):
    say("  a connection's commands on a key take effect in their order, " + ("hot, cold and in between" if promote else "all cold"))
    names = ["p:%d" % i for i in range(4)]
    churn = Churn(cluster.ports(), names[:3])
    if promote:
        churn.start()
    end = time.monotonic() + (4 if promote else 1)
    rounds = 0
    conns = [Conn(p) for p in cluster.ports()]
    while time.monotonic() < end:
        rounds += 1
        c = conns[rounds % 3]
        request, expected = b"", []
        for i in range(8):
            k = names[(rounds + i) % 4]
            v = "%d.%d" % (rounds, i)
            bulk = b"$%d\r\n%s\r\n" % (len(v), v.encode())
            request += encode("SET", k, v) + encode("GET", k) + encode("APPEND", k, "x") + encode("GET", k) + encode("MGET", k, k)
            more = b"$%d\r\n%sx\r\n" % (len(v) + 1, v.encode())
            expected += [b"+OK\r\n", bulk, b":%d\r\n" % (len(v) + 1), more, b"*2\r\n" + more + more]
        c.send(request)
        for e in expected:
            got = c.reply()
            check(got == e, "round", rounds, "expected", e, "got", got)
    if promote:
        churn.end()
    check(rounds > 50, "only", rounds, "rounds")
    say("    %d pipelines of 40 commands" % rounds)
    cold(cluster, *names)


def test_expiry(cluster):
    say("  a hot key expires for everybody, and not too early")
    conns = [Conn(p) for p in cluster.ports()]
    for i in range(3):
        k = "e:%d" % i
        hot(cluster, k)
        start = time.time()
        check(conns[i].command("SET", k, "v", "PX", 700) == b"+OK\r\n", "SET PX")
        while True:
            asked = time.time()
            answers = [c.command("GET", k) for c in conns]
            told = time.time()
            if told < start + 0.7:
                check(all(a == b"$1\r\nv\r\n" for a in answers), "gone after %.3f s:" % (told - start), answers)
            if asked > start + 0.75:
                check(all(a == b"$-1\r\n" for a in answers), "still there after %.3f s:" % (asked - start), answers)
                break
        check(conns[(i + 1) % 3].command("EXISTS", k) == b":0\r\n", "EXISTS")
        cold(cluster, k)


def test_uncacheable(cluster):
    say("  what becomes a collection, or too large, is demoted by itself")
    c = Conn(cluster.ports()[1])
    hot(cluster, "u")
    c.command("DEL", "u")
    check(c.command("LPUSH", "u", "a", "b") == b":2\r\n", "LPUSH of a hot key")
    wait_for(lambda: all(number(p, "entries") == 0 for p in cluster.ports()), 5, "demoted")
    check(Conn(cluster.ports()[2]).command("LLEN", "u") == b":2\r\n", "LLEN")
    check(c.command("DEL", "u") == b":1\r\n", "DEL")
    hot(cluster, "u2")
    big = "x" * 5000
    check(c.command("SET", "u2", big) == b"+OK\r\n", "SET of a large value")
    check(Conn(cluster.ports()[0]).command("GET", "u2") == b"$5000\r\n" + big.encode() + b"\r\n", "GET")
    wait_for(lambda: all(number(p, "entries") == 0 for p in cluster.ports()), 5, "demoted")


def test_several_keys(cluster):
    say("  commands on several keys of which some are hot: DEL, MSET, EXISTS, MGET, FLUSHALL")
    names = ["m:%d" % i for i in range(6)]
    hot(cluster, "m:1", "m:4")
    conns = [Conn(p) for p in cluster.ports()]
    for round_ in range(6):
        c, other = conns[round_ % 3], conns[(round_ + 1) % 3]
        pairs = [x for n in names for x in (n, "%s=%d" % (n, round_))]
        check(c.command("MSET", *pairs) == b"+OK\r\n", "MSET")
        bulks = b"".join(b"$5\r\n%s=%d\r\n" % (n.encode(), round_) for n in names)
        check(other.command("MGET", *names) == b"*6\r\n" + bulks, "MGET after MSET", round_)
        before = total(cluster, "hits")
        got = c.command("MGET", "m:0", "m:1", "m:none", "m:4", "m:5", "m:1")
        check(got == b"*6\r\n" + b"".join(b"$-1\r\n" if n is None else b"$5\r\nm:%d=%d\r\n" % (n, round_)
                                         for n in (0, 1, None, 4, 5, 1)), "MGET of hot and cold keys", got)
        check(total(cluster, "hits") >= before + 3, "MGET's hot keys were asked from the nodes")
        check(other.command("EXISTS", *names) == b":6\r\n", "EXISTS")
        check(c.command("TOUCH", "m:1", "m:4", "m:none") == b":2\r\n", "TOUCH")
        check(other.command("DEL", "m:0", "m:1", "m:4", "m:none") == b":3\r\n", "DEL")
        check(c.command("MGET", "m:1", "m:4") == b"*2\r\n$-1\r\n$-1\r\n", "MGET after DEL")
        check(c.command("MGET", "m:0", "m:2") == b"*2\r\n$-1\r\n$5\r\nm:2=%d\r\n" % round_, "MGET after DEL")
    check(number(cluster.ports()[0], "entries") == 2, "they are still hot")
    check(conns[0].command("SET", "m:1", "x") == b"+OK\r\n", "SET")
    answer = conns[1].command("FLUSHALL")
    check(answer == b"+OK\r\n", "FLUSHALL answered", answer)
    for c in conns:
        check(c.command("MGET", *names) == b"*6\r\n" + b"$-1\r\n" * 6, "MGET after FLUSHALL")
    wait_for(lambda: all(number(p, "entries") == 0 for p in cluster.ports()), 5, "FLUSHALL demotes")


def test_switch(cluster):
    say("  CONFIG SET hot-cache no demotes all, yes lets keys be hot again")
    hot(cluster, "c:1", "c:2")
    conns = [Conn(p) for p in cluster.ports()]
    for c in conns:
        check(c.command("CONFIG", "SET", "hot-cache", "no") == b"+OK\r\n", "CONFIG SET")
    wait_for(lambda: all(number(p, "entries") == 0 for p in cluster.ports()), 5, "all are cold")
    conns[0].command("HALCYON", "PROMOTE", "c:1")
    check(conns[1].command("SET", "c:1", "v") == b"+OK\r\n", "SET")
    time.sleep(0.2)
    check(all(number(p, "entries") == 0 for p in cluster.ports()), "nothing becomes hot")
    for c in conns:
        check(c.command("CONFIG", "SET", "hot-cache", "yes") == b"+OK\r\n", "CONFIG SET")
    hot(cluster, "c:1")
    check(conns[2].command("GET", "c:1") == b"$1\r\nv\r\n", "GET")
    cold(cluster, "c:1")


# ---- histories ----

recordings = itertools.count()


def record(cluster, build, seconds, prefix, **more):
    prefix = "%s%d:" % (prefix, next(recordings))  # of new keys
    options = dict(clients=8, keys=8, hot=4, expire=50, prefix=prefix)
    options.update(more)
    names = [prefix + f + str(i) for i, f in enumerate(("reg", "mix", "cnt", "app") * 2)]
    return Recording(build, cluster.ports(), seconds, **options), Churn(cluster.ports(), names)


def finish(cluster, rec, churn, least_ok, hits, least_hits):
    rec.judge(least_ok)
    churn.end()
    grown = total(cluster, "hits") - hits
    say("    %d answers from the cache, %d promotions and %d demotions asked for in %d rounds" %
        (grown, total(cluster, "promotions"), total(cluster, "demotions"), churn.rounds))
    check(grown >= least_hits, "only", grown, "answers came from the cache")
    rec.remove()


def test_history(cluster, build, seconds):
    say("  %d s of 8 clients, keys promoted and demoted every 100 ms" % seconds)
    hits = total(cluster, "hits")
    rec, churn = record(cluster, build, seconds, "a")
    churn.start()
    finish(cluster, rec, churn, 500 * seconds, hits, 20 * seconds)


class Proxies(Membership):
    """The membership service of the proxies' group: ids to ports of proxies; their peers are elsewhere."""

    def __init__(self, cluster):
        super().__init__()
        self.cluster = cluster
        self.next_id = 1

    def _spec(self, nodes):
        base = self.cluster.port
        return ["%d@127.0.0.1:%d" % (i, base + 3000 + (p - base) * self.cluster.workers) for i, p in sorted(nodes.items())]

    def ids(self, ports):
        out = {}
        for p in ports:
            out[self.next_id] = p
            self.next_id += 1
        return out

    def out(self, port):
        """The next view, without the proxy on this port."""
        self.install({i: p for i, p in self.members.items() if p != port})

    def joins(self, port):
        self.install({**self.members, **self.ids([port])})
        serving([port], self.epoch)


def test_killed(cluster, build, members, victim, what):
    port = cluster.ports()[victim]
    say("  %s is killed under load, left out of the view, and comes back as another incarnation" % what)
    hits = total(cluster, "hits", [p for p in cluster.ports() if p != port])
    rec, churn = record(cluster, build, 7, "k")
    churn.start()
    time.sleep(1.5)
    cluster.kill("proxy-%d" % victim)
    time.sleep(0.3)
    members.out(port)
    others = [p for p in cluster.ports() if p != port]
    serving(others, members.epoch)
    time.sleep(1)
    before = total(cluster, "hits", others)
    time.sleep(0.8)
    check(total(cluster, "hits", others) > before, "the others answer nothing from their caches any more")
    cluster.start("proxy-%d" % victim)
    wait_for(lambda: Conn(port).command("PING") == b"+PONG\r\n", 20, "the proxy is back")
    members.joins(port)
    rec.judge(1500)
    churn.end()
    check(total(cluster, "hits", others) > hits, "no hits")
    wait_for(lambda: hits_grow(port), 10, "the new incarnation answers from its cache")
    rec.remove()


def hits_grow(port):
    c = Conn(port)
    key = "again"
    c.command("HALCYON", "PROMOTE", key)
    before = number(port, "hits")
    for _ in range(20):
        c.command("GET", key)
    return number(port, "hits") > before


def test_stopped(cluster, build, members):
    port = cluster.ports()[1]
    say("  a proxy stopped past its lease, left out, and continued answers nothing old; then it joins anew")
    rec, churn = record(cluster, build, 8, "s", timeout_ms=4000)
    churn.start()
    time.sleep(1.5)
    cluster.kill("proxy-1", signal.SIGSTOP)
    members.out(port)
    others = [p for p in cluster.ports() if p != port]
    serving(others, members.epoch)
    time.sleep(1)
    cluster.kill("proxy-1", signal.SIGCONT)
    time.sleep(1)
    check("state=serving" not in state(port), "the proxy that is out serves:", state(port))
    members.joins(port)
    rec.judge(1500)
    churn.end()
    wait_for(lambda: hits_grow(port), 10, "the new incarnation answers from its cache")
    rec.remove()


# ---- under the membership service ----

class Reader(threading.Thread):
    """Reads a hot key in a tight loop; remembers the longest wait for an answer, and how often it was not the value."""

    def __init__(self, port, key, value):
        super().__init__(daemon=True)
        self.conn = Conn(port, timeout=10)
        self.key, self.expected = key, b"$%d\r\n%s\r\n" % (len(value), value.encode())
        self.ending = threading.Event()
        self.longest, self.wrong, self.count = 0.0, [], 0

    def run(self):
        last = time.monotonic()
        while not self.ending.is_set():
            answer = self.conn.command("GET", self.key)
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            last = now
            self.count += 1
            if answer != self.expected:
                self.wrong.append(answer)
            time.sleep(0.001)

    def end(self):
        self.ending.set()
        self.join(15)


def incarnation(port):
    return int(re.search(r"id=(\d+),", state(port)).group(1))


def in_group(ports, others=()):
    """Every proxy on these ports serves in one view of exactly these (and others)."""
    def same():
        states = [state(p) for p in ports]
        if not all("state=serving" in s for s in states):
            return False
        members = {re.search(r"members=([\d/]+)", s).group(1) for s in states}
        return len(members) == 1 and len(members.pop().split("/")) == len(ports) + len(others)
    wait_for(same, 15, "the proxies on ports %s are a group" % (ports,))


def test_service(build, seconds):
    say("  with the membership service: a proxy killed, the coordinator stopped, a replica killed, under load")
    with Cluster(build, proxies=3, shards=2, replicas=3, workers=1, proxy_opts=["hot-cool 1"]) as cluster:
        ports = cluster.ports()
        in_group(ports)
        check(Conn(ports[0]).command("SET", "steady", "value") == b"+OK\r\n", "SET")
        hot(cluster, "steady")
        coordinator = next(i for i, p in enumerate(ports) if "coordinator" in state(p))
        dead, steady = [i for i in range(3) if i != coordinator]
        reader = Reader(ports[steady], "steady", "value")
        rec, churn = record(cluster, build, seconds, "svc", timeout_ms=4000)
        churn.start()
        reader.start()
        time.sleep(1.5)
        cluster.kill("proxy-%d" % dead)
        in_group([p for i, p in enumerate(ports) if i != dead])
        time.sleep(1)
        cluster.start("proxy-%d" % dead)
        wait_for(lambda: Conn(ports[dead]).command("PING") == b"+PONG\r\n", 20, "the proxy is back")
        in_group(ports)
        before = incarnation(ports[coordinator])
        cluster.kill("proxy-%d" % coordinator, signal.SIGSTOP)
        in_group([p for i, p in enumerate(ports) if i != coordinator])
        time.sleep(0.5)
        cluster.kill("proxy-%d" % coordinator, signal.SIGCONT)
        in_group(ports)
        check(incarnation(ports[coordinator]) > before, "a new incarnation")
        cluster.kill("node-0-1")
        cluster.kill("node-1-2")
        time.sleep(1.5)
        reader.end()
        cluster.start("node-0-1")
        cluster.start("node-1-2")
        rec.judge(200 * seconds)
        churn.end()
        check(not reader.wrong and reader.count > 500, "the steady key was answered", reader.wrong[:3], reader.count)
        say("    longest wait of a reader of a hot key at a proxy that went on: %.0f ms, %d reads" % (reader.longest * 1000, reader.count))
        check(reader.longest < 1.5, "a hot read waited", reader.longest)
        wait_for(lambda: all(hits_grow(p) for p in ports), 20, "every proxy answers from its cache")
        rec.remove()


def main():
    args = arguments(seconds=6, workers=2, rounds=1)
    with Cluster(args.build, proxies=3, shards=2, replicas=3, workers=args.workers, proxy_opts=OPTIONS) as cluster:
        members = Proxies(cluster)
        members.found(members.ids(cluster.ports()))
        serving(cluster.ports(), 1)
        test_same_answers(cluster)
        test_writes(cluster)
        test_pipelines(cluster, False)
        test_pipelines(cluster, True)
        test_expiry(cluster)
        test_uncacheable(cluster)
        test_several_keys(cluster)
        test_switch(cluster)
        for _ in range(args.rounds):
            test_history(cluster, args.build, args.seconds)
            test_killed(cluster, args.build, members, 2, "a proxy")
            test_stopped(cluster, args.build, members)
            test_killed(cluster, args.build, members, 0, "the hot-set coordinator")
        members.end()
    test_service(args.build, 14)


if __name__ == "__main__":
    run(main)

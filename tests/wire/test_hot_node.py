"""Hot keys at the backend, as a proxy's link sees them: PROMOTE, DEMOTE and HOTWRITE are judged by the generation, and answer
the key as it was at the instant at which they took effect."""
import os
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from harness import Cluster, Conn, arguments, check, encode, run, say, wait_for  # noqa: E402

ABSENT, STRING, UNCACHEABLE = 0, 1, 2


class Link(Conn):
    def __init__(self, port, proto=2):
        super().__init__(port)
        check(self.command("HALCYON", "LINK", proto) == b"+OK\r\n", "link")

    def bulk(self, answer):
        check(answer[:1] == b"$", "no wrapped reply:", answer)
        head, rest = answer.split(b"\r\n", 1)
        check(len(rest) == int(head[1:]) + 2, "length", answer)
        return rest[:-2]

    def plain(self, *words):
        """A command's reply, or the node's own words."""
        answer = self.command(*words)
        return self.bulk(answer) if answer[:1] == b"$" else answer

    def hot(self, *words):
        """(what, ts, generation, expire_ms, value, reply)"""
        b = self.bulk(self.command("HALCYON", *words))
        what, ts, generation, expire, n = struct.unpack("<BQQQI", b[:29])
        return what, ts, generation, expire, b[29:29 + n], b[29 + n:]

    def refused(self, *words):
        answer = self.command("HALCYON", *words)
        check(answer[:1] == b"-", "not refused:", answer)
        return answer[1:].split(b"\r")[0].decode()


def test_generations(cluster):
    say("  promotion, writes, demotion, each only in its generation")
    a, b = Link(cluster.node_port(0, 0)), Link(cluster.node_port(0, 1))
    check(a.plain("SET", "k", "one") == b"+OK\r\n", "SET")
    what, ts, generation, expire, value, reply = a.hot("PROMOTE", "k", 5)
    check((what, generation, expire, value, reply) == (STRING, 5, 0, b"one", b""), "promoted", value)
    check(b.plain("SET", "k", "x") == b"-HOT 5\r\n", "a plain write of a hot key at another replica")
    check(b.plain("DEL", "k") == b"-HOT 5\r\n", "a plain DEL of a hot key")
    check(b.plain("GET", "k") == b"$3\r\none\r\n", "reads are as ever")
    check(b.refused("HOTWRITE", 4, "SET", "k", "x") == "COLD 5", "another generation")
    check(b.refused("PROMOTE", "k", 5) == "COLD 5", "a generation that is not larger")
    check(b.refused("DEMOTE", "k", 4) == "COLD 5", "a demotion of another generation")
    w = b.hot("HOTWRITE", 5, "SET", "k", "two")
    check((w[0], w[2], w[4], w[5]) == (STRING, 5, b"two", b"+OK\r\n") and w[1] > ts, "written", w)
    r = a.hot("PROMOTE", "k", 9)  # recovery: the same key, a larger generation
    check((r[0], r[2], r[4]) == (STRING, 9, b"two") and r[1] > w[1], "promoted again", r)
    check(b.refused("HOTWRITE", 5, "SET", "k", "late") == "COLD 9", "a late write")
    d = b.hot("DEMOTE", "k", 9)
    check((d[2], d[4], d[5]) == (9, b"two", b""), "demoted", d)
    check(a.refused("HOTWRITE", 9, "INCR", "k") == "COLD 9", "after the demotion")
    check(a.plain("SET", "k", "three") == b"+OK\r\n", "a plain write after the demotion")
    check(a.refused("PROMOTE", "k", 9) == "COLD 9", "a generation is never used again")


def test_what_is_told(cluster):
    say("  the answer holds the key as the command left it, and the client's reply")
    a = Link(cluster.node_port(0, 0))
    g = 20

    def told(what, value, reply, *words):
        w = a.hot("HOTWRITE", g, *words)
        check((w[0], w[4], w[5]) == (what, value, reply), words, "told", w)
        return w
    check(a.hot("PROMOTE", "t", g)[0] == ABSENT, "an absent key is promoted")
    first = told(ABSENT, b"", b":0\r\n", "DEL", "t")
    check(first[1] != 0, "a hot absent key has a timestamp")
    told(STRING, b"5", b":5\r\n", "INCRBY", "t", 5)
    told(STRING, b"5", b":0\r\n", "SETNX", "t", "other")
    told(STRING, b"57", b":2\r\n", "APPEND", "t", "7")
    told(STRING, b"57", b"$2\r\n57\r\n", "GETEX", "t")
    w = told(STRING, b"new", b"$2\r\n57\r\n", "SET", "t", "new", "GET", "PX", 60000)
    now = int(time.time() * 1000)
    check(now + 50000 < w[3] < now + 61000, "expiry", w[3], "now", now)
    check(told(STRING, b"new", b":1\r\n", "PERSIST", "t")[3] == 0, "expiry is gone")
    told(ABSENT, b"", b"$3\r\nnew\r\n", "GETDEL", "t")
    told(STRING, b"x", b"+OK\r\n", "SET", "t", "x")
    check(b"syntax" in told(STRING, b"x", a.hot("HOTWRITE", g, "SET", "t", "x", "NX", "XX")[5],
                            "SET", "t", "x", "NX", "XX")[5], "an error is the client's")
    told(ABSENT, b"", b":1\r\n", "UNLINK", "t")
    told(UNCACHEABLE, b"", b":1\r\n", "LPUSH", "t", "element")
    told(UNCACHEABLE, b"", b":2\r\n", "RPUSH", "t", "another")
    check(a.hot("DEMOTE", "t", g)[0] == UNCACHEABLE, "demoted collection")
    big = "v" * 70000
    g = 21
    check(a.plain("SET", "t", big) == b"+OK\r\n", "SET of a large value")
    check(a.hot("PROMOTE", "t", g)[0] == UNCACHEABLE, "too large to be told")
    told(UNCACHEABLE, b"", b":70001\r\n", "APPEND", "t", "v")
    for words in (("MSET", "t", 1, "t", 2), ("FLUSHALL",), ("DEL", "t", "{t}2"), ("RENAME", "t", "{t}2")):
        check("no command for one hot key" in a.refused("HOTWRITE", g, *words), words)
    l3 = Link(cluster.node_port(0, 2), 3)
    check(l3.hot("HOTWRITE", g, "SET", "t", "y", "XX", "GET")[5] == b"$70001\r\n" + big.encode() + b"v\r\n", "reply")
    check(l3.hot("HOTWRITE", g, "SET", "t", "y", "NX")[5] == b"_\r\n", "RESP3's null on such a link")


def test_expiry(cluster):
    say("  a hot key's expiry is committed by a HOTWRITE of the read")
    a = Link(cluster.node_port(0, 0))
    check(a.plain("SET", "e", "v", "PX", 300) == b"+OK\r\n", "SET")
    w = a.hot("PROMOTE", "e", 7)
    check(w[0] == STRING and w[3] != 0, "promoted with its expiry", w)
    w = a.hot("HOTWRITE", 7, "GET", "e")
    check((w[0], w[4], w[5]) == (STRING, b"v", b"$1\r\nv\r\n"), "not expired yet", w)
    time.sleep(1.0)  # the active expiry of the nodes runs meanwhile: it leaves a hot key alone
    for r in range(3):
        n = Link(cluster.node_port(0, r))
        check(n.plain("GET", "e") == b"-HOT 7\r\n", "a plain read of an expired hot key, replica", r)
    before = w[1]
    w = a.hot("HOTWRITE", 7, "GET", "e")
    check((w[0], w[4], w[5]) == (ABSENT, b"", b"$-1\r\n") and w[1] > before, "expired", w)
    check(Link(cluster.node_port(0, 1)).plain("GET", "e") == b"$-1\r\n", "and everywhere")
    w = a.hot("HOTWRITE", 7, "STRLEN", "e")
    check((w[0], w[5]) == (ABSENT, b":0\r\n"), "any read will do", w)


def test_order(cluster):
    say("  a link's replies keep their order, hot and cold mixed")
    a = Link(cluster.node_port(0, 0))
    a.hot("PROMOTE", "o", 3)
    n = 200
    for i in range(n):
        a.send(encode("HALCYON", "HOTWRITE", 3, "SET", "o", i))
        a.send(encode("GET", "o"))
        a.send(encode("SET", "o:cold", i))
    for i in range(n):
        w = a.bulk(a.reply())
        check(w[29:] == b"%d+OK\r\n" % i, "hot write", i, w)
        got = a.bulk(a.reply())
        check(got == b"$%d\r\n%d\r\n" % (len(str(i)), i), "a read behind the hot write", i, got)
        check(a.bulk(a.reply()) == b"+OK\r\n", "cold write", i)


def test_fighting_writers(cluster):
    say("  blind hot writes at all replicas: timestamps and values agree, superseded ones too")
    links = [Link(cluster.node_port(0, r)) for r in range(3)]
    links[0].hot("PROMOTE", "f", 2)
    told = {}
    wrong = []

    def writer(i):
        for j in range(400):
            w = links[i].hot("HOTWRITE", 2, "SET", "f", "%d:%d" % (i, j))
            if w[4] != b"%d:%d" % (i, j) or w[5] != b"+OK\r\n" or told.setdefault(w[1], w[4]) != w[4]:
                wrong.append(w)
    threads = [threading.Thread(target=writer, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    check(not wrong and len(told) == 1200, "answers", wrong[:3], len(told))
    last = told[max(told)]
    for r in range(3):
        wait_for(lambda port=cluster.node_port(0, r): Link(port).bulk(Link(port).command("GET", "f")).endswith(last + b"\r\n"),
                 5, "the largest timestamp's value at replica %d" % r)


def test_alone(build):
    say("  a node without replica keeps no hot keys, and says so")
    with Cluster(build, proxies=1, shards=1, replicas=1) as cluster:
        a = Link(cluster.node_port(0))
        check("no replica" in a.refused("PROMOTE", "k", 1), "PROMOTE")
        check("no replica" in a.refused("HOTWRITE", 1, "SET", "k", 1), "HOTWRITE")
        check(a.plain("SET", "k", 1) == b"+OK\r\n", "the link goes on")


def main():
    args = arguments()
    with Cluster(args.build, proxies=1, shards=1, replicas=3) as cluster:
        test_generations(cluster)
        test_what_is_told(cluster)
        test_expiry(cluster)
        test_order(cluster)
        test_fighting_writers(cluster)
    test_alone(args.build)


run(main)

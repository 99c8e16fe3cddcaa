"""The cold path: order across nodes, splitting and gathering, databases, scanning, the cluster view, bad input, slow
and half-closed clients, large values, many connections."""
import os
import signal
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Cluster, Conn, arguments, check, encode, run, say  # noqa: E402

MIB = 1 << 20


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def slot(key):
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1) if begin >= 0 else -1
    return crc16(key[begin + 1:end] if end > begin + 1 else key) % 16384


def bulk(data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


def rss(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) * 1024


def elements(reply):
    """The bulk strings of a flat array reply."""
    out = []
    at = reply.index(b"\r\n") + 2
    while at < len(reply):
        end = reply.index(b"\r\n", at)
        n = int(reply[at + 1:end])
        if n < 0:
            out.append(None)
            at = end + 2
        else:
            out.append(reply[end + 2:end + 2 + n])
            at = end + 4 + n
    return out


def key_of_node(cluster, node):
    """A key that this node worker owns."""
    direct = Conn(cluster.node_port(node))
    for i in range(1000):
        key = b"key:%d" % i
        if not direct.command("GET", key).startswith(b"-MOVED"):
            return key
    raise AssertionError("no key for node %d" % node)


def splitting(c):
    n = 500
    keys = [b"s:%d" % i for i in range(n)]
    check(c.command("MSET", *[x for k in keys for x in (k, b"v" + k)]) == b"+OK\r\n", "MSET")
    want = b"*%d\r\n" % (n + 3) + bulk(b"vs:7") + b"".join(bulk(b"v" + k) for k in keys) + b"$-1\r\n" + bulk(b"vs:7")
    check(c.command("MGET", b"s:7", *keys, b"none", b"s:7") == want, "MGET keeps the order of the keys")
    check(c.command("EXISTS", *keys, b"s:1", b"none") == b":%d\r\n" % (n + 1), "EXISTS counts every mention")
    check(c.command("TOUCH", *keys) == b":%d\r\n" % n, "TOUCH")
    check(c.command("UNLINK", *keys[:100], b"none") == b":100\r\n", "UNLINK")
    check(c.command("DEL", *keys) == b":%d\r\n" % (n - 100), "DEL")
    check(c.command("MSET", "a", "b", "c") == b"-ERR wrong number of arguments for 'mset' command\r\n", "odd MSET")
    check(c.command("MSETNX", "a", "1", "b", "2").startswith(b"-CROSSSLOT"), "MSETNX over slots")
    check(c.command("MSETNX", "{t}a", "1", "{t}b", "2") == b":1\r\n", "MSETNX in a slot")
    check(c.command("RENAME", "{t}a", "b").startswith(b"-CROSSSLOT"), "RENAME over slots")
    check(c.command("RENAME", "{t}a", "{t}c") == b"+OK\r\n", "RENAME in a slot")
    check(c.command("COPY", "{t}c", "{t}d", "DB", "5", "REPLACE") == b":1\r\n", "COPY to another database")
    c.command("SELECT", "5")
    check(c.command("GET", "{t}d") == bulk(b"1"), "the copy")
    c.command("SELECT", "0")
    check(c.command("EXISTS", "{t}d") == b":0\r\n", "no copy here")
    check(c.command("MOVE", "b", "1").startswith(b"-ERR move is not supported"), "MOVE")
    check(c.command("SWAPDB", "0", "1").startswith(b"-ERR swapdb is not supported"), "SWAPDB")
    check(c.command("WAIT", "0", "0") == b":0\r\n", "WAIT")
    c.command("FLUSHALL")


def resp3(port):
    c = Conn(port)
    check(c.command("HELLO", "3").startswith(b"%"), "HELLO 3")
    check(c.command("MGET", "r3:a", "r3:b", "r3:c") == b"*3\r\n_\r\n_\r\n_\r\n", "RESP3 nulls")
    check(c.command("GET", "r3:a") == b"_\r\n", "a RESP3 null")
    c.send(encode("HELLO", "2") + encode("GET", "r3:a") + encode("HELLO", "3") + encode("GET", "r3:a"))
    check(c.reply()[:1] == b"*" and c.reply() == b"$-1\r\n", "RESP2 in the middle of a pipeline")
    check(c.reply()[:1] == b"%" and c.reply() == b"_\r\n", "RESP3 again")
    c.close()


def scan_all(c, *options):
    cursor, keys, calls = b"0", [], 0
    while True:
        reply = c.command("SCAN", cursor, *options)
        check(reply.startswith(b"*2\r\n$"), "SCAN", reply[:100])
        end = reply.index(b"\r\n", 4)
        n = int(reply[5:end])
        cursor = reply[end + 2:end + 2 + n]
        check(cursor.isdigit() and int(cursor) < 1 << 64 and str(int(cursor)).encode() == cursor, "cursor", cursor)
        keys += elements(reply[end + 4 + n:])
        calls += 1
        check(calls < 10000, "SCAN does not end")
        if cursor == b"0":
            return keys


def databases(c):
    c.command("FLUSHALL")
    odd = [b"\xffx", b"\xff\x00y", b"", b"\xff"]
    for db in (0, 3, 15):
        c.command("SELECT", db)
        for i in range(300):
            c.send(encode("SET", "k:%d" % i, db))
        for i in range(300):
            check(c.reply() == b"+OK\r\n", "SET")
        for k in odd:
            check(c.command("SET", k, b"%d" % db) == b"+OK\r\n", "SET of an odd key")
    want = sorted([b"k:%d" % i for i in range(300)] + odd)
    for db in (3, 0, 15):
        c.command("SELECT", db)
        check(c.command("GET", "k:7") == bulk(b"%d" % db), "a database of its own")
        check(c.command("MGET", *odd) == b"*4\r\n" + bulk(b"%d" % db) * 4, "odd keys")
        check(c.command("DBSIZE") == b":304\r\n", "DBSIZE", c.command("DBSIZE"))
        check(sorted(elements(c.command("KEYS", "*"))) == want, "KEYS")
        check(sorted(set(scan_all(c, "COUNT", "50"))) == want, "SCAN")
        check(c.command("RANDOMKEY")[4:].split(b"\r\n")[0] in b"".join(want), "RANDOMKEY")
    c.command("SELECT", "3")
    check(c.command("FLUSHDB") == b"+OK\r\n", "FLUSHDB")
    check(c.command("DBSIZE") == b":0\r\n" and c.command("RANDOMKEY") == b"$-1\r\n", "after FLUSHDB")
    c.command("SELECT", "15")
    check(c.command("DBSIZE") == b":304\r\n", "FLUSHDB is of one database")
    check(c.command("FLUSHALL") == b"+OK\r\n", "FLUSHALL")
    check(c.command("DBSIZE") == b":0\r\n", "after FLUSHALL")
    c.command("SELECT", "0")
    check(c.command("DBSIZE") == b":0\r\n", "FLUSHALL is of all")


def scanning(c):
    c.command("FLUSHALL")
    for i in range(3000):
        c.send(encode("SET", "scan:%d" % i, "x"))
    for i in range(3000):
        c.reply()
    c.command("RPUSH", "scan:list", "x")
    want = {b"scan:%d" % i for i in range(3000)} | {b"scan:list"}
    check(set(scan_all(c)) == want, "SCAN visits every key")
    check(set(scan_all(c, "COUNT", "1000")) == want, "SCAN with COUNT")
    check(set(scan_all(c, "MATCH", "scan:1*")) == {k for k in want if k.startswith(b"scan:1")}, "SCAN with MATCH")
    check(set(scan_all(c, "TYPE", "list", "COUNT", "100")) == {b"scan:list"}, "SCAN with TYPE")
    check(c.command("SCAN", "x") == b"-ERR invalid cursor\r\n", "SCAN x")
    check(c.command("SCAN", "0", "COUNT", "0") == b"-ERR syntax error\r\n", "SCAN COUNT 0")
    check(c.command("SCAN", str((1 << 64) - 1)).startswith(b"*2\r\n$1\r\n0"), "a cursor from nowhere")
    c.command("FLUSHALL")


def cluster_view(cluster):
    views = []
    for port in cluster.ports():
        c = Conn(port)
        slots = c.command("CLUSTER", "SLOTS")
        check(slots.startswith(b"*%d\r\n" % cluster.proxies), "CLUSTER SLOTS", slots)
        views.append(slots)
        check(c.command("CLUSTER", "KEYSLOT", "{a}b") == b":%d\r\n" % slot(b"a"), "KEYSLOT")
        nodes = c.command("CLUSTER", "NODES").decode().split("\r\n", 1)[1].strip().split("\n")
        check(len(nodes) == cluster.proxies, nodes)
        covered = set()
        for line in nodes:
            first, last = line.split()[-1].split("-")
            check(not covered & set(range(int(first), int(last) + 1)), "slots overlap")
            covered |= set(range(int(first), int(last) + 1))
        check(len(covered) == 16384, "every slot has a proxy")
        mine = [n for n in nodes if "myself" in n]
        check(len(mine) == 1 and "127.0.0.1:%d@" % port in mine[0], mine)
        check(c.command("CLUSTER", "MYID") == bulk(mine[0].split()[0].encode()), "MYID")
        check(b"cluster_state:ok\r\n" in c.command("CLUSTER", "INFO"), "CLUSTER INFO")
        check(b"cluster_enabled:1" in c.command("INFO", "cluster"), "INFO cluster")
        check(c.command("CLUSTER", "SHARDS").count(b"endpoint") == cluster.proxies, "SHARDS")
        check(c.command("CLUSTER", "MEET", "1.2.3.4", "5").startswith(b"-ERR"), "MEET")
    check(all(v == views[0] for v in views), "every proxy shows the same slots")


def order(cluster):
    """Replies in the order of the requests although one node stands still; others are not held up."""
    slow, fast = key_of_node(cluster, 0), key_of_node(cluster, 1)
    a, b = Conn(cluster.port), Conn(cluster.port)
    a.command("SET", slow, "slow")
    a.command("SET", fast, "fast")
    cluster.kill("node-0-0", signal.SIGSTOP)
    try:
        a.send((encode("GET", slow) + encode("GET", fast) + encode("PING") + encode("MGET", fast, slow)
                + encode("ECHO", "x")) * 50 + encode("QUIT"))
        begin = time.monotonic()
        for _ in range(200):
            check(b.command("GET", fast) == bulk(b"fast"), "another client's read")
        check(time.monotonic() - begin < 1, "another client waits for the node that stands still")
    finally:
        cluster.kill("node-0-0", signal.SIGCONT)
    for _ in range(50):
        check(a.reply() == bulk(b"slow"), "first")
        check(a.reply() == bulk(b"fast"), "second")
        check(a.reply() == b"+PONG\r\n", "third")
        check(a.reply() == b"*2\r\n" + bulk(b"fast") + bulk(b"slow"), "fourth")
        check(a.reply() == bulk(b"x"), "fifth")
    check(a.reply() == b"+OK\r\n", "QUIT")
    check(a.sock.recv(1) == b"", "closed after QUIT")


def information(c):
    """INFO knows of the keys in the shards, and keeps its place in a pipeline."""
    c.command("FLUSHALL")
    for i in range(20):
        c.command("SET", "i:%d" % i, "x")
    c.command("SELECT", "2")
    c.command("SET", "x", "y", "EX", "1000")
    c.command("SELECT", "0")
    c.send(encode("GET", "i:1") + encode("INFO", "keyspace") + encode("PING") + b"info nosuch\r\n" + encode("GET", "i:2"))
    check(c.reply() == bulk(b"x"), "before INFO")
    text = c.reply()
    check(b"\r\ndb0:keys=20,expires=0,avg_ttl=0\r\n" in text and b"\r\ndb2:keys=1,expires=1,avg_ttl=" in text, text)
    check(c.reply() == b"+PONG\r\n" and c.reply() == b"$0\r\n\r\n" and c.reply() == bulk(b"x"), "after INFO")
    before = int(c.command("INFO", "stats").split(b"keyspace_misses:")[1].split(b"\r\n")[0])
    c.command("GET", "nosuch")
    check(b"keyspace_misses:%d\r\n" % (before + 1) in c.command("INFO", "stats"), "misses of the nodes")
    c.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
    c.command("SET", "slow", "log")
    c.command("CONFIG", "SET", "slowlog-log-slower-than", "10000")
    check(bulk(b"SET") + bulk(b"slow") + bulk(b"log") in c.command("SLOWLOG", "GET"), c.command("SLOWLOG", "GET"))
    check(b"\r\nproxy_forwarded:" in c.command("INFO", "everything"), "INFO everything")


def bad_input(port):
    good = Conn(port)
    cases = [  # what is sent, what must come before the end of the stream
        (b"*1\r\n$-5\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$99999999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*99999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*2147483648\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n:1\r\n", b"-ERR Protocol error: expected '$', got ':'\r\n"),
        (b"*1\r\n$x\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"set a \"b\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"x" * 70000, b"-ERR Protocol error: too big inline request\r\n"),
        # what came before is answered first, whichever node it needs
        (encode("SET", "b:1", "x") * 20 + encode("GET", "b:1") + b"*1\r\n:1\r\n",
         b"+OK\r\n" * 20 + bulk(b"x") + b"-ERR Protocol error: expected '$', got ':'\r\n"),
    ]
    for data, want in cases:
        c = Conn(port)
        c.send(data)
        got = b""
        try:
            while True:
                more = c.sock.recv(65536)
                if not more:
                    break
                got += more
        except ConnectionResetError:
            pass
        except socket.timeout:
            check(False, "to", data[:60], "came", got[-200:], "but no end")
        check(got == want, "to", data[:60], "came", got[-200:])
        c.close()
        begin = time.monotonic()
        check(good.command("GET", "b:1")[:1] == b"$", "others are served")
        check(time.monotonic() - begin < 1, "others are served at once")
    # not errors
    c = Conn(port)
    c.send(b"\r\n*0\r\n\r\nPING\r\n" + b"*3\r\n$3\r\nSET\r\n$3\r\n\x00\xff\r\r\n$2\r\n\r\n\r\n" + b"get b:1\r\n"
           + b"set \"in line\" 'a b'\r\n" + encode("GET", "in line"))
    check(c.reply() == b"+PONG\r\n" and c.reply() == b"+OK\r\n" and c.reply() == bulk(b"x"), "odd but right")
    check(c.reply() == b"+OK\r\n" and c.reply() == bulk(b"a b"), "quotes in an inline request")
    check(c.command("GET", b"\x00\xff\r") == bulk(b"\r\n"), "binary")
    # byte by byte
    for byte in encode("SET", "b:2", "slowly") + encode("GET", "b:2"):
        c.send(bytes([byte]))
    check(c.reply() == b"+OK\r\n" and c.reply() == bulk(b"slowly"), "byte by byte")
    # a request that never comes whole, then a reset
    for data in (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100\r\nabc", b"*3\r\n$3", b"*"):
        h = Conn(port)
        h.send(data)
        h.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        h.close()
    check(good.command("PING") == b"+PONG\r\n", "still there")


def half_closed(port):
    c = Conn(port)
    n = 3000
    c.send(b"".join(encode("SET", "h:%d" % i, i) for i in range(n)) + encode("MGET", *["h:%d" % i for i in range(n)]))
    c.sock.shutdown(socket.SHUT_WR)
    for _ in range(n):
        check(c.reply() == b"+OK\r\n", "a half-closed client's replies")
    check(c.reply().startswith(b"*%d\r\n" % n), "its last reply")
    check(c.sock.recv(1) == b"", "then the end")


def silent(port):
    c = Conn(port)
    c.send(encode("CLIENT", "REPLY", "OFF") + encode("SET", "r:1", "1") + encode("GET", "r:1") + encode("MGET", "r:1", "r:2")
           + encode("CLIENT", "REPLY", "ON") + encode("CLIENT", "REPLY", "SKIP") + encode("GET", "r:1") + encode("GET", "r:1"))
    check(c.reply() == b"+OK\r\n", "REPLY ON")
    check(c.reply() == bulk(b"1"), "the reply after the one skipped")
    c.send(encode("SET", "r:1", "2") + encode("CLIENT", "REPLY", "SKIP") + encode("SET", "r:1", "3") + encode("GET", "r:1"))
    check(c.reply() == b"+OK\r\n" and c.reply() == bulk(b"3"), "SKIP in a pipeline")


def paused(port):
    a, b = Conn(port), Conn(port)
    a.command("SET", "p:1", "x")
    check(a.command("CLIENT", "PAUSE", "300", "WRITE") == b"+OK\r\n", "PAUSE")
    begin = time.monotonic()
    check(b.command("GET", "p:1") == bulk(b"x"), "reads go on")
    check(time.monotonic() - begin < 0.2, "reads go on at once")
    check(b.command("SET", "p:1", "y") == b"+OK\r\n", "the write goes on later")
    check(0.2 < time.monotonic() - begin < 2, "the write waited", time.monotonic() - begin)


def slow_reader(cluster):
    pid = cluster.pid("proxy-0")
    c, other = Conn(cluster.port, timeout=60), Conn(cluster.port)
    c.command("SET", "big", b"x" * 10000)
    before = rss(pid)
    n = 100000
    c.sock.settimeout(0.2)
    data = encode("GET", "big") * n
    sent = 0
    end = time.monotonic() + 5
    while sent < len(data) and time.monotonic() < end:
        try:
            sent += c.sock.send(data[sent:sent + 65536])
        except socket.timeout:
            break
    time.sleep(0.3)
    begin = time.monotonic()
    check(other.command("GET", "big")[:1] == b"$", "others are served")
    check(time.monotonic() - begin < 1, "others are served at once")
    grown = rss(pid) - before
    say("100,000 pipelined commands without reading: memory grew by %.1f MiB" % (grown / MIB))
    check(grown < 64 * MIB, "memory grew by", grown)
    c.sock.settimeout(60)
    whole = sent // len(encode("GET", "big"))
    want = bulk(b"x" * 10000)
    for _ in range(whole):
        check(c.reply() == want, "a slow reader's reply")
    c.close()


def large(cluster):
    pid = cluster.pid("proxy-0")
    c = Conn(cluster.port, timeout=60)
    value = os.urandom(MIB) * 64
    for size in (0, 1, 65535, 65536, MIB, 64 * MIB):
        begin = time.monotonic()
        check(c.command("SET", "large", value[:size]) == b"+OK\r\n", "SET of", size)
        reply = c.command("GET", "large")
        check(reply == bulk(value[:size]), "GET of", size, "gave", len(reply))
        spent = time.monotonic() - begin
        check(spent < 10, size, "took", spent)
    say("64 MiB there and back: %.2f s, proxy %.0f MiB" % (spent, rss(pid) / MIB))
    c.send(encode("GET", "large") * 6)  # 384 MiB of replies, read slowly
    time.sleep(1)
    held = rss(pid)
    say("6 open reads of 64 MiB: proxy %.0f MiB" % (held / MIB))
    for _ in range(6):
        check(len(c.reply()) == 64 * MIB + 13, "large replies")
    c.command("DEL", "large")
    c.close()
    time.sleep(2.5)
    check(rss(pid) < 400 * MIB, "memory is given back", rss(pid))


def deep(port):
    c = Conn(port, timeout=60)
    n = 10000
    c.send(b"".join(encode("SET", "d:%d" % i, i) for i in range(n)) + b"".join(encode("GET", "d:%d" % i) for i in range(n)))
    for _ in range(n):
        check(c.reply() == b"+OK\r\n", "deep pipeline")
    for i in range(n):
        check(c.reply() == bulk(b"%d" % i), "deep pipeline", i)


def many(port):
    conns = [Conn(port) for _ in range(1000)]
    for round_ in range(3):
        for i, c in enumerate(conns):
            c.send(encode("SET", "m:%d" % i, round_) + encode("GET", "m:%d" % i))
        for c in conns:
            check(c.reply() == b"+OK\r\n" and c.reply() == bulk(b"%d" % round_), "one of 1,000 connections")
    for c in conns:
        c.close()


def main():
    args = arguments(workers=2)
    with Cluster(args.build, proxies=2, shards=2, workers=args.workers) as cluster:
        c = Conn(cluster.port)
        tests = [("splitting", splitting, c), ("resp3", resp3, cluster.port), ("databases", databases, c),
                 ("scanning", scanning, c), ("cluster_view", cluster_view, cluster), ("information", information, c), ("order", order, cluster),
                 ("bad_input", bad_input, cluster.port), ("half_closed", half_closed, cluster.port),
                 ("silent", silent, cluster.port), ("paused", paused, cluster.port), ("deep", deep, cluster.port),
                 ("many", many, cluster.port), ("slow_reader", slow_reader, cluster), ("large", large, cluster)]
        for name, test, what in tests:
            begin = time.monotonic()
            test(what)
            say("%-14s ok  %.2f s" % (name, time.monotonic() - begin))


run(main)

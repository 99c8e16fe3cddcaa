"""A node that goes away: clients get errors in Redis' style at once, nobody hangs, writes whose outcome cannot be known say
so and are not repeated, and service comes back by itself."""
import os
import select
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Cluster, Conn, arguments, check, encode, run, say, wait_for  # noqa: E402

DOWN = b"-CLUSTERDOWN "
UNKNOWN = b"-UNKNOWN the outcome of this write is not known: its node went away before answering\r\n"


def key_of_node(cluster, node):
    direct = Conn(cluster.node_port(node))
    for i in range(1000):
        key = b"key:%d" % i
        if not direct.command("GET", key).startswith(b"-MOVED"):
            return key
    raise AssertionError("no key for node %d" % node)


class Load:
    """Clients that always have one small pipeline open; notes what they are answered and how long it takes."""

    def __init__(self, ports, keys, count):
        self.clients = []
        for i in range(count):
            c = Conn(ports[i % len(ports)])
            c.sock.setblocking(False)
            self.clients.append(c)
        self.request = b"".join(encode("GET", k) + encode("INCR", b"n" + k) for k in keys)
        self.kinds = [(k, write) for k in keys for write in (False, True)]
        self.began = {}
        self.replies = {}
        self.errors = {}
        self.longest = 0

    def send(self, c):
        self.began[c] = time.monotonic()
        self.replies[c] = 0
        c.buffer = bytearray()
        c.sock.send(self.request)

    def note(self, c, line):
        key, write = self.kinds[self.replies[c]]
        self.replies[c] += 1
        if line.startswith(b"-"):
            word = (key, write, bytes(line.split()[0]))
            self.errors[word] = self.errors.get(word, 0) + 1

    def run_for(self, seconds):
        end = time.monotonic() + seconds
        for c in self.clients:
            self.send(c)
        while time.monotonic() < end:
            ready, _, _ = select.select([c.sock for c in self.clients], [], [], 0.05)
            for c in [c for c in self.clients if c.sock in ready]:
                data = c.sock.recv(65536)
                check(data, "a client was disconnected")
                c.buffer += data
                while b"\r\n" in c.buffer:
                    line, rest = bytes(c.buffer).split(b"\r\n", 1)
                    if line.startswith(b"$") and line != b"$-1":
                        if b"\r\n" not in rest:
                            break
                        rest = rest.split(b"\r\n", 1)[1]
                    c.buffer = bytearray(rest)
                    self.note(c, line)
                if self.replies[c] == len(self.kinds):
                    self.longest = max(self.longest, time.monotonic() - self.began[c])
                    self.send(c)
        now = time.monotonic()
        self.longest = max([self.longest] + [now - t for t in self.began.values()])
        for c in self.clients:  # let the last ones come in
            c.sock.settimeout(5)
            while self.replies[c] < len(self.kinds):
                line = c._line() if c.at < len(c.buffer) or c.sock else b""
                if line.startswith(b"$") and line != b"$-1":
                    c._line()
                self.note(c, line)
            c.at = 0
            c.sock.setblocking(False)


def killed_under_load(cluster, keys):
    load = Load(cluster.ports(), keys, 20)
    load.run_for(0.5)
    check(not load.errors, "errors before the kill", load.errors)

    cluster.kill("node-0-0")
    load.run_for(1.5)
    say("killed: longest wait %.3f s, errors %s" % (load.longest, load.errors))
    check(load.longest < 1, "somebody waited", load.longest)
    check(all(k == keys[0] for k, _, _ in load.errors), "keys of the node that lives had errors", load.errors)
    check((keys[0], False, b"-CLUSTERDOWN") in load.errors, "reads fail clearly", load.errors)
    check((keys[0], True, b"-CLUSTERDOWN") in load.errors, "writes fail clearly", load.errors)
    check({w for _, _, w in load.errors} <= {b"-CLUSTERDOWN", b"-UNKNOWN"}, "other errors", load.errors)

    c = Conn(cluster.port)
    check(c.command("MGET", *keys).startswith(DOWN), "MGET with a part that cannot be asked")
    check(c.command("DBSIZE").startswith(DOWN) and c.command("SCAN", "0").startswith(DOWN), "DBSIZE, SCAN")
    check(c.command("PING") == b"+PONG\r\n", "the proxy itself lives")

    cluster.start("node-0-0")
    begin = time.monotonic()
    wait_for(lambda: not c.command("GET", keys[0]).startswith(b"-"), 5, "the node to be found again")
    say("found again after %.2f s" % (time.monotonic() - begin))
    load.errors.clear()
    time.sleep(0.6)  # every proxy worker's turn to connect
    load.run_for(0.5)
    check(not load.errors, "errors after the node came back", load.errors)


def outcome(cluster, keys):
    """Requests that have left are unknown (writes) or asked again (reads); none is executed twice."""
    c = Conn(cluster.port)
    c.command("SET", keys[0], "10")
    cluster.kill("node-0-0", signal.SIGSTOP)
    c.send((encode("INCR", keys[0]) + encode("GET", keys[0])) * 50 + encode("GET", keys[1]))
    time.sleep(0.3)
    cluster.kill("node-0-0")
    begin = time.monotonic()
    got = [c.reply() for _ in range(101)]
    check(time.monotonic() - begin < 1, "answers come at once")
    check(got[:100:2] == [UNKNOWN] * 50, "writes that left", set(got[:100:2]))
    check(all(g.startswith(DOWN) for g in got[1:100:2]), "reads", set(got[1:100:2]))
    check(not got[100].startswith(b"-"), "the other node's read")
    cluster.start("node-0-0")
    wait_for(lambda: not c.command("GET", keys[0]).startswith(b"-"), 5, "the node to be found again")
    check(c.command("GET", keys[0]) == b"$-1\r\n", "no write was repeated at the new node")


def stands_still(cluster, keys):
    """A node that is stopped is given up after backend-timeout, and used again when it goes on."""
    c, other = Conn(cluster.port), Conn(cluster.port)
    check(c.command("CONFIG", "SET", "backend-timeout", "400") == b"+OK\r\n", "CONFIG SET")
    check(c.command("CONFIG", "SET", "backend-connect-timeout", "300") == b"+OK\r\n", "CONFIG SET")
    c.command("SET", keys[0], "x")
    cluster.kill("node-0-0", signal.SIGSTOP)
    try:
        begin = time.monotonic()
        c.send(encode("GET", keys[0]) + encode("SET", keys[0], "y"))
        check(other.command("SET", keys[1], "z") == b"+OK\r\n", "the other node's write")
        check(time.monotonic() - begin < 0.3, "is not held up")
        check(c.reply().startswith(DOWN), "a read of a node that stands still")
        check(c.reply() == UNKNOWN, "a write to a node that stands still")
        check(time.monotonic() - begin < 1.5, "the node was given up late", time.monotonic() - begin)
        time.sleep(0.5)
        begin = time.monotonic()
        check(c.command("GET", keys[0]).startswith(DOWN), "still down")
        check(time.monotonic() - begin < 0.5, "and that is said at once")
    finally:
        cluster.kill("node-0-0", signal.SIGCONT)
    wait_for(lambda: not c.command("GET", keys[0]).startswith(b"-"), 5, "the node to be found again")


def rss(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) * 1024


def held_up(cluster, keys):
    """Clients flood a node that stands still: the proxy stops reading from them, and all goes on afterwards."""
    c = Conn(cluster.port)
    for option, value in (("backend-timeout", "20000"), ("backend-connect-timeout", "1000"), ("backend-buffer-limit", "1mb")):
        check(c.command("CONFIG", "SET", option, value) == b"+OK\r\n", "CONFIG SET", option)
    pid = cluster.pid("proxy-0")
    clients = [Conn(cluster.port, timeout=20) for _ in range(20)]
    request = encode("SET", keys[0], b"x" * 100000) + encode("MSET", keys[0], b"y" * 50000, keys[1], b"z")
    want = 200
    sent = [0] * len(clients)
    data = request * want
    before = rss(pid)
    cluster.kill("node-0-0", signal.SIGSTOP)
    try:
        end = time.monotonic() + 3
        for c2 in clients:
            c2.sock.setblocking(False)
        moved = True
        while moved and time.monotonic() < end:
            moved = False
            for i, c2 in enumerate(clients):
                try:
                    sent[i] += c2.sock.send(data[sent[i]:sent[i] + (1 << 18)])
                    moved = True
                except BlockingIOError:
                    pass
            if not moved:
                time.sleep(0.2)
                moved = len(select.select([], [c2.sock for c2 in clients], [], 0)[1]) > 0
        check(c.command("GET", keys[1])[:1] != b"-", "the other node is served")
        grown = rss(pid) - before
        say("%.1f MiB taken from the clients, the proxy grew by %.1f MiB" % (sum(sent) / (1 << 20), grown / (1 << 20)))
        check(sum(sent) < len(data) * len(clients) / 2, "the proxy went on reading")
        check(grown < 100 << 20, "the proxy grew by", grown)
    finally:
        cluster.kill("node-0-0", signal.SIGCONT)
    for i, c2 in enumerate(clients):
        c2.sock.settimeout(20)
        whole = sent[i] // len(request)
        for _ in range(2 * whole):
            check(c2.reply() == b"+OK\r\n", "a write that waited")
        c2.close()
    check(c.command("CONFIG", "SET", "backend-timeout", "5000") == b"+OK\r\n", "CONFIG SET")
    check(c.command("CONFIG", "SET", "backend-buffer-limit", "64mb") == b"+OK\r\n", "CONFIG SET")
    check(b"\r\nproxy_stalls:0\r\n" not in c.command("INFO", "proxy"), "clients were made to wait")


def wrong_map(cluster, keys):
    """A proxy with an old idea of who serves what is told by the nodes (MOVED), and its clients do not notice."""
    folder = os.path.join(cluster.dir, "proxy-9")
    os.mkdir(folder)
    port = cluster.port + 2500
    with open(os.path.join(folder, "proxy.conf"), "w", encoding="ascii") as f:
        f.write("bind 127.0.0.1\nport %d\nworkers 1\ndir %s\nlogfile %s/log\npidfile %s/pid\nnode-workers %d\n"
                % (port, folder, folder, folder, cluster.workers))
        f.write("shard a auto 127.0.0.1:%d\nshard b auto 127.0.0.1:%d\n" % (cluster.node_port(1), cluster.node_port(0)))
    cluster.start("proxy-9")
    wait_for(lambda: Conn(port).command("PING") == b"+PONG\r\n", 5, "the proxy")
    c, right = Conn(port), Conn(cluster.port)
    names = [b"w:%d" % i for i in range(200)]
    c.send(b"".join(encode("SET", n, b"1" + n) + encode("INCR", b"c" + n) + encode("GET", n) for n in names))
    for n in names:
        check(c.reply() == b"+OK\r\n" and c.reply() == b":1\r\n", "writes")
        check(c.reply() == b"$%d\r\n1%s\r\n" % (len(n) + 1, n), "reads in their place")
    both = b"*200\r\n" + b"".join(b"$%d\r\n1%s\r\n" % (len(n) + 1, n) for n in names)
    check(right.command("MGET", *names) == both, "the writes are where they belong")
    check(c.command("MGET", *names) == both, "MGET")
    fresh = [b"v:%d" % i for i in range(300)]
    check(c.command("DEL", *fresh) == b":0\r\n" and c.command("EXISTS", *names) == b":200\r\n", "sums")
    check(b"\r\nproxy_moved:0\r\n" not in c.command("INFO", "proxy"), "it was told")
    check(c.command("GET", keys[0])[:1] != b"-", "one key more")
    cluster.kill("proxy-9", signal.SIGTERM)


def main():
    args = arguments(workers=1)
    with Cluster(args.build, proxies=2, shards=2, workers=args.workers) as cluster:
        keys = [key_of_node(cluster, 0), key_of_node(cluster, 1)]
        for test in (killed_under_load, outcome, stands_still, held_up, wrong_map):
            begin = time.monotonic()
            test(cluster, keys)
            say("%-18s ok  %.2f s" % (test.__name__, time.monotonic() - begin))


run(main)

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


def main():
    args = arguments(workers=1)
    with Cluster(args.build, proxies=2, shards=2, workers=args.workers) as cluster:
        keys = [key_of_node(cluster, 0), key_of_node(cluster, args.workers)]
        for test in (killed_under_load, outcome, stands_still):
            begin = time.monotonic()
            test(cluster, keys)
            say("%-18s ok  %.2f s" % (test.__name__, time.monotonic() - begin))


run(main)

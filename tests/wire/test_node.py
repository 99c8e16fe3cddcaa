"""halcyon-node by itself: databases, links, slots over workers, memory budget, expiry, limits, configuration, signals."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import REPORTS, Conn, arguments, check, encode, free_block, run, say, wait_for  # noqa: E402


class Node:
    """One halcyon-node with these options; its output is checked for sanitizer reports at the end."""

    def __init__(self, build, workers=1, options=()):
        self.dir = tempfile.mkdtemp(prefix="halcyon-node-")
        self.port = free_block(workers)
        self.log = os.path.join(self.dir, "out")
        self.binary = os.path.join(build, "bin", "halcyon-node")
        self.conf = os.path.join(self.dir, "node.conf")
        with open(self.conf, "w", encoding="ascii") as f:
            f.write("# a test\nport %d\nbind 127.0.0.1\nworkers %d\ndir %s\n" % (self.port, workers, self.dir))
            f.write("logfile %s\npidfile %s\n" % (os.path.join(self.dir, "log"), os.path.join(self.dir, "pid")))
            f.write("".join(o + "\n" for o in options))
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen([self.binary, self.conf], stdout=out, stderr=out)
        for i in range(workers):
            wait_for(lambda p=self.port + i: Conn(p).command("PING")[:5] in (b"+PONG", b"-NOAU"), 20, "the node to answer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(20)
        with open(self.log, encoding="utf-8", errors="replace") as f:
            text = f.read()
        shutil.rmtree(self.dir, ignore_errors=True)
        check(not any(word in text for word in REPORTS), "the node reported:", text[:4000])
        check(status == 0, "the node ended with status", status, text[-2000:])


def bulk(data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


def exchange(port, data, expected):
    """Sends data, reads until as many bytes as expected came, and compares."""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.settimeout(10)
        s.sendall(data)
        got = b""
        while len(got) < len(expected):
            more = s.recv(65536)
            if not more:
                break
            got += more
        check(got == expected, "sent", data[:200], "expected", expected[:300], "got", got[:300])


def databases(build):
    with Node(build) as n:
        c = Conn(n.port)
        d = Conn(n.port)
        check(d.command("SELECT", "3") == b"+OK\r\n")
        for key in (b"k", b"", b"\xff\x03k", b"{t}x"):
            check(c.command("SET", key, b"zero") == b"+OK\r\n")
            check(d.command("SET", key, b"three") == b"+OK\r\n")
            check(c.command("GET", key) == bulk(b"zero"), key)
            check(d.command("GET", key) == bulk(b"three"), key)
        check(c.command("DBSIZE") == b":4\r\n" and d.command("DBSIZE") == b":4\r\n")
        check(d.command("MSET", "a", "1", "b", "2", "c", "3") == b"+OK\r\n")
        check(d.command("MGET", "a", "c", "zz") == b"*3\r\n$1\r\n1\r\n$1\r\n3\r\n$-1\r\n")
        check(d.command("RENAME", "a", "z") == b"+OK\r\n" and d.command("EXISTS", "a", "z") == b":1\r\n")
        check(c.command("EXISTS", "z") == b":0\r\n", "database 0 has no z")
        check(d.command("FLUSHDB") == b"+OK\r\n" and d.command("DBSIZE") == b":0\r\n" and c.command("DBSIZE") == b":4\r\n")


def links(build):
    with Node(build) as n:
        check(Conn(n.port).command("HALCYON", "LINK", "4").startswith(b"-ERR "))
        check(Conn(n.port).command("HALCYON", "DB", "1", "DBSIZE").startswith(b"-ERR "), "only links may say DB")
        sizes = [0, 1, 2, 8, 9, 10, 90, 91, 92, 93, 94, 95, 96, 99, 100, 101, 989, 990, 991, 9990, 100000, 3]
        sent = encode("HALCYON", "LINK", "2")
        wanted = b"+OK\r\n"
        for i, size in enumerate(sizes):  # around every change of the number of digits, both ways
            value = b"v" * size
            sent += encode("SET", "k%d" % i, value) + encode("GET", "k%d" % i)
            wanted += bulk(b"+OK\r\n") + bulk(bulk(value))
        sent += encode("GET", "none") + encode("INCR", "k6") + encode("NOSUCH") + encode("GET") + encode("PING")
        wanted += bulk(b"$-1\r\n") + bulk(b"-ERR value is not an integer or out of range\r\n")
        wanted += bulk(b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n")
        wanted += bulk(b"-ERR wrong number of arguments for 'get' command\r\n") + bulk(b"+PONG\r\n")
        exchange(n.port, sent, wanted)
        inner = b"\xff\x05key"
        exchange(n.port, encode("HALCYON", "LINK", "3") + encode("SET", inner, "x") + encode("GET", inner) +
                 encode("HALCYON", "DB", "5", "DBSIZE") + encode("HALCYON", "DB", "6", "DBSIZE") +
                 encode("HALCYON", "DB", "5", "KEYS", "*") + encode("GET", "none"),
                 b"+OK\r\n" + bulk(b"+OK\r\n") + bulk(bulk(b"x")) + bulk(b":1\r\n") + bulk(b":0\r\n") +
                 bulk(b"*1\r\n" + bulk(b"key")) + bulk(b"_\r\n"))
        check(Conn(n.port).command("DBSIZE") == b":%d\r\n" % len(sizes), "database 0")


def links_need_rights(build):
    with Node(build, options=["requirepass secret", "user weak on >pw ~* +get"]) as n:
        check(Conn(n.port).command("HALCYON", "LINK", "2").startswith(b"-NOAUTH"))
        c = Conn(n.port)
        check(c.command("AUTH", "weak", "pw") == b"+OK\r\n")
        check(c.command("HALCYON", "LINK", "2").startswith(b"-NOPERM"))
        check(c.command("AUTH", "secret") == b"+OK\r\n" and c.command("HALCYON", "LINK", "2") == b"+OK\r\n")
        check(c.command("PING") == bulk(b"+PONG\r\n"))


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def slots_over_workers(build):
    with Node(build, workers=3) as n:
        conns = [Conn(n.port + i) for i in range(3)]
        for i in range(60):
            key = b"key:%d" % i
            slot = crc16(key) % 16384
            for w in range(3):
                got = conns[w].command("SET", key, "v")
                wanted = b"+OK\r\n" if w == slot % 3 else b"-MOVED %d 127.0.0.1:%d\r\n" % (slot, n.port + slot % 3)
                check(got == wanted, key, "at worker", w, "got", got, "expected", wanted)
        moved = encode("HALCYON", "LINK", "2") + encode("GET", "key:0")
        slot = crc16(b"key:0") % 16384
        exchange(n.port + (slot + 1) % 3, moved, b"+OK\r\n-MOVED %d 127.0.0.1:%d\r\n" % (slot, n.port + slot % 3))
        own = [k for k in (b"key:%d" % i for i in range(60)) if crc16(k) % 16384 % 3 == 0][:2]
        check(conns[0].command("MGET", *own) == b"*2\r\n$1\r\nv\r\n$1\r\nv\r\n", "each key by itself: slots may differ")
        check(conns[0].command("RENAME", *own).startswith(b"-CROSSSLOT "), "one update: one slot")
        check(conns[0].command("MSET", "{%s}a" % own[0].decode(), "1", "{%s}b" % own[0].decode(), "2") == b"+OK\r\n", "one slot by hash tag")
        total = sum(int(c.command("DBSIZE")[1:-2]) for c in conns)
        check(total == 62, "keys of all workers:", total)
        info = conns[1].command("INFO", "keyspace")
        check(b"db0:keys=62," in info, "INFO sums over the workers", info)


def memory_budget(build):
    with Node(build, options=["maxmemory 6mb"]) as n:
        c = Conn(n.port)
        refused = None
        for i in range(20000):
            reply = c.command("SET", "key:%d" % i, b"v" * 1000)
            if reply != b"+OK\r\n":
                refused = reply
                break
        check(refused == b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", refused)
        check(c.command("GET", "key:1") == bulk(b"v" * 1000), "reads go on")
        check(c.command("DEL", "key:1") == b":1\r\n", "deleting goes on")
        check(c.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") == b"+OK\r\n")
        for i in range(20000):
            check(c.command("SET", "new:%d" % i, b"v" * 1000) == b"+OK\r\n")
        count = int(c.command("DBSIZE")[1:-2])
        check(1000 < count < 8000, "keys that fit:", count)
        check(c.command("GET", "new:19999") == bulk(b"v" * 1000), "the newest key is there")
        info = c.command("INFO", "stats").decode()
        evicted = int(next(x for x in info.split("\r\n") if x.startswith("evicted_keys:")).split(":")[1])
        check(evicted > 10000, "evicted_keys", evicted)


def expiry(build):
    with Node(build) as n:
        c = Conn(n.port)
        for i in range(2000):
            c.command("SET", "e:%d" % i, "v", "PX", "50")
        c.command("SET", "stays", "v")
        wait_for(lambda: c.command("DBSIZE") == b":1\r\n", 10, "expired keys to go without being read")
        check(b"expired_keys:2000\r\n" in c.command("INFO", "stats"))


def hostile_clients(build):
    with Node(build, options=["client-output-pause 1mb"]) as n:
        c = Conn(n.port)
        c.command("SET", "big", b"v" * 1000000)
        slow = socket.create_connection(("127.0.0.1", n.port))
        slow.sendall(encode("GET", "big") * 2000)  # two gigabytes of replies that nobody reads
        time.sleep(0.3)
        start = time.monotonic()
        check(c.command("PING") == b"+PONG\r\n" and time.monotonic() - start < 1, "others are served")
        with open("/proc/%d/status" % n.process.pid, encoding="ascii") as f:
            rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) // 1024
        check(rss < 300, "resident MiB", rss)
        slow.close()
        half = socket.create_connection(("127.0.0.1", n.port), 10)
        half.sendall(encode("SET", "h", "1") + encode("GET", "h"))
        half.shutdown(socket.SHUT_WR)
        got = b""
        while True:
            more = half.recv(4096)
            if not more:
                break
            got += more
        check(got == b"+OK\r\n$1\r\n1\r\n", "half-closed client got", got)
        exchange(n.port, b"*1\r\n$4\r\nPING\r\n*1\r\n$x\r\n", b"+PONG\r\n-ERR Protocol error: invalid bulk length\r\n")
        exchange(n.port, b"PING\r\n" * 100000, b"+PONG\r\n" * 100000)


def idle_clients(build):
    with Node(build, options=["timeout 1"]) as n:
        idle = Conn(n.port)
        busy = Conn(n.port)
        check(idle.command("PING") == b"+PONG\r\n")
        for _ in range(8):
            time.sleep(0.5)
            check(busy.command("PING") == b"+PONG\r\n", "a client that speaks stays")
        check(idle.sock.recv(1) == b"", "a silent client is closed")


def configuration(build):
    with Node(build) as n:
        c = Conn(n.port)
        check(c.command("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lfu") == b"+OK\r\n")
        check(c.command("CONFIG", "REWRITE") == b"+OK\r\n")
        with open(n.conf, encoding="ascii") as f:
            text = f.read()
        check(text.startswith("# a test\nport "), text)
        check(text.endswith("maxmemory 1073741824\nmaxmemory-policy allkeys-lfu\n"), text)
        log = os.path.join(n.dir, "log")
        os.rename(log, log + ".1")
        n.process.send_signal(signal.SIGHUP)
        wait_for(lambda: os.path.exists(log), 5, "the log to be opened again")
        with open(os.path.join(n.dir, "pid"), encoding="ascii") as f:
            check(int(f.read()) == n.process.pid)

        def says(status, words, *args):
            p = subprocess.run([n.binary, *args], capture_output=True, text=True, timeout=20, check=False)
            check(p.returncode == status and words in p.stdout + p.stderr, args, p.returncode, p.stdout, p.stderr)

        says(0, "valid", n.conf, "--test-config")
        says(1, "--port: 70000 is not between 0 and 65535", "--port", "70000")
        bad = os.path.join(n.dir, "bad.conf")
        with open(bad, "w", encoding="ascii") as f:
            f.write("\nhz 0\n")
        says(1, bad + ":2: hz: 0 is not between 1 and 500", bad)
        says(0, "--maxmemory-policy noeviction", "--help")
        says(0, "halcyon-node 0.", "--version")
        says(1, "node-workers says 2", "--port", str(n.port), "--node-workers", "2", "--shard", "a", "auto", "127.0.0.1:%d" % n.port)
        says(1, "no line names this node's port", "--port", str(n.port), "--shard", "a", "auto", "127.0.0.1:1")


def main():
    args = arguments()
    build = os.path.abspath(args.build)
    for test in (databases, links, links_need_rights, slots_over_workers, memory_budget, expiry, hostile_clients, idle_clients,
                 configuration):
        start = time.monotonic()
        test(build)
        say("ok %-20s %.1f s" % (test.__name__, time.monotonic() - start))


if __name__ == "__main__":
    run(main)

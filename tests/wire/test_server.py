"""What both daemons are as servers: order of replies that come later, clients of other workers, users, limits, shutdown."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Cluster, Conn, REPORTS, arguments, check, encode, free_block, run, say, wait_for  # noqa: E402


class Node:
    """One halcyon-node by itself."""

    def __init__(self, build, *options):
        self.dir = tempfile.mkdtemp(prefix="halcyon-server-")
        self.port = free_block(2)
        self.log = os.path.join(self.dir, "log")
        with open(os.path.join(self.dir, "users.acl"), "w", encoding="ascii") as f:
            f.write("user default on nopass ~* &* +@all\n")
        self.command = [os.path.join(build, "bin", "halcyon-node"), "--port", str(self.port), "--dir", self.dir,
                        "--logfile", self.log, "--metrics-port", str(self.port + 1), *options]
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE)
        wait_for(lambda: Conn(self.port) is not None, 20, "a node")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        errors = self.process.communicate(timeout=30)[1].decode(errors="replace")
        bad = [r for r in REPORTS if r in errors and "LeakSanitizer" not in r]
        shutil.rmtree(self.dir, ignore_errors=True)
        if kind is None:
            check(not bad, "the node reported", errors[:2000])


def closed(conn):
    """True if the server closes this connection within a while."""
    conn.sock.settimeout(5)
    try:
        while conn.sock.recv(65536):
            pass
        return True
    except ConnectionResetError:
        return True
    except socket.timeout:
        return False


def later_replies_keep_their_place(port):
    c = Conn(port)
    words = [b"PING", b"CLIENT LIST", b"ECHO one", b"INFO server", b"CONFIG SET timeout 0", b"ECHO two",
             b"SLOWLOG LEN", b"SET k v", b"GET k", b"ACL WHOAMI", b"LATENCY RESET", b"ECHO three"]
    for _ in range(50):
        c.send(b"".join(encode(*w.split()) for w in words))
        got = [c.reply() for _ in words]
        check(got[0] == b"+PONG\r\n" and got[2] == b"$3\r\none\r\n" and got[5] == b"$3\r\ntwo\r\n", got)
        check(b" cmd=" in got[1] and b"redis_version" in got[3] and got[4] == b"+OK\r\n", got)
        check(got[8] == b"$1\r\nv\r\n" and got[9] == b"$7\r\ndefault\r\n" and got[11] == b"$5\r\nthree\r\n", got)
    c.close()


def reply_modes(port):
    c = Conn(port)
    c.send(b"".join(encode(*w.split()) for w in (b"CLIENT REPLY SKIP", b"ECHO unheard", b"ECHO heard")))
    check(c.reply() == b"$5\r\nheard\r\n", "SKIP skips one reply")
    c.send(b"".join(encode(*w.split()) for w in
                    (b"CLIENT REPLY OFF", b"PING", b"SET quiet 1", b"GET quiet", b"CLIENT LIST", b"NOSUCH",
                     b"CLIENT REPLY ON", b"GET quiet")))
    check(c.reply() == b"+OK\r\n", "ON answers")
    check(c.reply() == b"$1\r\n1\r\n", "nothing between")
    c.close()


def clients_of_all_workers(port):
    conns = [Conn(port) for _ in range(24)]
    for i, c in enumerate(conns):
        check(c.command("CLIENT", "SETNAME", "crowd%d" % i) == b"+OK\r\n", "SETNAME")
    text = conns[0].command("CLIENT", "LIST").decode()
    names = [w[5:] for w in text.split() if w.startswith("name=crowd")]
    check(len(names) == 24, "CLIENT LIST shows", len(names), "of 24")
    ids = [int(c.command("CLIENT", "ID")[1:-2]) for c in conns]
    check(len(set(ids)) == 24, "ids are unique")
    listed = [int(line.split()[0][3:]) for line in text.splitlines() if line.startswith("id=")]
    check(listed == sorted(listed), "sorted by id")

    for victim in ids[1:13]:
        check(conns[0].command("CLIENT", "KILL", "ID", victim) == b":1\r\n", "KILL ID")
    check(all(closed(c) for c in conns[1:13]), "killed clients are closed")
    check(conns[13].command("PING") == b"+PONG\r\n", "others live")
    check(conns[0].command("CLIENT", "KILL", "ID", ids[0]) == b":0\r\n", "SKIPME by default")
    conns[0].send(encode("CLIENT", "KILL", "ID", ids[0], "SKIPME", "no") + encode("PING"))
    check(conns[0].reply() == b":1\r\n" and closed(conns[0]), "suicide answers first")
    for c in conns[13:]:
        c.close()


def pause_holds_and_releases(port):
    a, b = Conn(port), Conn(port)
    check(a.command("CLIENT", "PAUSE", 60000, "WRITE") == b"+OK\r\n", "PAUSE")
    b.send(encode("GET", "k") + encode("SET", "k", "w") + encode("GET", "k"))
    b.reply()
    b.sock.settimeout(0.3)
    try:
        check(False, "a write passed a pause", b.reply())
    except socket.timeout:
        pass
    check(b"blocked_clients:1" in a.command("INFO", "clients"), "a paused client is blocked")
    check(a.command("CLIENT", "UNPAUSE") == b"+OK\r\n", "UNPAUSE")
    b.sock.settimeout(10)
    check(b.reply() == b"+OK\r\n" and b.reply() == b"$1\r\nw\r\n", "released in order")
    start = time.monotonic()
    check(a.command("CLIENT", "PAUSE", 200) == b"+OK\r\n" and a.command("PING") == b"+PONG\r\n", "PAUSE ALL ends")
    check(0.15 < time.monotonic() - start < 3, "after its time", time.monotonic() - start)


def sleep_delays_one(port):
    a, b = Conn(port), Conn(port)
    a.send(encode("DEBUG", "SLEEP", "1") + encode("ECHO", "after"))
    start = time.monotonic()
    check(b.command("PING") == b"+PONG\r\n" and time.monotonic() - start < 0.7, "others are served")
    check(a.reply() == b"+OK\r\n" and a.reply() == b"$5\r\nafter\r\n", "the sleeper gets its replies in order")


def users(node, build):
    admin, c = Conn(node.port), Conn(node.port)
    check(admin.command("ACL", "SETUSER", "bob", "on", ">pw", "+@all", "-@dangerous", "~b:*") == b"+OK\r\n", "SETUSER")
    check(c.command("AUTH", "bob", "wrong").startswith(b"-WRONGPASS"), "wrong password")
    check(c.command("AUTH", "bob", "pw") == b"+OK\r\n", "right password")
    check(c.command("SET", "b:1", "v") == b"+OK\r\n", "own key")
    check(c.command("SET", "c:1", "v").startswith(b"-NOPERM"), "other key")
    check(c.command("FLUSHALL").startswith(b"-NOPERM"), "dangerous command")
    check(admin.command("ACL", "SETUSER", "bob", "-set") == b"+OK\r\n", "rights change")
    check(c.command("SET", "b:1", "v").startswith(b"-NOPERM"), "at once, also for a session that is open")
    check(admin.command("ACL", "SAVE") == b"+OK\r\n", "SAVE")
    check(admin.command("ACL", "DELUSER", "bob") == b":1\r\n" and closed(c), "a deleted user's clients are closed")
    check(admin.command("ACL", "LOAD") == b"+OK\r\n", "LOAD")
    check(admin.command("ACL", "SETUSER", "dan", "on", "nopass", "+@all") == b"+OK\r\n", "SETUSER dan")
    dan = Conn(node.port)
    check(dan.command("AUTH", "dan", "x") == b"+OK\r\n", "AUTH dan")
    check(dan.command("ACL", "DELUSER", "dan") == b":1\r\n" and closed(dan), "one who deletes himself is told so")
    listed = admin.command("ACL", "LIST")
    check(b"user bob on #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 ~b:* resetchannels "
          b"+@all -@dangerous -set" in listed, listed)
    with open(os.path.join(node.dir, "users.acl"), "a", encoding="ascii") as f:
        f.write("user carol +nosuch\n")
    check(b"nosuch" in admin.command("ACL", "LOAD"), "a bad file is refused")
    check(admin.command("ACL", "LIST") == listed, "and changes nothing")
    for words in (["eve", "+nosuch"], ["eve +@all"]):
        bad = subprocess.run([os.path.join(build, "bin", "halcyon-node"), "--port", "0", "--user", *words],
                             capture_output=True, timeout=30, check=False)
        check(bad.returncode == 1 and b"eve" in bad.stderr, "a bad user line ends the start", bad)


def limits(port):
    first = Conn(port)
    check(first.command("CONFIG", "SET", "maxclients", 3) == b"+OK\r\n", "maxclients")
    conns = [first, Conn(port), Conn(port)]
    check(all(c.command("PING") == b"+PONG\r\n" for c in conns), "up to the limit")
    extra = Conn(port)
    check(extra.reply() == b"-ERR max number of clients reached\r\n" and closed(extra), "one too many is told so")
    check(first.command("CONFIG", "SET", "maxclients", 10000) == b"+OK\r\n", "raised again")
    check(Conn(port).command("PING") == b"+PONG\r\n", "and there is room")
    check(first.command("CONFIG", "SET", "timeout", 1) == b"+OK\r\n", "timeout")
    idle = Conn(port)
    check(closed(idle), "an idle client is closed")
    for c in conns[1:]:
        c.close()


def http(port):
    def get(path):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d%s" % (port, path), timeout=10) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, ""
    check(get("/healthz") == (200, "ok\n"), "healthz")
    check(get("/readyz") == (200, "ok\n"), "readyz")
    check(get("/nosuch")[0] == 404, "other paths")
    status, text = get("/metrics")
    check(status == 200 and "halcyon_up 1\n" in text and "# TYPE halcyon_commands_total counter\n" in text, text[:500])
    check("halcyon_node_keys " in text and "halcyon_node_keyspace_hits_total " in text, "the node's own")
    for line in text.splitlines():
        check(line.startswith("#") or len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) >= 0, line)


def slow_log_and_statistics(port):
    c = Conn(port)
    check(c.command("SLOWLOG", "RESET") == b"+OK\r\n", "RESET")
    check(c.command("CONFIG", "SET", "slowlog-log-slower-than", 0) == b"+OK\r\n", "log all")
    c.command("SET", "slow", "x" * 300)
    check(c.command("CONFIG", "SET", "slowlog-log-slower-than", -1) == b"+OK\r\n", "log none")
    entries = c.command("SLOWLOG", "GET", 10)
    check(b"$4\r\nslow\r\n" in entries and b"... (172 more bytes)" in entries, entries)
    check(c.command("CONFIG", "RESETSTAT") == b"+OK\r\n", "RESETSTAT")
    for _ in range(7):
        c.command("GET", "slow")
    c.command("LPUSH", "slow", "x")
    info = c.command("INFO", "everything").decode()
    check("\r\ncmdstat_get:calls=7," in info, "calls are counted")
    check("errorstat_WRONGTYPE:count=1\r\n" in info, "errors are counted")
    check("latency_percentiles_usec_get:p50=" in info, "latencies are kept")
    check(c.command("LATENCY", "HISTOGRAM", "get").startswith(b"*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:7\r\n"), "histogram")


def shutdown_waits(build):
    with Node(build, "--enable-debug-command", "local") as node:
        c = Conn(node.port)
        c.send(encode("DEBUG", "SLEEP", "0.7"))
        time.sleep(0.2)
        node.process.send_signal(signal.SIGTERM)
        check(c.reply() == b"+OK\r\n", "a reply under way is given")
        check(node.process.wait(10) == 0, "exit status")
    with Node(build) as node:
        c = Conn(node.port)
        c.send(encode("SHUTDOWN", "NOSAVE"))
        check(closed(c) and node.process.wait(10) == 0, "SHUTDOWN ends the node")


def main():
    options = arguments()
    with Node(options.build, "--aclfile", "users.acl", "--enable-debug-command", "yes") as node:
        for test in (later_replies_keep_their_place, reply_modes, sleep_delays_one, slow_log_and_statistics):
            test(node.port)
            say("node:", test.__name__)
        users(node, options.build)
        say("node: users")
        http(node.port + 1)
        say("node: http")
        limits(node.port)
        say("node: limits")
    shutdown_waits(options.build)
    say("node: shutdown_waits")
    with Cluster(options.build, proxies=1, shards=1, workers=2) as cluster:
        for test in (later_replies_keep_their_place, reply_modes, clients_of_all_workers, pause_holds_and_releases):
            test(cluster.port)
            say("proxy:", test.__name__)


run(main)

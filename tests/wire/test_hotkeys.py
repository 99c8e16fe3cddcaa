"""Finding hot keys: what HOTKEYS, OBJECT FREQ and INFO say of a load, and what the options make of it."""
import os
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Cluster, Conn, arguments, check, encode, run, say, wait_for  # noqa: E402
from membership import Membership  # noqa: E402


def ask(conn, *args):
    """A reply as Python values, RESP2."""
    conn.send(encode(*args))
    return value(conn)


def value(conn):
    line = conn._line()
    kind, rest = line[:1], line[1:]
    if kind == b"*":
        return [value(conn) for _ in range(int(rest))]
    if kind == b"$":
        return None if rest == b"-1" else conn._exact(int(rest) + 2)[:-2]
    return int(rest) if kind == b":" else line


def entries(conn, *args):
    """HOTKEYS GET or TOP: key -> fields."""
    out = {}
    for e in ask(conn, "HOTKEYS", *args):
        fields = dict(zip(e[::2], e[1::2]))
        out[fields[b"key"], fields[b"db"]] = fields
    return out


def load(conn, seconds, *commands):
    """Runs the commands over and over."""
    data = b"".join(encode(*c) for c in commands) * 20
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        conn.send(data)
        for _ in range(20 * len(commands)):
            conn.reply()


def test_what_is_used_is_seen(cluster):
    a, b, look = Conn(cluster.ports()[0]), Conn(cluster.ports()[0]), Conn(cluster.ports()[0])
    check(a.command("SELECT", 3) == b"+OK\r\n", "SELECT")
    b.command("SET", "read", 1)
    a.command("SET", "elsewhere", 1)
    for _ in range(3):  # until an epoch was full of it
        load(b, 0.5, ("GET", "read"), ("GET", "read"), ("GET", "read"), ("SET", "written", 1), ("LLEN", "list"))
        load(a, 0.3, ("GET", "elsewhere"))
        seen = entries(look, "TOP")
        if len(seen) >= 4:
            break
    for key, field in (((b"read", 0), b"reads"), ((b"written", 0), b"writes"), ((b"list", 0), b"others"), ((b"elsewhere", 3), b"reads")):
        check(key in seen, key, "is not seen:", seen)
        others = [n for n in (b"reads", b"writes", b"others") if n != field]
        check(seen[key][field] > 0 and all(seen[key][n] <= 2 for n in others), key, seen[key])  # they were SET once
        check(seen[key][b"qps"] >= seen[key][field], key, seen[key])
    check(seen[b"read", 0][b"reads"] > 2 * seen[b"written", 0][b"writes"], "three times as often:", seen)
    get = entries(look, "GET", "COUNT", 1)
    check(list(get) == [(b"read", 0)] and sorted(get[b"read", 0]) == [b"db", b"key", b"qps"], "GET COUNT 1:", get)


def test_frequency(cluster):
    c = Conn(cluster.port)
    c.command("SET", "often", 1)
    c.command("SET", "once", 1)
    load(c, 0.5, ("GET", "often"))
    often, once = ask(c, "OBJECT", "FREQ", "often"), ask(c, "OBJECT", "FREQ", "once")
    check(40 < often <= 255, "OBJECT FREQ of a key in use:", often)
    check(0 <= once < often - 20, "OBJECT FREQ of a key hardly used:", once, "and of one in use:", often)
    check(ask(c, "OBJECT", "FREQ", "nowhere") is None, "OBJECT FREQ of no key")
    p = subprocess.run(["redis-cli", "-p", str(cluster.port), "--hotkeys"], capture_output=True, text=True, timeout=60, check=False)
    check(p.returncode == 0, "redis-cli --hotkeys:", p.stdout, p.stderr)
    check('keyname: "often"' in p.stdout, "redis-cli --hotkeys:", p.stdout)


def test_pipelined_frequency(cluster):
    """Its reply is made here: it must still keep its place."""
    c = Conn(cluster.port)
    c.command("SET", "{k}a", "va")
    c.send(encode("GET", "{k}a") + encode("OBJECT", "FREQ", "{k}a") + encode("GET", "{k}a") + encode("OBJECT", "FREQ", "{k}none") + encode("PING"))
    replies = [c.reply() for _ in range(5)]
    check(replies[0] == replies[2] == b"$2\r\nva\r\n" and replies[4] == b"+PONG\r\n", "order:", replies)
    check(replies[1][:1] == b":" and replies[3] == b"$-1\r\n", "frequencies:", replies)


def test_words(cluster):
    c = Conn(cluster.port)
    check(c.command("HOTKEYS", "GET", "COUNT", 0) == b"-ERR COUNT must be between 1 and 1024\r\n", "COUNT 0")
    check(c.command("HOTKEYS", "GET", "COUNTER", 1) == b"-ERR syntax error\r\n", "syntax")
    check(b"unknown subcommand" in c.command("HOTKEYS", "FOO"), "unknown")
    check(c.command("HOTKEYS", "HELP").startswith(b"*"), "HELP")
    check(c.command("HELLO", 3).startswith(b"%"), "HELLO 3")
    load(c, 0.2, ("GET", "x"))
    wait_for(lambda: c.command("HOTKEYS", "GET", "COUNT", 1).startswith(b"*1\r\n%3\r\n$3\r\nkey\r\n"), 5, "a map")


def test_reset_and_tracking_off(cluster):
    c = Conn(cluster.port)
    load(c, 1.2, ("GET", "x"))
    check(entries(c, "GET"), "nothing is seen")
    check(c.command("HOTKEYS", "RESET") == b"+OK\r\n", "RESET")
    check(not entries(c, "GET"), "RESET forgets nothing")
    check(c.command("CONFIG", "SET", "hot-tracking", "no") == b"+OK\r\n", "CONFIG SET")
    load(c, 0.3, ("GET", "x"))
    check(c.command("HOTKEYS", "GET") == b"-ERR Hotkey detection is disabled\r\n", "GET while off")
    check(ask(c, "OBJECT", "FREQ", "read") == 0, "OBJECT FREQ while off")
    check(c.command("CONFIG", "SET", "hot-tracking", "yes") == b"+OK\r\n", "CONFIG SET")
    check(not entries(c, "GET"), "something was counted meanwhile")


def session(conn, *args):
    """HOTKEYS GET in Redis' form: its fields."""
    reply = ask(conn, "HOTKEYS", "GET", *args)
    check(len(reply) == 1, "one map in an array:", reply)
    fields = dict(zip(reply[0][::2], reply[0][1::2]))
    for name in (b"by-cpu-time-us", b"by-net-bytes"):
        if name in fields:
            fields[name] = dict(zip(fields[name][::2], fields[name][1::2]))
    return fields


def test_session(cluster):
    """As redis/tests/unit/hotkeys.tcl has it."""
    c, other = Conn(cluster.port), Conn(cluster.port)
    for words, text in ((["START"], "METRICS parameter is required"), (["START", "METRICS", 0], "METRICS count"),
                        (["START", "METRICS", 2, "CPU"], "METRICS count does not match number of metric types provided"),
                        (["START", "METRICS", 1, "CPU", "NET"], "syntax error"), (["START", "METRICS", 1, "GPU"], "METRICS no valid metrics"),
                        (["START", "METRICS", 2, "NET", "NET"], "METRICS NET"),
                        (["START", "METRICS", 1, "CPU", "COUNT", 0], "COUNT must be between 1 and 64"),
                        (["START", "METRICS", 1, "CPU", "SAMPLE", 0], "SAMPLE ratio must be positive"),
                        (["START", "METRICS", 1, "CPU", "SLOTS", 2, 0], "not enough slot numbers provided"),
                        (["START", "METRICS", 1, "CPU", "SLOTS", 2, 0, 0], "duplicate slot number"),
                        (["START", "METRICS", 1, "CPU", "SLOTS", 1, 16384], "Invalid or out of range slot")):
        check(text.encode() in c.command("HOTKEYS", *words), words, "should say", text)
    check(c.command("HOTKEYS", "STOP") == b"$-1\r\n", "STOP of nothing")
    check(c.command("HOTKEYS", "START", "METRICS", 2, "CPU", "NET", "COUNT", 3) == b"+OK\r\n", "START")
    check(b"already in progress" in other.command("HOTKEYS", "START", "METRICS", 1, "CPU"), "START twice")
    check(b"stop tracking first" in other.command("HOTKEYS", "RESET"), "RESET of a running one")
    other.command("SELECT", 2)
    for i in range(60):
        c.command("SET", "big", b"x" * 1000)
        c.command("GET", "small")
        other.command("GET", "elsewhere")
        c.command("MGET", "many:1", "many:2", "many:3")
    running = session(other)
    check(running[b"tracking-active"] == 1, running)
    check(c.command("HOTKEYS", "STOP") == b"+OK\r\n", "STOP")
    c.command("SET", "big", b"x" * 100000)
    got = session(c)
    check(got[b"tracking-active"] == 0 and got[b"sample-ratio"] == 1 and got[b"selected-slots"] == [[0, 16383]], got)
    check(b"all-commands-selected-slots-us" not in got and got[b"total-cpu-time-user-ms"] >= 0, got)
    net = got[b"by-net-bytes"]
    check(list(net)[0] == b"big" and 60 * 1000 < net[b"big"] < 60 * 1100 and len(net) == 3, "bytes per key:", got)
    check(got[b"total-net-bytes"] > sum(net.values()) and len(got[b"by-cpu-time-us"]) == 3, got)
    check(c.command("HOTKEYS", "RESET") == b"+OK\r\n", "RESET")
    check(c.command("HOTKEYS", "STOP") == b"$-1\r\n", "STOP after RESET")
    check(c.command("HOTKEYS", "START", "METRICS", 1, "NET", "SLOTS", 6, 10, 5, 1, 0, 6, 2, "DURATION", 1, "SAMPLE", 2) == b"+OK\r\n", "SLOTS")
    time.sleep(1.1)
    got = session(c)
    check(got[b"selected-slots"] == [[0, 2], [5, 6], [10]] and got[b"tracking-active"] == 0, got)
    check(got[b"collection-duration-ms"] == 1000 and b"net-bytes-sampled-commands-selected-slots" in got, got)
    check(not got[b"by-net-bytes"] and b"by-cpu-time-us" not in got, got)
    check(isinstance(ask(c, "HOTKEYS", "GET", "COUNT", 1), list), "GET COUNT is Valkey's")
    check(c.command("HOTKEYS", "RESET") == b"+OK\r\n", "RESET")


def test_prefixes(cluster):
    c = Conn(cluster.port)
    check(c.command("CONFIG", "SET", "hot-prefix", "off: off") == b"+OK\r\n", "CONFIG SET")
    check(c.command("CONFIG", "SET", "hot-prefix", "off: maybe").startswith(b"-ERR CONFIG SET failed"), "a mode that is none")
    load(c, 1.2, ("GET", "off:1"), ("GET", "on:1"))
    seen = entries(c, "GET")
    check((b"on:1", 0) in seen and (b"off:1", 0) not in seen, seen)
    check(c.command("CONFIG", "SET", "hot-prefix", "") == b"+OK\r\n", "CONFIG SET")


def test_info(cluster):
    text = Conn(cluster.port).command("INFO", "hotkeys").decode()
    fields = dict(re.findall(r"(hotkeys_\w+):(\d+)", text))
    check(int(fields["hotkeys_samples"]) > 0 and fields["hotkeys_tracking"] == "1", text)
    check(int(fields["hotkeys_sample_interval"]) >= 1 and int(fields["hotkeys_exports_lost"]) == 0, text)


# ---- three proxies that are a group: what is found becomes hot by itself ----

def hotcache(port):
    return dict(re.findall(r"hotcache_(\w+):([^\r]*)\r", Conn(port).command("INFO", "hotcache").decode()))


def is_hot(cluster, key):
    """Do all proxies answer it from memory? Asking counts as a use."""
    for port in cluster.ports():
        before = int(hotcache(port)["hits"])
        Conn(port).command("GET", key)
        if int(hotcache(port)["hits"]) == before:
            return False
    return True


def all_cold(cluster):
    return all(hotcache(p)["entries"] == "0" for p in cluster.ports())


class Load(threading.Thread):
    """Commands in a tight loop, one connection per proxy, one command at a time."""

    def __init__(self, cluster, *commands):
        super().__init__(daemon=True)
        self.conns, self.commands, self.ending, self.count = [Conn(p) for p in cluster.ports()], commands, threading.Event(), 0

    def run(self):
        while not self.ending.is_set():
            for c in self.conns:
                for command in self.commands:
                    c.command(*command)
                    self.count += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join(10)


def test_promoted_and_demoted_by_itself(cluster):
    Conn(cluster.port).command("SET", "tight", "value")
    start = time.monotonic()
    with Load(cluster, ("GET", "tight")):
        wait_for(lambda: is_hot(cluster, "tight"), 10, "the key to be hot")
        took = time.monotonic() - start
        say("  promoted after %.2f s" % took)
        check(took < 2, "promoted after %.2f s" % took)
    start = time.monotonic()
    wait_for(lambda: all_cold(cluster), 30, "the key to be cold again")
    say("  demoted %.1f s after it cooled" % (time.monotonic() - start))
    check(Conn(cluster.ports()[1]).command("GET", "tight") == b"$5\r\nvalue\r\n", "its value")


def test_half_written_is_not_promoted(cluster):
    promotions = sum(int(hotcache(p)["promotions"]) for p in cluster.ports())
    with Load(cluster, ("GET", "half"), ("SET", "half", 1)) as load:
        time.sleep(3.5)
    check(load.count > 500, "hardly any load:", load.count)
    check(sum(int(hotcache(p)["promotions"]) for p in cluster.ports()) == promotions, "a key written as often as read was promoted")


def test_written_more_is_demoted(cluster):
    with Load(cluster, ("GET", "turning")):
        wait_for(lambda: is_hot(cluster, "turning"), 10, "the key to be hot")
    with Load(cluster, ("GET", "turning"), ("SET", "turning", 2)):
        start = time.monotonic()
        wait_for(lambda: all_cold(cluster), 10, "the key to be cold")
        say("  demoted %.1f s after its writes grew" % (time.monotonic() - start))


def test_pinned_and_denied(cluster):
    for port in cluster.ports():
        c = Conn(port)
        check(c.command("CONFIG", "SET", "hot-pin", "pin:* both:*") == b"+OK\r\n", "CONFIG SET")
        check(c.command("CONFIG", "SET", "hot-deny", "deny:* both:*") == b"+OK\r\n", "CONFIG SET")
        check(c.command("CONFIG", "SET", "hot-prefix", "watch: observe") == b"+OK\r\n", "CONFIG SET")
    with Load(cluster, ("GET", "deny:1"), ("GET", "both:1"), ("GET", "watch:1"), ("SET", "pin:1", 1), ("GET", "pin:1")):
        wait_for(lambda: is_hot(cluster, "pin:1"), 10, "the pinned key to be hot")
        time.sleep(2.5)
        check(all(hotcache(p)["entries"] == "1" for p in cluster.ports()), "more than the pinned key is hot")
        check((b"watch:1", 0) in entries(Conn(cluster.port), "TOP"), "an observed key is not shown")
    for port in cluster.ports():
        for name in ("hot-pin", "hot-deny", "hot-prefix"):
            check(Conn(port).command("CONFIG", "SET", name, "") == b"+OK\r\n", "CONFIG SET")


class Group(Membership):
    """Views and leases for the proxies' group."""

    def __init__(self, cluster):
        super().__init__()
        self.cluster = cluster

    def _spec(self, nodes):
        base = self.cluster.port
        return ["%d@127.0.0.1:%d" % (i, base + 3000 + (p - base) * self.cluster.workers) for i, p in sorted(nodes.items())]


def run_group(options, workers):
    with Cluster(options.build, proxies=3, shards=2, replicas=2, workers=workers, proxy_opts=["membership injected"]) as cluster:
        group = Group(cluster)
        group.install({i + 1: port for i, port in enumerate(cluster.ports())})
        group.start()
        try:
            wait_for(lambda: all("state=serving" in hotcache(p)["worker"] for p in cluster.ports()), 10, "the proxies to be a group")
            for test in (test_promoted_and_demoted_by_itself, test_half_written_is_not_promoted, test_written_more_is_demoted, test_pinned_and_denied):
                say(test.__name__, "workers:", workers)
                test(cluster)
        finally:
            group.end()
        check(not [line for line in cluster.outputs().splitlines() if "ERROR" in line], cluster.outputs())


def main():
    options = arguments()
    for workers in (1, 2):
        with Cluster(options.build, proxies=2, shards=2, replicas=1, workers=workers) as cluster:
            for test in (test_what_is_used_is_seen, test_frequency, test_pipelined_frequency, test_words, test_session,
                         test_reset_and_tracking_off, test_prefixes, test_info):
                say(test.__name__, "workers:", workers)
                test(cluster)
            check(not [line for line in cluster.outputs().splitlines() if "ERROR" in line], cluster.outputs())

        run_group(options, workers)


run(main)

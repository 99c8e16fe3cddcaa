"""`./dev bench types`: memory, speed and stalls of the collections against redis-server, in one run."""
import os
import re
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from harness import Cluster, Conn, RedisServer, check, encode, say  # noqa: E402
from measure import LOAD_CORE, Target, cpu_ns, goal  # noqa: E402

MILLION = 1000000


def info(conn, section, name):
    return int(re.search(name.encode() + rb":(\d+)", conn.command("INFO", section)).group(1))


def send_all(conn, commands, batch=1000):
    """Runs many commands, none of which may fail."""
    for first in range(0, len(commands), batch):
        part = commands[first:first + batch]
        conn.send(b"".join(encode(*c) for c in part))
        for c in part:
            check(not conn.reply().startswith(b"-"), "failed:", c[0])


def element(i):
    return "element:%08d" % (i * 2654435761 % 100000000)


# family: how to add elements first .. last - 1 to a key in one command
FAMILIES = {
    "list": lambda key, a, b: ["RPUSH", key] + [element(i) for i in range(a, b)],
    "set": lambda key, a, b: ["SADD", key] + [element(i) for i in range(a, b)],
    "set of integers": lambda key, a, b: ["SADD", key] + [str(i * 3) for i in range(a, b)],
    "hash": lambda key, a, b: ["HSET", key] + [w for i in range(a, b) for w in ("field:%08d" % i, element(i))],
    "sorted set": lambda key, a, b: ["ZADD", key] + [w for i in range(a, b) for w in (str(i * 7919 % 1000003), element(i))],
    "stream": lambda key, a, b: ["XADD", key, "%d-1" % (a + 1), "field", element(a)],
    "HyperLogLog": lambda key, a, b: ["PFADD", key] + [element(i) for i in range(a, b)],
}
def settled_memory(conn):
    """used_memory once nothing is freed in the background any more."""
    last = None
    for _ in range(100):
        now = info(conn, "memory", "used_memory")
        if last is not None and abs(now - last) < 4096:
            return now
        last = now
        time.sleep(0.1)
    return now


ONE_BY_ONE = ("stream",)


def grow(conn, family, key, size):
    step = 1 if family in ONE_BY_ONE else 500
    send_all(conn, [FAMILIES[family](key, a, min(a + step, size)) for a in range(0, size, step)], 1000 if step == 1 else 20)


def memory(redis, node):
    """Bytes per element for collections of several sizes; every collection beyond the keys' own cost."""
    failures = []
    say("\nMemory per element, bytes (key included)")
    for family in FAMILIES:
        for size, copies in ((10, 20000), (100, 2000), (10000, 20), (MILLION, 1)):
            if size == MILLION and family == "HyperLogLog":
                continue
            per = []
            for conn in (redis, node):
                conn.command("FLUSHALL")
                before = settled_memory(conn)
                for copy in range(copies):
                    grow(conn, family, "%s:%d" % (family, copy), size)
                per.append((settled_memory(conn) - before) / (size * copies))
            goal("%-16s of %7d: %8.2f, redis-server %8.2f; ratio" % (family, size, per[1], per[0]), per[1] / per[0], 1.1, failures)
    for conn in (redis, node):
        conn.command("FLUSHALL")
    return failures


R = "__rand_int__"
# family: commands of redis-benchmark; before: what is there
SPEED = {
    "string": ["INCR s:" + R, "APPEND a:" + R + " x", "GETRANGE s:" + R + " 0 3"],
    "hash": ["HSET h:1 f" + R + " v", "HSET h:" + R + " f v g w", "HGET h:1 f" + R, "HINCRBY h:2 f" + R + " 1", "HGETALL h10"],
    "list": ["LPUSH l:1 v" + R, "RPUSH l:" + R + " v", "LRANGE l100 0 99", "LINDEX l100 50", "RPOP l:1"],
    "set": ["SADD s:1 m" + R, "SADD ss:" + R + " m", "SISMEMBER s:1 m" + R, "SMEMBERS s10", "SPOP s:1"],
    "sorted set": ["ZADD z:1 " + R + " m" + R, "ZADD zz:" + R + " 1 m", "ZSCORE z:1 m" + R, "ZRANK z:1 m" + R, "ZRANGE z:1 0 9",
                   "ZRANGEBYSCORE z:1 " + R + " +inf LIMIT 0 10", "ZPOPMIN z:1"],
    "stream": ["XADD x:1 * f v", "XRANGE x:1 - + COUNT 10", "XLEN x:1"],
    "bitmap": ["SETBIT b:1 54321 1", "GETBIT b:1 54321", "BITCOUNT b:1 0 1000", "BITFIELD b:2 INCRBY u16 #54321 1"],
    "HyperLogLog": ["PFADD {p}1 e" + R, "PFADD p:" + R + " e", "PFCOUNT {p}1", "PFCOUNT {p}1 {p}2"],
    "geo": ["GEOADD g:1 13.36 38.11 m" + R, "GEODIST g10 m1 m2", "GEOSEARCH g10 FROMLONLAT 13 38 BYRADIUS 500 km"],
}


def prepare_speed(conn):
    conn.command("FLUSHALL")
    send_all(conn, [FAMILIES["hash"]("h10", 0, 10), FAMILIES["list"]("l100", 0, 100), FAMILIES["set"]("s10", 0, 10),
                    FAMILIES["HyperLogLog"]("{p}2", 0, 5000),
                    ["GEOADD", "g10"] + [w for i in range(10) for w in (str(13 + i / 10), str(38 + i / 10), "m%d" % i)]])


def benchmark(target, line, requests, keys=100000):
    pid = next(iter(target.pids.values()))
    before = cpu_ns(pid)
    subprocess.run(["taskset", "-c", LOAD_CORE, "redis-benchmark", "-p", str(target.port), "-n", str(requests), "-c", "50", "-P", "16", "-r",
                    str(keys), "-q", *line.split()], capture_output=True, check=True, timeout=300)
    return (cpu_ns(pid) - before) / 1000.0 / requests


def speed(options, targets):
    """CPU of the server per request; redis-server's divided by the node's is the throughput per core of the one against the other."""
    failures = []
    n = max(options.requests // 10, 20000)
    for t in targets:
        prepare_speed(Conn(t.port, timeout=60))
    say("\nredis-benchmark -P 16: CPU us per request")
    for family, lines in SPEED.items():
        for line in lines:
            runs = {t.name: [] for t in targets}
            for i in range(options.rounds + 1):
                for t in targets:
                    cost = benchmark(t, line, n if i else n // 10)
                    if i:
                        runs[t.name].append(cost)
            redis, node = (statistics.median(runs[t.name]) for t in targets)
            goal("%-12s %-42s %6.2f, redis-server %6.2f; per core" % (family, line.replace(R, "N"), node, redis), redis / node, 0.9, failures,
                 more=True)
    return failures


# Commands on collections of 1 M elements; big: how to make the keys. Stores go to {k}d.
BIG = {"{k}l": "list", "{k}s": "set", "{k}i": "set of integers", "{k}h": "hash", "{k}z": "sorted set", "{k}z2": "sorted set"}
STALLS = [
    "LRANGE {k}l 500000 500100", "LINDEX {k}l 500000", "LSET {k}l 500000 x", "LPOS {k}l none", "LREM {k}l 1 none", "LTRIM {k}l 10 -10",
    "LINSERT {k}l BEFORE none x", "LPOP {k}l 1000", "SRANDMEMBER {k}s 100", "SPOP {k}s 1000", "SSCAN {k}s 0 COUNT 1000", "SISMEMBER {k}s x",
    "SINTERCARD 2 {k}s {k}i LIMIT 10", "SINTER {k}s {k}i", "SADD {k}i x", "HRANDFIELD {k}h 100", "HSCAN {k}h 0 COUNT 1000", "HSET {k}h new x",
    "HDEL {k}h new", "ZRANGE {k}z 500000 500100", "ZRANK {k}z none", "ZCOUNT {k}z 1000 900000", "ZRANGEBYSCORE {k}z 500000 500100",
    "ZREMRANGEBYRANK {k}z 0 999", "ZPOPMIN {k}z 1000", "ZRANDMEMBER {k}z 100", "ZSCAN {k}z 0 COUNT 1000", "ZADD {k}z 1 new", "ZLEXCOUNT {k}z - +",
    "OBJECT ENCODING {k}z", "MEMORY USAGE {k}h", "TYPE {k}h", "EXPIRE {k}h 1000", "RENAME {k}h {k}h2", "RENAME {k}h2 {k}h",
    "LRANGE {k}l 0 -1", "SMEMBERS {k}s", "HGETALL {k}h", "HKEYS {k}h", "ZRANGE {k}z 0 -1 WITHSCORES",
    "SUNIONSTORE {k}d {k}s {k}i", "SINTERSTORE {k}d {k}s {k}s", "SDIFFSTORE {k}d {k}s {k}i", "ZUNIONSTORE {k}d 2 {k}z {k}z2",
    "ZINTERSTORE {k}d 2 {k}z {k}z2", "ZDIFFSTORE {k}d 2 {k}z {k}z2", "ZRANGESTORE {k}d {k}z 0 -1", "SORT {k}i LIMIT 0 10",
    "SORT {k}i STORE {k}d", "COPY {k}l {k}d REPLACE", "COPY {k}s {k}d REPLACE", "COPY {k}h {k}d REPLACE", "COPY {k}z {k}d REPLACE",
    "DUMP {k}z2", "DEBUG DIGEST-VALUE {k}h",
]
FREES = ["DEL {k}l", "UNLINK {k}s", "UNLINK {k}i", "DEL {k}h", "SET {k}z x", "PEXPIRE {k}z2 1", "FLUSHALL"]


def turn_us(node, line):
    """The longest turn of the node's loop while it runs the command and what follows from it."""
    node.command("CONFIG", "RESETSTAT")
    node.command(*line.split())
    time.sleep(0.3 if line in FREES else 0.02)
    return info(node, "stats", "loop_longest_turn_us")


def redis_us(redis, line):
    redis.command("SLOWLOG", "RESET")
    redis.command(*line.split())
    entry = re.search(rb"\r\n:\d+\r\n:\d+\r\n:(\d+)\r\n", redis.command("SLOWLOG", "GET", "1"))
    return int(entry.group(1)) if entry else 0


def stalls(redis, node):
    """A worker is away for at most 10 ms, or at most as long as redis-server."""
    failures = []
    say("\nLongest turn of the node's loop, ms, at collections of 1 M elements (shorter of two runs)")
    redis.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
    for conn in (redis, node):
        conn.command("FLUSHALL")
        for key, family in BIG.items():
            grow(conn, family, key, MILLION)
        time.sleep(1)
    for line in STALLS:
        theirs = min(redis_us(redis, line) for _ in range(2)) / 1000
        ours = min(turn_us(node, line) for _ in range(2)) / 1000
        goal("%-40s %8.2f, redis-server %8.2f; turn" % (line.replace("{k}", ""), ours, theirs), ours, max(10.0, theirs), failures)
    node.command("DEL", "{k}d")
    for line in FREES:
        goal("%-40s frees; turn" % line.replace("{k}", ""), turn_us(node, line) / 1000, 10.0, failures)
    return failures


def bench_types(options):
    with RedisServer() as redis, Cluster(options.build, proxies=1, shards=1, replicas=1, node_opts=options.node_opt) as c:
        targets = [Target("redis-server", redis.port, {"redis": redis.process.pid}),
                   Target("halcyon-node", c.node_port(0), {"node": c.pid("node-0-0")})]
        conns = [Conn(t.port, timeout=300) for t in targets]
        failures = memory(*conns)
        failures += stalls(*conns)
        failures += speed(options, targets)
    return failures

"""Side-by-side measurements: `./dev bench [NAME]`.

Every measurement runs its competitors interleaved (A B A B ...), servers pinned to one core and the load to another, and
reports medians, CPU microseconds per request of every server process, and ratios of the same run. Absolute figures
depend on the machine; compare ratios.
"""
import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import harness  # noqa: E402
from harness import Cluster, Conn, RedisServer, check, say, wait_for  # noqa: E402
from bench_hot import bench_hot, bench_skew  # noqa: E402
from bench_types import bench_types  # noqa: E402
from measure import LOAD_CORE, SERVER_CORE, Target, Twemproxy, cpu_ns, fill, goal, rounds, stale_check, table  # noqa: E402


def bench_cold(options):
    """Issue: a proxy in front of one node, against twemproxy in front of redis-server, and both servers directly."""
    failures = []
    n = options.requests
    with RedisServer() as direct, RedisServer() as behind, Twemproxy(behind.port, direct.dir) as tw, \
            Cluster(options.build, proxies=1, shards=1, replicas=1, proxy_opts=options.proxy_opt, node_opts=options.node_opt) as c:
        targets = [
            Target("redis-server", direct.port, {"redis": direct.process.pid}),
            Target("twemproxy + redis-server", tw.port, {"twemproxy": tw.process.pid, "redis": behind.process.pid}),
            Target("halcyon-node", c.node_port(0), {"node": c.pid("node-0-0")}),
            Target("halcyon proxy + node", c.port, {"proxy": c.pid("proxy-0"), "node": c.pid("node-0-0")}),
        ]
        for port in (direct.port, tw.port, c.port):
            fill(port, 100000, 32)
        by_name = {t.name: t for t in targets}
        stale_check(by_name["halcyon proxy + node"])
        for pipeline in (1, 16, 32):
            r = rounds(targets, pipeline, n if pipeline > 1 else n // 8, options.rounds)
            table("GET, 100,000 keys of 32 B, 50 connections, pipeline %d" % pipeline, r)
            proxy = r["halcyon proxy + node"]["cpu"]["proxy"] / r["twemproxy + redis-server"]["cpu"]["twemproxy"]
            if pipeline == 1:
                goal("proxy CPU per forwarded GET / twemproxy's, pipeline 1", proxy, 0.9, failures)
            if pipeline == 32:
                goal("proxy CPU per forwarded GET / twemproxy's, pipeline 32", proxy, 0.2, failures)
                goal("node CPU per GET / redis-server's, pipeline 32", r["halcyon-node"]["cpu"]["node"] / r["redis-server"]["cpu"]["redis"], 0.6, failures)
        r = rounds(targets, 16, n // 2, options.rounds, test="set")
        table("SET, pipeline 16", r)
    failures += bench_memory(options)
    return failures


def used_memory(port):
    return int(re.search(rb"\bused_memory:(\d+)", Conn(port).command("INFO", "memory")).group(1))


def bench_memory(options):
    """Memory per key: 1 M keys of 16 B with 32 B values (the key name is key:000000000123, 16 bytes)."""
    failures = []
    keys = 1000000
    with RedisServer() as redis, Cluster(options.build, proxies=1, shards=1, replicas=1) as c:
        per_key = {}
        for name, port in (("redis-server", redis.port), ("halcyon-node", c.node_port(0))):
            before = used_memory(port)
            fill(port, keys, 32)
            per_key[name] = (used_memory(port) - before) / keys
        say("\nMemory per key (16 B key, 32 B value, 1 M keys): " + ", ".join("%s %.1f B" % x for x in per_key.items()))
        goal("memory per key / redis-server's", per_key["halcyon-node"] / per_key["redis-server"], 0.6, failures)
    return failures


class RedisReplicated:
    """A redis-server with two replicas, in step."""

    def __enter__(self):
        self.servers = [RedisServer()]
        for _ in range(2):
            self.servers.append(RedisServer("--replicaof", "127.0.0.1 %d" % self.servers[0].port))
        master = Conn(self.servers[0].port, timeout=30)
        wait_for(lambda: master.command("SET", "x", 1) == b"+OK\r\n" and master.command("WAIT", 2, 1000) == b":2\r\n", 30, "two replicas")
        self.port = self.servers[0].port
        self.pids = {n: s.process.pid for n, s in zip(("master", "replica-1", "replica-2"), self.servers)}
        return self

    def __exit__(self, *_):
        for s in self.servers:
            s.__exit__()


def loadgen(options, target, requests, **more):
    """One round of tests/bench/loadgen.c; CPU of all server processes together, in us per operation."""
    command = ["taskset", "-c", LOAD_CORE, os.path.join(options.build, "bin", "loadgen"), "--ports", ",".join(map(str, target.port)),
               "--requests", str(requests)]
    for name, value in {**target.load, **more}.items():
        command += ["--" + name.replace("_", "-"), str(value)]
    before = sum(cpu_ns(p) for p in target.pids.values())
    p = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    cpu = (sum(cpu_ns(p2) for p2 in target.pids.values()) - before) / 1000.0 / requests
    check(p.returncode == 0, "loadgen said:", p.stdout, p.stderr)
    return {**json.loads(p.stdout), "cpu": cpu}


def loadgen_rounds(options, title, targets, requests, **more):
    """Interleaved rounds of the same load, medians, as a table."""
    runs = {t.name: [] for t in targets}
    for i in range(options.rounds + 1):
        for t in targets:
            r = loadgen(options, t, requests // (1 if i else 10), seed=i + 1, **more)
            if i:  # the first, short one warms up
                runs[t.name].append(r)
    say("\n" + title)
    say("  %-34s %11s %17s %17s   CPU us per operation, all processes" % ("", "ops/s", "GET p50/p99 ms", "SET p50/p99 ms"))
    out = {}
    for name, list_of in runs.items():
        m = out[name] = {k: statistics.median(r[k] for r in list_of) for k in list_of[0]}
        say("  %-34s %11.0f %8.3f /%7.3f %8.3f /%7.3f   %.3f" % (name, m["rps"], m["read_p50"], m["read_p99"], m["write_p50"], m["write_p99"], m["cpu"]))
    return out


def stale_check_replicas(ports):
    """What one replica acknowledged is read at every other."""
    conns = [Conn(p) for p in ports]
    for i in range(2000):
        check(conns[i % len(conns)].command("SET", "bench:stale", i) == b"+OK\r\n", "SET failed")
        want = b"$%d\r\n%d\r\n" % (len(str(i)), i)
        check(conns[(i + 1) % len(conns)].command("GET", "bench:stale") == want, "a replica served a stale value")


def bench_hermes(options):
    """Issue: three replicas against redis-server with two replicas and WAIT 2 0 after each write; and the core alone."""
    failures = []
    n = options.requests // 10
    say("\nHermes core alone, no sockets")
    say(subprocess.run(["taskset", "-c", SERVER_CORE, os.path.join(options.build, "bin", "micro_hermes")], check=True, capture_output=True,
                       text=True, timeout=300).stdout.rstrip())
    with RedisReplicated() as redis, Cluster(options.build, proxies=1, shards=1, replicas=3, node_opts=options.node_opt) as c, \
            contextlib.ExitStack() as stack:
        plain = [stack.enter_context(Cluster(options.build, proxies=1, shards=1, replicas=1, node_opts=options.node_opt)) for _ in range(3)]
        ports = [c.node_port(0, r) for r in range(3)]
        halcyon = Target("halcyon, 3 replicas", ports, {n2: c.pid(n2) for n2 in c.names("node")})
        single = Target("halcyon-node, not replicated", [plain[0].node_port(0)], {"node": plain[0].pid("node-0-0")})
        # three processes on one core batch less than one does: the plain reads to compare with
        three = Target("three such nodes", [p.node_port(0) for p in plain], {"node%d" % i: p.pid("node-0-0") for i, p in enumerate(plain)})
        each = Target("redis, WAIT 2 0 after each write", [redis.port], redis.pids)
        batch = Target("redis, WAIT 2 0 after each batch", [redis.port], redis.pids)
        master = Target("redis-server, the master", [redis.port], redis.pids)
        for t, with_wait in ((halcyon, {}), (single, {}), (three, {}), (master, {}), (each, {"wait": 2}), (batch, {"wait": 2, "wait_last": 1})):
            t.load = with_wait
        for port in [redis.port, c.port] + [p.port for p in plain]:
            fill(port, 100000, 32)
        stale_check_replicas(ports)
        for gets, what in ((0, "SET"), (95, "95:5 GET:SET")):
            for pipeline in (1, 16):
                targets = [halcyon, each] + ([batch] if pipeline > 1 else [])
                r = loadgen_rounds(options, "%s, 100,000 keys of 32 B, 50 connections, pipeline %d" % (what, pipeline), targets,
                                   n if pipeline > 1 else n // 4, gets=gets, pipeline=pipeline)
                ratio = r[each.name]["cpu"] / r[halcyon.name]["cpu"]
                if gets == 0:
                    goal("acknowledged writes per CPU second / Redis + WAIT's, pipeline %d" % pipeline, ratio, 1.5, failures, more=True)
                else:
                    say("  operations per CPU second / Redis + WAIT's: %.3f" % ratio)
        for pipeline in (1, 16):
            r = loadgen_rounds(options, "GET, pipeline %d" % pipeline, [halcyon, three, single, master], 2 * n if pipeline > 1 else n // 4,
                               gets=100, pipeline=pipeline)
            goal("CPU per GET of three replicas / of three nodes alone, pipeline %d" % pipeline, r[halcyon.name]["cpu"] / r[three.name]["cpu"],
                 1.1, failures)
            say("  CPU per GET of three replicas / of one node alone: %.3f" % (r[halcyon.name]["cpu"] / r[single.name]["cpu"]))
        stale_check_replicas(ports)
    return failures


def bench_peer(options):
    """Issue: the peer transport over TCP: latency, rate and CPU per message, coalesced and one by one. Verbs: only real devices say anything."""
    say("\nPeer transport, TCP on loopback, 64-byte messages, both ends in one process")
    say(subprocess.run([os.path.join(options.build, "bin", "peer_pingpong"), "tcp", "127.0.0.1", "2"], check=True, capture_output=True, text=True,
                       timeout=300).stdout.rstrip())
    return []


BENCHES = {"cold": bench_cold, "hot": bench_hot, "skew": bench_skew, "memory": bench_memory, "hermes": bench_hermes, "types": bench_types, "peer": bench_peer}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which (all): " + ", ".join(BENCHES))
    parser.add_argument("--build", required=True)
    parser.add_argument("--requests", type=int, default=2000000, help="per round at pipelines above 1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--proxy-opt", action="append", default=[], help="a line of proxy configuration")
    parser.add_argument("--node-opt", action="append", default=[], help="a line of node configuration")
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHES:
            parser.error("no bench called %s; there are: %s" % (name, ", ".join(BENCHES)))
    missed = []
    try:
        for name in options.names or BENCHES:
            missed += BENCHES[name](options)
    except harness.Failed as e:
        say("FAILED:", e)
        sys.exit(1)
    say("\nmissed goals: " + ("; ".join(missed) if missed else "none"))


if __name__ == "__main__":
    main()

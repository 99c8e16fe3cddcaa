"""`./dev bench hot` and `./dev bench skew`: what the symmetric cache of hot keys costs, and what it saves."""
import contextlib
import json
import os
import re
import statistics
import subprocess
import threading
import time

import harness
from harness import Cluster, Conn, RedisServer, check, encode, say, wait_for
from measure import LOAD_CORE, Target, Twemproxy, cpu_ns, fill, goal, pin, rounds, stale_check, table

FOREVER_NS = (1 << 62)  # a lease that does not end: injected views are for tests


class HotCluster(Cluster):
    """A cluster whose proxies are one group, by an injected view: no process of it is slowed down by the others' leases."""

    def __init__(self, build, proxies=3, shards=3, replicas=3, proxy_opts=(), node_opts=()):
        super().__init__(build, proxies=proxies, shards=shards, replicas=replicas, proxy_opts=["membership injected", *proxy_opts],
                         node_opts=node_opts, membership="static")
        try:
            members = ["%d@127.0.0.1:%d" % (i + 1, self.port + 3000 + i) for i in range(proxies)]
            for i, port in enumerate(self.ports()):
                c = Conn(port)
                check(c.command("HALCYON", "VIEW", 1, "SELF", i + 1, "MEMBERS", *members) == b"+OK\r\n", "HALCYON VIEW was refused")
                check(c.command("HALCYON", "LEASE", 1, FOREVER_NS) == b"+OK\r\n", "HALCYON LEASE was refused")
            wait_for(lambda: all(b"state=serving" in Conn(p).command("INFO", "hotcache") for p in self.ports()), 10, "the proxies to be a group")
        except Exception:
            self.stop()
            raise

    def counts(self):
        """The numbers of INFO hotcache, summed over the proxies."""
        total = {}
        for port in self.ports():
            for name, value in re.findall(r"hotcache_(\w+):(\d+)\r", Conn(port).command("INFO", "hotcache").decode()):
                total[name] = total.get(name, 0) + int(value)
        return total

    def promote(self, names):
        """By command, and waits until all of them are hot."""
        c = Conn(self.port, timeout=60)
        for first in range(0, len(names), 500):
            part = names[first:first + 500]
            c.send(b"".join(encode("HALCYON", "PROMOTE", k) for k in part))
            check(all(c.reply() == b"+OK\r\n" for _ in part), "HALCYON PROMOTE was refused")
        wait_for(lambda: self.counts()["entries"] >= len(names) * self.proxies, 120, "all keys to be hot")

    def set_cache(self, on):
        for port in self.ports():
            check(Conn(port).command("CONFIG", "SET", "hot-cache", "yes" if on else "no") == b"+OK\r\n", "CONFIG SET hot-cache")


class NullServer:
    """Fixed answers: the floor under any server here."""

    def __init__(self, build):
        self.port = harness.free_block(1)
        self.process = subprocess.Popen([os.path.join(build, "bin", "null_server"), str(self.port)])
        wait_for(lambda: Conn(self.port).command("SET", "x", 1) == b"+OK\r\n", 10, "the null server to answer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)


def benchmark(port, keys, requests, pipeline=16, clients=50):
    subprocess.run(["taskset", "-c", LOAD_CORE, "redis-benchmark", "-p", str(port), "-t", "get", "-n", str(requests), "-c", str(clients), "-P",
                    str(pipeline), "-r", str(keys), "-q"], check=True, capture_output=True, timeout=300)


def hit_share(cluster, port, keys):
    before = cluster.counts()
    requests = 100000
    benchmark(port, keys, requests)
    return (cluster.counts()["hits"] - before["hits"]) / requests


HOT_KEYS = 100000  # as in PERF: redis-server, too, is slower on many keys than on few


def bench_hot(options):
    """Issue: hot GETs of 32 B values at one proxy worker on one core."""
    failures = []
    n = options.requests
    with RedisServer() as redis, RedisServer() as behind, Twemproxy(behind.port, redis.dir) as tw, NullServer(options.build) as null, \
            HotCluster(options.build, proxies=1, shards=1, replicas=3, proxy_opts=["hot-keys-max 110000", "hot-memory-max 256mb", "hot-tracking no", *options.proxy_opt]) as c:
        for port in (redis.port, tw.port, c.port):
            fill(port, HOT_KEYS, 32)
        c.promote(["bench:stale"] + ["key:%012d" % i for i in range(HOT_KEYS)])
        targets = [
            Target("null server", null.port, {"null": null.process.pid}),
            Target("redis-server", redis.port, {"redis": redis.process.pid}),
            Target("twemproxy + redis-server", tw.port, {"twemproxy": tw.process.pid, "redis": behind.process.pid}),
            Target("halcyon proxy, hot", c.port, {"proxy": c.pid("proxy-0")}),
        ]
        proxy = targets[-1]
        wait_for(lambda: hit_share(c, c.port, HOT_KEYS) > 0.999, 60, "all keys to be hot")
        hits = c.counts()["hits"]
        stale_check(proxy)
        check(c.counts()["hits"] > hits, "the key of the check for stale values never was hot")
        for pipeline, limit, against in ((1, 1.15, "null server"), (16, None, None), (32, 0.33, "redis-server"), (64, 0.28, "redis-server")):
            before = c.counts()["hits"]
            count = n if pipeline > 1 else n // 8
            r = rounds(targets, pipeline, count, options.rounds, keys=HOT_KEYS)
            share = (c.counts()["hits"] - before) / (count * options.rounds + count // 10)
            table("hot GET, %d keys of 32 B, 50 connections, pipeline %d (%.2f %% hits)" % (HOT_KEYS, pipeline, 100 * share), r)
            check(share > 0.999, "not all of it was hot")
            mine = r[proxy.name]["cpu"]["proxy"]
            for name in ("null server", "redis-server"):
                ratio = mine / sum(r[name]["cpu"].values())
                text = "proxy CPU per hot GET / %s's, pipeline %d" % (name, pipeline)
                if name == against:
                    goal(text, ratio, limit, failures)
                else:
                    say("  %-70s %6.3f" % (text, ratio))
        stale_check(proxy)
    return failures


# ---- skew: nodes are the bottleneck ----

CGROUP = "halcyon-bench-%d" % os.getpid()
NODE_CPU = 0.02


class Quota:
    """A fixed share of a CPU for each of some processes; cgroup v2 or v1, whichever can be written."""

    def __init__(self, share):
        self.share, self.folders = share, []

    def _folder(self, i):
        quota = 1000  # us: the least there is
        period = int(quota / self.share)
        for base, name, text in (("/sys/fs/cgroup", "cpu.max", "%d %d" % (quota, period)), ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", str(quota))):
            if not os.path.exists(os.path.join(base, "cgroup.procs")):
                continue  # not a hierarchy of cgroups
            folder = os.path.join(base, "%s-%d" % (CGROUP, i))
            try:
                os.mkdir(folder)
            except OSError:
                continue
            self.folders.append(folder)
            try:
                if name == "cpu.cfs_quota_us":
                    with open(os.path.join(folder, "cpu.cfs_period_us"), "w", encoding="ascii") as f:
                        f.write(str(period))
                with open(os.path.join(folder, name), "w", encoding="ascii") as f:
                    f.write(text)
                return folder
            except OSError:
                os.rmdir(self.folders.pop())
        return None

    def put(self, pids):
        """False: this machine cannot."""
        for i, pid in enumerate(pids):
            folder = self._folder(i)
            if folder is None:
                return False
            with open(os.path.join(folder, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write(str(pid))
        return True

    def remove(self):
        """After the processes have ended."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                wait_for(lambda folder=folder: not os.rmdir(folder), 5, "an empty cgroup")


def skewed(options, cluster, ports, requests, **more):
    """One round of loadgen over the proxies: throughput, hit ratio, CPU of each node and of the proxies."""
    command = [os.path.join(options.build, "bin", "loadgen"), "--ports", ",".join(map(str, ports)), "--requests", str(requests)]
    for name, value in more.items():
        command += ["--" + name, str(value)]
    nodes, proxies = cluster.names("node"), cluster.names("proxy")
    cpu = {n: cpu_ns(cluster.pid(n)) for n in nodes + proxies}
    before = cluster.counts()
    p = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    check(p.returncode == 0, "loadgen said:", p.stdout, p.stderr)
    r = json.loads(p.stdout)
    after = cluster.counts()
    used = {n: (cpu_ns(cluster.pid(n)) - cpu[n]) / 1000.0 / requests for n in cpu}
    loads = [used[n] for n in nodes]
    return {"rps": r["rps"], "hits": (after["hits"] - before["hits"]) / requests, "entries": after["entries"] / len(proxies),
            "node_cpu": sum(loads), "imbalance": max(loads) / statistics.mean(loads), "proxy_cpu": sum(used[n] for n in proxies),
            "p99": r["read_p99"]}


def on_and_off(options, cluster, title, ports, requests, settle=2.5, **more):
    """A B A B: with the cache and without, the same processes. Medians of both."""
    runs = {True: [], False: []}
    for i in range(options.rounds):
        for on in (True, False):
            cluster.set_cache(on)
            warm = max(requests // 10, 1000)
            end = time.monotonic() + (settle if on else 0.3)
            while True:  # until what is hot has been found
                skewed(options, cluster, ports, warm, seed=1000 + i, **more)
                if time.monotonic() > end:
                    break
            runs[on].append(skewed(options, cluster, ports, requests, seed=i + 1, **more))
    say("\n" + title)
    say("  %-10s %10s %7s %9s %12s %14s %15s %9s" % ("hot cache", "ops/s", "hits", "entries", "GET p99 ms", "node us/op", "node max/mean", "proxy us"))
    out = {}
    for on, name in ((True, "on"), (False, "off")):
        m = out[on] = {k: statistics.median(r[k] for r in runs[on]) for k in runs[on][0]}
        say("  %-10s %10.0f %6.1f%% %9.0f %12.3f %14.3f %15.2f %9.3f" % (name, m["rps"], 100 * m["hits"], m["entries"], m["p99"], m["node_cpu"],
                                                                      m["imbalance"], m["proxy_cpu"]))
    return out


class StaleWatch:
    """While a load runs: what is written at one proxy is read at the next, at once, of a key that is hot."""

    def __init__(self, ports, key):
        self.conns, self.key, self.stop, self.checked, self.wrong = [Conn(p) for p in ports], key, False, 0, None
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        i = 0
        while not self.stop and self.wrong is None:
            value = b"%032d" % i
            if self.conns[i % len(self.conns)].command("SET", self.key, value) != b"+OK\r\n":
                continue
            for c in self.conns:
                got = c.command("GET", self.key)
                if got != b"$32\r\n%s\r\n" % value:
                    self.wrong = (value, got)
            i += 1
            self.checked += 1
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stop = True
        self.thread.join(30)
        if kind is None:
            check(self.wrong is None, "a stale value was served:", self.wrong)
            check(self.checked > 10, "the check for stale values did not run")
            say("  (no stale value in %d checks at all proxies meanwhile)" % self.checked)


def bench_skew(options):
    """Issue: Zipf 0.99, nodes limited to a fixed share of CPU each, with the hot cache against without."""
    failures = []
    quota = Quota(NODE_CPU)
    n = max(options.requests // 20, 20000)  # about two seconds of nodes that are limited
    try:
        with HotCluster(options.build, proxies=3, shards=3, replicas=3, proxy_opts=options.proxy_opt, node_opts=options.node_opt) as c:
            fill(c.port, 100000, 32)
            uniform(options, c, failures, n)
            if not quota.put([c.pid(name) for name in c.names("node")]):
                say("\nSKIPPED skew: no cgroup of this machine can be given a CPU quota; nodes would not be the bottleneck")
                return failures + ["skew was skipped: no CPU quota"]
            for writes in (0, 1, 5):
                with StaleWatch(c.ports(), "bench:watched"):
                    r = on_and_off(options, c, "Zipf 0.99, 100,000 keys, %d %% writes, 3 proxies, 9 nodes of %g %% CPU each" % (writes, 100 * NODE_CPU), c.ports(), n,
                                   settle=5, zipf=99, gets=100 - writes, pipeline=16, connections=96)
                ratio = r[True]["rps"] / r[False]["rps"]
                if writes == 1:
                    goal("throughput with the hot cache / without, %d %% writes" % writes, ratio, 2.2, failures, more=True)
                else:
                    say("  throughput with the hot cache / without: %.2f" % ratio)
            one_key(options, c, failures, n)
    finally:
        quota.remove()
    return failures


def one_key(options, c, failures, n):
    """One single hot key: throughput with the number of proxies that are asked; and written as often as read."""
    per = []
    for proxies in (1, 2, 3):
        r = on_and_off(options, c, "one single key, GET only, %d proxies asked" % proxies, c.ports()[:proxies], n, keys=1, gets=100, pipeline=4,
                       connections=48)
        per.append(r)
    for i in (1, 2):
        say("  %d proxies / 1 proxy, with the hot cache: ops/s %.2f; CPU per op of nodes, on / off: %.4f" %
            (i + 1, per[i][True]["rps"] / per[0][True]["rps"], per[i][True]["node_cpu"] / per[i][False]["node_cpu"]))
    r = on_and_off(options, c, "one single key, 50:50 GET:SET", c.ports(), n // 4, keys=1, gets=50, pipeline=1, connections=24)
    goal("throughput of a 50:50 key, hot cache on / off", r[True]["rps"] / r[False]["rps"], 0.95, failures, more=True)


def uniform(options, c, failures, n):
    """No key is hot: what looking for hot keys costs. Before the nodes are limited: proxies pinned, CPU per request."""
    for name in c.names("proxy"):
        pin(c.pid(name))
    for pipeline in (1, 32):
        count = n * (8 if pipeline > 1 else 1)
        r = on_and_off(options, c, "uniform, 100,000 keys, GET, pipeline %d" % pipeline, c.ports()[:1], count, gets=100, pipeline=pipeline)
        goal("proxy CPU per request, hot cache on / off, uniform, pipeline %d" % pipeline, r[True]["proxy_cpu"] / r[False]["proxy_cpu"], 1.03, failures)
    for name in c.names("proxy"):
        pin(c.pid(name), "0-%d" % (os.cpu_count() - 1))

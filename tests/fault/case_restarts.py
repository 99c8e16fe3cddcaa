"""Processes that come back: one after the other on purpose, and one with a million keys to take over."""
import logging
import signal
import threading
import time

import redis
from redis.backoff import ExponentialBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

import cluster
from harness import check
from load import SECOND, History, ms, refused, report

RETRIES = 10
logging.getLogger("redis").setLevel(logging.CRITICAL)  # it logs what it retries


class Application(threading.Thread):
    """A program that uses redis-py and its retries, and nothing else; every command it gives up on counts."""

    def __init__(self, proxies, number, clustered):
        super().__init__(daemon=True)
        retry = Retry(ExponentialBackoff(cap=0.5, base=0.02), RETRIES)
        home = proxies[number % len(proxies)]
        if clustered:
            self.redis = RedisCluster(startup_nodes=[ClusterNode(p.host.address, p.port) for p in proxies], retry=retry, socket_timeout=10)
        else:
            self.redis = redis.Redis(home.host.address, home.port, retry=retry, socket_timeout=10,
                                     retry_on_error=[redis.ConnectionError, redis.TimeoutError])
        self.name = "%s client %d" % ("RedisCluster" if clustered else "Redis", number)
        self.number = number
        self.failed = []
        self.commands, self.longest = 0, 0
        self.ending = threading.Event()
        self.start()

    def _once(self, i):
        key = "app:%d:%d" % (self.number, i % 50)
        check(self.redis.set(key, i) is True, "SET did not say OK")
        value = self.redis.get(key)
        check(value == b"%d" % i, "GET of what was just written gave", value)
        self.redis.incr("app:%d:count" % self.number)
        self.redis.lpush("app:%d:list" % self.number, i)

    def run(self):
        i = 0
        while not self.ending.wait(0.001):
            begin = time.monotonic_ns()
            try:
                self._once(i)
            except Exception as e:  # whatever a program would see
                self.failed.append((time.monotonic(), "%s: %r" % (self.name, e)))
            self.longest = max(self.longest, time.monotonic_ns() - begin)
            self.commands += 4
            i += 1

    def end(self):
        self.ending.set()
        self.join(30)


def rolling(net, args):
    """F11: all nodes, then all proxies are restarted one after the other, under load: no command of redis-py's clients with
    ordinary retries fails."""
    with cluster.Cluster(net, args.build) as c:
        c.start()
        h = History(c, c.proxies, 400, clients=4, keys=10, timeout_ms=4000)
        apps = [Application(c.proxies, i, clustered=i >= 2) for i in range(4)]
        time.sleep(1)
        for _ in range(4 if args.long else 1):
            for p in c.everything:
                begin = time.monotonic()
                p.kill(signal.SIGTERM)
                gone = time.monotonic()
                p.start()
                c.wait_serving(30)
                report("%s: ended in %.2f s, served again %.2f s later" % (p.name, gone - begin, time.monotonic() - gone))
                time.sleep(0.5)
        for a in apps:
            a.end()
        failed = [f for a in apps for f in a.failed]
        report("%d commands of %d clients, longest four of one %s, failed: %d" % (sum(a.commands for a in apps), len(apps), ms(max(a.longest for a in apps)),
                                                                                len(failed)))
        check(not failed, "commands failed:", failed[:5])
        h.conclude(2000)


KEYS = 1000000
BATCH = 500


def store_keys(c, count):
    """count keys with values of 80 bytes, by pipelines."""
    conn = c.proxies[0].conn(timeout=60)
    begun = 0
    for first in range(0, count, BATCH):
        conn.send(b"".join(b"*3\r\n$3\r\nSET\r\n$15\r\nmillion:%07d\r\n$80\r\n%080d\r\n" % (i, i) for i in range(first, first + BATCH)))
        begun += 1
        if begun > 8:
            conn.expect(b"+OK\r\n" * BATCH)
            begun -= 1
    for _ in range(begun):
        conn.expect(b"+OK\r\n" * BATCH)
    conn.close()


def percentile_99(h, begin, end):
    """ns, of reads and of writes that were answered between two times."""
    found = []
    for reads in (True, False):
        waits = sorted(o["return"] - o["call"] for o in h.operations()
                       if o["status"] == "ok" and (o["op"] == "GET") == reads and o["call"] >= begin and o["return"] <= end)
        check(len(waits) > 100, "only", len(waits), "operations to measure")
        found.append(waits[len(waits) * 99 // 100])
    return found


def rejoin(net, args):
    """A killed node comes back with an empty store and is a full replica again, under load, with a million keys."""
    with cluster.Cluster(net, args.build) as c:
        c.start()
        begin = time.monotonic()
        store_keys(c, KEYS)
        report("%d keys stored in %.1f s" % (KEYS, time.monotonic() - begin))
        h = History(c, c.proxies, 400, clients=4, keys=200, pipeline=1, timeout_ms=4000, pause_us=1000)
        time.sleep(1)
        calm = (time.monotonic_ns(), time.monotonic_ns() + 3 * SECOND)
        time.sleep(3)
        victim = c.nodes[2]
        memory = int(victim.info("memory")["used_memory"])
        victim.kill()
        time.sleep(1.5)  # the view without it
        victim.start()
        cluster.wait_for(victim.answers, 10, "the restarted node")
        busy = time.monotonic_ns()
        took = cluster.seconds_until(victim.serves, 120, "the restarted node to be a replica again")
        busy = (busy, time.monotonic_ns())
        keys = victim.command("DBSIZE")
        h.finish(early=True)
        report("%s keys, %.0f MB taken over in %.1f s: %.0f keys/s" % (keys[1:-2].decode(), memory / 1e6, took, KEYS / took))
        quiet, loud = percentile_99(h, *calm), percentile_99(h, *busy)
        for what, q, b in zip(("reads", "writes"), quiet, loud):
            report("p99 of %s: %.2f ms undisturbed, %.2f ms meanwhile (%.1f times)" % (what, q / 1e6, b / 1e6, b / q))
        h.verdict(1000)


def donors(net, args):
    """A learner takes over data under load, and those it takes it from die one after the other meanwhile."""
    with cluster.Cluster(net, args.build, witnesses=3, node_opts=["transfer-rate 8mb"]) as c:
        c.start()
        store_keys(c, KEYS // 10)
        h = History(c, c.proxies + c.nodes, 400, clients=6, keys=20, timeout_ms=1500, pause_us=1000)
        for r in range(6 if args.long else 2):
            learner, first, second = (c.nodes[(2 + i + r) % 3] for i in range(3))
            learner.kill()
            time.sleep(1)
            learner.start()
            cluster.wait_for(lambda n=learner: catching_up(n), 10, "the learner to begin")
            time.sleep(0.5)
            (first, second)[r % 2].kill()
            report("a donor died while the learner was", learner.replica().get("state"))
            cluster.wait_for(learner.serves, 60, "the learner to become a replica")
            (first, second)[r % 2].start()
            c.wait_serving(60)
        none_but_a_learner(c)
        h.conclude(1000)


def catching_up(node):
    return "catching up" in node.replica().get("state", "")


def none_but_a_learner(c):
    """All members stand still past their leases, and there is only a learner that does not have everything: nobody answers, and they
    go on as members when they come back."""
    learner, *members = c.nodes
    learner.kill()
    time.sleep(1)
    learner.start()
    cluster.wait_for(lambda: catching_up(learner), 10, "the learner to begin")
    for m in members:
        m.stop()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        answer = learner.command("GET", "million:%07d" % (KEYS // 10 - 1))
        check(refused(answer), "a learner that is", learner.replica().get("state"), "answered", answer)
        time.sleep(0.01)
    check(learner.replica().get("state") != "serving", "a learner became a member while all members were silent")
    for m in members:
        m.go_on()
    c.wait_serving(60)


CASES = {"f11_rolling": rolling, "rejoin": rejoin, "donors": donors}

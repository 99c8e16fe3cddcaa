"""Membership with etcd as the register: the cases of test_membership.py that do not speak of acceptors, with Debian's
etcd-server, which this test starts; and etcd stopped, killed, replaced by another endpoint."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, HERE)
import test_membership as cases  # noqa: E402
from harness import Cluster, Conn, arguments, check, free_block, run, say, wait_for  # noqa: E402

LEASE_MS = 1000


class Etcd:
    """One etcd on loopback with a data folder of its own."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="halcyon-etcd-")
        self.port = free_block(2)
        self.process = None

    def start(self):
        client, peer = ("http://127.0.0.1:%d" % (self.port + i) for i in (0, 1))
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen(
                ["etcd", "--data-dir", os.path.join(self.dir, "data"), "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for(self.answers, 20, "etcd to answer")
        return self

    def answers(self):
        check(self.process.poll() is None, "etcd ended; its log is in", self.dir)
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/health" % self.port, timeout=2) as r:
                return b"true" in r.read()
        except OSError:
            return False

    def signal(self, signo):
        os.kill(self.process.pid, signo)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def options(etcd, *more):
    # the first endpoint is nobody's: the next one is taken
    return ["etcd-endpoints 127.0.0.1:1 127.0.0.1:%d" % etcd.port, "etcd-lease %d" % LEASE_MS, *more]


def test_without_etcd(cluster, etcd):
    say("  etcd stopped for longer than the lease: no answers from local state, and service when it goes on")
    cases.whole(cluster)
    key = cases.key_of_first_worker(cluster, "etcd")
    check(Conn(cluster.port).command("SET", key, "1") == b"+OK\r\n", "SET")
    for stop, go_on in ((lambda: etcd.signal(signal.SIGSTOP), lambda: etcd.signal(signal.SIGCONT)), (etcd.kill, etcd.start)):
        stop()
        try:
            time.sleep(LEASE_MS / 1000 + 0.3)
            for r in range(3):
                answer = Conn(cluster.node_port(0, r)).command("GET", key)
                check(answer.startswith(b"-TRYAGAIN"), "a replica without a lease answers", answer)
        finally:
            go_on()
        cases.whole(cluster)
        wait_for(lambda: Conn(cluster.port).command("GET", key) == b"$1\r\n1\r\n", 10, "service is back")
        check(all(int(cases.info(cluster.node_port(0, r))["membership_expulsions"]) == 0 for r in range(3)), "somebody was left out")


def test_orders(cluster):
    say("  MEMBERS and LEAVE: out of the map, and not back by itself")
    cases.whole(cluster)
    ids = cases.members(cluster.node_port(0, 0))
    mine = cases.info(cluster.node_port(0, 2))["membership_incarnation"]
    check(mine in ids, mine, ids)
    text = Conn(cluster.port, 20).command("HALCYON", "MEMBERS").decode()
    check("group shard-0 epoch" in text and "node %s 127.0.0.1:%d member" % (mine, cluster.node_port(0, 2)) in text, text)
    reply = Conn(cluster.port, 20).command("HALCYON", "LEAVE", mine)
    check(reply == b"+OK\r\n", "LEAVE", reply)
    wait_for(lambda: len(cases.members(cluster.node_port(0, 0))) == 2, 10, "a view without it")
    check(cases.state(cluster.node_port(0, 2)) == "out", "it says", cases.state(cluster.node_port(0, 2)))
    time.sleep(1)
    check(len(cases.members(cluster.node_port(0, 0))) == 2, "it came back")
    check(Conn(cluster.port).command("SET", "after", "leave") == b"+OK\r\n", "SET")


def test_other_shards(cluster, etcd, build):
    say("  a node with other shards is not let in, and says so")
    del build
    folder = os.path.join(cluster.dir, "stranger")
    os.mkdir(folder)
    path = os.path.join(folder, "node.conf")
    port = cluster.port + 1900
    with open(path, "w", encoding="ascii") as f:
        f.write("\n".join(["shard a 0-8000 127.0.0.1:%d" % port, "shard b 8001-16383 127.0.0.1:1", "node-workers %d" % cluster.workers,
                           "workers %d" % cluster.workers, "bind 127.0.0.1", "port %d" % port, "peer-port-offset 1000", "dir " + folder,
                           "membership etcd", *options(etcd), ""]))
    with open(os.path.join(folder, "out"), "wb") as out:
        p = subprocess.Popen([os.path.join(cluster.build, "bin", "halcyon-node"), path], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: "other shards or slots" in open(os.path.join(folder, "out"), encoding="utf-8", errors="replace").read(), 10,
                 "words about the shards")
        check(len(cases.members(cluster.node_port(0, 0))) == 3, "the view changed")
    finally:
        p.terminate()
        p.wait(20)


def main():
    build = os.path.abspath(arguments().build)
    with Etcd() as etcd:
        opts = options(etcd)
        with Cluster(build, proxies=2, shards=1, replicas=3, workers=2, membership="etcd", proxy_opts=opts, node_opts=opts) as cluster:
            check(cases.info(cluster.node_port(0, 0))["membership_provider"] == "etcd", "the provider")
            cases.test_kill_and_rejoin(cluster)
            cases.test_planned_stop(cluster)
            cases.test_stopped(cluster)
            cases.test_rolling_restart(cluster)
            cases.test_rolling_proxies(cluster)
            test_other_shards(cluster, etcd, build)
            test_without_etcd(cluster, etcd)
            test_orders(cluster)


run(main)

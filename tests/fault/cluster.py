"""The processes under test: nodes and proxies, each on a host of its own, and what can be done to a process."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from harness import REPORTS, Conn, Failed, check, say, wait_for
from net import tool

NODE_PORT, PEER_OFFSET, PROXY_PORT, ACCEPTOR_PORT = 7000, 1000, 6379, 9000


class Process:
    """A node, a proxy, or a witness (a node that is an acceptor only). disk: size of its file system; "": the common one."""

    def __init__(self, cluster, kind, host, port, lines, disk=""):
        self.cluster, self.kind, self.host, self.port = cluster, kind, host, port
        self.name = host.name
        self.dir = os.path.join(cluster.dir, self.name)
        os.mkdir(self.dir)
        if disk:
            tool("mount", "-t", "tmpfs", "-o", "size=" + disk, "none", self.dir)
        self.conf = os.path.join(self.dir, kind + ".conf")
        with open(self.conf, "w", encoding="ascii") as f:
            f.write("\n".join([*lines, "bind " + host.address, "port %d" % port, "workers %d" % cluster.workers, "dir " + self.dir,
                               "logfile %s/log" % self.dir, "enable-debug-command yes", "protected-mode no", ""]))
        self.process = None
        self.stopped = False
        self.drift = 0  # ppm by which its clocks are to run fast, from its next start on

    def start(self):
        check(not self.alive(), self.name, "runs already")
        command = [os.path.join(self.cluster.build, "bin", "halcyon-proxy" if self.kind == "proxy" else "halcyon-node")]
        if self.kind != "proxy" and "HALCYON_MUTANT" in os.environ:
            command[0] += "-mutant"
        if self.drift:
            command[:0] = ["env", "LD_PRELOAD=" + os.path.join(self.cluster.build, "bin", "drift.so"), "DRIFT_PPM=%d" % self.drift]
        with open(os.path.join(self.dir, "out"), "ab") as out:
            self.process = subprocess.Popen([*self.host.enter, *command, self.conf], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.stopped = False

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        if self.stopped and how != signal.SIGKILL:
            self.go_on()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired as e:
            raise Failed("%s does not end on signal %d" % (self.name, how)) from e
        self.stopped = False

    def stop(self):
        """SIGSTOP. Returns when it stands still."""
        self.process.send_signal(signal.SIGSTOP)
        self.stopped = True
        wait_for(lambda: self._state() == "T", 5, self.name + " to stop")

    def _state(self):
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0]

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    def ports(self):
        """Of a node: one for each worker, which serves its slots only. A proxy's port serves all."""
        return range(self.port, self.port + (self.cluster.workers if self.kind == "node" else 1))

    def conn(self, timeout=5.0, worker=0):
        """A connection of the driver's, which no fault between hosts cuts off."""
        return Conn(self.port + worker, timeout, self.host.address, self.cluster.net.driver)

    def command(self, *words, timeout=5.0):
        c = self.conn(timeout)
        try:
            return c.command(*words)
        finally:
            c.close()

    def answers(self):
        try:
            return self.command("PING", timeout=1) == b"+PONG\r\n"
        except OSError:
            return False

    def info(self, section):
        return dict(re.findall(r"^(\w+):(.*)\r$", self.command("INFO", section, timeout=1).decode(), re.M))

    def replica(self):
        """What a node says of its replica: {"epoch":, "id":, "members": "id/id/..", "state":}."""
        text = self.info("hermes").get("hermes_replica", "")
        return dict(re.findall(r"(\w+)=(.*?)(?:,(?=\w+=)|$)", text))

    def members(self):
        """How many are in its view, learners not counted."""
        ids = self.replica().get("members", "").split("/")
        return sum(1 for i in ids if i and "learner" not in i)

    def serves(self):
        try:
            r = self.replica()
        except OSError:
            return False
        return r.get("state") == "serving"

    def _text(self, name):
        try:
            with open(os.path.join(self.dir, name), encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log(self):
        return self._text("log")

    def output(self):
        return self._text("out")

    def targets(self):
        """For `record --ports`."""
        return ["%s:%d" % (self.host.address, port) for port in self.ports()]


class Cluster:
    """One shard or more, every process on its own host. The acceptors are the first three nodes, or as many witnesses.
    relay: connections of nodes to nodes and acceptors lead through relays. disk: size of each node's own file system."""

    def __init__(self, net, build, proxies=2, shards=1, replicas=3, workers=1, witnesses=0, relay=False, disk="", node_opts=(), proxy_opts=()):
        self.net, self.build, self.workers = net, os.path.abspath(build), workers
        self.dir = tempfile.mkdtemp()
        hosts = [[net.host("n%d%d" % (s, r)) for r in range(replicas)] for s in range(shards)]
        proxy_hosts = [net.host("p%d" % i) for i in range(proxies)]
        witness_hosts = [net.host("w%d" % i) for i in range(witnesses)]
        acceptors = witness_hosts or [h for of in hosts for h in of][:3]
        common = ["node-workers %d" % workers, "membership builtin", "acceptors " + " ".join(
            "%s:%d" % (h.address, ACCEPTOR_PORT) for h in acceptors)]
        common += ["shard shard-%d auto %s" % (s, " ".join("%s:%d" % (h.address, NODE_PORT) for h in of)) for s, of in enumerate(hosts)]

        def node(h):
            lines = [*common, "cluster-announce-ip " + h.address, "peer-port-offset %d" % PEER_OFFSET, *node_opts]
            if h in acceptors:
                lines.append("acceptor %s:%d" % (h.address, ACCEPTOR_PORT))
            if h in witness_hosts:
                return Process(self, "witness", h, NODE_PORT, [*lines, "witness yes"])
            return Process(self, "node", h, NODE_PORT, lines, disk)

        def proxy(h):
            return Process(self, "proxy", h, PROXY_PORT, [*common, *proxy_opts, "cluster-announce-ip " + h.address, "proxies " + " ".join(
                "%s:%d" % (p.address, PROXY_PORT) for p in proxy_hosts)])

        self.shards = [[node(h) for h in of] for of in hosts]
        self.nodes = [n for of in self.shards for n in of]
        self.proxies = [proxy(h) for h in proxy_hosts]
        self.witnesses = [node(h) for h in witness_hosts]
        self.everything = self.witnesses + self.nodes + self.proxies
        self.servers = self.nodes + self.proxies  # what clients may ask
        if relay:
            first = NODE_PORT + PEER_OFFSET
            for n in self.nodes:
                n.host.start_relay(self.build, "{ %d-%d, %d }" % (first, first + workers - 1, ACCEPTOR_PORT))

    def start(self):
        for p in self.everything:
            p.start()
        self.wait_serving(30)

    def wait_serving(self, seconds):
        """Until every node serves and every proxy reaches every shard."""
        for n in self.nodes:
            wait_for(n.serves, seconds, n.name + " to serve")
        for p in self.proxies:
            wait_for(lambda p=p: p.command("DBSIZE").startswith(b":"), seconds, p.name + " to reach every shard")

    def heal(self):
        """No fault is left, and what was killed runs again."""
        self.net.heal()
        for p in self.everything:
            if p.stopped:
                p.go_on()
            if not p.alive():
                p.start()

    def unhealthy(self):
        return [p.name for p in self.everything if p.process is not None and not p.alive()]

    def close(self, failed):
        if failed:
            for p in self.everything:
                say("--- last lines of", p.name, "\n" + p.log()[-1200:] + p.output()[-800:])
        for p in self.everything:
            if p.alive():
                if p.stopped:
                    p.go_on()
                p.process.send_signal(signal.SIGTERM)
        for p in self.everything:
            if p.process is not None:
                try:
                    p.process.wait(15)
                except subprocess.TimeoutExpired:
                    p.kill()
                    if not failed:
                        raise Failed("%s did not end on SIGTERM" % p.name) from None
        text = "".join("%s: %s" % (p.name, p.output()) for p in self.everything if p.process is not None)
        shutil.rmtree(self.dir, ignore_errors=True)
        for word in REPORTS:
            check(word not in text, "a daemon reported:", text[:6000])

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(kind is not None)


def seconds_until(condition, limit, what):
    """wait_for with the time it took."""
    begin = time.monotonic()
    wait_for(condition, limit, what)
    return time.monotonic() - begin

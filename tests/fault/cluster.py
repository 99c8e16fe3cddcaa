"""The processes under test: nodes and proxies, each on a host of its own, and what can be done to a process."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from harness import REPORTS, Conn, Failed, check, say, wait_for

NODE_PORT, PEER_OFFSET, PROXY_PORT = 7000, 1000, 6379


class Process:
    """halcyon-node or halcyon-proxy. `limits`: a shell's ulimit arguments for it."""

    def __init__(self, cluster, kind, host, port, lines):
        self.cluster, self.kind, self.host, self.port = cluster, kind, host, port
        self.name = host.name
        self.dir = os.path.join(cluster.dir, self.name)
        os.mkdir(self.dir)
        self.conf = os.path.join(self.dir, kind + ".conf")
        with open(self.conf, "w", encoding="ascii") as f:
            f.write("\n".join([*lines, "bind " + host.address, "port %d" % port, "workers %d" % cluster.workers, "dir " + self.dir,
                               "logfile %s/log" % self.dir, "enable-debug-command yes", "protected-mode no", ""]))
        self.process = None
        self.stopped = False
        self.limits = ""

    def start(self):
        check(not self.alive(), self.name, "runs already")
        binary = os.path.join(self.cluster.build, "bin", "halcyon-" + self.kind)
        limits = "ulimit %s && " % self.limits if self.limits else ""
        with open(os.path.join(self.dir, "out"), "ab") as out:
            self.process = subprocess.Popen([*self.host.enter, "bash", "-c", limits + 'exec "$@"', "bash", binary, self.conf],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out)
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

    def conn(self, timeout=5.0):
        """A connection of the driver's, which no fault between hosts cuts off."""
        return Conn(self.port, timeout, self.host.address, self.cluster.net.driver)

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
        """What a node says of its replica: {"epoch":, "id":, "members":, "state":}."""
        text = self.info("hermes").get("hermes_replica", "")
        return dict(re.findall(r"(\w+)=(.*?)(?:,(?=\w+=)|$)", text))

    def serves(self):
        try:
            r = self.replica()
        except OSError:
            return False
        return r.get("state") == "serving"

    def log(self):
        try:
            with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def output(self):
        with open(os.path.join(self.dir, "out"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def target(self):
        """For `record --ports`."""
        return "%s:%d" % (self.host.address, self.port)


class Cluster:
    """One shard or more, every node and proxy on its own host. relay: connections between nodes lead through relays."""

    membership = "static"

    def __init__(self, net, build, proxies=2, shards=1, replicas=3, workers=1, witnesses=0, relay=False, node_opts=(), proxy_opts=()):
        self.net, self.build, self.workers = net, os.path.abspath(build), workers
        self.dir = tempfile.mkdtemp(dir="/run")  # the driver's own: faultctl
        hosts = [[net.host("n%d%d" % (s, r)) for r in range(replicas)] for s in range(shards)]
        proxy_hosts = [net.host("p%d" % i) for i in range(proxies)]
        self.lines = ["node-workers %d" % workers]
        self.lines += ["shard shard-%d auto %s" % (s, " ".join("%s:%d" % (h.address, NODE_PORT) for h in of)) for s, of in enumerate(hosts)]
        self.lines += self.membership_lines(hosts)
        node_lines = [*self.lines, "peer-port-offset %d" % PEER_OFFSET, "membership " + self.membership]
        self.shards = [[Process(self, "node", h, NODE_PORT, [*node_lines, "cluster-announce-ip " + h.address, *node_opts]) for h in of]
                       for of in hosts]
        self.nodes = [n for of in self.shards for n in of]
        self.proxies = [Process(self, "proxy", h, PROXY_PORT, [*self.lines, *self.proxy_lines(proxy_hosts, h), *proxy_opts])
                        for h in proxy_hosts]
        self.everything = self.nodes + self.proxies
        if relay:
            for n in self.nodes:
                n.host.start_relay(self.build, "%d-%d" % (NODE_PORT + PEER_OFFSET, NODE_PORT + PEER_OFFSET + workers - 1))

    def acceptor_hosts(self):
        """Of acceptors that are no nodes."""
        return []

    def membership_lines(self, hosts):
        return []

    def proxy_lines(self, hosts, own):
        return ["proxies " + " ".join("%s:%d" % (h.address, PROXY_PORT) for h in hosts), "cluster-announce-ip " + own.address]

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

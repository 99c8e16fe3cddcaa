"""A membership service played by a test, for nodes with `membership injected`: it installs views, and renews leases.

It keeps the rules it is there for (DESIGN section 6): a lease is promised from the time of sending, and nobody is left out
of a view before every promise to him has run out.
"""
import os
import re
import select
import socket
import threading
import time

from harness import Cluster, Conn, Failed, check, encode, wait_for

LEASE_NS = 400 * 1000 * 1000
RENEW_S = 0.1


def boot_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Membership(threading.Thread):
    """Of one shard with one worker per node. A node is (id, port); its peers reach it at port + offset."""

    def __init__(self, offset=1000):
        super().__init__(daemon=True)
        self.offset = offset
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.epoch = 0
        self.members = {}  # id: port
        self.learners = {}
        self.leased = set()  # ids whose lease is renewed
        self.until = {}  # id: last promise
        self.sockets = {}  # id: socket of the renewals
        self.failure = None

    # leases: sent without waiting for answers, so that a stopped node delays nobody

    def _socket(self, node, port):
        s = self.sockets.get(node)
        if s is None:
            s = socket.create_connection(("127.0.0.1", port), timeout=1)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.setblocking(False)
            self.sockets[node] = s
        return s

    def _forget(self, node):
        s = self.sockets.pop(node, None)
        if s is not None:
            s.close()

    def _renew(self, node, port):
        until = boot_ns() + LEASE_NS
        try:
            s = self._socket(node, port)
            while select.select([s], [], [], 0)[0]:
                answer = s.recv(65536)
                if not answer:
                    raise ConnectionError("closed")
                if b"-" in answer:
                    self.failure = "a lease was refused: %r" % answer
            self.until[node] = until  # before it is sent: it may arrive even if sending reports an error
            s.send(encode("HALCYON", "LEASE", self.epoch, until))
        except OSError:
            self._forget(node)

    def run(self):
        while not self.ending.wait(RENEW_S):
            self.renew()

    def renew(self):
        with self.lock:
            for node, port in list(self.members.items()):
                if node in self.leased:
                    self._renew(node, port)

    def end(self):
        self.ending.set()
        if self.is_alive():
            self.join(5)
        for node in list(self.sockets):
            self._forget(node)
        check(self.failure is None, self.failure)

    # views

    def _spec(self, nodes):
        return ["%d@127.0.0.1:%d" % (node, port + self.offset) for node, port in sorted(nodes.items())]

    def install(self, members, learners=None, founder=False):
        """The next view, in force at every node of it when this returns. Waits for the leases of those left out."""
        learners = learners or {}
        out = set(self.members) - set(members)
        with self.lock:
            self.leased -= out
        while any(boot_ns() <= self.until.get(node, 0) for node in out):
            time.sleep(0.01)
        with self.lock:
            for node in out:
                self._forget(node)
            self.epoch += 1
            self.members, self.learners = dict(members), dict(learners)
            view = ["MEMBERS", *self._spec(members)] + (["LEARNERS", *self._spec(learners)] if learners else [])
            for node, port in {**members, **learners}.items():
                c = Conn(port)
                answer = c.command("HALCYON", "VIEW", self.epoch, "SELF", node, *view, *(["FOUNDER"] if founder else []))
                c.close()
                check(answer == b"+OK\r\n", "view", self.epoch, "at node", node, "answered", answer)
            self.leased = set(members)
        self.renew()

    def found(self, members):
        """The first view, as soon as the nodes answer."""
        for port in members.values():
            wait_for(lambda p=port: Conn(p).command("PING") == b"+PONG\r\n", 30, "node on port %d" % port)
        self.install(members, founder=True)
        self.start()

    def suspend(self, node):
        """No more promises to this one; it stays in the view until `install`."""
        with self.lock:
            self.leased.discard(node)

    def found_soon(self, members_of):
        """For a cluster whose start waits for an answer: founds in the background. members_of(): the nodes, or None yet."""
        def wait():
            end = time.monotonic() + 60
            while not self.ending.is_set() and time.monotonic() < end:
                members = members_of()
                if members is not None:
                    try:
                        self.found(members)
                    except (Failed, OSError) as e:
                        self.failure = str(e)
                    return
                time.sleep(0.02)
        threading.Thread(target=wait, daemon=True).start()


def state(port):
    """What the replica says of itself: epoch=..,id=..,members=..,state=.."""
    text = Conn(port).command("INFO", "hermes").decode()
    return re.search(r"hermes_replica:(.*)\r", text).group(1)


class InjectedCluster(Cluster):
    """One shard of three replicas. Its start waits for the first view, which comes from the test."""

    def __init__(self, build, proxies=2, node_opts=()):
        self.port = None
        self.service = Membership()
        self.ids = {0: 1, 1: 2, 2: 3}  # replica: incarnation id
        self.last_id = 3
        self.service.found_soon(lambda: {r + 1: self.node_port(0, r) for r in range(3)} if self.port else None)
        try:
            super().__init__(build, proxies=proxies, shards=1, replicas=3, node_opts=[*node_opts, "membership injected"])
        except BaseException:
            self.service.ending.set()
            raise

    def __exit__(self, kind, value, trace):
        self.service.ending.set()
        super().__exit__(kind, value, trace)
        if kind is None:
            self.service.end()

    def start_as(self, name, incarnation):
        with open(os.path.join(self.dir, name, "node.conf"), "a", encoding="ascii") as f:
            f.write("incarnation-id %d\n" % incarnation)
        return self.start(name)

    def _members(self):
        return {i: self.node_port(0, r) for r, i in self.ids.items()}

    def kill_replica(self, replica):
        """kill -9; the others go on in a view without it, in force when this returns."""
        self.kill("node-0-%d" % replica)
        self.service.suspend(self.ids.pop(replica))
        self.service.install(self._members())

    def rejoin_replica(self, replica, seconds=60):
        """A new process, empty, as a learner and then as a member; serving when this returns."""
        port = self.node_port(0, replica)
        self.last_id += 1
        self.start_as("node-0-%d" % replica, self.last_id)
        wait_for(lambda: Conn(port).command("PING") == b"+PONG\r\n", 20, "the new process")
        self.service.install(self._members(), {self.last_id: port})
        wait_for(lambda: "state=catching up" not in state(port), seconds, "the learner to catch up")
        self.ids[replica] = self.last_id
        self.service.install(self._members())
        wait_for(lambda: "state=serving" in state(port), 10, "the new member to serve")

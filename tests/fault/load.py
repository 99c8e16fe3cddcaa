"""Clients of the cluster under test: recorded histories with an end that leaves nothing open, and probes that measure how long
the cluster keeps somebody waiting."""
import json
import random
import shutil
import threading
import time

from harness import Conn, Failed, check, say, wait_for
from histories import Recording

FINAL_CLIENT = 2000000000  # of the final reads: numbers that the recorder never reaches
SECOND = 1000000000
# answers that prove that nothing was done (docs/histories.md)
REFUSALS = (b"-TRYAGAIN ", b"-CLUSTERDOWN ", b"-LOADING ", b"-MOVED ")


def refused(answer):
    return answer.startswith(REFUSALS)


class History(Recording):
    """A recording of clients of these processes, which judges what they saw when all faults are over."""

    def __init__(self, cluster, processes, seconds, **options):
        self.cluster = cluster
        self.expected = []
        options["nodes"] = int(any(p.kind == "node" for p in processes))
        super().__init__(cluster.build, [t for p in processes for t in p.targets()], seconds, **options)

    def expect_writes(self, begin, end, count, what):
        """At least so many writes are to be acknowledged between two times; looked at in the end."""
        self.expected.append((begin, end, count, what))

    def conclude(self, least_ok=1000, least_after=100):
        """Ends all faults; all serve again, and the clients see it (least_after writes in a second and a half); then `verdict`."""
        self.cluster.heal()
        self.cluster.wait_serving(30)
        probe_liveness(self.cluster)
        begin = time.monotonic_ns()
        check(self.running(), "the clients ended before the faults did")
        time.sleep(1.5)
        self.expect_writes(begin, time.monotonic_ns(), least_after, "after all was healed")
        self.finish(early=True)
        return self.verdict(least_ok)

    def verdict(self, least_ok):
        """Every key is read once more from everybody; the history is linearizable; replicas are equal. Returns the figures."""
        for begin, end, count, what in self.expected:
            check(self.writes(begin, end) >= count, what + ":", "only", self.writes(begin, end), "writes were acknowledged")
        self.read_finally()
        try:
            figures = self.judge(least_ok)
        except Failed:
            say("the history is kept:", shutil.copy(self.path, "/tmp"))
            raise
        same_digests(self.cluster)
        self.remove()
        return figures

    def read_finally(self):
        """Appends a read of each key from each process to the history."""
        keys = sorted({o["key"] for o in self.operations()})
        with open(self.path, "a", encoding="ascii") as f:
            for number, p in enumerate(self.cluster.servers):
                c = Everywhere(p)
                for seq, key in enumerate(keys):
                    call, answer, back = patient(c, p, "GET", key)
                    value = None if answer == b"$-1\r\n" else answer.split(b"\r\n", 1)[1][:-2].decode("latin-1")
                    f.write(json.dumps({"client": FINAL_CLIENT + number, "seq": seq, "op": "GET", "key": key, "ret": value, "status": "ok",
                                        "call": call, "return": back}) + "\n")
                c.close()
        self.lines = None


class Everywhere:
    """Connections to all workers of a process; a command is answered by the one whose slot it is."""

    def __init__(self, process):
        self.conns = [process.conn(15, worker) for worker in range(len(process.ports()))]

    def command(self, *words):
        for c in self.conns:
            answer = c.command(*words)
            if not answer.startswith(b"-MOVED "):
                break
        return answer

    def close(self):
        for c in self.conns:
            c.close()


def patient(c, p, *words):
    """A command that may be refused for a while, as long as nothing was done. (call, answer, return)"""
    end = time.monotonic() + 20
    while True:
        call = time.monotonic_ns()
        answer = c.command(*words)
        back = time.monotonic_ns()
        if not refused(answer):
            check(not answer.startswith(b"-"), p.name, "answered", words, "with", answer)
            return call, answer, back
        check(time.monotonic() < end, p.name, "still answers", words, "with", answer)
        time.sleep(0.01)


def probe_liveness(cluster):
    """Every proxy writes and every process reads it, keys of all shards, within bounded time."""
    for p in cluster.proxies:
        c = p.conn(timeout=15)
        for i in range(20):
            _, answer, _ = patient(c, p, "SET", "alive:%s:%d" % (p.name, i), i)
            check(answer == b"+OK\r\n", p.name, "answered SET with", answer)
        c.close()
    for p in cluster.servers if len(cluster.shards) == 1 else cluster.proxies:
        c = Everywhere(p)
        for i in range(20):
            _, answer, _ = patient(c, p, "GET", "alive:%s:%d" % (cluster.proxies[0].name, i))
            check(answer == b"$%d\r\n%d\r\n" % (len(str(i)), i), p.name, "does not see what was written:", answer)
        c.close()


def same_digests(cluster):
    for of in cluster.shards:
        for worker in range(cluster.workers):
            wait_for(lambda of=of, w=worker: len({digest(n, w) for n in of}) == 1, 15,
                     "replicas to be equal: worker %d of %s" % (worker, [n.name for n in of]))


def digest(node, worker):
    c = node.conn(15, worker)
    answer = c.command("DEBUG", "DIGEST")
    c.close()
    check(answer.startswith(b"+"), node.name, "answered DEBUG DIGEST with", answer)
    return answer


def fill(cluster, prefix, count, value=None):
    """Keys that nobody writes afterwards: prefix0 .. prefix<count-1>; value: their own number."""
    p = cluster.proxies[0]
    c = p.conn(timeout=15)
    for i in range(count):
        patient(c, p, "SET", prefix + str(i), i if value is None else value)
    c.close()


class Probe(threading.Thread):
    """One client that asks one process again and again and notes how long it waits.

    what "read": GET of keys prefix0 .. prefix<count-1>, which hold their number. "write": SET of one key of its own."""

    def __init__(self, process, what, prefix, count=100, pause=0.002, timeout=5.0):
        super().__init__(daemon=True)
        self.process, self.what, self.prefix, self.count, self.pause, self.timeout = process, what, prefix, count, pause, timeout
        self.notes = []  # (call, return, error or None), ns
        self.wrong = []
        self.ending = threading.Event()
        self.start()

    def _ask(self, c, i):
        if self.what == "write":
            return c.command("SET", "%s%s" % (self.prefix, self.process.name), i), b"+OK\r\n"
        n = i % self.count
        return c.command("GET", "%s%d" % (self.prefix, n)), b"$%d\r\n%d\r\n" % (len(str(n)), n)

    def run(self):
        c, i = None, 0
        while not self.ending.wait(self.pause):
            call = time.monotonic_ns()
            try:
                if c is None:
                    c = Conn(self.process.port, self.timeout, self.process.host.address)
                    call = time.monotonic_ns()
                answer, right = self._ask(c, i)
                error = answer if answer.startswith(b"-") else None
                if error is None and answer != right:
                    self.wrong.append((call, i, answer))
            except OSError as e:
                error, c = b"connection: " + str(e).encode(), None
            self.notes.append((call, time.monotonic_ns(), error))
            i += 1
        if c is not None:
            c.close()

    def end(self):
        self.ending.set()
        self.join(self.timeout + 5)
        check(not self.wrong, self.what, "probe at", self.process.name, "was answered wrongly:", self.wrong[:3])

    def errors(self, begin, end):
        return [e for call, back, e in self.notes if e is not None and back >= begin and call <= end]

    def longest_wait(self, begin, end):
        """ns, of one answer."""
        return max((back - call for call, back, e in self.notes if e is None and back >= begin and call <= end), default=0)


class Flipper(threading.Thread):
    """Makes keys hot and cold again at the proxies, every 100 ms one of them."""

    FAMILIES = ("reg", "mix", "cnt", "app")  # as record names its keys

    def __init__(self, cluster, keys, seed, prefix="h:"):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.keys = [prefix + self.FAMILIES[i % 4] + str(i) for i in range(keys)]
        self.random = random.Random(seed)
        self.done = {"PROMOTE": 0, "DEMOTE": 0, "refused": 0}
        self.ending = threading.Event()
        self.start()

    def run(self):
        while not self.ending.wait(0.1):
            word = self.random.choice(("PROMOTE", "PROMOTE", "DEMOTE"))
            try:
                answer = self.random.choice(self.cluster.proxies).command("HALCYON", word, self.random.choice(self.keys), timeout=1)
            except OSError:
                continue
            self.done[word if answer == b"+OK\r\n" else "refused"] += 1

    def end(self):
        self.ending.set()
        self.join(5)
        report("keys made hot and cold:", self.done)


def longest_gap(probes, begin, end):
    """ns in which none of the probes was answered well."""
    times = sorted([begin, end] + [back for p in probes for _, back, e in p.notes if e is None and begin <= back <= end])
    return max(b - a for a, b in zip(times, times[1:]))


def ms(ns):
    return "%.0f ms" % (ns / 1e6)


def median(values):
    return sorted(values)[len(values) // 2]


def report(*words):
    say("   ", *words)

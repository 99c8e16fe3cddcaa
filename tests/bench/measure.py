"""What the measurements share: processes pinned to cores, CPU per request, interleaved rounds, medians, tables, goals."""
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import harness  # noqa: E402
from harness import Conn, check, encode, say, wait_for  # noqa: E402

SERVER_CORE, LOAD_CORE = "0", "1"


def cpu_ns(pid):
    """CPU time of all threads of a process, ns. schedstat counts in ns; stat only in ticks of 10 ms."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task), encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


def pin(pid, core=SERVER_CORE):
    subprocess.run(["taskset", "-a", "-p", "-c", core, str(pid)], check=True, capture_output=True)


class Target:
    """One competitor: a port to load, and the processes whose CPU counts."""

    def __init__(self, name, port, pids):
        self.name, self.port, self.pids = name, port, pids
        for pid in pids.values():
            pin(pid)


def load(target, pipeline, requests, clients=50, test="get", keys=100000, size=32, extra=()):
    """One round of redis-benchmark: returns requests/s, p50, p99 (ms), CPU us per request by process name."""
    before = {n: cpu_ns(p) for n, p in target.pids.items()}
    p = subprocess.run(["taskset", "-c", LOAD_CORE, "redis-benchmark", "-p", str(target.port), "-t", test, "-n", str(requests), "-c",
                        str(clients), "-P", str(pipeline), "-r", str(keys), "-d", str(size), "--csv", *extra],
                       capture_output=True, text=True, check=True, timeout=300)
    after = {n: cpu_ns(p2) for n, p2 in target.pids.items()}
    line = [x for x in p.stdout.splitlines() if x.upper().startswith('"' + test.upper()[:3])]
    check(line, "redis-benchmark said:", p.stdout, p.stderr)
    f = [x.strip('"') for x in line[-1].split(",")]
    return {"rps": float(f[1]), "p50": float(f[4]), "p99": float(f[6]),
            "cpu": {n: (after[n] - before[n]) / 1000.0 / requests for n in target.pids}}


def rounds(targets, pipeline, requests, count, **more):
    """Interleaved rounds; medians per target."""
    runs = {t.name: [] for t in targets}
    for i in range(count + 1):
        for t in targets:
            r = load(t, pipeline, requests if i else requests // 10, **more)
            if i:  # the first, short one warms up
                runs[t.name].append(r)
    out = {}
    for name, list_of in runs.items():
        out[name] = {k: statistics.median(r[k] for r in list_of) for k in ("rps", "p50", "p99")}
        out[name]["cpu"] = {n: statistics.median(r["cpu"][n] for r in list_of) for n in list_of[0]["cpu"]}
    return out


def table(title, results):
    say("\n" + title)
    say("  %-26s %12s %8s %8s   CPU us per request" % ("", "requests/s", "p50 ms", "p99 ms"))
    for name, r in results.items():
        say("  %-26s %12.0f %8.3f %8.3f   %s" % (name, r["rps"], r["p50"], r["p99"], "  ".join("%s %.3f" % x for x in r["cpu"].items())))


def goal(text, value, limit, failures, more=False):
    met = value >= limit if more else value <= limit
    say("  %-70s %6.3f  goal %s %.2f  %s" % (text, value, "at least" if more else "at most", limit, "met" if met else "MISSED"))
    if not met:
        failures.append(text)


class Twemproxy:
    """Debian's nutcracker in front of one redis-server."""

    def __init__(self, backend_port, folder):
        self.port = harness.free_block(2)
        conf = os.path.join(folder, "nutcracker.yml")
        with open(conf, "w", encoding="ascii") as f:
            f.write("bench:\n  listen: 127.0.0.1:%d\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n  servers:\n   - 127.0.0.1:%d:1\n"
                    % (self.port, backend_port))
        self.process = subprocess.Popen(["nutcracker", "-c", conf, "-s", str(self.port + 1), "-m", "16384"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_for(lambda: Conn(self.port).command("GET", "x"), 10, "nutcracker to answer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)


def fill(port, keys, size):
    c = Conn(port, timeout=60)
    batch = 1000
    for first in range(0, keys, batch):
        c.send(b"".join(encode("SET", "key:%012d" % i, "x" * size) for i in range(first, min(first + batch, keys))))
        for _ in range(first, min(first + batch, keys)):
            check(c.reply() == b"+OK\r\n", "SET failed while filling")


def stale_check(target):
    """No figure counts if a value read is not the one written last."""
    c = Conn(target.port)
    for i in range(2000):
        c.command("SET", "bench:stale", i)
        want = b"$%d\r\n%d\r\n" % (len(str(i)), i)
        check(c.command("GET", "bench:stale") == want, target.name, "served a stale value")

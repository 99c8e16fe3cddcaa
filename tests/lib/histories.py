"""Recording clients and the verdict on what they saw (docs/histories.md), for tests with real processes."""
import json
import os
import subprocess
import tempfile

from harness import Failed, check, say


class Recording:
    """Clients that run while the test does something to the cluster; `judge` ends them. Times are time.monotonic_ns()."""

    def __init__(self, build, ports, seconds, **options):
        self.build = build
        fd, self.path = tempfile.mkstemp(prefix="halcyon-history-", suffix=".json")
        os.close(fd)
        command = [os.path.join(build, "bin", "record"), "--ports", ",".join(str(p) for p in ports), "--seconds", str(seconds),
                   "--out", self.path]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.seconds = seconds
        self.figures = None
        self.lines = None

    def running(self):
        return self.process.poll() is None

    def finish(self, early=False):
        """Waits for the clients; figures of the whole recording."""
        if early:
            self.process.terminate()
        try:
            _, err = self.process.communicate(timeout=self.seconds + 60)
        except subprocess.TimeoutExpired as e:
            self.process.kill()
            raise Failed("the recording did not end") from e
        check(self.process.returncode == 0, "record said:", err)
        self.figures = json.loads(err.splitlines()[-1])
        check(self.figures["other_errors"] == 0, "an error nobody expected:", self.figures["first_error"])
        return self.figures

    def judge(self, least_ok=1000):
        """The history is linearizable, and long enough to mean something."""
        if self.figures is None:
            self.finish()
        p = subprocess.run([os.path.join(self.build, "bin", "check-history"), self.path], capture_output=True, text=True, timeout=120,
                           check=False)
        # 2: some key could not be judged within the search's budget (many unknown outcomes on it). That is no violation,
        # but most keys must have a verdict.
        decided = p.stdout.count(" linearizable by ")
        if p.returncode not in (0, 2) or decided <= p.stdout.count(" UNDECIDED "):
            raise Failed("history %s (kept):\n%s%s" % (self.path, p.stdout[:12000], p.stderr))
        say("   ", p.stdout.splitlines()[-1], self.figures)
        check(self.figures["ok"] >= least_ok, "only", self.figures["ok"], "operations succeeded")
        return self.figures

    def operations(self):
        if self.lines is None:
            with open(self.path, encoding="ascii") as f:
                self.lines = [json.loads(line) for line in f]
        return self.lines

    def writes(self, begin, end):
        """How many operations that changed something were called and answered between two times."""
        return sum(1 for o in self.operations() if o["status"] == "ok" and o["call"] >= begin and o["return"] <= end
                   and o["op"] != "GET" and not (o["op"] in ("DEL", "SETNX") and o["ret"] == 0))

    def remove(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.unlink(self.path)

"""What the wire tests share: a local cluster in a folder of its own, raw RESP connections, and checks.

Tests are programs: `python3 test_x.py --build BUILD_DIR`; they exit 0 when everything held. Ports come from
free_block, so that several tests may run at once; every wait is bounded.
"""
import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:", "bug at ")


def arguments(**extra):
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, help="build folder with bin/halcyon-node and bin/halcyon-proxy")
    for name, default in extra.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    return parser.parse_args()


def say(*words):
    print(*words, flush=True)


class Failed(Exception):
    pass


def check(condition, *words):
    """An assertion that stays on under -O and says what was wrong."""
    if not condition:
        raise Failed(" ".join(str(w) for w in words))


def free_block(count):
    """A first port P such that P .. P+count-1 are free on loopback now, and the same 1000 to 4000 above (./dev
    up puts nodes, peers and acceptors there). Below the ephemeral range, so that no outgoing connection can take one meanwhile."""
    start = (os.getpid() * 37) % 9000
    for attempt in range(200):
        first = 20000 + (start + attempt * 97) % 8000
        held = []
        try:
            for port in [first + above + i for above in (0, 1000, 2000, 3000, 4000) for i in range(count)]:
                s = socket.socket()
                held.append(s)
                s.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for s in held:
                s.close()
    raise Failed("no block of %d free ports" % count)


class Cluster:
    """A cluster started by ./dev up in a temporary folder."""

    def __init__(self, build, proxies=3, shards=2, replicas=1, workers=1, proxy_opts=(), node_opts=(), membership=None):
        """membership: builtin, static, injected; None: what ./dev up takes by itself."""
        self.dir = tempfile.mkdtemp(prefix="halcyon-test-")
        self.proxies, self.shards, self.replicas, self.workers = proxies, shards, replicas, workers
        self.port = free_block(max(proxies, shards * replicas * workers, 3))
        self.build = os.path.abspath(build)
        command = [os.path.join(ROOT, "dev"), "up", "--detach", "--build", self.build, "--dir", self.dir,
                   "--port", str(self.port), "--proxies", str(proxies), "--shards", str(shards),
                   "--replicas", str(replicas), "--workers", str(workers)]
        if membership is not None:
            command += ["--membership", membership]
        for option in proxy_opts:
            command += ["--proxy-opt", option]
        for option in node_opts:
            command += ["--node-opt", option]
        try:
            # a file, not a pipe: the daemons would hold a pipe open
            with open(os.path.join(self.dir, "up.log"), "wb") as log:
                subprocess.run(command, check=True, timeout=90, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
            with open(os.path.join(self.dir, "up.log"), encoding="utf-8", errors="replace") as log:
                text = log.read()
            self.stop()
            raise Failed("the cluster did not start: %s\n%s" % (e, text)) from e

    def ports(self):
        return [self.port + i for i in range(self.proxies)]

    def node_port(self, shard, replica=0, worker=0):
        return self.port + 1000 + (shard * self.replicas + replica) * self.workers + worker

    def pid(self, name):
        with open(os.path.join(self.dir, name, "pid"), encoding="ascii") as f:
            return int(f.read())

    def log(self, name):
        with open(os.path.join(self.dir, name, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def names(self, kind=""):
        return sorted(n for n in os.listdir(self.dir) if n.startswith(kind) and os.path.isdir(os.path.join(self.dir, n)))

    def kill(self, name, signo=signal.SIGKILL):
        os.kill(self.pid(name), signo)

    def alive(self, name):
        try:
            with open("/proc/%d/stat" % self.pid(name), encoding="ascii") as f:
                return f.read().rsplit(")", 1)[1].split()[0] != "Z"
        except (OSError, ValueError):
            return False

    def start(self, name):
        """Starts one process of the cluster again, with the configuration it had."""
        kind = name.split("-")[0]
        folder = os.path.join(self.dir, name)
        with open(os.path.join(folder, "out"), "ab") as out:
            p = subprocess.Popen([os.path.join(self.build, "bin", "halcyon-" + kind), os.path.join(folder, kind + ".conf")],
                                 stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        with open(os.path.join(folder, "pid"), "w", encoding="ascii") as f:
            f.write(str(p.pid))
        return p

    def outputs(self):
        """What the daemons printed (sanitizer reports end up here)."""
        text = ""
        for name in self.names():
            path = os.path.join(self.dir, name, "out")
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    text += "".join("%s: %s" % (name, line) for line in f)
        return text

    def stop(self):
        for name in self.names():
            with contextlib.suppress(OSError, ValueError):
                os.kill(self.pid(name), signal.SIGCONT)
        subprocess.run([os.path.join(ROOT, "dev"), "down", "--dir", self.dir], timeout=60, check=False,
                       stderr=subprocess.DEVNULL)
        text = self.outputs()
        shutil.rmtree(self.dir, ignore_errors=True)
        for word in REPORTS:
            check(word not in text, "a daemon reported:", text[:6000])

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            say("output of the daemons:", self.outputs()[-3000:])
            for name in self.names():
                with contextlib.suppress(OSError):
                    say("--- last lines of", name, "\n" + self.log(name)[-1500:])
        self.stop()


class RedisServer:
    """Debian's redis-server 7.0, as the yardstick."""

    def __init__(self, *options):
        self.dir = tempfile.mkdtemp(prefix="halcyon-redis-")
        self.port = free_block(1)
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", self.dir,
             "--bind", "127.0.0.1", "--daemonize", "no", *options], stdout=subprocess.DEVNULL)
        wait_for(lambda: Conn(self.port).command("PING") == b"+PONG\r\n", 10, "redis-server to answer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.dir, ignore_errors=True)


def wait_for(condition, seconds, what):
    """Waits until condition() is true; connection errors count as not yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > end:
            raise Failed("waited %g s in vain for %s" % (seconds, what))
        time.sleep(0.02)


def encode(*args):
    """One request as RESP multibulk."""
    out = [b"*%d\r\n" % len(args)]
    for a in args:
        a = a if isinstance(a, bytes) else str(a).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(a), a))
    return b"".join(out)


class Conn:
    """A raw connection: sends bytes, reads whole replies as the bytes they are."""

    def __init__(self, port, timeout=10.0, host="127.0.0.1", source=None):
        """source: the own address, when it matters to a filter on the way."""
        self.sock = socket.create_connection((host, port), timeout=timeout, source_address=(source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.at = 0

    def send(self, data):
        self.sock.sendall(data)

    def _more(self):
        data = self.sock.recv(1 << 20)
        if not data:
            raise ConnectionError("connection closed by the server")
        if self.at > 1 << 16:
            del self.buffer[:self.at]
            self.at = 0
        self.buffer += data

    def _line(self):
        searched = self.at
        while True:
            end = self.buffer.find(b"\r\n", searched)
            if end >= 0:
                line = bytes(self.buffer[self.at:end])
                self.at = end + 2
                return line
            back = len(self.buffer) - self.at
            self._more()
            searched = max(self.at, self.at + back - 1)

    def _exact(self, n):
        while len(self.buffer) - self.at < n:
            self._more()
        data = bytes(self.buffer[self.at:self.at + n])
        self.at += n
        return data

    def reply(self):
        """One reply, byte for byte."""
        line = self._line()
        raw = line + b"\r\n"
        kind = line[:1]
        if kind in b"$=!" and line[1:2] != b"-":
            raw += self._exact(int(line[1:]) + 2)
        elif kind in b"*~>" and line[1:2] != b"-":
            raw += b"".join(self.reply() for _ in range(int(line[1:])))
        elif kind in b"%|":
            raw += b"".join(self.reply() for _ in range(2 * int(line[1:])))
            if kind == b"|":
                raw += self.reply()
        return raw

    def expect(self, replies):
        """The next replies are these bytes."""
        got = self._exact(len(replies))
        check(got == replies, "instead of", replies[:60], "came", got[:200])

    def command(self, *args):
        self.send(encode(*args))
        return self.reply()

    def close(self):
        self.sock.close()


def run(test):
    """Runs a test's main and turns Failed into a message and exit code 1."""
    try:
        test()
    except Failed as e:
        say("FAILED:", e)
        sys.exit(1)

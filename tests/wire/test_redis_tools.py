"""redis-cli in all its modes and redis-benchmark's whole default list, against a local cluster."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Cluster, Conn, arguments, check, encode, run, say  # noqa: E402


def cli(port, *args, stdin=None, timeout=60):
    p = subprocess.run(["redis-cli", "-p", str(port), *args], input=stdin, capture_output=True, timeout=timeout, check=False)
    return p.returncode, p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")


def interactive(port):
    """A terminal session: COMMAND DOCS at start, commands, help."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        # a width, or redis-cli asks the terminal for one and waits
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
        os.environ["HOME"] = "/nonexistent"
        os.execvp("redis-cli", ["redis-cli", "-p", str(port)])
    seen = b""

    def expect(text, seconds=10):
        nonlocal seen
        end = time.monotonic() + seconds
        while text not in seen:
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            check(ready, "redis-cli's terminal did not show", text, "but", seen[-500:])
            seen += os.read(fd, 65536)
        seen = seen[seen.index(text) + len(text):]

    expect(b"> ")
    os.write(fd, b"set greeting hello\r")
    expect(b"OK")
    expect(b"> ")  # what is typed before the prompt is thrown away
    os.write(fd, b"get greeting\r")
    expect(b'"hello"')
    expect(b"> ")
    os.write(fd, b"help setex\r")
    expect(b"SETEX")
    expect(b"since")
    expect(b"> ")
    os.write(fd, b"lpush greeting x\r")
    expect(b"WRONGTYPE")
    expect(b"> ")
    os.write(fd, b"quit\r")
    os.waitpid(pid, 0)
    os.close(fd)


def modes(port):
    check(cli(port, "set", "k", "v")[1] == "OK\n", "set")
    check(cli(port, "-3", "hset", "h", "f", "v")[1] == "1\n", "hset over RESP3")
    check(cli(port, "-3", "--no-raw", "hgetall", "h")[1] == '1# "f" => "v"\n', "a RESP3 map")
    check(cli(port, "--csv", "mget", "k", "none")[1] == '"v",NULL\n', "--csv", cli(port, "--csv", "mget", "k", "none"))
    check(cli(port, "-n", "3", "set", "k3", "v")[1] == "OK\n", "select")
    check(cli(port, "-n", "3", "dbsize")[1] == "1\n", "dbsize of database 3")
    for i in range(50):
        cli(port, "rpush", "list:%d" % i, *["x"] * (i + 1)) if i < 3 else None
    bulk = b"".join(encode("SET", "scan:%d" % i, "x" * (i % 100)) for i in range(2000))
    c = Conn(port)
    c.send(bulk)
    for _ in range(2000):
        c.reply()
    names = cli(port, "--scan", "--pattern", "scan:*")[1].split()
    check(sorted(names) == sorted("scan:%d" % i for i in range(2000)), "--scan found", len(set(names)), "of 2000")
    code, out, err = cli(port, "--bigkeys")
    check(code == 0 and "Biggest string found" in out and "Biggest   list found" in out, "--bigkeys", out[-600:], err)
    code, out, err = cli(port, "--memkeys")
    check(code == 0 and "Biggest string found" in out, "--memkeys", out[-600:], err)
    p = subprocess.run(["timeout", "3", "stdbuf", "-oL", "redis-cli", "-p", str(port), "-i", "1", "--stat"], capture_output=True, text=True, check=False)
    lines = [line for line in p.stdout.splitlines() if re.match(r"\d+ +\d", line)]
    check(len(lines) >= 2 and int(lines[0].split()[0]) >= 2000, "--stat", p.stdout, p.stderr)
    p = subprocess.run(["timeout", "2", "stdbuf", "-oL", "redis-cli", "-p", str(port), "--latency", "--raw"], capture_output=True, text=True, check=False)
    check(re.search(r"\d+ \d+ [\d.]+ \d+", p.stdout), "--latency", p.stdout, p.stderr)
    code, out, _ = cli(port, "eval", "return 1", "0")
    check("ERR" in out, "EVAL is refused clearly", out)
    for refused in (["--rdb", "/dev/null"], ["--replica"]):
        p = subprocess.run(["timeout", "5", "redis-cli", "-p", str(port), *refused], capture_output=True, text=True, check=False)
        check(p.returncode not in (0, 124), refused, "must be refused at once", p.stdout, p.stderr)


def pipe(port, count):
    """--pipe: count commands, then its ECHO; then every key is there."""
    data = b"".join(encode("SET", "pipe:%d" % i, "value-%d" % i) for i in range(count))
    start = time.monotonic()
    p = subprocess.run(["redis-cli", "-p", str(port), "--pipe"], input=data, capture_output=True, timeout=120, check=False)
    out = p.stdout.decode()
    check("errors: 0, replies: %d" % count in out, "--pipe", out, p.stderr)
    say("--pipe: %d commands in %.1f s" % (count, time.monotonic() - start))
    c = Conn(port)
    for i in (0, count // 2, count - 1):
        value = b"value-%d" % i
        check(c.command("GET", "pipe:%d" % i) == b"$%d\r\n%s\r\n" % (len(value), value), "a piped key is missing:", i)
    c.command("FLUSHALL")


def benchmark(port, *args, tests=20):
    p = subprocess.run(["redis-benchmark", "-p", str(port), "-q", *args], capture_output=True, text=True, timeout=240, check=False)
    out = p.stdout.replace("\r", "\n")
    done = re.findall(r"^(.+?): [\d.]+ requests per second", out, re.M)
    check(p.returncode == 0 and len(done) >= tests and "rror" not in p.stderr, "redis-benchmark", args, "code", p.returncode, out[-2000:], p.stderr)
    say("redis-benchmark %s: %d tests" % (" ".join(args), len(done)))


def memtier_shape(ports):
    """What memtier_benchmark sends: set-up commands written together without waiting, then SET and GET."""
    c = Conn(ports[0])
    c.send(encode("SET", "memtier-1", "x" * 32) + encode("GET", "memtier-1"))
    check(c.reply() == b"+OK\r\n" and c.reply() == b"$32\r\n" + b"x" * 32 + b"\r\n", "plain")
    c = Conn(ports[0])
    c.send(encode("SELECT", "2") + encode("HELLO", "3") + encode("CLUSTER", "SLOTS") + encode("SETEX", "m", "100", "v")
           + encode("SETRANGE", "m", "1", "w") + encode("GETRANGE", "m", "0", "-1") + encode("WAIT", "0", "0"))
    check(c.reply() == b"+OK\r\n", "SELECT")
    check(c.reply().startswith(b"%7\r\n"), "HELLO 3")
    slots = c.reply()
    check(slots.startswith(b"*") and slots.count(b"127.0.0.1") == len(ports), "CLUSTER SLOTS", slots)
    check(c.reply() == b"+OK\r\n" and c.reply() == b":2\r\n" and c.reply() == b"$2\r\nvw\r\n", "SETEX SETRANGE GETRANGE")
    check(c.reply()[:1] == b":", "WAIT")
    c = Conn(ports[0])
    c.send(encode("HELLO", "2") + encode("GET", "absent"))
    check(c.reply().startswith(b"*14\r\n") and c.reply() == b"$-1\r\n", "HELLO 2")
    for port in ports:
        c = Conn(port)
        check(c.command("GET", "memtier-1").startswith(b"$32"), "any proxy serves any slot")
    # AUTH in front of HELLO, wrong and right
    c = Conn(ports[0])
    c.send(encode("CONFIG", "SET", "requirepass", "secret"))
    check(c.reply() == b"+OK\r\n", "CONFIG SET requirepass")
    d = Conn(ports[0])
    d.send(encode("GET", "memtier-1") + encode("AUTH", "secret") + encode("SELECT", "0") + encode("HELLO", "3") + encode("GET", "memtier-1"))
    check(d.reply().startswith(b"-NOAUTH") and d.reply() == b"+OK\r\n" and d.reply() == b"+OK\r\n", "AUTH, SELECT")
    check(d.reply().startswith(b"%7") and d.reply().startswith(b"$32"), "HELLO after AUTH")
    check(d.command("CONFIG", "SET", "requirepass", "") == b"+OK\r\n", "CONFIG SET requirepass ''")


def main():
    options = arguments(pipe=1000000, requests=2000)
    with Cluster(options.build) as cluster:
        port = cluster.port
        modes(port)
        interactive(port)
        pipe(port, options.pipe)
        n = str(options.requests)
        benchmark(port, "-n", n)
        benchmark(port, "-n", n, "-r", "10000")
        benchmark(port, "-n", n, "-P", "16")
        benchmark(port, "-n", n, "-3", "-r", "100")
        benchmark(port, "-n", n, "--cluster", "-r", "1000", "-t", "set,get,incr,lpush,sadd,hset,zadd,mset", tests=8)
        memtier_shape(cluster.ports())


run(main)

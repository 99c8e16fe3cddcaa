"""A proxy before a shard with three replicas, played by fake nodes: who is asked, what happens when a replica refuses,
breaks or stands still, and that the order of a connection's commands holds through all of it."""
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fake_nodes import Group  # noqa: E402
from harness import REPORTS, Conn, arguments, check, encode, free_block, run, say, wait_for  # noqa: E402

UNKNOWN = b"-UNKNOWN the outcome of this write is not known: its node went away before answering\r\n"
REFUSAL = "TRYAGAIN this replica does not serve now"


@contextlib.contextmanager
def proxy(build, group, port, *options):
    with tempfile.TemporaryDirectory(prefix="halcyon-test-") as folder:
        conf = os.path.join(folder, "proxy.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write("\n".join([group.line(), "node-workers 1", "workers 1", "bind 127.0.0.1", "port %d" % port,
                               "dir " + folder, *options, ""]))
        with open(os.path.join(folder, "out"), "w+b") as out:
            p = subprocess.Popen([os.path.join(build, "bin", "halcyon-proxy"), conf], stdout=out, stderr=out)
            try:
                wait_for(lambda: not Conn(port).command("GET", "x").startswith(b"-"), 20, "the proxy")
                wait_for(lambda: away(port) == 0, 10, "all replicas")
                yield port
            finally:
                p.terminate()
                code = p.wait(20)
                out.seek(0)
                text = out.read().decode(errors="replace")
                for word in REPORTS:
                    check(word not in text, "the proxy reported:", text[:6000])
                check(code == 0, "the proxy ended with", code, text[-3000:])


def info(port, name):
    text = Conn(port).command("INFO", "everything").decode()
    return int(re.search(name + r":(\d+)", text).group(1))


def away(port):
    return info(port, "proxy_node_workers_away")


def asked(group, *names):
    """Which replicas got commands of these names, in order."""
    return [r for r, _, _, words in group.log if words[0].upper() in names]


def spread(group, port):
    group.clear()
    clients = [Conn(port) for _ in range(6)]
    for _ in range(10):
        for c in clients:
            check(c.command("GET", "k") == b"$-1\r\n", "GET")
    check(group.served() == [20, 20, 20], "reads are not spread evenly", group.served())

    group.clear()
    for c in clients:
        for i in range(30):
            c.command("SET", "key:%d" % i, "v")
    by_key = {}
    for r, _, _, words in group.log:
        by_key.setdefault(words[1], set()).add(r)
    check(all(len(v) == 1 for v in by_key.values()), "writes of a key went to several replicas", by_key)
    check(len({min(v) for v in by_key.values()}) == 3, "all keys prefer the same replica")


def sticks(group, port):
    """Whatever is pipelined for a key sees what came before it, and goes where that went."""
    group.clear()
    c = Conn(port)
    lines = []
    for i in range(50):
        lines += [encode("SET", "p", str(i)), encode("GET", "p"), encode("INCR", "p"), encode("GET", "p")]
    c.send(b"".join(lines))
    for i in range(50):
        got = [c.reply() for _ in range(4)]
        want = [b"+OK\r\n", b"$%d\r\n%d\r\n" % (len(str(i)), i), b":%d\r\n" % (i + 1),
                b"$%d\r\n%d\r\n" % (len(str(i + 1)), i + 1)]
        check(got == want, "a pipeline out of order", i, got)
    check(len(set(asked(group, b"SET", b"GET", b"INCR"))) == 1, "a pipeline did not stick to one replica")

    # reads first, then a write: the write must not be before them
    for _ in range(30):
        c = Conn(port)
        c.command("SET", "p", "old")
        c.send(encode("GET", "p") * 20 + encode("SET", "p", "new") + encode("GET", "p"))
        got = [c.reply() for _ in range(22)]
        check(got == [b"$3\r\nold\r\n"] * 20 + [b"+OK\r\n", b"$3\r\nnew\r\n"], "a write was before reads", got)


def refusals(group, port):
    """A replica without lease: its requests go to another, unseen by the client."""
    c = [Conn(port) for _ in range(3)]
    c[0].command("SET", "k", "1")
    group.replicas[1].mode = lambda words: REFUSAL
    group.clear()
    before = info(port, "proxy_retries")
    for i in range(30):
        for x in c:
            check(x.command("SET", "k%d" % i, "v") == b"+OK\r\n", "SET")
            check(x.command("GET", "k") == b"$1\r\n1\r\n", "GET")
    check(group.served()[1] == 0 and min(group.served()[0::2]) > 20, "who served", group.served())
    check(info(port, "proxy_retries") > before, "retries are counted")

    # nobody serves: TRYAGAIN after backend-timeout; somebody serves again in time: no error
    for r in group.replicas:
        r.mode = lambda words: REFUSAL
    begin = time.monotonic()
    got = c[0].command("GET", "k")
    took = time.monotonic() - begin
    check(got.startswith(b"-TRYAGAIN") and 0.8 < took < 2.5, "nobody serves", got, took)
    check(len(group.log) < 1000, "replicas are asked without pause", len(group.log))
    timer = threading.Timer(0.3, lambda: setattr(group.replicas[2], "mode", lambda words: None))
    timer.start()
    begin = time.monotonic()
    c[0].send(encode("INCR", "n") * 20 + encode("GET", "n"))
    got = [c[0].reply() for _ in range(21)]
    check(got == [b":%d\r\n" % (i + 1) for i in range(20)] + [b"$2\r\n20\r\n"], "after a pause", got)
    check(0.2 < time.monotonic() - begin < 0.8, "the pause", time.monotonic() - begin)
    for r in group.replicas:
        r.mode = lambda words: None


def begins_to_serve(group, port):
    """Replicas that begin to serve in the middle of a pipeline: nothing of it is lost or out of order."""
    for until in range(8, 68, 3):
        group.clear()
        for r in group.replicas:
            r.mode = lambda words, until=until: REFUSAL if len(group.log) < until else None
        first, c = Conn(port), Conn(port)
        first.send(encode("GET", "k"))
        wait_for(lambda: len(group.log) >= 3, 2, "replicas to refuse")
        c.send(encode("DEL", "n") + encode("INCR", "n") * 20 + encode("GET", "n"))
        got = [c.reply() for _ in range(22)]
        check(got[1:] == [b":%d\r\n" % (i + 1) for i in range(20)] + [b"$2\r\n20\r\n"], "a pipeline", until, got)
        check(not first.reply().startswith(b"-"), "the first")
    for r in group.replicas:
        r.mode = lambda words: None


def unknown_words(group, port):
    """A node that says UNKNOWN is taken at its word; nothing is repeated."""
    c = Conn(port)
    for r in group.replicas:
        r.mode = lambda words: "UNKNOWN the outcome" if words[0] == b"INCR" else None
    group.clear()
    check(c.command("INCR", "u") == b"-UNKNOWN the outcome\r\n", "UNKNOWN")
    check(len(asked(group, b"INCR")) == 1, "a write was repeated")
    for r in group.replicas:
        r.mode = lambda words: None


def order_kept(group, port):
    """Refusals at random moments: whatever is answered without error is in the order of the connection."""
    import random
    rng = random.Random(7)
    for r in group.replicas:
        r.mode = lambda words: REFUSAL if rng.random() < 0.05 else None
    errors = 0
    for i in range(60):
        c = Conn(port)
        c.command("DEL", "o")
        c.send((encode("INCR", "o") + encode("GET", "o") + encode("GET", "o")) * 30)
        value = 0
        for _ in range(30):
            a, b, d = c.reply(), c.reply(), c.reply()
            if a.startswith(b"-"):
                check(a.startswith(b"-TRYAGAIN"), "INCR", a)
                errors += 1
            else:
                value += 1
                check(a == b":%d\r\n" % value, "an INCR out of order", i, a, value)
            for x in (b, d):
                if x.startswith(b"-TRYAGAIN"):
                    errors += 1
                    continue
                x = int(x.split(b"\r\n")[1]) if x[:3] != b"$-1" else 0
                check(x == value, "a GET out of order", i, x, value)
    say("order: %d of %d commands lost their place" % (errors, 60 * 90))
    for r in group.replicas:
        r.mode = lambda words: None


def breaks(group, port):
    """A replica dies with requests in flight: reads do not notice, writes that left are unknown, the next ones go on."""
    clients = [Conn(port) for _ in range(6)]
    clients[0].command("SET", "b", "1")
    for r in group.replicas:
        r.stand_still()
    group.clear()
    for c in clients:
        c.send(encode("GET", "b") + encode("GET", "b2"))
    writer = Conn(port)
    writer.send(encode("SET", "b3", "v") + encode("GET", "b3"))
    time.sleep(0.05)
    group.replicas[0].stop()
    for r in group.replicas[1:]:
        r.go_on()
    begin = time.monotonic()
    for c in clients:
        check([c.reply(), c.reply()] == [b"$1\r\n1\r\n", b"$-1\r\n"], "a read in flight")
    got = [writer.reply(), writer.reply()]
    check(got in ([b"+OK\r\n", b"$1\r\nv\r\n"], [UNKNOWN, b"$-1\r\n"]), "a write in flight", got)
    check(time.monotonic() - begin < 0.6, "reads waited", time.monotonic() - begin)
    longest = 0
    for i in range(100):
        for c in clients:
            begin = time.monotonic()
            check(c.command("SET", "b%d" % i, "v") == b"+OK\r\n", "a write with a dead replica")
            check(c.command("GET", "b") == b"$1\r\n1\r\n", "a read with a dead replica")
            longest = max(longest, time.monotonic() - begin)
    say("with a dead replica: longest pair %.1f ms" % (longest * 1e3))
    check(longest < 0.2, "somebody waited for a dead replica", longest)
    check(away(port) == 1, "INFO does not know of the dead replica")
    check(min(group.served()[1:]) > 200, "the load is not spread over the others", group.served())
    group.replicas[0].start()
    wait_for(lambda: away(port) == 0, 5, "the replica to be found again")
    group.clear()
    for c in [Conn(port) for _ in range(3)] * 10:
        c.command("GET", "b")
    check(group.served() == [10, 10, 10], "the replica is not used again", group.served())


def write_in_flight(group, port):
    """Writes that have left when their replica dies are unknown, and never repeated."""
    c = Conn(port)
    group.clear()
    check(c.command("INCR", "w") == b":1\r\n", "INCR")
    at = asked(group, b"INCR")[0]
    node = group.replicas[at]
    node.stand_still()
    c.send(encode("INCR", "w") * 5 + encode("GET", "w"))
    time.sleep(0.1)
    node.stop()
    got = [c.reply() for _ in range(6)]
    check(got == [UNKNOWN] * 5 + [b"$1\r\n1\r\n"], "writes in flight", got)
    check(len(asked(group, b"INCR")) == 1, "a write was repeated", asked(group, b"INCR"))
    check(c.command("INCR", "w") == b":2\r\n", "the next write")
    check(info(port, "proxy_unknown_outcomes") >= 5, "unknown outcomes are counted")
    node.start()
    wait_for(lambda: away(port) == 0, 5, "the replica to be found again")

    # a read before such a write has lost its place: asked again it could see what came after it
    node.stand_still()
    c.send(encode("INCR", "w") + encode("GET", "w") + encode("INCR", "w") + encode("GET", "w"))
    time.sleep(0.1)
    node.stop()
    got = [c.reply() for _ in range(4)]
    check(got[0] == got[2] == UNKNOWN and got[1].startswith(b"-TRYAGAIN ") and got[3] == b"$1\r\n2\r\n", "a read between writes", got)
    node.start()
    wait_for(lambda: away(port) == 0, 5, "the replica to be found again")


def stands_still(group, port):
    """A replica that says nothing: its reads go elsewhere soon, and new writes too."""
    clients = [Conn(port) for _ in range(3)]
    clients[0].command("SET", "s", "1")
    group.replicas[2].stand_still()
    begin = time.monotonic()
    for c in clients:
        c.send(encode("GET", "s"))
    for c in clients:
        check(c.reply() == b"$1\r\n1\r\n", "a read")
    say("a read of a replica that stands still: %.0f ms" % ((time.monotonic() - begin) * 1e3))
    check(time.monotonic() - begin < 0.5, "reads wait", time.monotonic() - begin)
    begin = time.monotonic()
    for i in range(50):
        check(clients[i % 3].command("SET", "s%d" % i, "x") == b"+OK\r\n", "a write")
        check(clients[i % 3].command("GET", "s") == b"$1\r\n1\r\n", "a read")
    check(time.monotonic() - begin < 0.5, "commands wait", time.monotonic() - begin)
    group.replicas[2].go_on()
    wait_for(lambda: away(port) == 0, 5, "the replica to be found again")


def scan_step(c, cursor):
    """The next cursor and the one element."""
    parts = c.command("SCAN", cursor).split(b"\r\n")
    return parts[2], parts[5]


def scans(group, port):
    """A cursor goes on at the replica that gave it; if that one died, from the beginning of another."""
    for r in group.replicas:
        r.keys = 10
    for dies in (False, True):
        c = Conn(port)
        seen, cursor = [], b"0"
        while True:
            cursor, element = scan_step(c, cursor)
            seen.append(element)
            if cursor == b"0":
                break
            c = Conn(port)  # another session, with another home
            if dies and len(seen) == 4:
                first = int(seen[0][1:2])
                group.replicas[first].stop()
        where = [s.split(b":") for s in seen]
        if not dies:
            check(len({r for r, _ in where}) == 1, "a cursor went to another replica", seen)
        last = where[-1][0]
        check({p for r, p in where if r == last} == {b"%d" % i for i in range(10)}, "a scan missed something", seen)
        if dies:
            check(len(seen) == 14 and where[0][0] != last, "a scan did not start again", seen)
            group.replicas[first].start()
            wait_for(lambda: away(port) == 0, 5, "the replica to be found again")

    # the replica refuses in the middle
    c = Conn(port)
    cursor, _ = scan_step(c, b"0")
    cursor, element = scan_step(c, cursor)
    at = int(element[1:2])
    group.replicas[at].mode = lambda words: REFUSAL
    _, element = scan_step(c, cursor)
    check(element != b"r%d:2" % at and element.endswith(b":0"), "a scan refused in the middle", element)
    group.replicas[at].mode = lambda words: None


def many_keys(group, port):
    c = Conn(port)
    for r in group.replicas:
        r.mode = lambda words, r=r: REFUSAL if r.index == 0 else None
    for _ in range(3):
        c = Conn(port)
        keys = [b"m%d" % i for i in range(20)]
        for k in keys:
            c.command("SET", k, b"v" + k)
        got = c.command("MGET", *keys)
        check(got == b"*20\r\n" + b"".join(b"$%d\r\nv%s\r\n" % (len(k) + 1, k) for k in keys), "MGET", got)
        check(c.command("DBSIZE")[:1] == b":", "DBSIZE")
        check(c.command("DEL", *keys) == b":20\r\n", "DEL")
    for r in group.replicas:
        r.mode = lambda words: None


def all_gone(group, port):
    for r in group.replicas:
        r.stop()
    c = Conn(port)
    begin = time.monotonic()
    got = [c.command("GET", "k"), c.command("SET", "k", "v")]
    check(all(g.startswith(b"-CLUSTERDOWN") for g in got), "no replica is there", got)
    check(time.monotonic() - begin < 1.5, "errors come late", time.monotonic() - begin)
    for r in group.replicas:
        r.start()
    wait_for(lambda: away(port) == 0, 5, "the replicas to be found again")
    check(c.command("SET", "k", "v") == b"+OK\r\n", "after they came back")


def closes(group, port):
    """Clients that go away while their requests wait."""
    for r in group.replicas:
        r.mode = lambda words: REFUSAL
    for _ in range(20):
        c = Conn(port)
        c.send(encode("SET", "z", "1") + encode("GET", "z") + encode("DEL", "z1", "z2"))
        time.sleep(0.005)
        c.close()
    time.sleep(0.1)
    for r in group.replicas:
        r.mode = lambda words: None
    wait_for(lambda: Conn(port).command("GET", "z") == b"$1\r\n1\r\n", 3, "what they sent to be executed")
    wait_for(lambda: info(port, "proxy_open_calls") <= 1, 3, "the calls to end")


def main():
    args = arguments()
    first = free_block(4)
    group = Group(3, first + 1)
    try:
        with proxy(args.build, group, first, "backend-timeout 1000", "backend-connect-timeout 300",
                   "backend-retry-max 40") as port:
            for test in (spread, sticks, refusals, begins_to_serve, unknown_words, order_kept, breaks, write_in_flight, stands_still,
                         scans, many_keys, all_gone, closes):
                begin = time.monotonic()
                test(group, port)
                say("%s: %.2f s" % (test.__name__, time.monotonic() - begin))
    finally:
        group.stop()


run(main)

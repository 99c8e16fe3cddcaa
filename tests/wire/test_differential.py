"""The differential test: every line of differential/*.txt on redis-server 7.0 and on a proxy, compared byte for byte."""
import glob
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Cluster, Conn, Failed, RedisServer, arguments, check, run, say  # noqa: E402
from replies import parse, split_line  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def sorted_deep(value):
    kind, inner = value
    if isinstance(inner, list):
        inner = sorted((sorted_deep(v) if isinstance(v[0], bytes) else (sorted_deep(v[0]), sorted_deep(v[1])) for v in inner), key=repr)
    return kind, inner


def numbers(value):
    kind, inner = value
    if isinstance(inner, list):
        return [numbers(v) if isinstance(v[0], bytes) else [numbers(v[0]), numbers(v[1])] for v in inner]
    try:
        return "%.10g" % float(inner)
    except ValueError:
        return (kind, inner)


def same(mode, ours, theirs):
    if mode == "unordered":
        return sorted_deep(parse(ours)) == sorted_deep(parse(theirs))
    if mode == "type":
        return ours[:1] == theirs[:1]
    if mode == "error":
        return ours[:1] == theirs[:1] == b"-" and ours.split()[0] == theirs.split()[0]
    if mode.startswith("ttl"):
        a, b = parse(ours), parse(theirs)
        return a[0] == b[0] == b":" and abs(int(a[1]) - int(b[1])) <= int(mode.split()[1])
    if mode == "float":
        return numbers(parse(ours)) == numbers(parse(theirs))
    if mode == "differs":
        return ours != theirs
    return ours == theirs


class Pair:
    """The two connections of one file."""

    def __init__(self, ours, theirs, proto):
        self.ports, self.proto = (ours, theirs), proto
        self.reconnect()

    def reconnect(self):
        self.conns = [Conn(p, timeout=20) for p in self.ports]
        self.others = None
        if self.proto == 3:
            for c in self.conns:
                c.command("HELLO", "3")

    def other(self, args):
        """On a second connection of each."""
        self.others = self.others or [Conn(p, timeout=20) for p in self.ports]
        return [c.command(*args) for c in self.others]

    def both(self, args):
        out = []
        for i, c in enumerate(self.conns):
            try:
                out.append(c.command(*args))
            except (ConnectionError, TimeoutError, OSError) as e:
                out.append(b"<%s>" % type(e).__name__.encode())
                self.conns[i] = Conn(self.ports[i], timeout=20)
        return out


def run_file(path, pair, replicas):
    count, bad, differs = 0, [], 0
    pair.both([b"FLUSHALL"])
    mode, skip = "exact", False
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        line = line.rstrip("\n")
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("@"):
            word = line[1:].split(None, 1)
            if word[0] == "flush":
                pair.both([b"FLUSHALL"])
            elif word[0] == "reconnect":
                pair.reconnect()
            elif word[0] == "other":
                ours, theirs = pair.other(split_line(word[1]))
                check(ours == theirs, path, number, line, ours, theirs)
            elif word[0] == "sleep":
                time.sleep(int(word[1]) / 1000)
            elif word[0] == "alone":
                skip = replicas > 1
            elif word[0] in ("resp2", "resp3"):
                skip = int(word[0][4]) != pair.proto
            elif word[0] in ("unordered", "type", "error", "float"):
                mode = word[0]
            elif word[0] == "ttl":
                mode = line[1:]
            elif word[0] == "differs":
                check(len(word) == 2, path, number, "@differs needs a reason")
                mode = "differs"
            else:
                raise Failed("%s:%d: unknown directive %s" % (path, number, line))
            continue
        if skip:
            mode, skip = "exact", False
            continue
        ours, theirs = pair.both(split_line(line))
        count += 1
        differs += mode == "differs"
        if not same(mode, ours, theirs):
            bad.append("%s:%d [RESP%d, %s] %s\n    halcyon: %r\n    redis:   %r" % (
                os.path.basename(path), number, pair.proto, mode, line, ours[:400], theirs[:400]))
        mode = "exact"
    return count, bad, differs


def main():
    options = arguments(only="", port=0, least=600)
    paths = sorted(glob.glob(os.path.join(HERE, "differential", "*" + options.only + "*.txt")))
    check(paths, "no lists match")
    with RedisServer() as redis:
        def against(port, replicas=1):
            total, bad, differs = 0, [], 0
            for proto in (2, 3):
                for path in paths:
                    count, wrong, intended = run_file(path, Pair(port, redis.port, proto), replicas)
                    total, bad, differs = total + count, bad + wrong, differs + intended
                    say("%-16s RESP%d  %4d lines, %d wrong" % (os.path.basename(path), proto, count, len(wrong)))
            for text in bad[:60]:
                say(text)
            say("%d comparisons (%d intended differences), %d wrong" % (total, differs, len(bad)))
            check(not bad, len(bad), "replies are not those of redis-server")
            check(options.only or total // 2 >= options.least, "only", total // 2, "lines")
        if options.port:
            against(options.port)
        else:
            with Cluster(options.build) as cluster:
                against(cluster.port)
            say("On a shard of three replicas:")
            with Cluster(options.build, shards=1, replicas=3) as cluster:
                against(cluster.port, 3)


run(main)

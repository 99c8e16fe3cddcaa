"""HSCAN, SSCAN and ZSCAN through a proxy while the replica that answers changes: nothing that stays is missed."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Conn, arguments, check, encode, run, say  # noqa: E402
from membership import InjectedCluster  # noqa: E402
from replies import parse, plain  # noqa: E402

SIZE = 20000
SCANS = {"h": "HSCAN", "s": "SSCAN", "z": "ZSCAN"}


def fill(port):
    c = Conn(port, timeout=30)
    lines = []
    for first in range(0, SIZE, 100):
        part = range(first, first + 100)
        lines += [["HSET", "h"] + [w for i in part for w in ("f%d" % i, i)], ["SADD", "s"] + ["m%d" % i for i in part],
                  ["ZADD", "z"] + [w for i in part for w in (i, "m%d" % i)]]
    c.send(b"".join(encode(*line) for line in lines))
    check(all(c.reply() == b":100\r\n" for _ in lines), "filling failed")


def step(port, key, cursor, count=700):
    """One call: next cursor, and what came (fields or members)."""
    raw = Conn(port, timeout=10).command(SCANS[key], key, cursor, "COUNT", count)
    check(raw.startswith(b"*2"), SCANS[key], "answered", raw[:200])
    cursor, items = plain(parse(raw))
    return cursor, items[::1 if key == "s" else 2]


def every_step_elsewhere(ports):
    """Each step of a scan is asked of another replica."""
    for key in SCANS:
        seen, cursor, turns = [], "0", 0
        while turns == 0 or cursor != "0":
            cursor, items = step(ports[turns % len(ports)], key, cursor)
            seen += items
            turns += 1
        check(turns > 5, SCANS[key], "took only", turns, "steps")
        check(len(set(seen)) == SIZE, SCANS[key], "saw", len(set(seen)), "of", SIZE)
        check(len(seen) < SIZE * 1.05, SCANS[key], "saw many twice:", len(seen))


def the_same_order(ports):
    for key in SCANS:
        first = [step(p, key, "0") for p in ports]
        check(all(c == first[0][0] and sorted(i) == sorted(first[0][1]) for c, i in first), SCANS[key], "differs between replicas")


def asked_for(port, name):
    """How often a node ran this command."""
    text = Conn(port).command("INFO", "commandstats").decode()
    found = re.search(r"cmdstat_%s:calls=(\d+)" % name.lower(), text)
    return int(found.group(1)) if found else 0


def half_of_each(cluster):
    """Half of each scan: key: cursor, what was seen; and which replica answered most of it."""
    before = [asked_for(cluster.node_port(0, r), n) for r in range(3) for n in SCANS.values()]
    half = {}
    for key in SCANS:
        seen, cursor = [], "0"
        while len(seen) < SIZE / 2:
            cursor, items = step(cluster.port, key, cursor)
            seen += items
        half[key] = cursor, seen
    after = [asked_for(cluster.node_port(0, r), n) for r in range(3) for n in SCANS.values()]
    grown = [sum(after[3 * r:3 * r + 3]) - sum(before[3 * r:3 * r + 3]) for r in range(3)]
    return half, grown.index(max(grown))


def finish(port, half):
    for key, (cursor, seen) in half.items():
        while cursor != "0":
            cursor, items = step(port, key, cursor)
            seen += items
        check(len(set(seen)) == SIZE, SCANS[key], "saw", len(set(seen)), "of", SIZE, "after the replica went")


def seeds_are_secret(port):
    answer = Conn(port).command("CONFIG", "GET", "hash-see*")
    check(answer == b"*0\r\n", "CONFIG GET tells the seed:", answer)


def main():
    options = arguments()
    with InjectedCluster(options.build, proxies=1) as cluster:
        fill(cluster.port)
        ports = [cluster.node_port(0, r) for r in range(3)]
        the_same_order(ports)
        every_step_elsewhere(ports)
        seeds_are_secret(ports[0])
        say("cursors are good at every replica")
        half, serving = half_of_each(cluster)
        cluster.kill_replica(serving)
        finish(cluster.port, half)
        say("scans go on after replica", serving, "died")
        cluster.rejoin_replica(serving)
        the_same_order(ports)
        every_step_elsewhere(ports)
        say("a replica that took the data over has the same order")


run(main)

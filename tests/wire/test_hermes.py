"""Replicated shards as real processes: histories of concurrent clients are linearizable, also while a replica is stopped,
killed, left out of the view, or joins; reads and writes are served where the counters say."""
import os
import re
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from harness import Cluster, Conn, arguments, check, encode, run, say, wait_for  # noqa: E402
from histories import Recording  # noqa: E402
from membership import InjectedCluster, state  # noqa: E402

DEBUG = "enable-debug-command local"
SECOND = 1000000000


def counters(cluster):
    """hermes_* of INFO, per replica."""
    out = []
    for r in range(cluster.replicas):
        text = Conn(cluster.node_port(0, r)).command("INFO", "hermes").decode()
        out.append({k: int(v) for k, v in re.findall(r"hermes_(\w+):(\d+)\r", text)})
    return out


def grown(cluster, before):
    return [{k: now[k] - then[k] for k in now} for now, then in zip(counters(cluster), before)]


def settled(cluster, seconds=10):
    """Waits until the replicas have nothing more to say to each other."""
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        now = [n["messages_received"] for n in counters(cluster)]
        if now == last:
            return
        last = now
        time.sleep(0.3)
    check(False, "replicas still exchange messages", last)


def same_digests(ports):
    def digests():
        return [Conn(p).command("DEBUG", "DIGEST") for p in ports]
    wait_for(lambda: len(set(digests())) == 1, 10, "equal digests")
    check(digests()[0].startswith(b"+") and digests()[0] != b"+%s\r\n" % (b"0" * 16), "digest", digests())


def test_history(cluster, build):
    say("  8 clients of 2 proxies, 10 s")
    before = counters(cluster)
    rec = Recording(build, cluster.ports(), 10, clients=8, keys=12, prefix="plain:")
    rec.judge(5000)
    for r, n in enumerate(grown(cluster, before)):
        check(n["reads_local"] > 500, "replica", r, "served only", n["reads_local"], "reads")
        check(n["writes_started"] > 100, "replica", r, "started only", n["writes_started"], "writes")
    rec.remove()


def test_every_replica_contended(cluster, build):
    say("  10 clients of the replicas themselves: the same keys are written at all of them")
    before = counters(cluster)
    rec = Recording(build, [cluster.node_port(0, r) for r in range(3)], 6, clients=10, keys=5, prefix="direct:")
    rec.judge(5000)
    for r, n in enumerate(grown(cluster, before)):
        check(n["reads_local"] > 500 and n["writes_done"] > 500, "replica", r, n)
    rec.remove()


def test_one_key_of_many(cluster):
    say("  one key written by many clients at once: writes join each other, none is lost, each gets its own reply")
    before = counters(cluster)
    conns = [Conn(cluster.ports()[i % 2]) for i in range(12)]
    seen = []
    for c in conns:  # the order of a connection holds: what it reads follows from what it wrote
        c.send(b"".join(encode(*w) for w in [("INCR", "many"), ("APPEND", "many:text", "x"), ("INCR", "many"), ("SET", "many:last", "1"),
                                             ("INCR", "many:last"), ("GET", "many:last"), ("LPUSH", "many", "x"), ("INCR", "many")] * 40))
    for c in conns:
        mine = []
        for _ in range(40):
            r = [c.reply() for _ in range(8)]
            mine += [int(r[k][1:]) for k in (0, 2, 7)]
            check(r[1][:1] == b":" and r[3] == b"+OK\r\n", r)
            check(int(r[4][1:]) >= 2 and int(r[5].split(b"\r\n")[1]) >= 1, r)
            check(r[6].startswith(b"-WRONGTYPE"), r)
        check(mine == sorted(mine), "a connection's INCRs went backwards")
        seen += mine
    check(sorted(seen) == list(range(1, 12 * 40 * 3 + 1)), "INCR gave a number twice, or left one out")
    check(len(Conn(cluster.port).command("GET", "many:text")) == len(b"$480\r\n") + 480 + 2, "an APPEND was lost")
    joined = sum(n["writes_joined"] for n in grown(cluster, before))
    check(joined > 500, "only", joined, "writes joined others")
    settled(cluster)
    same_digests([cluster.node_port(0, r) for r in range(3)])


def test_one_round(cluster):
    say("  a write takes one round to the others, a read none")
    n = 300
    for r in range(3):
        settled(cluster)
        before = counters(cluster)
        c = Conn(cluster.node_port(0, r))
        for i in range(n):
            check(c.command("SET", "round:%d:%d" % (r, i), i) == b"+OK\r\n", "SET at replica", r)
        settled(cluster)
        g = grown(cluster, before)
        others = [x for x in range(3) if x != r]
        check(g[r]["writes_done"] == n, "writes done", g[r])
        slack = n // 20  # sent again because the machine was slow
        check(2 * n <= g[r]["inv_sent"] <= 2 * n + slack, "INVs of", n, "writes:", g[r])
        check(2 * n <= g[r]["val_sent"] <= 2 * n + slack, "VALs of", n, "writes:", g[r])
        check(g[r]["ack_sent"] == 0, "the writer sent ACKs", g[r])
        for o in others:
            check(n <= g[o]["ack_sent"] <= n + slack, "ACKs for", n, "writes:", g[o])
            check(g[o]["inv_sent"] == 0 and g[o]["val_sent"] == 0, "a follower sent", g[o])
        before = counters(cluster)
        for o in range(3):
            c = Conn(cluster.node_port(0, o))
            for i in range(n):
                check(c.command("GET", "round:%d:%d" % (r, i)) == encode_bulk(i), "GET at replica", o)
        g = grown(cluster, before)
        check(all(x["messages_received"] == 0 for x in g), "reads cost messages", g)
        check(all(x["reads_local"] == n for x in g), "local reads", g)


def test_peer_counters(cluster):
    say("  INFO has the transport's counters")
    for r in range(3):
        text = Conn(cluster.node_port(0, r)).command("INFO", "hermes").decode()
        peer = dict(re.findall(r"peer_(\w+):(\S+)\r", text))
        check(peer["transport"] == "tcp" and peer["connected"] == "2", "transport of replica", r, peer)
        for name in ("messages_out", "messages_in", "bytes_out", "bytes_in", "sends", "receives"):
            check(int(peer[name]) > 0, "replica", r, "peer_" + name, peer)
        check(int(peer["connects"]) - int(peer["disconnects"]) == 2, "connections of replica", r, peer)
        for name in ("inline_sends", "signalled", "doorbells", "credit_sends", "credit_stalls", "registered_bytes"):
            check(peer[name] == "0", "over TCP replica", r, "has peer_" + name, peer)


def encode_bulk(value):
    text = str(value).encode()
    return b"$%d\r\n%s\r\n" % (len(text), text)


def fill_quiet(cluster):
    c = Conn(cluster.port)
    for i in range(100):
        check(c.command("SET", "quiet:%d" % i, i) == b"+OK\r\n", "SET quiet")


def read_quiet(port):
    """Keys nobody writes are read at once, whatever happens to another replica."""
    c = Conn(port, timeout=2)
    for i in range(100):
        check(c.command("GET", "quiet:%d" % i) == encode_bulk(i), "GET of a key at rest on port", port)
    c.close()


def test_stopped(cluster, build):
    say("  a replica is stopped for 5 s")
    fill_quiet(cluster)
    settled(cluster)
    ports = cluster.ports() + [cluster.node_port(0, 0), cluster.node_port(0, 1), cluster.node_port(0, 2)]
    rec = Recording(build, ports, 14, clients=10, keys=6, prefix="stop:", timeout_ms=1500)
    time.sleep(3)
    cluster.kill("node-0-1", signal.SIGSTOP)
    stopped = time.monotonic_ns()
    try:
        time.sleep(1)
        for r in (0, 2):
            read_quiet(cluster.node_port(0, r))
        time.sleep(max(0, 5 - (time.monotonic_ns() - stopped) / SECOND))
    finally:
        resumed = time.monotonic_ns()
        cluster.kill("node-0-1", signal.SIGCONT)
    f = rec.judge(3000)
    check(f["unknown"] > 0, "no write was under way when the replica stopped")
    check(rec.writes(stopped + SECOND, resumed) == 0, "a write committed without a member of the view")
    check(rec.writes(resumed + SECOND, resumed + 60 * SECOND) > 500, "writes did not resume")
    rec.remove()
    settled(cluster)
    same_digests([cluster.node_port(0, r) for r in range(3)])


def test_restart_stays_out(cluster, build):
    say("  a replica that restarts under static membership is not let in")
    read_quiet(cluster.node_port(0, 2))
    ports = cluster.ports() + [cluster.node_port(0, r) for r in range(3)]
    rec = Recording(build, ports, 9, clients=10, keys=6, prefix="restart:", timeout_ms=1000)
    time.sleep(2)
    cluster.kill("node-0-2")
    wait_for(lambda: not cluster.alive("node-0-2"), 5, "the replica to die")
    killed = time.monotonic_ns()
    time.sleep(0.5)
    cluster.start("node-0-2")
    port = cluster.node_port(0, 2)
    wait_for(lambda: Conn(port).command("PING") == b"+PONG\r\n", 10, "the restarted replica")
    for _ in range(20):
        for command in (("GET", "quiet:1"), ("SET", "quiet:1", "x"), ("DBSIZE",)):
            answer = Conn(port).command(*command)
            check(answer.startswith(b"-TRYAGAIN "), "the restarted replica answered", command, "with", answer)
        for r in (0, 1):
            read_quiet(cluster.node_port(0, r))
        time.sleep(0.1)
    wait_for(lambda: "cannot come back" in cluster.log("node-0-2"), 5, "the log to say why")
    rec.judge(1000)
    check(rec.writes(killed + SECOND, killed + 60 * SECOND) == 0, "a write committed without a member of the view")
    rec.remove()


def static(args):
    say("static membership: 3 replicas, 2 proxies")
    with Cluster(args.build, proxies=2, shards=1, replicas=3, node_opts=[DEBUG], membership="static") as cluster:
        test_history(cluster, args.build)
        test_every_replica_contended(cluster, args.build)
        test_one_round(cluster)
        test_one_key_of_many(cluster)
        test_peer_counters(cluster)
        test_stopped(cluster, args.build)
        test_restart_stays_out(cluster, args.build)


def replace_killed(cluster):
    """Kills replica 3, goes on without it, takes a new process in as a learner, then as member 4. Returns times."""
    s = cluster.service
    one, two, three = (cluster.node_port(0, r) for r in range(3))
    cluster.kill("node-0-2")
    killed = time.monotonic_ns()
    s.suspend(3)
    s.install({1: one, 2: two})
    without = time.monotonic_ns()
    check((without - killed) / SECOND < 5, "the view took", (without - killed) / SECOND, "s")
    time.sleep(2)
    cluster.start_as("node-0-2", 4)
    wait_for(lambda: Conn(three).command("PING") == b"+PONG\r\n", 10, "the new process")
    check(Conn(three).command("GET", "quiet:1").startswith(b"-TRYAGAIN "), "a node without a view serves")
    s.install({1: one, 2: two}, {4: three})
    check(Conn(three).command("GET", "quiet:1").startswith(b"-TRYAGAIN "), "a learner serves")
    wait_for(lambda: "state=catching up" not in state(three), 20, "the learner to catch up")
    check("(learner)" in state(three), "state of the learner:", state(three))
    s.install({1: one, 2: two, 4: three})
    wait_for(lambda: "state=serving" in state(three), 5, "the new member to serve")
    read_quiet(three)
    return without, time.monotonic_ns()


def stop_past_lease(cluster, others):
    """Stops replica 1 until it is out of the view; what it is asked meanwhile it must not answer from its old state.
    others: ids of the two that stay."""
    s = cluster.service
    one, two, three = (cluster.node_port(0, r) for r in range(3))
    asked = [Conn(one, timeout=5) for _ in range(4)]
    cluster.kill("node-0-0", signal.SIGSTOP)
    try:
        s.suspend(1)
        s.install({others[0]: two, others[1]: three})
        left = time.monotonic_ns()
        check(Conn(two).command("SET", "quiet:0", "new") == b"+OK\r\n", "SET in the view without the stopped replica")
        for c in asked:
            c.send(encode("GET", "quiet:0"))
        time.sleep(1)
    finally:
        cluster.kill("node-0-0", signal.SIGCONT)
    for c in asked:
        answer = c.reply()
        check(answer.startswith(b"-TRYAGAIN "), "a replica stopped past its lease answered", answer)
    check(Conn(three).command("GET", "quiet:0") == b"$3\r\nnew\r\n", "GET at the new member")
    return left


def injected(args):
    say("injected views: a replica dies, another joins, one is stopped past its lease; all under load")
    with InjectedCluster(args.build, node_opts=[DEBUG]) as cluster:
        fill_quiet(cluster)
        ports = cluster.ports() + [cluster.node_port(0, r) for r in range(3)]
        rec = Recording(args.build, ports, 60, clients=10, keys=8, prefix="views:", timeout_ms=1000)
        time.sleep(3)
        without, joined = replace_killed(cluster)
        time.sleep(3)
        left = stop_past_lease(cluster, (2, 4))
        time.sleep(3)
        ended = time.monotonic_ns()
        rec.finish(early=True)
        rec.judge(5000)
        check(rec.writes(without, without + 2 * SECOND) > 100, "writes did not go on without the dead replica")
        check(rec.writes(joined, joined + 3 * SECOND) > 100, "writes did not go on with the new member")
        check(rec.writes(left, ended) > 100, "writes did not go on without the stopped replica")
        rec.remove()
        same_digests([cluster.node_port(0, r) for r in (1, 2)])


def main():
    args = arguments()
    static(args)
    injected(args)
    check(threading.active_count() < 10, "threads left over")


if __name__ == "__main__":
    run(main)

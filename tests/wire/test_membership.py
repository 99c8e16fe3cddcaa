"""The builtin membership service in real processes: replicas and proxies that die, stop, come back or are planned to stop;
the loss of the acceptors; what does not belong together is refused."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import REPORTS, Cluster, Conn, Failed, arguments, check, encode, free_block, run, say, wait_for  # noqa: E402
from histories import Recording  # noqa: E402

START_S = 20  # until a process that was started is in the map
LEASE_MS = 400


def lease_options(build):
    """Sanitizers make everything several times slower: a lease that is long enough for them."""
    global LEASE_MS  # pylint: disable=global-statement
    LEASE_MS = 1500 if os.path.basename(os.path.abspath(build)) in ("asan", "tsan") else 400
    line = "membership-lease %d" % LEASE_MS
    return {"membership": "builtin", "node_opts": [line], "proxy_opts": [line]}


def info(port, section="membership"):
    text = Conn(port, 5).command("INFO", section).decode()
    return dict(re.findall(r"^(\w+):(.*)\r$", text, re.M))


def state(port):
    return info(port).get("membership_state")


def members(port):
    """Of the view that the replica has installed: ids, learners left out."""
    text = info(port, "hermes")["hermes_replica"]
    found = re.search(r"members=([\d/()a-z]*),", text)
    return [m for m in found.group(1).split("/") if "(" not in m] if found else []


def whole(cluster, nodes=range(3), seconds=START_S):
    """Waits until these nodes of shard 0 are members of one view and serve."""
    ports = [cluster.node_port(0, r) for r in nodes]

    def now():
        views = [members(p) for p in ports]
        serving = all("state=serving" in info(p, "hermes")["hermes_replica"] for p in ports)
        return serving and all(len(v) == len(ports) and v == views[0] for v in views)
    wait_for(now, seconds, "a view of %d members" % len(ports))


def key_of_first_worker(cluster, name):
    for i in range(64):
        if not Conn(cluster.node_port(0, 0)).command("GET", "%s%d" % (name, i)).startswith(b"-MOVED"):
            return "%s%d" % (name, i)
    raise Failed("no key is served by worker 0")


class Load(threading.Thread):
    """A client of one proxy that writes a key of its own, reads it back, and keeps score. Redis' clients retry what is
    refused; so does this one, except for -UNKNOWN, which is counted."""

    def __init__(self, port, name, pause=0.001):
        super().__init__(daemon=True)
        self.port, self.name_, self.pause = port, name, pause
        self.ending = threading.Event()
        self.done, self.unknown, self.failed, self.lost = 0, 0, [], None
        self.worst = {"GET": 0.0, "SET": 0.0}
        self.conn = None

    def _command(self, *args):
        start = time.monotonic()
        try:
            if self.conn is None:
                self.conn = Conn(self.port, 20)
            reply = self.conn.command(*args)
        except OSError as e:
            self.conn = None
            self.failed.append(str(e))
            time.sleep(0.02)
            return None
        self.worst[args[0]] = max(self.worst[args[0]], time.monotonic() - start)
        return reply

    def run(self):
        acked, maybe = None, set()
        i = 0
        while not self.ending.wait(self.pause):
            i += 1
            reply = self._command("SET", "load:" + self.name_, i)
            if reply == b"+OK\r\n":
                acked, maybe = i, set()
                self.done += 1
            elif reply is None or reply.startswith(b"-UNKNOWN"):
                maybe.add(i)
                self.unknown += reply is not None
            else:
                self.failed.append(reply)
            reply = self._command("GET", "load:" + self.name_)
            if reply is None:
                continue
            value = int(reply.split(b"\r\n")[1]) if reply[:1] == b"$" and reply[:2] != b"$-" else None
            if reply[:1] == b"-":
                self.failed.append(reply)
            elif value != acked and value not in maybe and self.lost is None:
                self.lost = "%s: read %r after an acknowledged %r" % (self.name_, value, acked)
            else:
                acked, maybe = value, maybe if value == acked else set()

    def end(self):
        self.ending.set()
        self.join(30)
        check(self.lost is None, self.lost)
        return self


def under_load(cluster, work, clients=4):
    """Runs work() while clients are at it; gives them afterwards."""
    loads = [Load(cluster.ports()[i % cluster.proxies], "c%d" % i) for i in range(clients)]
    for load in loads:
        load.start()
    time.sleep(0.3)
    try:
        work()
        time.sleep(0.3)
    finally:
        for load in loads:
            load.ending.set()
    return [load.end() for load in loads]


def report(what, loads):
    say("    %s: %d writes, worst GET %.0f ms, worst SET %.0f ms, %d unknown, %d failed" % (
        what, sum(x.done for x in loads), 1000 * max(x.worst["GET"] for x in loads),
        1000 * max(x.worst["SET"] for x in loads), sum(x.unknown for x in loads), sum(len(x.failed) for x in loads)))


def test_info(cluster):
    """What redis-py makes of INFO: it takes a comma for a list of name=value."""
    say("  INFO can be read by clients")
    for port in (cluster.port, cluster.node_port(0, 0)):
        text = Conn(port).command("INFO", "everything").decode()
        for line in text.split("\r\n"):
            value = line.partition(":")[2]
            if "," in value and "=" in value and not line.startswith("#"):
                check(all("=" in item for item in value.split(",")), "redis-py cannot read", line)


def test_kill_and_rejoin(cluster):
    say("  kill -9 of a replica: a view without it; restarted: learner, then member")
    whole(cluster)
    before = members(cluster.node_port(0, 1))

    def work():
        cluster.kill("node-0-0")
        wait_for(lambda: len(members(cluster.node_port(0, 1))) == 2, 5, "a view without the killed one")
        time.sleep(0.5)
        cluster.start("node-0-0")
        whole(cluster)
    loads = under_load(cluster, work)
    report("kill", loads)
    check(all(not x.failed for x in loads), "failed commands", [x.failed[:3] for x in loads])
    check(max(x.worst["SET"] for x in loads) < 2 + 3 * LEASE_MS / 1000, "writes stood still for", max(x.worst["SET"] for x in loads))
    after = members(cluster.node_port(0, 0))
    check(len(set(after) - set(before)) == 1 and max(map(int, after)) > max(map(int, before)), "ids", before, after)
    log = cluster.log("node-0-0")
    check("a learner" in log and "has caught up with its shard" in log, "its log does not say that it learnt")


def test_survivor(cluster):
    say("  two of three killed at once: the survivor serves")
    whole(cluster)
    c = Conn(cluster.port)
    check(c.command("SET", "survives", "yes") == b"+OK\r\n", "SET")
    # the acceptors live in the nodes: kill those two whose acceptors are not needed for a majority one after the other
    cluster.kill("node-0-1")
    wait_for(lambda: len(members(cluster.node_port(0, 0))) == 2, 5, "a view of two")
    cluster.start("node-0-1")
    wait_for(lambda: state(cluster.node_port(0, 1)) in ("learner", "member"), START_S, "the acceptor to be back")
    whole(cluster)
    cluster.kill("node-0-2")
    wait_for(lambda: len(members(cluster.node_port(0, 0))) == 2, 5, "a view of two")
    check(c.command("GET", "survives") == b"$3\r\nyes\r\n", "the value is gone")
    check(c.command("SET", "survives", "still") == b"+OK\r\n", "the survivors take no writes")
    cluster.start("node-0-2")
    whole(cluster)


def test_last_data_survives(build):
    say("  one shard of three, acceptors elsewhere: two killed at once, the survivor serves alone")
    with Cluster(build, proxies=1, shards=2, replicas=3, **lease_options(build)) as cluster:
        # acceptors are in node-0-0, node-1-0 and node-0-1: kill node-0-1 and node-0-2 (one acceptor)
        whole(cluster)
        c = Conn(cluster.port)
        keys = ["s:%d" % i for i in range(60)]
        for key in keys:
            check(c.command("SET", key, key) == b"+OK\r\n", "SET")
        start = time.monotonic()
        cluster.kill("node-0-1")
        cluster.kill("node-0-2")
        wait_for(lambda: len(members(cluster.node_port(0, 0))) == 1, 5, "a view of one")
        say("    alone after %.0f ms" % (1000 * (time.monotonic() - start)))
        for key in keys:
            want = b"$%d\r\n%s\r\n" % (len(key), key.encode())
            check(c.command("GET", key) == want, "lost", key)
            check(c.command("SET", key, "new") == b"+OK\r\n", "SET at the survivor")
        cluster.start("node-0-1")
        cluster.start("node-0-2")
        whole(cluster)
        check(c.command("GET", keys[0]) == b"$3\r\nnew\r\n", "after they came back")


def test_stopped(cluster):
    say("  SIGSTOP past the lease, requests sent into it meanwhile: no stale answer, joins anew by itself")
    whole(cluster)
    port = cluster.node_port(0, 1)
    key = key_of_first_worker(cluster, "stopped")
    c = Conn(cluster.port)
    check(c.command("SET", key, "old") == b"+OK\r\n", "SET")
    wait_for(lambda: Conn(port).command("GET", key) == b"$3\r\nold\r\n", 5, "the replica's own read")
    asked = Conn(port)
    pid = cluster.pid("node-0-1")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: len(members(cluster.node_port(0, 2))) == 2, 5, "a view without the stopped one")
        check(c.command("SET", key, "new") == b"+OK\r\n", "SET while one is stopped")
        asked.send(encode("GET", key))
    finally:
        os.kill(pid, signal.SIGCONT)
    answer = asked.reply()
    check(answer != b"$3\r\nold\r\n", "a stale answer")
    whole(cluster)
    check(int(info(port)["membership_expulsions"]) >= 1, "it was not expelled")
    check(cluster.pid("node-0-1") == pid and cluster.alive("node-0-1"), "it is another process")
    check(Conn(port).command("GET", key) == b"$3\r\nnew\r\n", "after it came back")


def test_planned_stop(cluster):
    say("  SIGTERM: the next view needs no waiting")
    whole(cluster)
    start = time.monotonic()
    cluster.kill("node-0-2", signal.SIGTERM)
    wait_for(lambda: len(members(cluster.node_port(0, 0))) == 2, 5, "a view without it")
    took = time.monotonic() - start
    wait_for(lambda: not cluster.alive("node-0-2"), 10, "it to end")
    say("    view after %.0f ms, ended after %.0f ms" % (1000 * took, 1000 * (time.monotonic() - start)))
    check("has left the cluster map" in cluster.log("node-0-2"), "it did not leave")
    cluster.start("node-0-2")
    whole(cluster)


def test_history(cluster, build):
    say("  histories while replicas are killed, stopped past their lease, restarted and planned to stop")
    whole(cluster)
    rec = Recording(build, cluster.ports(), 16, clients=8, keys=24, prefix="mh:")
    time.sleep(1)
    for r, how in ((0, signal.SIGKILL), (1, signal.SIGSTOP), (2, signal.SIGTERM), (1, signal.SIGKILL)):
        name = "node-0-%d" % r
        other = cluster.node_port(0, (r + 1) % 3)
        check(rec.running(), "the recording ended too early")
        cluster.kill(name, how)
        wait_for(lambda o=other: len(members(o)) == 2, 10, "a view without " + name)
        time.sleep(0.3)
        if how == signal.SIGSTOP:
            cluster.kill(name, signal.SIGCONT)
        else:
            wait_for(lambda n=name: not cluster.alive(n), 10, name + " to end")
            cluster.start(name)
        whole(cluster)
    rec.judge(3000)
    rec.remove()


def test_full_disk(cluster):
    say("  an acceptor whose state cannot be written does not vote, says so, and votes again when it can")
    whole(cluster)
    port = cluster.node_port(0, 0)
    path = os.path.join(cluster.dir, "node-0-0", "acceptor.state")
    os.rename(path, path + ".aside")
    os.mkdir(path)  # cannot be replaced by a file
    cluster.kill("node-0-2", signal.SIGTERM)
    wait_for(lambda: not cluster.alive("node-0-2"), 10, "it to end")
    cluster.start("node-0-2")
    wait_for(lambda: info(port, "acceptor")["acceptor_votes"] == "0", 10, "the acceptor to see that it cannot write")
    text = text_of(Conn(cluster.port).command("HALCYON", "MEMBERS"))
    check("acceptor 1 127.0.0.1:%d version" % (cluster.port + 4000) in text and "does not vote" in text, text)
    whole(cluster)  # the other two decide
    check(int(info(port, "acceptor")["acceptor_state_write_failures"]) > 0, "no failure was counted")
    os.rmdir(path)
    os.rename(path + ".aside", path)
    cluster.kill("node-0-2", signal.SIGTERM)
    wait_for(lambda: not cluster.alive("node-0-2"), 10, "it to end")
    cluster.start("node-0-2")
    whole(cluster)
    wait_for(lambda: info(port, "acceptor")["acceptor_votes"] == "1", 10, "the acceptor to vote again")


def test_all_killed(cluster):
    say("  all nodes killed at once and started again: the shard starts anew, empty, and says so")
    whole(cluster)
    check(Conn(cluster.port).command("SET", "gone", "1") == b"+OK\r\n", "SET")
    before = max(int(m) for m in members(cluster.node_port(0, 0)))
    for r in range(3):
        cluster.kill("node-0-%d" % r)
    wait_for(lambda: not any(cluster.alive("node-0-%d" % r) for r in range(3)), 5, "them to be gone")
    answer = Conn(cluster.port).command("GET", "gone")
    check(answer.startswith(b"-"), "a proxy without nodes answers", answer)
    for r in range(3):
        cluster.start("node-0-%d" % r)
    whole(cluster)
    check(min(int(m) for m in members(cluster.node_port(0, 0))) > before, "ids are used again")
    check(any("shard-0 STARTS ANEW, EMPTY" in cluster.log("node-0-%d" % r) for r in range(3)), "no log says it")
    wait_for(lambda: Conn(cluster.port).command("GET", "gone") == b"$-1\r\n", 5, "an empty shard")
    check(Conn(cluster.port).command("SET", "gone", "2") == b"+OK\r\n", "SET afterwards")


def test_rolling_restart(cluster):
    say("  rolling restart of all nodes under load: nothing fails")

    def work():
        for r in range(3):
            name = "node-0-%d" % r
            cluster.kill(name, signal.SIGTERM)
            wait_for(lambda n=name: not cluster.alive(n), 15, name + " to end")
            cluster.start(name)
            whole(cluster)
    loads = under_load(cluster, work)
    report("rolling", loads)
    check(all(not x.failed and x.unknown == 0 for x in loads), "failed commands", [(x.failed[:3], x.unknown) for x in loads])


def test_rolling_proxies(cluster):
    say("  rolling restart of the proxies: they leave their group and come back")
    for i in range(cluster.proxies):
        name = "proxy-%d" % i
        cluster.kill(name, signal.SIGTERM)
        wait_for(lambda n=name: not cluster.alive(n), 15, name + " to end")
        check("has left the cluster map" in cluster.log(name), name, "did not leave")
        other = Conn(cluster.port + (i + 1) % cluster.proxies)
        wait_for(lambda o=other: o.command("CLUSTER", "SLOTS").count(b"127.0.0.1") == cluster.proxies - 1, 5,
                 "CLUSTER SLOTS without it")
        check(other.command("CLUSTER", "SLOTS").startswith(b"*1\r\n*3\r\n:0\r\n:16383\r\n"), "all slots at those left")
        cluster.start(name)
        wait_for(lambda p=cluster.port + i: Conn(p).command("GET", "x")[:1] == b"$" and state(p) == "member", START_S,
                 name + " to serve")
        wait_for(lambda o=other: o.command("CLUSTER", "SLOTS").count(b"127.0.0.1") == cluster.proxies, 5,
                 "CLUSTER SLOTS with it again")
        check(other.command("CLUSTER", "SLOTS") == Conn(cluster.port + i).command("CLUSTER", "SLOTS"), "both say the same")


def test_no_majority(cluster):
    say("  the majority of the acceptors lost: errors within the lease time, service when they are back")
    whole(cluster)
    key = key_of_first_worker(cluster, "majority")
    check(Conn(cluster.port).command("SET", key, "1") == b"+OK\r\n", "SET")
    pids = [cluster.pid("node-0-1"), cluster.pid("node-0-2")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(1.5 * LEASE_MS / 1000)
        answer = Conn(cluster.node_port(0, 0)).command("GET", key)
        check(answer.startswith(b"-TRYAGAIN"), "a replica without a lease answers", answer)
        check(int(info(cluster.node_port(0, 0))["membership_lease_ms"]) < 0, "it says that it has a lease")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    whole(cluster)
    check(Conn(cluster.port).command("GET", key) == b"$1\r\n1\r\n", "after they are back")


def config(cluster, name):
    return os.path.join(cluster.dir, name, "node.conf")


def refused(cluster, name, words, *options, seconds=5):
    """The process ends by itself and says so."""
    binary = os.path.join(cluster.build, "bin", "halcyon-node")
    p = subprocess.run([binary, config(cluster, name), *options, "--logfile", ""], timeout=seconds, capture_output=True,
                       text=True, check=False, stdin=subprocess.DEVNULL)
    check(p.returncode != 0, name, "started with", options)
    check(words in p.stderr, "it says", p.stderr[-500:], "not", words)


def test_refused(build):
    say("  another acceptor set, a damaged state file, another cluster: refused in clear words")
    with Cluster(build, proxies=1, shards=1, replicas=3, **lease_options(build)) as cluster:
        whole(cluster)
        cluster.kill("node-0-0", signal.SIGTERM)
        wait_for(lambda: not cluster.alive("node-0-0"), 10, "it to end")
        acceptors = [str(cluster.port + 4000 + i) for i in range(3)]
        ends = ["127.0.0.1:" + p for p in acceptors]
        refused(cluster, "node-0-0", "of another set of acceptors", "--acceptors", ends[0], ends[2], ends[1])
        refused(cluster, "node-0-0", "of cluster 'halcyon', not of 'other'", "--cluster-name", "other")
        refused(cluster, "node-0-0", "must be 1, 3 or 5", "--acceptors", ends[0], ends[1])
        refused(cluster, "node-0-0", "is not one of `acceptors`", "--acceptor", "127.0.0.1:1")
        shared = os.path.join(cluster.dir, "cluster.conf")
        good = open(shared, encoding="ascii").read()
        with open(shared, "w", encoding="ascii") as f:
            f.write(good.replace("shard shard-0 auto", "shard another auto"))
        refused(cluster, "node-0-0", "not what the cluster was founded with")
        with open(shared, "w", encoding="ascii") as f:
            f.write(good)
        path = os.path.join(cluster.dir, "node-0-0", "acceptor.state")
        shutil.copy(path, path + ".good")
        data = bytearray(open(path, "rb").read())
        for at in (0, 25, len(data) // 2, len(data) - 1):
            bad = bytearray(data)
            bad[at] ^= 1
            with open(path, "wb") as f:
                f.write(bad)
            refused(cluster, "node-0-0", "is damaged")
        with open(path, "wb") as f:
            f.write(data[:len(data) // 2])
        refused(cluster, "node-0-0", "is damaged")
        shutil.copy(path + ".good", path)
        cluster.start("node-0-0")
        whole(cluster)
        # a caller of another cluster is told why, and goes on asking
        p = subprocess.Popen([os.path.join(cluster.build, "bin", "halcyon-node"), config(cluster, "node-0-0"), "--cluster-name",
                              "other", "--port", str(free_block(1)), "--acceptor", "", "--logfile", "", "--pidfile", "",
                              "--join-shard", "shard-0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            time.sleep(1)
        finally:
            p.terminate()
            text = p.communicate(timeout=15)[0]
        check("refused: this acceptor is of cluster 'halcyon', the caller of 'other'" in text, "it says", text[-800:])


def text_of(reply):
    check(reply[:1] == b"$", "not a text", reply)
    return reply.split(b"\r\n", 1)[1].decode()


def test_operators(build):
    say("  operators: a spare joins, replaces a node; a node is sent away; the last one only by force")
    with Cluster(build, proxies=1, shards=1, replicas=3, **lease_options(build)) as cluster:
        whole(cluster)
        proxy = Conn(cluster.port)
        check(proxy.command("SET", "kept", "yes") == b"+OK\r\n", "SET")
        # the proxy serves as soon as there is a map; a moment later it is in it
        node = re.compile(r"^  node \d+ 127\.0\.0\.1:\d+ member heard (\d+) ms ago$", re.M)
        wait_for(lambda: len(node.findall(text_of(proxy.command("HALCYON", "MEMBERS")))) == 4, 5, "all four to be members")
        text = text_of(proxy.command("HALCYON", "MEMBERS"))
        check(len(re.findall(r"^acceptor \d 127\.0\.0\.1:\d+ version \d+$", text, re.M)) == 3, text)
        check(re.search(r"^group proxies epoch \d+$", text, re.M), text)
        check(re.search(r"^group shard-0 epoch \d+ slots 0-16383$", text, re.M), text)
        ages = node.findall(text)
        check(len(ages) == 4 and all(int(a) < LEASE_MS for a in ages), text)
        check("map version" in text_of(Conn(cluster.node_port(0, 1)).command("HALCYON", "MEMBERS")), "a node knows it too")

        spare_port = free_block(1)
        spare_dir = os.path.join(cluster.dir, "node-spare")
        os.mkdir(spare_dir)
        with open(os.path.join(spare_dir, "node.conf"), "w", encoding="ascii") as f:
            f.write("include %s/cluster.conf\nbind 127.0.0.1\nport %d\nworkers 1\npeer-port-offset 1000\ndir %s\n"
                    "logfile %s/log\npidfile %s/pid\nspare yes\nmembership-lease %d\n" % (
                        cluster.dir, spare_port, spare_dir, spare_dir, spare_dir, LEASE_MS))
        cluster.start("node-spare")
        wait_for(lambda: "waits for an operator" in cluster.log("node-spare"), 10, "the spare to wait")
        spare = "127.0.0.1:%d" % spare_port
        first = "127.0.0.1:%d" % cluster.node_port(0, 0)
        answer = proxy.command("HALCYON", "JOIN", spare, "nowhere")
        check(answer == b"-ERR there is no such group\r\n", "JOIN of no shard", answer)
        answer = proxy.command("HALCYON", "JOIN", spare, "shard-0")
        check(answer == b"+OK\r\n", "JOIN", answer)
        wait_for(lambda: len(members(spare_port)) == 4, START_S, "four members")
        answer = proxy.command("HALCYON", "REPLACE", first, "WITH", spare)
        check(answer == b"+OK\r\n", "REPLACE", answer)
        wait_for(lambda: len(members(spare_port)) == 3, START_S, "three members")
        wait_for(lambda: "was sent away by an operator" in cluster.log("node-0-0"), 5, "the replaced one to say so")
        check(state(cluster.node_port(0, 0)) == "out", "the replaced one is", state(cluster.node_port(0, 0)))
        check(Conn(spare_port).command("GET", "kept") == b"$3\r\nyes\r\n", "the data at the new one")
        for r in (1, 2):
            answer = proxy.command("HALCYON", "LEAVE", "127.0.0.1:%d" % cluster.node_port(0, r))
            check(answer == b"+OK\r\n", "LEAVE", answer)
        wait_for(lambda: len(members(spare_port)) == 1, START_S, "one member")
        answer = proxy.command("HALCYON", "LEAVE", spare)
        check(answer.startswith(b"-ERR is the last member that has the data"), "LEAVE of the last", answer)
        check(proxy.command("GET", "kept") == b"$3\r\nyes\r\n", "it serves")
        check(proxy.command("HALCYON", "LEAVE", "77777") == b"-ERR there is no such node\r\n", "LEAVE of nobody")
        check(proxy.command("HALCYON", "LEAVE").startswith(b"-ERR HALCYON LEAVE takes"), "LEAVE without a name")
        answer = proxy.command("HALCYON", "LEAVE", spare, "FORCE")
        check(answer == b"+OK\r\n", "LEAVE FORCE", answer)
        # commands for one user only
        check(proxy.command("ACL", "SETUSER", "u", "on", ">p", "+@all", "-set", "~*") == b"+OK\r\n", "ACL SETUSER")
        other = Conn(cluster.port)
        check(other.command("AUTH", "u", "p") == b"+OK\r\n", "AUTH")
        check(other.command("HALCYON", "MEMBERS").startswith(b"-"), "anybody may ask")


class Two:
    """Two nodes and a witness, by name instead of address, and a proxy: written by hand."""

    def __init__(self, build):
        self.build = build
        self.dir = tempfile.mkdtemp(prefix="halcyon-test-")
        self.first = free_block(4)
        self.processes = {}
        acceptors = " ".join("localhost:%d" % (self.first + 4000 + i) for i in range(3))
        shared = "bind 127.0.0.1\ncluster-announce-ip localhost\nmembership builtin\nacceptors %s\n%s\n" % (
            acceptors, lease_options(build)["node_opts"][0])
        for i, extra in enumerate(("metrics-port %d\n" % (self.first + 2), "", "witness yes\n")):
            self._write("node-%d" % i, shared + "shard only auto\nport %d\npeer-port-offset 1000\nacceptor localhost:%d\n%s" % (
                self.first + 1000 + i, self.first + 4000 + i, extra))
        self._write("proxy-0", shared + "port %d\npeer-port %d\n" % (self.first, self.first + 3000))

    def _write(self, name, text):
        os.mkdir(os.path.join(self.dir, name))
        with open(os.path.join(self.dir, name, "conf"), "w", encoding="ascii") as f:
            f.write(text + "dir %s\n" % os.path.join(self.dir, name))

    def start(self, name):
        binary = os.path.join(self.build, "bin", "halcyon-" + name.split("-")[0])
        out = open(os.path.join(self.dir, name, "out"), "ab")
        self.processes[name] = subprocess.Popen([binary, os.path.join(self.dir, name, "conf")], stdout=out, stderr=out,
                                                stdin=subprocess.DEVNULL)

    def text(self, name):
        with open(os.path.join(self.dir, name, "out"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def __enter__(self):
        for name in ("node-0", "node-1", "node-2", "proxy-0"):
            self.start(name)
        return self

    def __exit__(self, kind, value, trace):
        for p in self.processes.values():
            p.terminate()
        for p in self.processes.values():
            try:
                p.wait(15)
            except subprocess.TimeoutExpired:
                p.kill()
        text = "".join(self.text(name) for name in self.processes)
        if kind is not None:
            say(text[-6000:])
        shutil.rmtree(self.dir, ignore_errors=True)
        for word in REPORTS:
            check(word not in text, "a daemon reported:", text[:6000])


def test_witness(build):
    say("  two nodes and a witness, found by name: one of the nodes dies, the other and the witness are a majority")
    with Two(build) as two:
        proxy, nodes = two.first, [two.first + 1000, two.first + 1001]
        wait_for(lambda: Conn(proxy).command("SET", "w", "1") == b"+OK\r\n", 20, "the proxy to serve")
        wait_for(lambda: len(members(nodes[0])) == 2, 20, "two members")
        witness = Conn(two.first + 1002)
        check(witness.command("PING") == b"+PONG\r\n", "the witness answers")
        check(witness.command("SET", "w", "2").startswith(b"-"), "the witness takes data")
        check(info(two.first + 1002, "acceptor")["acceptor_votes"] == "1", "the witness votes")

        def shown(line):  # numbers are published ten times a second
            with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % (two.first + 2), timeout=5) as page:
                return re.search("^%s$" % line, page.read().decode(), re.M) is not None
        for line in ("halcyon_membership_acceptors_reachable 3", "halcyon_membership_acceptors 3", "halcyon_acceptor_votes 1",
                     "halcyon_acceptor_state_write_failures_total 0", r"halcyon_membership_lease_milliseconds \d+"):
            wait_for(lambda what=line: shown(what), 5, "/metrics to say " + line)
        for i in (0, 1):
            two.processes["node-%d" % i].kill()
            two.processes["node-%d" % i].wait(5)
            wait_for(lambda n=nodes[1 - i]: len(members(n)) == 1, 5, "the other alone")
            wait_for(lambda: Conn(proxy).command("GET", "w") == b"$1\r\n1\r\n", 5, "its data")
            check(Conn(proxy).command("SET", "w", "1") == b"+OK\r\n", "its writes")
            two.start("node-%d" % i)
            wait_for(lambda n=nodes[1 - i]: len(members(n)) == 2, 20, "two members again")


def main():
    options = arguments()
    build = os.path.abspath(options.build)
    with Cluster(build, proxies=2, shards=1, replicas=3, workers=2, **lease_options(build)) as cluster:
        whole(cluster)
        test_info(cluster)
        test_kill_and_rejoin(cluster)
        test_planned_stop(cluster)
        test_stopped(cluster)
        test_survivor(cluster)
        test_history(cluster, build)
        test_full_disk(cluster)
        test_rolling_restart(cluster)
        test_rolling_proxies(cluster)
        test_no_majority(cluster)
        test_all_killed(cluster)
    test_last_data_survives(build)
    test_operators(build)
    test_witness(build)
    test_refused(build)


if __name__ == "__main__":  # test_etcd.py takes the cases from here
    run(main)

"""Commands whose result depends on chance, a clock or the order of floating-point sums leave all replicas of a shard with the
same value, whichever replica coordinates them."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Cluster, Conn, arguments, check, run, say, wait_for  # noqa: E402
from replies import split_line  # noqa: E402

MEMBERS = " ".join("m%d" % i for i in range(100))
FIELDS = " ".join("f%d 0.1" % i for i in range(100))
ENTRIES = 300
ZERO = "0" * 16

# What is there before, the command, and how often it is run at each replica and through the proxy. k is the key.
CASES = [
    ("SADD k " + MEMBERS, "SPOP k", 5),
    ("SADD k " + MEMBERS, "SPOP k 7", 3),
    ("SADD k " + " ".join(str(i) for i in range(400)), "SPOP k 20", 4),  # integers
    ("SADD k " + " ".join("member-%d" % i for i in range(3000)), "SPOP k 100", 4),  # a table
    ("SADD k " + MEMBERS, "SPOP k 1000", 1),
    ("SET k 10.5", "INCRBYFLOAT k 0.1", 20),
    ("SET k 3", "INCRBYFLOAT k 1e-7", 20),
    ("HSET k " + FIELDS, "HINCRBYFLOAT k f1 0.1", 20),
    ("HSET k " + FIELDS, "HINCRBYFLOAT k new -3.3333", 20),
    ("GEOADD k 1 1 a", "GEOADD k 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", 1),
    ("GEOADD k 1 1 a", "GEOADD k CH 13.361388 38.115557 a", 1),
    ("ZADD k 1 a", "ZINCRBY k 0.1 a", 20),
    ("ZADD k 1 a", "ZADD k INCR 0.3 a", 20),
    ("SET k v", "EXPIRE k 1000", 2),
    ("SET k v", "PEXPIRE k 1000000", 2),
    ("HSET k f v", "EXPIRE k 1000 NX", 1),
    ("SET k v EX 10", "EXPIRE k 2000 GT", 1),
    ("SET k v", "EXPIREAT k 99999999999", 1),
    ("SET k v EX 100", "PERSIST k", 1),
    ("SET k v", "EXPIRE k -1", 1),
    ("SET k v", "SET k w EX 1000", 2),
    ("SET k v", "SET k w PX 1000000", 2),
    ("SET k v EX 1000", "SET k w KEEPTTL", 1),
    ("SET k v", "SETEX k 1000 w", 2),
    ("SET k v", "PSETEX k 1000000 w", 2),
    ("SET k v", "GETEX k EX 1000", 2),
    ("SET k v EX 1000", "GETEX k PERSIST", 1),
    ("SET k v", "GETDEL k", 1),
    ("XADD k 1-1 f v", "XADD k * f v", 20),
    ("XADD k 1-1 f v", "XADD k 5-* f v", 20),
    ("XADD k 1-1 f v", "XADD k MAXLEN ~ 10 * f v", 60),
    ("XADD k 1-1 f v", "XADD k MAXLEN 3 * f v", 20),
    ("XADD k 1-1 f v", "XADD k NOMKSTREAM * f v", 5),
    ("XADDS", "XTRIM k MAXLEN ~ 5", 1),
    ("XADDS", "XTRIM k MINID = 250", 1),
    ("RPUSH k " + MEMBERS, "LMPOP 1 k LEFT COUNT 7", 2),
    ("RPUSH k " + MEMBERS, "RPOP k 3", 3),
    ("ZADD k " + " ".join("%d m%d" % (i % 7, i) for i in range(300)), "ZMPOP 1 k MIN COUNT 9", 3),
    ("ZADD k " + " ".join("%d m%d" % (i % 7, i) for i in range(300)), "ZPOPMAX k 9", 3),
    ("PFADD k a b c", "PFADD k d e f g", 1),
    ("SET k abc", "SETRANGE k 5000 x", 1),
    ("SET k abc", "BITFIELD k INCRBY i5 100 1 OVERFLOW SAT INCRBY u3 200 6", 9),
    ("DUMPED", "RESTORE k 1000000 DUMP REPLACE", 2),
]


def prepare(conn, key, setup):
    conn.command("DEL", key)
    if setup == "XADDS":
        for i in range(1, ENTRIES + 1):
            conn.command("XADD", key, "%d-1" % i, "f", "v%d" % i)
        return None
    if setup == "DUMPED":
        conn.command("HSET", key, "a", "1", "b", "2")
        return conn.command("DUMP", key).split(b"\r\n", 1)[1][:-2]
    answer = conn.command(*(key.encode() if w == b"k" else w for w in split_line(setup)))
    check(not answer.startswith(b"-"), setup, answer)
    return None


def digests(nodes, key):
    return [c.command("DEBUG", "DIGEST-VALUE", key).split(b"\r\n")[1][1:].decode() for c in nodes]


def agreed(nodes, key):
    """The digest on which all replicas agree (they have it a moment after the answer)."""
    wait_for(lambda: len(set(digests(nodes, key))) == 1, 5, "replicas to agree on " + key)
    return digests(nodes, key)[0]


def one_case(number, case, nodes, proxy):
    setup, line, times = case
    key = "case:%d" % number
    dump = prepare(proxy, key, setup)
    before = agreed(nodes, key)
    check(before != ZERO, "nothing was there:", setup)
    words = [{b"k": key.encode(), b"DUMP": dump}.get(w, w) for w in split_line(line)]
    changed = 0
    for _ in range(times):
        for conn in [*nodes, proxy]:
            answer = conn.command(*words)
            if b"which a replicated shard cannot do yet" in answer:
                say("  not yet in a replicated shard:", line)
                return 0
            check(not answer.startswith(b"-"), line, "answered", answer[:200])
            after = agreed(nodes, key)
            changed += after != before
            before = after
    check(changed >= 1, line, "never changed anything")
    return changed


def expired(nodes, proxy):
    """A key that expires is gone everywhere, whoever noticed."""
    for i, conn in enumerate([*nodes, proxy]):
        for key, words in (("e:%d" % i, ["SET", "e:%d" % i, "v", "PX", "60"]), ("f:%d" % i, ["PSETEX", "f:%d" % i, "60", "v"])):
            check(conn.command(*words) == b"+OK\r\n", words)
            check(agreed(nodes, key) != ZERO, "expired at once:", key)
    time.sleep(0.1)
    for i in range(4):
        for key in ("e:%d" % i, "f:%d" % i):
            check(proxy.command("GET", key) == b"$-1\r\n", "not expired:", key)
            check(agreed(nodes, key) == ZERO, "not gone:", key)


def main():
    options = arguments()
    with Cluster(options.build, proxies=1, shards=1, replicas=3, node_opts=["enable-debug-command local"]) as cluster:
        nodes = [Conn(cluster.node_port(0, r)) for r in range(3)]
        proxy = Conn(cluster.port)
        changes = sum(one_case(i, case, nodes, proxy) for i, case in enumerate(CASES))
        expired(nodes, proxy)
        whole = {c.command("DEBUG", "DIGEST") for c in nodes}
        check(len(whole) == 1, "the stores differ", whole)
        say(len(CASES), "commands at each replica and through a proxy:", changes, "changes, after each all replicas are the same")


run(main)

"""redis-py (Debian's), node-redis and ioredis (npm's current) with their defaults, and 1,000 connections."""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Cluster, Conn, arguments, check, encode, run, say  # noqa: E402

import redis  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def redis_py(port):
    r = redis.Redis(port=port, client_name="wire-test")
    check(r.set("py:a", "b") and r.get("py:a") == b"b" and r.get("py:none") is None, "set and get")
    check(r.client_getname() == "wire-test", "client_name")
    check(r.set("py:e", b"") and r.get("py:e") == b"", "an empty value")
    binary = bytes(range(256)) * 3
    check(r.set(binary, binary) and r.get(binary) == binary, "binary key and value")
    with r.pipeline(transaction=False) as p:
        for i in range(10000):
            p.set("py:p:%d" % i, i)
            p.get("py:p:%d" % i)
        out = p.execute()
    check(out[0::2] == [True] * 10000 and out[1::2] == [b"%d" % i for i in range(10000)], "pipeline of 20,000 commands")
    check(r.mset({"py:m1": 1, "py:m2": 2}) and r.mget("py:m1", "py:none", "py:m2") == [b"1", None, b"2"], "mset, mget")
    check(r.delete("py:m1", "py:m2", "py:none") == 2 and r.exists("py:m1", "py:a", "py:a") == 2, "delete, exists")
    size = 1
    while size <= 64 << 20:
        value = os.urandom(min(size, 4096)) * (size // min(size, 4096))
        r.set("py:big", value)
        check(r.get("py:big") == value, "a value of", size, "bytes")
        check(r.strlen("py:big") == size, "strlen")
        size *= 8
    r.set("py:big", b"x" * (64 << 20))
    check(len(r.get("py:big")) == 64 << 20, "64 MiB")
    r.delete("py:big")
    check({k for k in r.scan_iter("py:p:*", count=500)} == {b"py:p:%d" % i for i in range(10000)}, "scan_iter")
    five = redis.Redis(port=port, db=5)
    check(five.get("py:a") is None and five.set("py:a", "5") and five.dbsize() == 1 and r.get("py:a") == b"b", "databases")
    five.flushdb()
    check(five.dbsize() == 0 and r.get("py:a") == b"b", "flushdb")
    try:
        r.lpush("py:a", 1)
        check(False, "lpush on a string must fail")
    except redis.ResponseError as e:
        check("WRONGTYPE" in str(e), e)
    info = r.info()
    check(info["redis_mode"] in ("standalone", "cluster") and info["connected_clients"] >= 1 and info["role"] == "master", "info")
    check(r.hset("py:h", mapping={"a": 1, "b": 2}) == 2 and r.hgetall("py:h") == {b"a": b"1", b"b": b"2"}, "hash")
    check(r.zadd("py:z", {"m": 1.5}) == 1 and r.zrange("py:z", 0, -1, withscores=True) == [(b"m", 1.5)], "sorted set")
    say("redis-py", redis.__version__, "ok")


def connections(port, count):
    conns = [Conn(port) for _ in range(count)]
    for i, c in enumerate(conns):
        c.send(encode("SET", "conn:%d" % i, i) + encode("GET", "conn:%d" % i))
    for i, c in enumerate(conns):
        check(c.reply() == b"+OK\r\n" and c.reply() == b"$%d\r\n%d\r\n" % (len(str(i)), i), "connection", i)
    for c in conns:
        c.close()
    say(count, "connections ok")


def node_libraries(port, build):
    where = os.path.join(build, "npm")
    os.makedirs(where, exist_ok=True)
    shutil.copy(os.path.join(HERE, "clients", "package.json"), where)
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < 20:
        # Debian 12's own node is 18; today's libraries want 20. The ones before them are what it can run.
        say("node", version.strip(), "is too old for the libraries' current versions: their last ones for it are tested")
        with open(os.path.join(where, "package.json"), "w", encoding="ascii") as f:
            json.dump({"name": "halcyon-client-tests", "private": True, "dependencies": {"ioredis": "^5.0.0", "redis": "^5.0.0"}}, f)
    if not os.path.isdir(os.path.join(where, "node_modules", "redis")):
        p = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], cwd=where,
                           capture_output=True, text=True, timeout=200, check=False)
        check(p.returncode == 0, "npm install:", p.stdout[-1000:], p.stderr[-1000:])
    for script in ("node_redis.mjs", "ioredis.mjs"):
        p = subprocess.run(["node", os.path.join(HERE, "clients", script), str(port), where], capture_output=True, text=True,
                           timeout=120, check=False)
        check(p.returncode == 0, script, p.stdout[-2000:], p.stderr[-3000:])
        say(p.stdout.strip())


def main():
    options = arguments(only="")
    with Cluster(options.build, proxies=2, workers=2) as cluster:
        if options.only in ("", "py"):
            redis_py(cluster.port)
        if options.only in ("", "conns"):
            connections(cluster.port, 1000)
        if options.only in ("", "node"):
            node_libraries(cluster.port, os.path.abspath(options.build))


run(main)

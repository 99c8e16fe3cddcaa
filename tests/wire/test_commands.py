"""COMMAND INFO, DOCS, GETKEYS and GETKEYSANDFLAGS of proxy and node against redis-server 7.0, for every command that we have."""
import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Cluster, Conn, RedisServer, arguments, check, run, say  # noqa: E402
from replies import parse, plain, split_line  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))

# What differs on purpose, and why. A command: only there; "": everywhere.
INTENDED = {
    "docs": {
        "summary": "our own words",
        "complexity": "what it costs here, in our own words; there whenever Redis has one",
        "history": "the history of another product: all of it has been there from the start",
        "argument.since": "likewise",
        "argument.deprecated_since": "likewise",
        "doc_flags.syscmd": "the group says it",
    },
    "info": {
        "notes": "prose about a key spec",
    },
    "commands": {
        "command|getkeys": "says its arguments; 7.0 forgot them",
        "command|getkeysandflags": "says its arguments; 7.0 forgot them",
    },
    "keys": {  # lines for which Redis' answer has another form
        r"PFMERGE \S+$": "of one key is allowed, but 7.0 cannot tell its key",
        "DEBUG SLEEP": "has no keys among others that have",
        r"XREAD STREAMS \S+ \S+ 0$": "is unbalanced: refused here, 7.0 takes half of it",
    },
}
EXTRA = {"client": "CLIENT SETINFO: 7.2, for client libraries that send it", "hotkeys": "8.6 and Valkey 9, and our TOP"}


def arguments_of(arg):
    arg = dict(arg)
    arg.pop("since", None)
    arg.pop("deprecated_since", None)
    arg["flags"] = sorted(arg.get("flags", []))
    arg["arguments"] = [arguments_of(a) for a in arg.get("arguments", [])]
    return arg


def docs(conn):
    """name: what COMMAND DOCS says of it, subcommands too."""
    def add(commands, out):
        for name, doc in commands.items():
            doc = dict(doc)
            add(doc.pop("subcommands", {}), out)
            doc["arguments"] = [arguments_of(a) for a in doc.get("arguments", [])]
            doc["doc_flags"] = sorted(set(doc.get("doc_flags", [])) - {"syscmd"})
            out[name] = doc
        return out
    return add(plain(parse(conn.command("COMMAND", "DOCS"))), {})


def infos(conn, names):
    def add(rows, out):
        for row in rows:
            name, arity, flags, first, last, step, categories, tips, specs, subs = row
            specs = [{k: v for k, v in s.items() if k != "notes"} | {"flags": sorted(s["flags"])} for s in specs]
            out[name] = {"arity": arity, "flags": sorted(flags), "keys": (first, last, step), "categories": sorted(categories),
                         "tips": sorted(tips), "specs": specs}
            add(subs, out)
        return out
    return add([row for row in plain(parse(conn.command("COMMAND", "INFO", *names))) if row], {})


def compare(what, ours, theirs, fields):
    bad = []
    for name in sorted(set(ours) & set(theirs)):
        for field in fields:
            a, b = ours[name].get(field), theirs[name].get(field)
            if a != b and not (field == "arguments" and name in INTENDED["commands"]):
                bad.append("%s %s, %s:\n    halcyon: %s\n    redis:   %s" % (what, name, field, a, b))
    return bad


def tables(port, redis):
    ours, theirs = Conn(port), Conn(redis)
    for c in (ours, theirs):
        c.command("HELLO", "3")
    a, b = docs(ours), docs(theirs)
    more = set(a) - set(b)
    check({n.split("|")[0] for n in more} == set(EXTRA), "commands that Redis has not:", more)
    bad = compare("DOCS", a, b, ["since", "group", "deprecated_since", "replaced_by", "doc_flags", "arguments"])
    bad += ["DOCS %s: no %s" % (n, f) for n in set(a) & set(b) for f in ("summary", "complexity") if b[n].get(f) and not a[n].get(f)]
    tops = [n for n in a if "|" not in n]
    c, d = infos(ours, tops), infos(theirs, tops)
    check(set(c) == set(a), "INFO and DOCS have other commands:", set(c) ^ set(a))
    bad += compare("INFO", c, d, ["arity", "flags", "keys", "categories", "tips", "specs"])
    return len(set(a) & set(b)), bad


def keys_of_lines(port, redis):
    """GETKEYS of every line of the differential lists; a command that we have not is none there either."""
    ours, theirs = Conn(port), Conn(redis)
    have = {plain(parse(ours.command("COMMAND", "LIST")))[i] for i in range(plain(parse(ours.command("COMMAND", "COUNT"))))}
    count, bad, seen = 0, [], set()
    for path in sorted(glob.glob(os.path.join(HERE, "differential", "*.txt"))):
        for line in open(path, encoding="utf-8"):
            line = line.rstrip("\n")
            if not line or line[0] in "#@" or line in seen:
                continue
            seen.add(line)
            args = split_line(line)
            if args[0].decode(errors="replace").lower() not in have:
                continue
            for form in ("GETKEYS", "GETKEYSANDFLAGS"):
                a, b = (c.command("COMMAND", form, *args) for c in (ours, theirs))
                count += 1
                if a != b and not any(re.match(i, line) for i in INTENDED["keys"]):
                    bad.append("%s %s\n    halcyon: %r\n    redis:   %r" % (form, line, a[:300], b[:300]))
    return count, bad


def main():
    options = arguments()
    with RedisServer() as redis, Cluster(options.build, proxies=1, shards=1) as cluster:
        for what, port in (("proxy", cluster.port), ("node", cluster.node_port(0))):
            count, bad = tables(port, redis.port)
            lines, wrong = keys_of_lines(port, redis.port)
            for text in (bad + wrong)[:60]:
                say(text)
            say("%s: %d commands and %d key questions compared, %d wrong" % (what, count, lines, len(bad) + len(wrong)))
            check(not bad and not wrong, "not as redis-server")
            check(count > 250 and lines > 3000, "too little was compared")


run(main)

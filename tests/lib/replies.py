"""Requests as redis-cli writes them, and replies as values."""


def split_line(line):
    """redis-cli quoting: "..." with \\n \\r \\t \\a \\b \\xHH \\" \\\\, '...' with \\', bare words."""
    args, i, n = [], 0, len(line)
    while i < n:
        if line[i].isspace():
            i += 1
            continue
        word = bytearray()
        quote = line[i] if line[i] in "\"'" else None
        if quote:
            i += 1
            while i < n and line[i] != quote:
                if quote == '"' and line[i] == "\\" and i + 1 < n:
                    i += 1
                    if line[i] == "x" and i + 2 < n:
                        word += bytes([int(line[i + 1:i + 3], 16)])
                        i += 2
                    else:
                        word += {"n": b"\n", "r": b"\r", "t": b"\t", "a": b"\a", "b": b"\b"}.get(line[i], line[i].encode())
                elif quote == "'" and line[i] == "\\" and line[i + 1:i + 2] == "'":
                    i += 1
                    word += b"'"
                else:
                    word += line[i].encode()
                i += 1
            i += 1
        else:
            while i < n and not line[i].isspace():
                word += line[i].encode()
                i += 1
        args.append(bytes(word))
    return args


def parse(raw):
    """A reply as nested (kind, value), for comparisons that are not byte by byte. Kinds of nothing: $-1, *-1, _."""
    def one(at):
        end = raw.index(b"\r\n", at)
        kind, rest = raw[at:at + 1], raw[at + 1:end]
        at = end + 2
        if kind in b"$=!" and not rest.startswith(b"-"):
            size = int(rest)
            return (kind, raw[at:at + size]), at + size + 2
        if kind in b"*~>" and not rest.startswith(b"-"):
            items = []
            for _ in range(int(rest)):
                item, at = one(at)
                items.append(item)
            return (kind, items), at
        if kind == b"%":
            items = []
            for _ in range(int(rest)):
                k, at = one(at)
                v, at = one(at)
                items.append((k, v))
            return (kind, items), at
        if kind in b"$*" and rest == b"-1":
            return (kind + b"-1", b""), at
        return (kind, rest), at
    return one(0)[0]


def plain(value):
    """What parse gave as str, int, list and dict (a set is a list)."""
    kind, inner = value
    if kind == b"%":
        return {plain(k): plain(v) for k, v in inner}
    if isinstance(inner, list):
        return [plain(v) for v in inner]
    if kind in (b"$-1", b"*-1", b"_"):
        return None
    return int(inner) if kind == b":" else inner.decode(errors="replace")

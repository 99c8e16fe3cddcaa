"""A random mix of commands over all types, the same for the same seed, whose outcome is a function of the commands before:
no clock (expiry far away, or past), no chance."""
import random

FAR_MS = 4102444800000  # 2100


class Unit:
    """What is sent together: one command, or a transaction. Of an unknown outcome: all of it or nothing (atomic), else each key
    for itself."""

    def __init__(self, lines, keys, atomic=True):
        self.lines, self.keys, self.atomic = lines, keys, atomic

    def parts(self):
        """What is done or not each for itself."""
        if self.atomic:
            return [self]
        words = self.lines[0]
        step = 2 if words[0] == "MSET" else 1
        return [Unit([[words[0], *words[i:i + step]]], [words[i]]) for i in range(1, len(words), step)]


class Mix:
    TAGS = "abcdefgh"
    TYPES = ("string", "hash", "list", "set", "zset", "hll", "geo", "stream")

    def __init__(self, seed, multikey=True, transactions=True):
        self.r = random.Random(seed)
        self.multikey, self.transactions = multikey, transactions
        self.stream_id = 0

    # pieces

    def key(self, kind, tag=None):
        """Mostly a key of this type; sometimes one that is of another, for the errors. (Never a HyperLogLog, which a string's
        command would break: whether PFCOUNT notices depends on whether the count is stored.)"""
        if self.r.random() < 0.03:
            kind = self.r.choice([t for t in self.TYPES if t != "hll"])
        return "{%s}%s%d" % (tag or self.tag, kind, self.r.randrange(4))

    def n(self, top=20):
        return self.r.randrange(top)

    def word(self):
        return "w%d" % self.n(60) if self.r.random() < 0.95 else "x" * self.r.choice((65, 300))

    def number(self):
        return self.r.choice((self.n(), -self.n(), self.n() / 8, "%de%d" % (self.n(9) + 1, self.n(4))))

    def some(self, make, most=6):
        count = self.n(most) + 1 if self.r.random() < 0.98 else 200
        return [w for _ in range(count) for w in make()]

    def bounds(self):
        a, b = sorted((self.n() - 4, self.n()))
        return a, b

    # one command of a type: its words after the key

    def string(self):
        r = self.r
        return r.choice((
            lambda: ["SET", self.word()], lambda: ["SET", self.n(), *r.choice(([], ["NX"], ["XX"], ["GET"], ["KEEPTTL"], ["EX", 100000],
                                                                               ["PXAT", FAR_MS + self.n()]))],
            lambda: ["APPEND", self.word()], lambda: ["INCR"], lambda: ["DECRBY", self.n()], lambda: ["INCRBYFLOAT", self.n() / 8],
            lambda: ["SETRANGE", self.n(400), self.word()], lambda: ["GETSET", self.n()], lambda: ["GETDEL"], lambda: ["GETEX", "PERSIST"],
            lambda: ["GETEX", "PXAT", FAR_MS], lambda: ["SETEX", 100000, self.word()], lambda: ["SETNX", self.word()],
            lambda: ["SETBIT", self.n(900), self.n(2)], lambda: ["BITFIELD", "OVERFLOW", r.choice(("WRAP", "SAT", "FAIL")), "INCRBY", "u5", self.n(100), self.n()],
            lambda: ["BITCOUNT"], lambda: ["GET"], lambda: ["GETRANGE", *self.bounds()], lambda: ["STRLEN"]))()

    def hash(self):
        field = lambda: ["f%d" % self.n(300), self.word()]
        return self.r.choice((
            lambda: ["HSET", *self.some(field)], lambda: ["HSET", *self.some(field)], lambda: ["HDEL", *self.some(lambda: ["f%d" % self.n(300)])],
            lambda: ["HINCRBY", "n%d" % self.n(9), self.n() - 9], lambda: ["HINCRBYFLOAT", "n%d" % self.n(9), self.n() / 4],
            lambda: ["HSETNX", *field()], lambda: ["HGETALL"], lambda: ["HMGET", *self.some(lambda: ["f%d" % self.n(300)])], lambda: ["HLEN"]))()

    def list(self):
        word = lambda: [self.word()]
        r = self.r
        return r.choice((
            lambda: ["LPUSH", *self.some(word)], lambda: ["RPUSH", *self.some(word)], lambda: ["LPUSHX", self.word()], lambda: ["RPUSHX", self.word()],
            lambda: ["LPOP", *r.choice(([], [self.n()]))], lambda: ["RPOP", *r.choice(([], [self.n()]))], lambda: ["LSET", self.n() - 9, self.word()],
            lambda: ["LINSERT", r.choice(("BEFORE", "AFTER")), self.word(), self.word()], lambda: ["LREM", self.n(5) - 2, self.word()],
            lambda: ["LTRIM", self.n(3), -1 - self.n(3)], lambda: ["LRANGE", *self.bounds()], lambda: ["LPOS", self.word()]))()

    def set(self):
        member = lambda: [self.r.choice((self.n(600), self.n(600), self.word()))]
        return self.r.choice((
            lambda: ["SADD", *self.some(member)], lambda: ["SADD", *self.some(lambda: [self.n(3000)])], lambda: ["SREM", *self.some(member)],
            lambda: ["SISMEMBER", *member()], lambda: ["SCARD"], lambda: ["SMISMEMBER", *self.some(member)],
            lambda: ["SPOP", 100000] if self.n(6) == 0 else ["SCARD"]))()

    def zset(self):
        pair = lambda: [self.number(), self.word()]
        r = self.r
        return r.choice((
            lambda: ["ZADD", *r.choice(([], [], ["NX"], ["XX"], ["GT", "CH"], ["LT"])), *self.some(pair)], lambda: ["ZADD", *self.some(pair)],
            lambda: ["ZINCRBY", self.number(), self.word()], lambda: ["ZADD", "INCR", self.number(), self.word()],
            lambda: ["ZREM", *self.some(lambda: [self.word()])], lambda: [r.choice(("ZPOPMIN", "ZPOPMAX")), self.n(4)],
            lambda: ["ZREMRANGEBYRANK", self.n(), self.n()], lambda: ["ZREMRANGEBYSCORE", *self.bounds()],
            lambda: ["ZREMRANGEBYLEX", "-", "+"] if self.n(6) == 0 else ["ZCARD"], lambda: ["ZRANGE", *self.bounds(), "BYSCORE"], lambda: ["ZRANK", self.word()]))()

    def hll(self):
        return ["PFADD", *self.some(lambda: ["e%d" % self.n(100000)], 30)] if self.n(5) else ["PFCOUNT"]

    def geo(self):
        place = lambda: ["%.4f" % (self.n(3000) / 10 - 150), "%.4f" % (self.n(1600) / 10 - 80), self.word()]
        return self.r.choice((lambda: ["GEOADD", *self.some(place)], lambda: ["GEOADD", "CH", *place()], lambda: ["ZREM", self.word()],
                              lambda: ["GEOPOS", self.word()]))()

    def stream(self):
        self.stream_id += 1
        r = self.r
        entry = ["f", self.word()]
        return r.choice((
            lambda: ["XADD", "%d-%d" % (self.stream_id, self.n(3)), *entry], lambda: ["XADD", "MAXLEN", 50, "%d-1" % self.stream_id, *entry],
            lambda: ["XADD", "NOMKSTREAM", "%d-*" % self.stream_id, *entry], lambda: ["XADD", "1-1", *entry],
            lambda: ["XDEL", *("%d-1" % (self.stream_id - self.n(300)) for _ in range(3))], lambda: ["XTRIM", "MAXLEN", "=", self.n(60)],
            lambda: ["XTRIM", "MINID", "=", max(self.stream_id - 400, 0)], lambda: ["XLEN"], lambda: ["XRANGE", "-", "+", "COUNT", 3]))()

    def any(self):
        r = self.r
        return r.choice((
            lambda: ["DEL"], lambda: ["UNLINK"], lambda: ["EXPIRE", 100000, *r.choice(([], ["NX"], ["XX"], ["GT"], ["LT"]))],
            lambda: ["PEXPIREAT", FAR_MS + self.n(9)], lambda: ["PERSIST"], lambda: ["PEXPIREAT", 1], lambda: ["EXPIRE", -1],
            lambda: ["TYPE"], lambda: ["EXISTS"], lambda: ["OBJECT ENCODING"], lambda: ["TOUCH"]))()

    def one(self):
        """A command of one key: (line, keys)."""
        kind = self.r.choice(self.TYPES)
        key = self.key(kind)
        words = self.any() if self.r.random() < 0.06 else getattr(self, kind)()
        return [*words[0].split(), key, *words[1:]], [key]

    def several(self):
        """A command that writes several keys at once."""
        r = self.r
        k = self.key
        kind = r.choice(self.TYPES)
        line, at = r.choice((
            lambda: (["RENAME", k(kind), k(kind)], (1, 2)), lambda: (["RENAMENX", k(kind), k(kind)], (1, 2)),
            lambda: (["COPY", k(kind), k(kind), "REPLACE"], (1, 2)), lambda: (["SMOVE", k("set"), k("set"), self.n(600)], (1, 2)),
            lambda: (["LMOVE", k("list"), k("list"), r.choice(("LEFT", "RIGHT")), r.choice(("LEFT", "RIGHT"))], (1, 2)),
            lambda: ([r.choice(("SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE")), k("set"), k("set"), k("set")], (1, 2, 3)),
            lambda: ([r.choice(("ZUNIONSTORE", "ZINTERSTORE")), k("zset"), 2, k("zset"), k("zset"), "WEIGHTS", 1, 2], (1, 3, 4)),
            lambda: (["ZDIFFSTORE", k("zset"), 2, k("zset"), k("zset")], (1, 3, 4)), lambda: (["ZRANGESTORE", k("zset"), k("zset"), 0, 9], (1, 2)),
            lambda: (["BITOP", r.choice(("AND", "OR", "XOR")), k("string"), k("string"), k("string")], (2, 3, 4)),
            lambda: (["PFMERGE", k("hll"), k("hll"), k("hll")], (1, 2, 3)), lambda: (["SORT", k("list"), "ALPHA", "STORE", k("list")], (1, 4)),
            lambda: (["MSETNX", k("string"), self.word(), k("string"), self.word()], (1, 3)), lambda: (["LMPOP", 1, k("list"), "LEFT"], (2,)),
            lambda: (["ZMPOP", 1, k("zset"), "MIN", "COUNT", self.n(4) + 1], (2,))))()
        return line, [line[i] for i in at]

    def split(self):
        """A command of several keys that is split per key."""
        keys = [self.key(self.r.choice(self.TYPES)) for _ in range(3)]
        if self.n(3) == 0:
            return ["DEL", *keys], keys
        keys = sorted({self.key("string") for _ in range(3)})  # one value each: any part may be the one that is done
        return ["MSET", *(w for k in keys for w in (k, self.word()))], keys

    def unit(self):
        r = self.r
        self.tag = r.choice(self.TAGS)
        chance = r.random()
        if chance < 0.02:
            line, keys = self.split()
            return Unit([line], keys, atomic=False)
        if self.multikey and chance < 0.12:
            return Unit(*([x] if i == 0 else x for i, x in enumerate(self.several())))
        if self.transactions and chance < 0.16:
            inside = [self.several() if self.n(4) == 0 else self.one() for _ in range(self.n(4) + 2)]
            return Unit([["MULTI"], *(line for line, _ in inside), ["EXEC"]], sorted({k for _, keys in inside for k in keys}))
        line, keys = self.one()
        return Unit([line], keys)

"""Fake node workers for tests of a proxy: replicas of one store, each of which can be told to misbehave.

They speak the link between proxy and node (docs/architecture.md) and know just enough commands. All replicas of a
`Group` share one store under one lock, so that a command takes effect when it is answered, as in a real shard.
"""
import socket
import threading


class Group:
    """Replicas that share a store. log: (replica, connection number, link kind, words) of each command, in order."""

    def __init__(self, count, first_port):
        self.lock = threading.RLock()
        self.store = {}
        self.log = []
        self.replicas = [FakeNode(self, i, first_port + i) for i in range(count)]

    def line(self):
        return "shard s0 auto " + " ".join("127.0.0.1:%d" % r.port for r in self.replicas)

    def served(self):
        """How many commands each replica executed."""
        return [r.executed for r in self.replicas]

    def clear(self):
        with self.lock:
            self.log.clear()
            for r in self.replicas:
                r.executed = 0

    def stop(self):
        for r in self.replicas:
            r.stop()


def bulk(data):
    return b"$-1\r\n" if data is None else b"$%d\r\n%s\r\n" % (len(data), data)


class FakeNode:
    """mode: a function of the words of a command that gives None (serve it), an error line's words without '-' (the
    node's own words), or "hang": nothing more is read from that connection until go_on()."""

    def __init__(self, group, index, port):
        self.group, self.index, self.port = group, index, port
        self.mode = lambda words: None
        self.executed = 0
        self.keys = 0  # SCAN: how many positions this replica pretends to have
        self.running = threading.Event()
        self.running.set()
        self.start()

    def start(self):
        self.conns = []
        self.numbers = 0
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        """As a process that is killed: all connections break, new ones are refused."""
        with self.group.lock:
            try:
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.listener.close()
            for c in self.conns:
                try:
                    c.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.go_on()

    def stand_still(self):
        self.running.clear()

    def go_on(self):
        self.running.set()

    def _accept(self, listener):
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.group.lock:
                self.conns.append(c)
                self.numbers += 1
                number = self.numbers
            threading.Thread(target=self._serve, args=(c, number), daemon=True).start()

    def _serve(self, c, number):
        f = c.makefile("rb")
        try:
            while True:
                line = f.readline()
                if not line:
                    return
                words = []
                for _ in range(int(line[1:])):
                    size = int(f.readline()[1:])
                    words.append(f.read(size + 2)[:size])
                self.running.wait()
                if words[:2] == [b"HALCYON", b"LINK"]:
                    c.sendall(b"+OK\r\n")
                    continue
                with self.group.lock:
                    if self.listener.fileno() < 0:
                        return
                    answer = self._answer(words, number)
                if answer is None:
                    threading.Event().wait(60)
                    return
                c.sendall(answer)
        except (OSError, ValueError):
            pass
        finally:
            f.close()
            c.close()

    def _answer(self, words, number):
        own = self.mode(words)
        self.group.log.append((self.index, number, own, words))
        if own == "hang":
            return None
        if own is not None:
            return b"-" + own.encode() + b"\r\n"
        self.executed += 1
        return bulk(self._run(words))

    def _run(self, words):
        store = self.group.store
        if words[:2] == [b"HALCYON", b"DB"]:
            words = words[3:]
        name = words[0].upper()
        if name == b"GET":
            return bulk(store.get(words[1]))
        if name == b"MGET":
            return b"*%d\r\n" % (len(words) - 1) + b"".join(bulk(store.get(k)) for k in words[1:])
        if name == b"SET":
            store[words[1]] = words[2]
            return b"+OK\r\n"
        if name == b"INCR":
            store[words[1]] = b"%d" % (int(store.get(words[1], b"0")) + 1)
            return b":%s\r\n" % store[words[1]]
        if name == b"DEL":
            return b":%d\r\n" % sum(store.pop(k, None) is not None for k in words[1:])
        if name == b"DBSIZE":
            return b":%d\r\n" % len(store)
        if name == b"SCAN":  # one element per step: which replica says it, and its position
            at = int(words[1])
            after = 0 if at + 1 >= self.keys else at + 1
            return b"*2\r\n" + bulk(b"%d" % after) + b"*1\r\n" + bulk(b"r%d:%d" % (self.index, at))
        return b"-ERR fake node: " + name + b"\r\n"

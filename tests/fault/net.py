"""Hosts that are network namespaces on one switch, and what goes wrong between them.

All of it lives in namespaces that the driver has to itself (faultctl: network, processes, mounts), so nothing of it is seen
outside, and the kernel takes all of it away with the driver.
"""
import subprocess
import tempfile

from harness import check

PREFIX = "10.77.0."
RELAY_PORT = 5000
RELAY_MARK = 7

# A packet is lost where it arrives, so that its sender learns nothing.
RULES = """
table inet fault {
  set lost { type ipv4_addr; }
  set refused { type ipv4_addr; }
  chain arriving {
    type filter hook input priority 0
    ip saddr @lost drop
    ip saddr @refused meta l4proto tcp reject with tcp reset
  }
}
"""
REDIRECT = """
table ip relay {
  chain leaving {
    type nat hook output priority -100
    meta mark != %d ip daddr %s0/24 tcp dport %s redirect to :%d
  }
}
"""


def tool(*command, text=None):
    p = subprocess.run(command, input=text, capture_output=True, text=True, timeout=20, check=False)
    check(p.returncode == 0, " ".join(command), "failed:", p.stderr.strip())
    return p.stdout


class Host:
    """One namespace with one address. `enter` is the beginning of a command line that runs in it."""

    def __init__(self, name, address, enter):
        self.name, self.address, self.enter = name, address, enter
        tool(*enter, "nft", "-f", "-", text=RULES)
        self.relay = None
        self.silenced = {"lost": set(), "refused": set()}

    def nft(self, text):
        tool(*self.enter, "nft", "-f", "-", text=text)

    def _add(self, kind, others):
        self.silenced[kind] |= {o.address for o in others}
        if others:
            self.nft("add element inet fault %s { %s }\n" % (kind, ", ".join(o.address for o in others)))

    def lose_from(self, *others):
        """What these send is lost, silently."""
        self._add("lost", others)

    def refuse_from(self, *others):
        """What these send is answered by a reset."""
        self._add("refused", others)

    def hear(self, *others):
        """What these, or all, send arrives again."""
        gone = {o.address for o in others}
        commands = []
        for kind, silenced in self.silenced.items():
            back = silenced & gone if others else set(silenced)
            if back:
                commands.append("delete element inet fault %s { %s }\n" % (kind, ", ".join(sorted(back))))
                silenced -= back
        if commands:
            self.nft("".join(commands))

    def start_relay(self, build, ports):
        """From now on new connections to these ports of other hosts ("{ 8000-8015, 9000 }") lead through a relay."""
        self.relay = Relay(build, self)
        self.nft(REDIRECT % (RELAY_MARK, PREFIX, ports, RELAY_PORT))


class Relay:
    """Holds, delays and resets what passes between a host and others (relay.c)."""

    def __init__(self, build, host):
        self.process = subprocess.Popen([*host.enter, build + "/bin/relay", str(RELAY_PORT), str(RELAY_MARK)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        check(self.process.stdout.readline() == "ready\n", "the relay of", host.name, "did not start")

    def tell(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        check(answer == "ok" or answer.isdigit(), "relay: to", words, "it said", answer)
        return answer

    def held(self):
        return int(self.tell("held"))


class Net:
    def __init__(self):
        tool("mount", "-t", "tmpfs", "none", "/run")  # ip netns keeps names there; ours are nobody else's
        tempfile.tempdir = "/run"  # which goes with the driver
        tool("ip", "link", "set", "lo", "up")
        tool("ip", "link", "add", "switch0", "type", "bridge")
        tool("ip", "link", "set", "switch0", "up")
        self.hosts = {}
        # the load clients' address, and one for the driver's own questions, which no fault cuts off
        self.clients = self._here("clients", 1)
        self.driver = PREFIX + "2"
        tool("ip", "addr", "add", self.driver + "/24", "dev", "switch0")
        self.next = 10

    def _here(self, name, number):
        tool("ip", "addr", "add", "%s%d/24" % (PREFIX, number), "dev", "switch0")
        return Host(name, PREFIX + str(number), [])

    def host(self, name):
        """A new host."""
        inside, port = "hf-" + name, "v%d" % self.next
        address = PREFIX + str(self.next)
        self.next += 1
        tool("ip", "netns", "add", inside)
        tool("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", inside)
        tool("ip", "link", "set", port, "master", "switch0", "up")
        tool("ip", "-n", inside, "addr", "add", address + "/24", "dev", "eth0")
        tool("ip", "-n", inside, "link", "set", "eth0", "up")
        tool("ip", "-n", inside, "link", "set", "lo", "up")
        self.hosts[name] = Host(name, address, ["ip", "netns", "exec", inside])
        return self.hosts[name]

    # what goes wrong; `heal` ends all of it

    def cut_one_way(self, a, b):
        """What a sends to b is lost."""
        b.lose_from(a)

    def cut(self, a, *others):
        """a and each of the others do not hear each other."""
        a.lose_from(*others)
        for other in others:
            other.lose_from(a)

    def split(self, *sides):
        """Nobody of one side hears anybody of another."""
        for side in sides:
            for host in side:
                host.lose_from(*[h for s in sides if s is not side for h in s])

    def hold(self, a, b):
        """What a sends to b waits, on whichever connection; it is not lost. Both need relays."""
        a.relay.tell("hold", "out", b.address)
        b.relay.tell("hold", "in", a.address)

    def held(self):
        return sum(h.relay.held() for h in self.hosts.values() if h.relay)

    def disturbed(self):
        """Is there anybody whom anybody does not hear?"""
        return any(any(h.silenced.values()) for h in [self.clients, *self.hosts.values()])

    def heal(self):
        for h in [self.clients, *self.hosts.values()]:
            h.hear()
            if h.relay:
                for way in ("in", "out"):
                    h.relay.tell("pass", way, "any")

"""What wire.hermes would find: nodes with one known-wrong line each (coherence/mutant.h) give histories that are refused,
or answers that its checks refuse. The right node passes the same checks here, so that it is the line that is found."""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from harness import Cluster, Failed, arguments, check, run, say  # noqa: E402
from histories import Recording  # noqa: E402
from test_hermes import InjectedCluster, fill_quiet, settled, stop_past_lease  # noqa: E402

# wrong without any fault, as soon as clients write the same keys at different replicas
LOAD = ["H1_WRITE_PLUS_ONE", "H3_COMMIT_ON_MAJORITY", "H3_APPLY_AT_INV", "H14_OVERTAKE"]
TRIES = 4


@contextlib.contextmanager
def mutant(build, name):
    """A build folder whose halcyon-node has this line wrong."""
    folder = tempfile.mkdtemp(prefix="halcyon-mutant-")
    os.mkdir(os.path.join(folder, "bin"))
    for what, to in (("halcyon-node", "halcyon-node-mutant"), ("halcyon-proxy", "halcyon-proxy")):
        os.symlink(os.path.join(os.path.abspath(build), "bin", to), os.path.join(folder, "bin", what))
    os.environ["HALCYON_MUTANT"] = name
    try:
        yield folder
    finally:
        del os.environ["HALCYON_MUTANT"]
        shutil.rmtree(folder)


def violated(args, name):
    """One short recording, every client at a replica of its own. True: it is not linearizable."""
    with mutant(args.build, name) as build, Cluster(build, proxies=1, shards=1, replicas=3) as cluster:
        rec = Recording(args.build, [cluster.node_port(0, r) for r in range(3)], 3, clients=12, keys=4, pause_us=0, timeout_ms=500)
        rec.finish()
        p = subprocess.run([os.path.join(args.build, "bin", "check-history"), "--quiet", rec.path], capture_output=True, text=True,
                           timeout=120, check=False)
        rec.remove()
        check(p.returncode in (0, 1), "check-history:", p.stdout[-500:], p.stderr)
        say("   ", name, p.stdout.splitlines()[-1])
        return p.returncode == 1


def found(what, name):
    """A check of wire.hermes fails."""
    try:
        what()
    except Failed as e:
        say("   ", name, "found:", str(e)[:120])
        return
    raise Failed("%s was not found" % name)


def stop(args, name):
    with mutant(args.build, name) as build, InjectedCluster(build) as cluster:
        fill_quiet(cluster)
        settled(cluster)
        if name == "NONE":
            stop_past_lease(cluster, (2, 3))
        else:
            found(lambda: stop_past_lease(cluster, (2, 3)), name)


def main():
    args = arguments()
    check(not violated(args, "NONE"), "the right node's history was refused")
    for name in LOAD:
        check(any(violated(args, name) for _ in range(TRIES)), name, "was not found")
    stop(args, "NONE")
    stop(args, "H9_NO_LEASE")


run(main)

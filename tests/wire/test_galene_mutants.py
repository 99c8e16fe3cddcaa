"""What wire.galene would find: proxies with one known-wrong line each (coherence/mutant.h) give histories that are refused. The
right proxy passes the same check here, so that it is the line that is found."""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from harness import Cluster, arguments, check, run, say  # noqa: E402
from histories import Recording  # noqa: E402
from test_galene import OPTIONS, Churn, Proxies, serving  # noqa: E402

# wrong without any fault, as soon as clients of several proxies write the same hot keys
LOAD = ["G5_NO_TOKEN", "G5_KEEP_OLDER", "G2_NO_OWN_TOKEN"]
TRIES = 4


@contextlib.contextmanager
def mutant(build, name):
    """A build folder whose halcyon-proxy has this line wrong."""
    folder = tempfile.mkdtemp(prefix="halcyon-mutant-")
    os.mkdir(os.path.join(folder, "bin"))
    for what, to in (("halcyon-node", "halcyon-node"), ("halcyon-proxy", "halcyon-proxy-mutant")):
        os.symlink(os.path.join(os.path.abspath(build), "bin", to), os.path.join(folder, "bin", what))
    os.environ["HALCYON_MUTANT"] = name
    try:
        yield folder
    finally:
        del os.environ["HALCYON_MUTANT"]
        shutil.rmtree(folder)


def violated(args, name):
    """One short recording at all proxies, the keys promoted and demoted meanwhile. True: it is not linearizable."""
    with mutant(args.build, name) as build, Cluster(build, proxies=3, shards=1, replicas=2, proxy_opts=OPTIONS) as cluster:
        members = Proxies(cluster)
        members.found(members.ids(cluster.ports()))
        serving(cluster.ports(), 1)
        names = ["m:" + f + str(i) for i, f in enumerate(("reg", "mix", "cnt", "app"))]
        churn = Churn(cluster.ports(), names)
        churn.start()
        rec = Recording(args.build, cluster.ports(), 4, clients=12, keys=4, pause_us=50, timeout_ms=500, prefix="m:")
        rec.finish()
        churn.end()
        p = subprocess.run([os.path.join(args.build, "bin", "check-history"), "--quiet", rec.path], capture_output=True, text=True,
                           timeout=120, check=False)
        rec.remove()
        members.end()
        check(p.returncode in (0, 1, 2), "check-history:", p.stdout[-500:], p.stderr)
        say("   ", name, p.stdout.splitlines()[-1])
        return p.returncode == 1


def main():
    args = arguments()
    check(not violated(args, "NONE"), "the right proxy's history was refused")
    for name in LOAD:
        check(any(violated(args, name) for _ in range(TRIES)), name, "was not found")


if __name__ == "__main__":
    run(main)

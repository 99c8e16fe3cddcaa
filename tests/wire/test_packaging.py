"""conf/ and docker/ name only what exists: options, paths, packages, ports. No container engine is needed."""
import os
import re
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import ROOT, arguments, check, run, say  # noqa: E402

import yaml  # noqa: E402


def dockerfile(build):
    text = open(os.path.join(ROOT, "docker", "Dockerfile"), encoding="utf-8").read().replace("\\\n", " ")
    packages, exposed, copied = set(), set(), 0
    for line in text.splitlines():
        words = line.split()
        if "apt-get install" in line:
            install = line[line.index("apt-get install"):].split("&&")[0].split()[2:]
            packages |= {w for w in install if not w.startswith("-")}
        if words[:1] == ["EXPOSE"]:
            exposed |= set(words[1:])
        if words[:1] == ["COPY"] and not words[1].startswith("--from"):
            for path in words[1:-1]:
                check(os.path.exists(os.path.join(ROOT, path)), "the Dockerfile copies", path, "which is not there")
                copied += 1
        if words[:1] == ["COPY"] and words[1].startswith("--from"):
            for path in words[2:-1]:
                check(os.path.exists(os.path.join(build, "bin", os.path.basename(path))), "no binary", path)
    check(copied >= 8 and len(packages) >= 15, "the Dockerfile was not understood")
    known = subprocess.run(["apt-cache", "pkgnames"], capture_output=True, text=True, check=True).stdout.split()
    missing = packages - set(known)
    check(not missing, "packages Debian does not have:", missing)
    # every shared library the daemons need comes with a package of the second stage
    stage = text.split("FROM")[2]
    for name in ("halcyon-node", "halcyon-proxy"):
        libraries = subprocess.run(["ldd", os.path.join(build, "bin", name)], capture_output=True, text=True, check=True).stdout
        for path in re.findall(r"=> (/\S+)", libraries):
            real = os.path.realpath(path)
            owner = subprocess.run(["dpkg", "-S", real], capture_output=True, text=True, check=False).stdout
            if not owner:
                owner = subprocess.run(["dpkg", "-S", real.replace("/usr/lib", "/lib", 1)], capture_output=True, text=True, check=False).stdout
            package = owner.split(":")[0].split(",")[0]
            essential = package in ("libc6", "libgcc-s1", "libstdc++6", "zlib1g") or package.startswith("libnl-")
            check(essential or package in stage.split(), name, "needs", path, "of package", package, "which the image does not install")
    return exposed


def command_is_accepted(build, words, where):
    binary = os.path.join(build, "bin", words[0])
    check(os.path.exists(binary), where, "starts", words[0])
    rest = [os.path.join(ROOT, "conf", "one-machine", os.path.basename(w)) if w.startswith("/etc/halcyon/") else w for w in words[1:]]
    p = subprocess.run([binary, *rest, "--test-config"], capture_output=True, text=True, check=False)
    check(p.returncode == 0, where, "does not start:", words, p.stdout, p.stderr)


def compose(build, exposed):
    with open(os.path.join(ROOT, "docker", "compose.yml"), encoding="utf-8") as f:
        services = yaml.safe_load(f)["services"]
    proxies = [n for n in services if n.startswith("proxy")]
    nodes = [n for n in services if n.startswith("node")]
    check(len(proxies) == 3 and len(nodes) == 6, "3 proxies and 6 nodes, not", sorted(services))
    for name, s in services.items():
        command = s["command"] if isinstance(s["command"], list) else shlex.split(s["command"])
        command_is_accepted(build, command, "service " + name)
        check("healthcheck" in s and s["healthcheck"]["test"], name, "has no health check")
        tool = s["healthcheck"]["test"][1]
        check(tool == "redis-cli", name, "health check uses", tool)
        build_file = os.path.join(ROOT, "docker", s["build"]["context"], s["build"]["dockerfile"])
        check(os.path.exists(build_file), name, "is built from", build_file)
        for port in s.get("ports", []):
            check(str(port).split(":")[-1] in exposed, name, "publishes", port, "which the image does not expose")
        for word in command:
            for host in re.findall(r"\b((?:node|proxy)-[\w-]+):\d+", word):
                check(host in services, name, "names the host", host)
    text = open(os.path.join(ROOT, "docker", "Dockerfile"), encoding="utf-8").read()
    check(re.search(r"^USER halcyon$", text, re.M), "the image runs as root")


def main():
    options = arguments()
    build = os.path.abspath(options.build)
    subprocess.run([os.path.join(ROOT, "conf", "generate"), os.path.join(build, "bin"), "--check"], check=True)
    for folder in ("one-machine", "three-machines"):
        for kind in ("node", "proxy"):
            path = os.path.join(ROOT, "conf", folder, kind + ".conf")
            text = open(path, encoding="utf-8").read()
            helped = subprocess.run([os.path.join(build, "bin", "halcyon-" + kind), "--help"], capture_output=True, text=True, check=True).stdout
            names = set(re.findall(r"^  --([\w-]+)", helped, re.M))
            shown = set(re.findall(r"^#? ?([a-z][\w-]+) ", text, re.M))
            check(names and names <= shown | {""}, path, "lacks", names - shown)
            for name in names:
                check(re.search(r"^#?\s?%s\b" % re.escape(name), text, re.M), path, "does not show", name)
    exposed = dockerfile(build)
    compose(build, exposed)
    say("conf/ and docker/ name only what exists")


run(main)

#!/usr/bin/env python3
"""Are the packages what they should be? In a fresh Debian of its own, by hand, as root:

    tools/try_packages.py deb FILE.deb       installs, runs, upgrades, removes and purges it
    tools/try_packages.py container          the steps of Dockerfile, without an engine
    tools/try_packages.py start              start.sh as a new user's first command

    --old FILE      an earlier version's package, for the upgrade (else it is this one under another number)
    --suite NAME    the Debian (bookworm; container: that of its FROM lines)
    --base FILE     a tar of that Debian, as "mmdebstrap --variant=minbase SUITE FILE" makes it; else it is made
    --keep          leave the folder for a look

Needs mmdebstrap, curl; lintian is asked if it is here. What npm would fetch is taken from here if it is here. Takes minutes; a sentence for each thing tried,
status 1 after the first that is wrong.
"""
import argparse
import atexit
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PORT = 17860
FETCHED = ["models/face", "node_modules", "web/node_modules", "web/dist"]


def wrong(sentence):
    sys.exit(f"wrong: {sentence}")


def tried(sentence):
    print(f"fine: {sentence}", flush=True)


def mirror():
    """The first of this machine's own."""
    for file in [pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("debian.*")]:
        found = file.exists() and re.search(r"^(?:URIs:|deb)\s+(?:\[[^]]*\]\s+)?(\S+/debian/?)\s*", file.read_text(), re.M)
        if found:
            return found[1]
    wrong("this machine names no mirror of Debian in /etc/apt; give the root that is wanted with --base")


class Debian:
    """A folder with a Debian in it; commands run there by chroot, on this machine's network."""

    def __init__(self, suite, base, keep):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="koubo-try-"))
        self.processes = []
        if not keep:
            atexit.register(self.remove)
        made = ["tar", "-xf", base, "-C", self.folder] if base else \
            ["mmdebstrap", "--quiet", "--variant=minbase", suite, self.folder, mirror()]
        subprocess.run(made, check=True)
        shutil.copy("/etc/resolv.conf", self.folder / "etc/resolv.conf")
        # Nothing is started by apt here: there is no init.
        self.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        subprocess.run(["mount", "-t", "proc", "proc", self.folder / "proc"], check=True)

    def write(self, path, text, mode=0o644):
        (self.folder / path).write_text(text)
        (self.folder / path).chmod(mode)

    def remove(self):
        for process in self.processes:
            process.kill()
            process.wait()
        subprocess.run(["umount", "-l", self.folder / "proc"], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, words, user):
        as_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--no-new-privs", "--"] if user else []
        return ["chroot", self.folder, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp",
                "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *self.environment, *as_user, *words]

    environment = []

    def ask(self, *words, user=None):
        """Status and all output."""
        done = subprocess.run(self.command(words, user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        return done.returncode, done.stdout

    def run(self, *words, user=None):
        status, text = self.ask(*words, user=user)
        if status != 0:
            wrong(f"{' '.join(words)} ended with {status}:\n{text[-4000:]}")
        return text

    def start(self, *words, user=None):
        process = subprocess.Popen(self.command(words, user), stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def has(self, path):
        return os.path.lexists(self.folder / path.lstrip("/"))


def get(port, path):
    done = subprocess.run(["curl", "-s", "-i", f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=False)
    return done.stdout


def api(port, path, *words):
    """What the API answers, as JSON."""
    done = subprocess.run(["curl", "-s", *words, f"http://127.0.0.1:{port}/api/v1/{path}"], capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        wrong(f"/api/v1/{path} answers: {done.stdout[:400]}")


def wait_for_batch(port, batch):
    end = time.monotonic() + 300
    while (told := api(port, f"batches/{batch}"))["state"] != "ended":
        if time.monotonic() > end:
            wrong(f"the batch does not end: {told}")
        time.sleep(0.5)
    if told["counts"]["done"] != 1:
        wrong(f"the batch has no result: {told}")


def result_of(port, batch):
    """The bytes of its only result."""
    job = api(port, f"jobs?batch={batch}")["items"][0]["id"]
    done = subprocess.run(["curl", "-s", "-f", f"http://127.0.0.1:{port}/api/v1/results/{job}/video"], capture_output=True, check=False)
    if b"ftyp" not in done.stdout[:12]:
        wrong("the result of a batch cannot be fetched")
    return done.stdout


def make_batches(port):
    """One that is done and one that is paused: their ids, and the first one's result."""
    clip = ROOT / "tests/clips/grid_lbax4n.mpg"
    asset = api(port, "assets", "-F", f"file=@{clip}")["items"][0]["id"]
    end = time.monotonic() + 60
    while (told := api(port, f"assets/{asset}"))["state"] != "ready":
        if time.monotonic() > end:
            wrong(f"an upload is not looked at: {told}")
        time.sleep(0.2)
    said = json.dumps({"audio": asset, "videos": [asset], "options": {"duration": 1}})
    send = ["-H", "Content-Type: application/json", "-d"]
    done = api(port, "batches", *send, said)["id"]
    wait_for_batch(port, done)
    paused = api(port, "batches", *send, said)["id"]
    api(port, f"batches/{paused}/pause", "-X", "POST")
    return done, paused, result_of(port, done)


def look_at_batches(port, batches):
    """Made before an upgrade: the result is as it was, what waited is made."""
    done, paused, result = batches
    if result_of(port, done) != result:
        wrong("the upgrade changed a result")
    api(port, f"batches/{paused}/resume", "-X", "POST")
    wait_for_batch(port, paused)
    result_of(port, paused)


def try_server(debian, user, options, port, health=None, use=None):
    """It runs as this user, serves page and API, is used, and ends when it is told to. Returns what use(port) does."""
    process = debian.start("koubo", "serve", *options, user=user)
    end = time.monotonic() + 60
    while "200 OK" not in get(port, "/healthz"):
        if process.poll() is not None or time.monotonic() > end:
            wrong("the server does not answer")
        time.sleep(0.2)
    if "<script" not in get(port, "/"):
        wrong("the page is not served")
    if "openapi: 3.1" not in get(port, "/api/v1/openapi.yaml"):
        wrong("openapi.yaml is not served")
    if health:
        debian.run(*health, user=user)
    ret = use(port) if use else None
    process.send_signal(signal.SIGTERM)
    if process.wait(timeout=60) != 0:
        wrong(f"the server ended with {process.returncode}")
    return ret


def make_a_film(debian, user=None):
    """Of one of the tests' clips: everything that a job needs is there."""
    clip = "/tmp/clip.mpg"
    shutil.copy(ROOT / "tests/clips/grid_lbax4n.mpg", debian.folder / clip[1:])
    debian.run("koubo", "generate", "-q", "-a", clip, "-i", clip, "--duration", "1", "-o", "/tmp/out.mp4", user=user)
    if not debian.has("/tmp/out.mp4"):
        wrong("koubo generate made no film")
    debian.run("rm", "/tmp/out.mp4")


def look_around(debian, user=None, program="koubo", picture=()):
    debian.run("install", "-d", "-m", "777", "/tmp/demo")
    debian.run(program, "doctor", *(["--data", "/var/lib/koubo"] if user else []), user=user)
    debian.run(program, "demo", "-q", *picture, "-o", "/tmp/demo/demo.mp4", user=user)
    if not debian.has("/tmp/demo/demo.mp4"):
        wrong("koubo demo made no film")
    debian.run("rm", "-r", "/tmp/demo")


def of_version(deb, version, folder):
    """The same package under another version."""
    subprocess.run(["dpkg-deb", "-R", deb, folder / "old"], check=True)
    control = folder / "old/DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", f"Version: {version}", control.read_text(), flags=re.M))
    older = folder / "old.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", folder / "old", older], check=True, stdout=subprocess.DEVNULL)
    return older


def try_deb(debian, deb, old):
    if shutil.which("lintian"):
        done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", deb], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            wrong(f"lintian says:\n{done.stdout}{done.stderr}")
        tried(f"lintian finds no error{', but ' if done.stdout else ''}{done.stdout.strip()}")
    debian.run("apt-get", "update")
    shutil.copy(old or of_version(deb, "0.0.1", debian.folder / "tmp"), debian.folder / "old.deb")
    shutil.copy(deb, debian.folder / "new.deb")
    debian.run("apt-get", "install", "-y", "--no-install-recommends", "/old.deb")
    tried("apt installs it with what it depends on")
    debian.run("test", "-e", "/etc/systemd/system/multi-user.target.wants/koubo.service")
    if debian.has("/etc/systemd/system/multi-user.target.wants/koubo-node.service"):
        wrong("koubo-node.service is enabled")
    owners = debian.run("stat", "-c", "%U:%G %a", "/etc/koubo", "/var/lib/koubo").split("\n")
    if owners[:2] != ["root:koubo 750", "koubo:koubo 750"]:
        wrong(f"/etc/koubo, /var/lib/koubo: {owners}")
    tried("the service is enabled; keys and videos are for koubo's user alone")
    make_a_film(debian, "koubo")
    tried("koubo makes a film")
    server = "koubo", ["--port", str(PORT), "--data", "/var/lib/koubo"], PORT
    batches = try_server(debian, *server, use=make_batches)
    tried("the server runs as its user, and makes what it is given")

    environment = debian.folder / "etc/koubo/koubo.env"
    environment.write_text(environment.read_text() + "OPTIONS=--keep-days 30\n")
    database = (debian.folder / "var/lib/koubo/koubo.db").stat().st_ino
    debian.run("apt-get", "install", "-y", "--no-install-recommends", "/new.deb")
    if "--keep-days 30" not in environment.read_text() or (debian.folder / "var/lib/koubo/koubo.db").stat().st_ino != database:
        wrong("the upgrade changed options or data")
    try_server(debian, *server, use=lambda port: look_at_batches(port, batches))
    tried("an upgrade keeps options and data: the result is as it was, and what waited is made")
    look_around(debian, "koubo", picture=["-i", "/tmp/clip.mpg"])
    tried("the doctor is content, and koubo demo makes a film")
    debian.run("apt-get", "remove", "-y", "koubo")
    if debian.has("/usr/bin/koubo") or not debian.has("/var/lib/koubo/koubo.db") or not environment.exists():
        wrong("removing it: program, data or options are not where they should be")
    tried("removed, its data and options stay")
    debian.run("apt-get", "install", "-y", "--no-install-recommends", "/new.deb")
    debian.run("apt-get", "purge", "-y", "koubo")
    left = debian.run("sh", "-c", "find / -xdev -path /proc -prune -o -name '*koubo*' ! -path '/tmp/*' ! -path '/var/lib/apt/*' "
                      "! -path '/var/log/*' ! -path '/var/cache/apt/*' -print; getent passwd koubo || true").strip()
    if left:
        wrong(f"purging leaves:\n{left}")
    tried("purged, nothing of it is left")


def copy_tree(folder):
    """What git has of the tree here, and what npm fetched."""
    files = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["sh", "-c", 'tar -c --null -T - | tar -x -C "$0"', folder], cwd=ROOT, input=files, check=True)
    for name in FETCHED:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, folder / name, symlinks=True)
    time.sleep(1)
    for name in ["node_modules/.package-lock.json", "web/node_modules/.package-lock.json", *FETCHED[:1], *FETCHED[3:]]:
        for path in [folder / name, *(folder / name).rglob("*")]:
            if path.exists():
                os.utime(path)


def instructions():
    """Of Dockerfile: [word, the rest of the line], joined where lines go on."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    return [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def try_container(suite, base, keep):
    stages = {}
    debian = user = health = command = None
    for word, rest in instructions():
        if word == "FROM":
            system, *name = rest.split()
            if not re.fullmatch(r"debian:12(-slim)?", system):
                wrong(f"FROM {system} is not known here")
            debian = stages[name[-1] if name else ""] = Debian(suite, base, keep)
            user = None
        elif word == "COPY" and rest.startswith("--from="):
            stage, source, target = re.fullmatch(r"--from=(\w+) (\S+) (\S+)", rest).groups()
            shutil.copytree(stages[stage].folder / source[1:], debian.folder / target[1:])
        elif word == "COPY":
            copy_tree(debian.folder / rest.split()[1][1:])
        elif word == "RUN":
            debian.run("sh", "-c", rest, user=user)
            tried(f"RUN {rest[:60]}…")
        elif word == "ENV":
            debian.environment = [*debian.environment, rest]
        elif word == "USER":
            user = rest
        elif word == "HEALTHCHECK":
            health = json.loads(rest[rest.index("["):])
        elif word == "CMD":
            command = json.loads(rest)
        elif word not in ("VOLUME", "EXPOSE"):
            wrong(f"{word} is not known here")
    if not user or command[:2] != ["koubo", "serve"]:
        wrong("the container runs as root, or not koubo")
    make_a_film(debian, user)
    tried("koubo makes a film")
    try_server(debian, user, [*command[2:], "--token", "try"], 7860, health)
    tried("page, API and health check")
    if debian.ask(*health, user=user)[0] == 0:
        wrong("the health check is content with a server that has ended")
    tried("without a server the health check fails")


def try_start(debian):
    copy_tree(debian.folder / "koubo")
    debian.run("/koubo/start.sh", "--version")
    tried("start.sh sets everything up")
    if "koubo" not in debian.run("/koubo/start.sh", "--version", "-v"):
        wrong("koubo --version")
    shutil.copy(ROOT / "tests/clips/grid_lbax4n.mpg", debian.folder / "tmp/clip.mpg")
    debian.run("/koubo/start.sh", "generate", "-q", "-a", "/tmp/clip.mpg", "-i", "/tmp/clip.mpg", "--duration", "1", "-o", "/tmp/out.mp4")
    tried("koubo makes a film")
    look_around(debian, program="/koubo/start.sh")
    tried("the doctor is content, and koubo demo makes a film")


options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("what", choices=["deb", "container", "start"])
options.add_argument("deb", nargs="?", type=pathlib.Path)
options.add_argument("--old", type=pathlib.Path)
options.add_argument("--suite", default="bookworm")
options.add_argument("--base")
options.add_argument("--keep", action="store_true")
args = options.parse_args()
if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
    sys.exit("this needs root, and mmdebstrap")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
if args.what == "container":
    try_container(args.suite, args.base, args.keep)
else:
    if args.what == "deb" and not args.deb:
        sys.exit("which package?")
    system = Debian(args.suite, args.base, args.keep)
    if args.what == "deb":
        try_deb(system, args.deb, args.old)
    else:
        try_start(system)

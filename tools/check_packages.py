#!/usr/bin/env python3
"""Do the packages agree with the rest? check_packages.py SOURCE_ROOT PROGRAM

Looked at: what debian/control wants against what tools/setup.sh installs, the options in koubo.env and in the units and
Dockerfile against --help, the version against CHANGELOG.md, the units by systemd-analyze (if it is here), and that
tools/release.sh refuses what is no release. Prints what is wrong; exit code 1 then. tools/try_packages.py, by hand, installs them.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

root, program = Path(sys.argv[1]), sys.argv[2]
wrong = []
# What Debian's tools bring by themselves, and what is needed while koubo runs but is no library.
BROUGHT = {"build-essential", "libc6-dev", "ninja-build", "dpkg-dev", "debhelper"}
DATA = {"espeak-ng-data", "fonts-wqy-microhei"}
# Least is best: systemd's own figure for what a service may still do.
EXPOSURE = 25  # of 100


def read(name):
    return (root / name).read_text(encoding="utf-8")


def words_of(variable):
    text = re.search(rf'^{variable}="([^"]*)"', read("tools/setup.sh"), re.M)[1]
    return set(re.sub(r"\$\([^)]*\)", "", text).split())


def check_dependencies():
    field = re.search(r"^Build-Depends: (.*(?:\n .*)*)", read("debian/control"), re.M)[1]
    wanted = {re.sub(r"\s*\(.*", "", word.strip()) for word in field.split(",")} - {"debhelper-compat"}
    installed = (words_of("build_packages") | words_of("package_packages")) - BROUGHT - DATA
    depends = re.search(r"^Depends: (.*)", read("debian/control"), re.M)[1]
    for name in sorted(DATA):
        if name not in re.split(r"[,\s|]+", depends):
            wrong.append(f"debian/control: the package does not depend on {name}")
    for name in sorted(wanted ^ installed):
        wrong.append(f"{name} is only in {'debian/control' if name in wanted else 'tools/setup.sh'}")


def options_of(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]\b", text))


def check_options():
    environment = {"LC_ALL": "C.UTF-8", "LANGUAGE": "en", "PATH": os.environ["PATH"]}
    for command in ("serve", "node"):
        known = options_of(subprocess.run([program, command, "--help"], capture_output=True, text=True, env=environment, check=False).stdout)
        places = [("debian/koubo.env", r"^#?OPTIONS=.*")] if command == "serve" else []
        places += [(name, rf"^ExecStart=\S+ {command} .*") for name in ("debian/koubo.service", "debian/koubo.koubo-node.service")]
        places += [("Dockerfile", rf'^CMD \["koubo", "{command}".*')]
        for name, pattern in places:
            for option in sorted(options_of("\n".join(re.findall(pattern, read(name), re.M))) - known):
                wrong.append(f"{name}: koubo {command} has no {option}")


def check_version():
    """What CHANGELOG.md tells first is this version, or not released."""
    version = re.search(r"^  version: '(.*)',$", read("meson.build"), re.M)[1]
    first = re.search(r"^## (.*)", read("CHANGELOG.md"), re.M)[1]
    if first != "Unreleased" and not re.fullmatch(re.escape(version) + r" — \d{4}-\d\d-\d\d", first):
        wrong.append(f"meson.build says {version}, CHANGELOG.md begins with '{first}'")


def check_units():
    if not shutil.which("systemd-analyze"):
        return
    with tempfile.TemporaryDirectory() as folder:
        for source in ("koubo.service", "koubo.koubo-node.service"):
            unit = Path(folder, source.replace("koubo.koubo-node", "koubo-node"))
            unit.write_text(read(f"debian/{source}").replace("/usr/bin/koubo", "/bin/true"))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
            mine = [line for line in done.stderr.splitlines() if unit.name in line]
            wrong.extend(f"debian/{source}: {line}" for line in mine)
            done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", unit],
                                  capture_output=True, text=True, check=False)
            if done.returncode != 0:
                wrong.append(f"debian/{source}: {(done.stdout + done.stderr).strip().splitlines()[-1]}")


def check_refusals():
    """release.sh in a repository of its own, before it has made anything."""
    with tempfile.TemporaryDirectory() as folder:
        def git(*args):
            subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *args], cwd=folder, check=True, capture_output=True)

        def refuses(part, version="1.2.3", changelog="## 1.2.3 — today\n\n* New.\n", left="", tag=None):
            Path(folder, "meson.build").write_text(f"project('koubo', 'c',\n  version: '{version}',\n)\n")
            Path(folder, "CHANGELOG.md").write_text(changelog)
            git("add", "-A")
            git("commit", "-q", "--allow-empty", "-m", "t")
            if tag:
                git("tag", tag)
            if left:
                Path(folder, "left").write_text(left)
            done = subprocess.run(["tools/release.sh"], cwd=folder, capture_output=True, text=True, check=False,
                                  env={**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "en"})
            Path(folder, "left").unlink(missing_ok=True)
            if done.returncode != 5 or part not in done.stderr or Path(folder, "dist").exists():
                wrong.append(f"tools/release.sh does not refuse with '{part}': {done.returncode} {done.stderr}")

        Path(folder, "tools").mkdir()
        for name in ("release.sh", "setup.sh"):
            shutil.copy(root / "tools" / name, Path(folder, "tools"))
        git("init", "-q")
        refuses("not committed", left="x")
        refuses("Unreleased", changelog="## Unreleased\n\n* New.\n")
        refuses("nothing of version 1.2", version="1.2")
        refuses("v9 is not version", tag="v9")


check_dependencies()
check_options()
check_version()
check_units()
if shutil.which("git"):
    check_refusals()
print("\n".join(wrong))
sys.exit(1 if wrong else 0)

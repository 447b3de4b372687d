#!/usr/bin/env python3
"""clang-tidy over every file of src/, with what .clang-tidy says; prints each finding, none are allowed.

    tools/check_tidy.py SOURCE_FOLDER BUILD_FOLDER

Only version 14, Debian 12's: each finds something else. Without it the test is skipped (status 77). The tests are not looked at:
the analyzer does not know that cmocka's assertions do not return.
"""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys

VERSION = "14"
# Of the states of one function that the analyzer follows; all of them take five times as long and found one thing more.
DEPTH = ["--extra-arg=-Xclang", "--extra-arg=-analyzer-config", "--extra-arg=-Xclang", "--extra-arg=max-nodes=20000"]

source, build = map(pathlib.Path, sys.argv[1:3])
program = shutil.which(f"clang-tidy-{VERSION}") or shutil.which("clang-tidy")
if not program or f"version {VERSION}." not in subprocess.run([program, "--version"], capture_output=True, text=True).stdout:
    print(f"there is no clang-tidy {VERSION} here")
    sys.exit(77)

commands = json.loads((build / "compile_commands.json").read_text())
files = {pathlib.Path(command["directory"], command["file"]).resolve() for command in commands}
files = sorted((file for file in files if (source / "src").resolve() in file.parents), key=lambda file: -file.stat().st_size)


def check(file):
    return subprocess.run([program, "-p", build, "--quiet", *DEPTH, file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


status = 0
with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    for file, done in zip(files, pool.map(check, files)):
        if done.returncode != 0 or done.stdout:
            status = 1
            print(done.stdout or f"{file}: {done.stderr}")
print(f"{len(files)} files")
sys.exit(status)

#!/usr/bin/env python3
"""Every header below src/ teaches and stands alone: prints each that does not.

    tools/check_headers.py SOURCE_FOLDER BUILD_FOLDER

It compiles with nothing before it; its guard is named after its path (base/file.h: BASE_FILE_H); and the comment at its
head, before the guard or right behind it, says a word on threads.
"""
import json
import pathlib
import re
import shlex
import subprocess
import sys

source, build = map(pathlib.Path, sys.argv[1:3])
headers = sorted(path.relative_to(source / "src") for path in source.glob("src/**/*.h"))
faults = 0


def fault(header, what):
    global faults
    faults += 1
    print(f"src/{header}: {what}")


for header in headers:
    text = (source / "src" / header).read_text()
    guard = re.sub(r"[^A-Z0-9]", "_", str(header).upper())
    head = re.match(rf"((?://.*\n|\n)*)#ifndef {guard}\n#define {guard}\n((?://.*\n|\n)*)", text)
    if not head or not text.rstrip().endswith("#endif"):
        fault(header, f"has no guard named {guard} around all but its opening comment")
    elif "thread" not in (head[1] + head[2]).lower():
        fault(header, "its opening comment says nothing on threads")

# One compiler for all: what it includes first is read again for each of them, but it starts once. The folders of
# libraries are those that any part of the program is built with.
commands = json.loads((build / "compile_commands.json").read_text())
words = {word: None for command in commands for word in shlex.split(command["command"])}
compiler = shlex.split(commands[0]["command"].removeprefix("ccache "))[0]
alone = subprocess.run([compiler, "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Werror", "-fsyntax-only",
                        *(word for word in words if re.match("-I/|-isystem", word)), f"-I{source / 'src'}",
                        "-x", "c", *(source / "src" / header for header in headers)], capture_output=True, text=True)
if alone.returncode != 0:
    faults += 1
    print(alone.stderr)
sys.exit(1 if faults else 0)

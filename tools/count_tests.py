#!/usr/bin/env python3
"""Adds up Meson's test logs, every case of a TAP program as one test.

    tools/count_tests.py FOLDER/meson-logs/testlog*.json...

Shows what each failing test printed (Meson leaves out the standard output of TAP programs, where cmocka writes which
assertion failed), then the suites that took longest. Last line: "N passed, N failed, N skipped".
"""
import json
import pathlib
import re
import sys

LONGEST = 10  # suites
LINES = 200  # of one failing test's output

passed = failed = skipped = 0
folders = []  # of the builds
seconds = {}  # of each suite, by folder


def show(test, folder):
    print(f"failed: {test['name']} ({folder}, {test['result'].lower()})")
    shown = [line for line in (test.get("stdout") or "").splitlines() if not re.match(r"ok \d|\d+\.\.\d", line)]
    shown += (test.get("stderr") or "").splitlines()
    if len(shown) > LINES:
        print(f"    … {len(shown) - LINES} lines more in {folder}/meson-logs/{path.stem}.txt")
    for line in shown[-LINES:]:
        print(f"    {line}")


sys.stdout.reconfigure(errors="replace")
for path in map(pathlib.Path, sys.argv[1:]):
    folder = path.parent.parent.name
    if folder not in folders:
        folders.append(folder)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        print(f"no test log: {error}")
        failed += 1
        continue
    for line in lines:
        test = json.loads(line)
        test["name"] = test["name"].split(" / ")[-1]  # without its suites
        cases = re.findall(r"^(ok|not ok) \d+(.*)$", test.get("stdout") or "", re.MULTILINE)
        bad = sum(word == "not ok" for word, _ in cases)
        dropped = [rest for word, rest in cases if word == "ok" and re.search(r"# *SKIP", rest, re.IGNORECASE)]
        fine = test["result"] in ("OK", "EXPECTEDFAIL", "SKIP")
        if not cases:
            skipped += test["result"] == "SKIP"
            passed += fine and test["result"] != "SKIP"
            failed += not fine
        else:
            passed += len(cases) - bad - len(dropped)
            skipped += len(dropped)
            # A crash or a timeout shows in the program's result only.
            failed += bad if bad or fine else 1
        for rest in dropped:
            print(f"skipped: {test['name']}{rest}")
        if not fine:
            show(test, folder)
        seconds.setdefault(test["name"], {})[folder] = test["duration"]
if len(seconds) > 1:
    print("".join(f"{folder:>12}" for folder in folders) + "  seconds")
    for name, took in [("all", {f: sum(took.get(f, 0) for took in seconds.values()) for f in folders}),
                       *sorted(seconds.items(), key=lambda item: -sum(item[1].values()))[:LONGEST]]:
        print("".join(f"{took[folder]:12.1f}" if folder in took else " " * 12 for folder in folders) + f"  {name}")
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed else 0)

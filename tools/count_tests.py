#!/usr/bin/env python3
"""Adds up Meson's test logs, every case of a TAP program as one test. Last line: "N passed, N failed, N skipped"."""
import json
import re
import sys

passed = failed = skipped = 0
for path in sys.argv[1:]:
    try:
        lines = open(path, encoding="utf-8").read().splitlines()
    except OSError as error:
        print(f"no test log: {error}")
        failed += 1
        continue
    for line in lines:
        test = json.loads(line)
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
            print(f"failed: {test['name']}")
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed else 0)

#!/usr/bin/env python3
"""Which tests words stand for, and what must be built for them.

    tools/name_tests.py FOLDER [--built] WORD...

FOLDER is a configured build. A word is the name of a test (job/store) or of a suite (job). Prints the names of the tests, with
--built the files that ninja must make before they can run. A word that is neither is said on stderr, with status 1.
"""
import json
import os
import sys

folder, *words = sys.argv[1:]
built = words[:1] == ["--built"]


def read(name):
    with open(os.path.join(folder, "meson-info", name), encoding="utf-8") as file:
        return json.load(file)


tests = read("intro-tests.json")
chosen = {}
for word in words[built:]:
    found = [test for test in tests if word == test["name"] or word in [suite.split(":")[-1] for suite in test["suite"]]]
    if not found:
        sys.exit(word)
    chosen.update((test["name"], test) for test in found)
if built:
    needed = {target for test in chosen.values() for target in test["depends"]}
    # Any test may look at what is said in Chinese.
    print(*(os.path.relpath(file, folder) for target in read("intro-targets.json")
            if target["id"] in needed or target["name"].endswith(".mo") for file in target["filename"]))
else:
    print(*chosen)

#!/usr/bin/env python3
"""White space and characters that nobody sees, in every text file: prints each place where they are wrong.

    tools/check_style.py [FOLDER]

Right is: UTF-8 without a byte order mark, lines that end in a line feed and nothing before it, also the last one; no tabs;
no characters without a shape (zero-width, right-to-left and other marks with which a line can read otherwise than it
compiles). Files that .gitignore names are not looked at, and a folder without .git will do.
"""
import fnmatch
import os
import pathlib
import sys
import unicodedata

TABS = ("Makefile", "rules", ".gitmodules")  # formats that want them
AS_THEY_ARE = ("tests/fuzz/corpus", "tests/golden")  # what strangers may send, what others computed
# Without a shape, though Unicode has them among letters and marks.
BLANKS = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10),
          *range(0xE0100, 0xE01F0)}

root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
ignored = [".git", *(root / ".gitignore").read_text().split()]
faults = 0


def is_ignored(path, is_folder):
    """Of .gitignore's language only what ours uses: a leading / is the root, a trailing one wants a folder."""
    return any(fnmatch.fnmatch(path if pattern.startswith("/") else os.path.basename(path), pattern.strip("/"))
               for pattern in ignored if is_folder or not pattern.endswith("/"))


def invisible(character):
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp") or (kind == "Zs" and character != " ") or ord(character) in BLANKS


def fault(place, what):
    global faults
    faults += 1
    print(f"{place}: {what}")


def check(path):
    data = (root / path).read_bytes()
    if b"\0" in data or not data:
        return  # no text
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        fault(path, f"not UTF-8: {error.reason} at byte {error.start}")
        return
    if not text.endswith("\n"):
        fault(path, "the last line does not end")
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        place = f"{path}:{number}"
        if line.endswith("\r"):
            fault(place, "a carriage return at the end of the line")
            line = line[:-1]
        if line.rstrip(" \t") != line:
            fault(place, "white space at the end of the line")
        if "\t" in line and os.path.basename(path) not in TABS:
            fault(place, "a tab")
        for character in sorted(set(filter(invisible, line.replace("\t", "")))):
            fault(place, f"U+{ord(character):04X} {unicodedata.name(character, 'a control character')}, which nobody sees")


for folder, folders, files in os.walk(root):
    inside = pathlib.Path(folder).relative_to(root)
    folders[:] = [name for name in folders
                  if not is_ignored(str(inside / name), True) and str(inside / name) not in AS_THEY_ARE]
    for name in sorted(files):
        path = str(inside / name)
        if not is_ignored(path, False) and not (root / path).is_symlink():
            check(path)
sys.exit(1 if faults else 0)

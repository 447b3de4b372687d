#!/usr/bin/env python3
"""Is the Chinese of the catalogues set as Chinese is? check_chinese.py SOURCE_ROOT

Beside full-width punctuation there is no space, beside a Chinese letter no ASCII punctuation, between a Chinese letter and
a Latin one or a figure there is a space, and two spaces stand only where the English has two. Prints what is wrong; exit
code 1 then."""
import re
import sys
from pathlib import Path

root = Path(sys.argv[1])
HAN = "\u3400-\u4dbf\u4e00-\u9fff"
FULL = "，。：；！？、（）“”《》"
RULES = [
    (rf"[{FULL}] ", "a space after full-width punctuation"),
    (rf" [{FULL}]", "a space before full-width punctuation"),
    (rf"[{HAN}][,;:!?()]", "ASCII punctuation after a Chinese letter"),
    (rf"[,;:!?(][{HAN}]|[)][{HAN}]", "ASCII punctuation before a Chinese letter"),
    (rf"[{HAN}][A-Za-z0-9]|[A-Za-z0-9][{HAN}]", "no space between Chinese and Latin letters"),
    (rf"[{HAN}]'|'[{HAN}]|[{HAN}]\"|\"[{HAN}]", "ASCII quotation marks"),
]
FINE = ["时:分:秒"]  # how a time is written


def entries(text):
    """(msgid, msgstr) of a catalogue, escapes as they stand, without its head."""
    pattern = r'^msgid ((?:"(?:[^"\\]|\\.)*"\s*)+)^msgstr ((?:"(?:[^"\\]|\\.)*"\s*)+)'
    for match in re.finditer(pattern, text, re.MULTILINE):
        source, target = ("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', part)) for part in match.groups())
        if source:
            yield source, target


def faults(source, target):
    for word in FINE:
        target = target.replace(word, "")
    target = re.sub(r"%[-+ #0]*\d*(?:\.\d+|\.\*)?(?:ll|z|l)?[a-zA-Z]", "%", target)
    text = target.replace("\\n", "\n").replace('\\"', '"')
    for pattern, fault in RULES:
        if re.search(pattern, text):
            yield f"{fault}: …{re.search('.{0,8}(?:' + pattern + ').{0,8}', text)[0]}…"
    if target.count("  ") > source.count("  "):
        yield "two spaces"
    # Lines of the terminal begin with the program's name as all programs' do.
    if source.endswith("\\n") and re.match(r"(koubo|%s): ", source) and not re.match(r"(koubo|%): ", text):
        yield "the program's name is followed by ': '"


wrong = 0
for path in sorted((root / "po").rglob("zh_CN.po")):
    for msgid, msgstr in entries(path.read_text(encoding="utf-8")):
        for fault in faults(msgid, msgstr):
            print(f"{path.relative_to(root)}: {fault}\n    {msgstr}")
            wrong += 1
sys.exit(1 if wrong else 0)

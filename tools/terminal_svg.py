#!/usr/bin/env python3
"""Text on standard input to a picture of a terminal on standard output (SVG), for the README.

A line that begins with "$ " is a command; what koubo batch says of a video at the start of a line is coloured, in both
languages."""
import sys
import unicodedata
from xml.sax.saxutils import escape

CELL, LINE, PAD = 8.4, 22, 16
COLOURS = {"$ ": "#7fd1ff", "成功": "#8bd17c", "失败": "#ff8f80", "跳过": "#d9c77e", "取消": "#d9c77e",
           "Done ": "#8bd17c", "Failed ": "#ff8f80", "Skipped ": "#d9c77e", "Cancelled ": "#d9c77e"}


def width(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


lines = sys.stdin.read().rstrip("\n").split("\n")
w = max(map(width, lines)) * CELL + 2 * PAD
h = len(lines) * LINE + 2 * PAD
print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w:.0f} {h:.0f}" width="{w:.0f}" height="{h:.0f}">')
print(f'<rect width="{w:.0f}" height="{h:.0f}" rx="8" fill="#1d2330"/>')
print('<g font-family="Menlo, Consolas, \'DejaVu Sans Mono\', \'Noto Sans CJK SC\', \'WenQuanYi Zen Hei\', monospace" font-size="14">')
for row, line in enumerate(lines):
    colour = next((c for k, c in COLOURS.items() if line.startswith(k)), "#d7dce5")
    # One element a cell run, so that every font keeps the columns.
    column = 0
    for char in line:
        if char != " ":
            print(f'<text x="{PAD + column * CELL:.1f}" y="{PAD + (row + 0.75) * LINE:.1f}" '
                  f'fill="{colour}">{escape(char)}</text>')
        column += width(char)
print("</g></svg>")

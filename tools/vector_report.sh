#!/bin/sh
# Which loops of the hot files the compiler turned into vector instructions, by its own report: the
# widest vector of each line, over all instruction sets a function is compiled for.
# tools/vector_report.sh [BUILD]   (a configured build folder; default: build)
set -eu
build=${1:-build}
for file in src/nn/kernels.c src/face/region.c src/lipsync/paste.c; do
    command=$(ninja -C "$build" -t commands "$(echo "$file" | sed -E 's|src/([a-z]+)/(.*)|src/\1/lib\1.a.p/\2.o|')" |
        grep -- "-c ../$file" | tail -n 1)
    (cd "$build" && sh -c "$(echo "$command" | sed -E 's| -o [^ ]+| -o /dev/null|; s| -M[A-Z]+( [^ ]+\.d)?||g; s| -MF [^ ]+||; s| -MQ [^ ]+||') -fopt-info-vec-optimized" 2>&1) |
        sed -nE "s|^\.\./($file):([0-9]+):.*loop vectorized using ([0-9]+) byte.*|\1 \2 \3|p" |
        sort -k2,2n -k3,3nr | awk '!seen[$2]++ { print }' |
        while read -r name line bytes; do
            function=$(awk -v n="$line" 'NR <= n && /^[a-zA-Z].*\(/ && !/;$/ { f = $0 } END { sub(/\(.*/, "", f); sub(/.*[ *]/, "", f); print f }' "$name")
            printf '%-22s line %4s  %-16s %3s bits\n' "$name" "$line" "$function" "$((bytes * 8))"
        done
done

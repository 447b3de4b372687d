#!/bin/sh
# A file includes only from its own layer or from a lower one. Prints every include that does not.
cd "${1:-$(dirname "$0")/..}/src" || exit 1

# The layers that a layer may include from besides its own.
lower()
{
    case $1 in
    base) echo "" ;;
    nn | media | store | http) echo "base" ;;
    face) echo "base nn media" ;;
    rig | finish) echo "base nn media face" ;;
    lipsync) echo "base nn media face rig finish" ;;
    lab) echo "base nn media face rig finish lipsync" ;;
    asset | notify) echo "base store" ;;
    voices) echo "base media store notify" ;;
    queue) echo "base nn media face rig finish lipsync store asset notify" ;;
    worker) echo "base nn media face rig finish lipsync store asset notify queue" ;;
    restore | cluster) echo "base nn media face rig finish lipsync store asset notify queue worker" ;;
    doctor) echo "base nn media face rig finish lipsync store asset notify queue worker cluster" ;;
    server) echo "base nn media face rig finish lipsync store asset notify queue worker cluster doctor http voices" ;;
    cli) echo "base nn media face rig finish lipsync lab store asset notify queue worker cluster restore doctor http server voices" ;;
    *) echo "?" ;;
    esac
}

status=0
# What the files of a room share is nobody else's.
for line in $(grep -rnoE '^#include "[a-z]+/internal' . | sed 's,^\./,,; s/#include "//'); do
    room=${line%%/*}
    case $line in
    *":$room/internal") ;;
    *) echo "src/$line: another room's internal.h"; status=1 ;;
    esac
done
for folder in */; do
    layer=${folder%/}
    allowed="$layer $(lower "$layer")"
    case $allowed in
    *\?) echo "src/$layer: not a known layer; add it to tools/check_includes.sh"; status=1 ;;
    esac
    # "file:line:layer" of every include with a folder in it
    found=$(grep -rnoE '^#include "[a-z]+/' "$layer" | sed 's/#include "//; s,/$,,')
    for line in $found; do
        case " $allowed " in
        *" ${line##*:} "*) ;;
        *) echo "src/$line: an upward include"; status=1 ;;
        esac
    done
done
# Who may log; base/log.h says why no other room does.
for layer in */; do
    case ${layer%/} in
    cli | server | http | cluster | worker | queue | notify | lipsync) continue ;;
    esac
    for line in $(grep -rnoE '\blog_(error|warn|info|verbose|debug)\(' --include='*.c' "$layer"); do
        echo "src/$line…: this room returns errors and does not log"; status=1
    done
done
exit $status

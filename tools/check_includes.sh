#!/bin/sh
# A file includes only from its own layer or from a lower one. Prints every include that does not.
cd "${1:-$(dirname "$0")/..}/src" || exit 1

# The layers that a layer may include from besides its own.
lower()
{
    case $1 in
    base) echo "" ;;
    nn | media) echo "base" ;;
    face) echo "base nn media" ;;
    rig) echo "base nn media face" ;;
    lipsync) echo "base nn media face rig" ;;
    job) echo "base nn media face rig lipsync" ;;
    server) echo "base nn media face rig lipsync job" ;;
    cli) echo "base nn media face rig lipsync job server" ;;
    *) echo "?" ;;
    esac
}

status=0
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
exit $status

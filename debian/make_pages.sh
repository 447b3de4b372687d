#!/bin/sh
# make_pages.sh PROGRAM FOLDER: koubo.1 and koubo-COMMAND.1 in FOLDER, out of what --help says.
set -eu
program=$(readlink -f "$1")
folder=$2
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

# page NAME SENTENCE [COMMAND]
page()
{
    # help2man takes the page's name from the program's, and for headings what stands at the line's beginning.
    printf '#!/bin/sh\nLC_ALL=C.UTF-8 LANGUAGE=en %s --help | sed "s/^ \\([A-Z].*:\\)\\$/\\1/"\n' "$program ${3:-}" >"$place/$1"
    chmod +x "$place/$1"
    help2man --locale=C.UTF-8 --no-info --section=1 --manual=koubo --name="$2" --version-string="$1 ${version#* }" \
        --output="$folder/$1.1" "$place/$1"
}

version=$("$program" --version)
page koubo "makes people in videos say what an audio file says"
"$program" --help | sed -n 's/^  \([a-z][a-z]*\)  *\([^ ].*\)$/\1 \2/p' | while read -r command sentence; do
    [ "$command" = koubo ] || page "koubo-$command" "$sentence" "$command"
done

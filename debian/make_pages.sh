#!/bin/sh
# make_pages.sh PROGRAM FOLDER: koubo.1 and koubo-COMMAND.1 in FOLDER, out of what --help says.
set -eu
program=$1
folder=$2

# page NAME SENTENCE [COMMAND]
page()
{
    help2man --no-info --no-discard-stderr --section=1 --manual=koubo --name="$2" \
        --version-string="$("$program" --version)" --help-option="${3:+$3 }--help" --output="$folder/$1.1" "$program"
}

page koubo "makes people in videos say what an audio file says"
"$program" --help | sed -n 's/^  \([a-z][a-z]*\)  *\([^ ].*\)$/\1 \2/p' | while read -r command sentence; do
    [ "$command" = koubo ] || page "koubo-$command" "$sentence" "$command"
done

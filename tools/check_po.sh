#!/bin/sh
# Is every text of the sources translated, and nothing else? Prints what is missing or left over.
cd "${1:-$(dirname "$0")/..}" || exit 1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
status=0

for file in $(grep -rlE '\b(_|N_)\(' src --include='*.c' --include='*.h'); do
    [ "$file" = src/base/base.h ] || grep -qx "$file" po/POTFILES || {
        echo "po/POTFILES does not list $file"
        status=1
    }
done
xgettext --keyword=_ --keyword=N_ --from-code=UTF-8 -f po/POTFILES -o "$folder/koubo.pot" ||
    status=1
for catalogue in po/*.po; do
    msgmerge -q --no-fuzzy-matching -o "$folder/merged.po" "$catalogue" "$folder/koubo.pot" ||
        status=1
    msgfmt --check -o /dev/null "$folder/merged.po" || status=1
    msgattrib --untranslated --no-obsolete --no-wrap "$folder/merged.po" >"$folder/missing.po"
    msgattrib --only-fuzzy --no-obsolete --no-wrap "$folder/merged.po" >>"$folder/missing.po"
    msgattrib --only-obsolete --no-wrap "$folder/merged.po" | grep '^#~ msgid' && {
        echo "no source has these any more; delete them in $catalogue"
        status=1
    }
    if [ -s "$folder/missing.po" ]; then
        echo "$catalogue lacks:"
        grep -A 4 '^#: ' "$folder/missing.po"
        status=1
    fi
done
exit $status

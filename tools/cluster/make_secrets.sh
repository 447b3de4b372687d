#!/bin/sh
# The files that compose.yaml wants, in the folder "secrets" beside it: Redis's users and their
# addresses, and the token of the page, which is printed. What is there already stays.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
secrets=$here/secrets

random()
{
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

make_all()
{
    mkdir -p "$secrets" && chmod 700 "$secrets" || exit 1
    # Each container's own user reads its files; of this machine's users nobody else gets into the folder.
    umask 022
    head=$(random)
    machines=$(random)
    echo "redis://head:$head@redis" >"$secrets/head.cluster"
    echo "redis://machines:$machines@redis" >"$secrets/machines.cluster"
    random >"$secrets/token"
    : >"$secrets/n1.token"
    # The last: while it is not there, all are made anew.
    sed "s/CHANGE-ME-1/$head/; s/CHANGE-ME-2/$machines/" "$here/users.acl" >"$secrets/users.acl"
}

[ -e "$secrets/users.acl" ] || make_all
cat "$secrets/token"
echo

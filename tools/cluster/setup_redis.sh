#!/bin/sh
# Makes this machine's Redis (Debian's redis-server) ready for koubo on many machines: two users with
# random passwords and no more rights than they need, reachable from other machines, nothing kept on
# disk. The head's address is left in ~/.config/koubo/head.cluster of who called it, the machines' is
# printed. Run again, it keeps the passwords, and the certificate of the same name. A Redis that others
# use would lose its data and lock them out by this: it stops there.
#
#   sudo tools/cluster/setup_redis.sh               over the network as it is
#   sudo tools/cluster/setup_redis.sh --tls NAME    encrypted; NAME or address by which others reach it
#
# --force: also a Redis that holds data or has a password, users or clients.
# --folder FOLDER: another than /etc/redis; then no service is started anew, and the address is left there.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
. "$here/../setup.sh"
choose_language "$@"
folder=/etc/redis
name=
force=
while [ $# -gt 0 ]; do
    case $1 in
    --folder) folder=$2; shift ;;
    --tls) name=$2; shift ;;
    --force) force=yes ;;
    --lang=*) ;;
    *)
        pick "用法：sudo tools/cluster/setup_redis.sh [--tls 主机名或地址] [--folder 文件夹] [--force]" \
            "usage: sudo tools/cluster/setup_redis.sh [--tls NAME] [--folder FOLDER] [--force]" >&2
        exit 2
        ;;
    esac
    shift
done
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
[ -f "$folder/redis.conf" ] ||
    die "$folder/redis.conf 不存在：请先安装 Redis（apt-get install redis-server）" \
        "there is no $folder/redis.conf: install Redis first (apt-get install redis-server)"
[ -w "$folder/redis.conf" ] ||
    die "没有权限写 $folder：请用 sudo 运行" "$folder cannot be written: run it with sudo"
umask 027

# in_use CHINESE ENGLISH: others use this Redis.
in_use()
{
    [ -z "$force" ] || return 0
    die "这个 Redis 别人也在用（$1）。koubo 会锁住没有密码的用户，数据不再存盘，并重启它：请给 koubo 单独一个 Redis，不要紧就加 --force" \
        "others use this Redis: $2. koubo would lock them out, keep its data on no disk and start it anew: give koubo a Redis of its own, or add --force if that does no harm"
}

# What its configuration says, and what it says itself if it runs.
look_for_others()
{
    ! grep -qiE '^[[:space:]]*user[[:space:]]' "$folder/redis.conf" ||
        die "$folder/redis.conf 里有用户（user 行），Redis 不会同时读 koubo 的用户文件：请给 koubo 单独一个 Redis" \
            "$folder/redis.conf defines users, beside which Redis reads no file of them as koubo's: give koubo a Redis of its own"
    ! grep -qiE '^[[:space:]]*(requirepass|aclfile)[[:space:]]' "$folder/redis.conf" ||
        in_use "已设密码或用户" "it has a password or users"
    port=$(sed -n 's/^port[[:space:]]*//p' "$folder/redis.conf" | tail -n 1)
    if [ "$folder" = /etc/redis ]; then
        port=${port:-6379}
        systemctl start redis-server ||
            die "Redis 没有启动，请看 journalctl -u redis-server" "Redis does not start: see journalctl -u redis-server"
    fi
    [ -n "$port" ] || return 0
    said=$(redis-cli -p "$port" ACL USERS 2>&1)
    case $said in
    default) ;;
    *"Could not connect"*)
        [ "$folder" != /etc/redis ] || in_use "不在端口 $port 上回答" "it does not answer at port $port"
        return 0
        ;;
    *) in_use "已设密码或用户" "it has a password or users" ;;
    esac
    redis-cli -p "$port" INFO keyspace 2>&1 | grep -q '^db' && in_use "里面有数据" "it holds data"
    redis-cli -p "$port" INFO clients 2>&1 | tr -d '\r' | grep -qx connected_clients:1 ||
        in_use "有程序连着它" "programs are connected to it"
}

grep -qxF "include $folder/koubo.conf" "$folder/redis.conf" || look_for_others

random()
{
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# The name that the certificate vouches for, if there is one that still counts.
certified()
{
    [ -e "$folder/koubo-key.pem" ] && openssl x509 -in "$folder/koubo-ca.pem" -noout -checkend 0 >/dev/null 2>&1 &&
        openssl x509 -in "$folder/koubo-ca.pem" -noout -subject -nameopt multiline | sed -n 's/.*commonName *= //p'
}

acl=$folder/koubo.acl
[ -e "$acl" ] || sed "s/CHANGE-ME-1/$(random)/; s/CHANGE-ME-2/$(random)/" "$here/users.acl" >"$acl" ||
    exit 1
if [ -n "$name" ] && [ "$name" != "$(certified)" ]; then
    case $name in *[!0-9.:]*) kind=DNS ;; *) kind=IP ;; esac
    # One certificate that vouches for itself: who has it as "ca" trusts this Redis and nobody else.
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$name" \
        -addext "subjectAltName=$kind:$name,IP:127.0.0.1" \
        -keyout "$folder/koubo-key.pem" -out "$folder/koubo-ca.pem" 2>/dev/null ||
        die "openssl 不能制作证书" "openssl cannot make the certificate"
    chmod 644 "$folder/koubo-ca.pem"
fi
{
    echo "# Written by koubo's tools/cluster/setup_redis.sh. The users in koubo.acl guard what listens here."
    echo "bind * -::*"
    echo "protected-mode no"
    echo "aclfile $acl"
    echo 'save ""'
    echo "appendonly no"
    echo "maxmemory-policy noeviction"
    if [ -e "$folder/koubo-ca.pem" ]; then
        echo "port 0"
        echo "tls-port 6379"
        echo "tls-cert-file $folder/koubo-ca.pem"
        echo "tls-key-file $folder/koubo-key.pem"
        echo "tls-ca-cert-file $folder/koubo-ca.pem"
        echo "tls-auth-clients no"
    fi
} >"$folder/koubo.conf"
grep -qxF "include $folder/koubo.conf" "$folder/redis.conf" ||
    echo "include $folder/koubo.conf" >>"$folder/redis.conf"
certificate=$folder/koubo-ca.pem
home=$folder
if [ "$folder" = /etc/redis ]; then
    chown redis:redis "$folder"/koubo*
    if [ -e "$certificate" ]; then # where everybody can read it
        install -m 644 "$certificate" /etc/ssl/koubo-redis.pem
        certificate=/etc/ssl/koubo-redis.pem
    fi
    systemctl restart redis-server ||
        die "Redis 没有启动，请看 journalctl -u redis-server" "Redis does not start: see journalctl -u redis-server"
    owner=${SUDO_USER:-root}
    home=$(getent passwd "$owner" | cut -d : -f 6)/.config
    group=$(id -g "$owner")
    # install gives what it makes on the way to root.
    [ -d "$home" ] || install -d -o "$owner" -g "$group" -m 700 "$home"
    home=$home/koubo
    install -d -o "$owner" -g "$group" -m 700 "$home"
fi

password()
{
    sed -n "s/^user $1 on >\([^ ]*\) .*/\1/p" "$acl"
}
scheme=redis
query=
if [ -e "$folder/koubo-ca.pem" ]; then
    scheme=rediss
    query="?ca=$certificate"
    [ -n "$name" ] || name=$(certified)
fi
[ -n "$name" ] || name=$(hostname -I 2>/dev/null | cut -d ' ' -f 1)
[ -n "$name" ] || name=$(hostname)
case $name in *:*) name="[$name]" ;; esac
echo "$scheme://head:$(password head)@$name$query" >"$home/head.cluster"
chmod 600 "$home/head.cluster"
[ -z "${owner:-}" ] || chown "$owner:$group" "$home/head.cluster"
pick "主机的地址写在 $home/head.cluster，用 koubo serve --cluster-file 告诉它。" \
    "The head's address is in $home/head.cluster, for koubo serve --cluster-file."
pick "各台机器的地址（koubo node --cluster-file）：" "The machines' address (koubo node --cluster-file):"
echo "  $scheme://machines:$(password machines)@$name$query"
[ -z "$query" ] ||
    pick "把 $certificate 复制到每台机器的同一位置。" "Copy $certificate to the same place on each machine."

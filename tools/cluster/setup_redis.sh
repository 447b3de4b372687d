#!/bin/sh
# Makes this machine's Redis (Debian's redis-server) ready for koubo on many machines: two users with
# random passwords and no more rights than they need, reachable from other machines, nothing kept on
# disk. The head's address is left in ~/.config/koubo/head.cluster of who called it, the machines' is
# printed. Run again, it keeps the passwords.
#
#   sudo tools/cluster/setup_redis.sh               over the network as it is
#   sudo tools/cluster/setup_redis.sh --tls NAME    encrypted; NAME or address by which others reach it
#
# --folder FOLDER: another than /etc/redis; then no service is started anew, and the address is left there.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
. "$here/../setup.sh"
choose_language "$@"
folder=/etc/redis
name=
while [ $# -gt 0 ]; do
    case $1 in
    --folder) folder=$2; shift ;;
    --tls) name=$2; shift ;;
    --lang=*) ;;
    *)
        pick "用法：sudo tools/cluster/setup_redis.sh [--tls 主机名或地址] [--folder 文件夹]" \
            "usage: sudo tools/cluster/setup_redis.sh [--tls NAME] [--folder FOLDER]" >&2
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

random()
{
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

acl=$folder/koubo.acl
[ -e "$acl" ] || sed "s/CHANGE-ME-1/$(random)/; s/CHANGE-ME-2/$(random)/" "$here/users.acl" >"$acl" ||
    exit 1
if [ -n "$name" ]; then
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
    home=$(getent passwd "$owner" | cut -d : -f 6)/.config/koubo
    install -d -o "$owner" -m 700 "$home"
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
    [ -n "$name" ] ||
        name=$(openssl x509 -in "$folder/koubo-ca.pem" -noout -subject -nameopt multiline | sed -n 's/.*commonName *= //p')
fi
[ -n "$name" ] || name=$(hostname -I 2>/dev/null | cut -d ' ' -f 1)
[ -n "$name" ] || name=$(hostname)
case $name in *:*) name="[$name]" ;; esac
echo "$scheme://head:$(password head)@$name$query" >"$home/head.cluster"
chmod 600 "$home/head.cluster"
[ -z "${owner:-}" ] || chown "$owner" "$home/head.cluster"
pick "主机的地址写在 $home/head.cluster，用 koubo serve --cluster-file 告诉它。" \
    "The head's address is in $home/head.cluster, for koubo serve --cluster-file."
pick "各台机器的地址（koubo node --cluster-file）：" "The machines' address (koubo node --cluster-file):"
echo "  $scheme://machines:$(password machines)@$name$query"
[ -z "$query" ] ||
    pick "把 $certificate 复制到每台机器的同一位置。" "Copy $certificate to the same place on each machine."

# What start.sh and test.sh share. Sourced by them, from the project's folder; POSIX sh.

# choose_language ARGUMENTS...: Chinese or English, as koubo will choose with these (src/cli/locale.c).
language=
choose_language()
{
    language=
    before=
    for argument; do
        case "$before$argument" in
        --) break ;;
        --lang=* | --lang\ *) language=${argument#--lang=} ;;
        esac
        before=
        [ "$argument" != --lang ] || before="--lang "
    done
    locale=${LC_ALL:-${LC_MESSAGES:-${LANG:-C}}}
    [ -z "$language" ] || locale=
    case "$locale" in
    C | POSIX) language=en ;;
    esac
    for name in $(echo "${LANGUAGE:-}" | tr : ' ') $locale; do
        case "$name" in
        zh*) language=${language:-zh} ;;
        en*) language=${language:-en} ;;
        esac
    done
    [ "$language" = zh ] || language=en
}

# pick CHINESE ENGLISH: the text in the user's language.
pick()
{
    [ -n "$language" ] || choose_language
    case "$language" in
    zh) echo "$1" ;;
    *) echo "$2" ;;
    esac
}

# say CHINESE ENGLISH: one line on stderr.
say()
{
    echo "koubo: $(pick "$1" "$2")" >&2
}

die()
{
    say "$1" "$2"
    exit 5
}

# step CHINESE ENGLISH COMMAND...: the next of $n_steps numbered steps, and how long it took.
step=0
step()
{
    step=$((step + 1))
    say "[$step/$n_steps] $1" "[$step/$n_steps] $2"
    shift 2
    step_begin=$(date +%s)
    "$@"
    step_took=$(($(date +%s) - step_begin))
    say "[$step/$n_steps] 完成，$step_took 秒" "[$step/$n_steps] done in $step_took s"
}

# show_life LOG: beside a long command, what it last wrote to LOG and for how long it has run:
# rewritten in place on a terminal, else a line every 20 s. Ends with the shell that started it.
show_life()
{
    shown=0
    seconds=0
    while sleep 1 && kill -0 $$ 2>/dev/null; do
        seconds=$((seconds + 1))
        line="${seconds} s  $(tail -n 1 "$1" 2>/dev/null | cut -c 1-60)"
        if [ -t 2 ]; then
            printf '\r\033[K%s' "$line" >&2
        elif [ $((seconds - shown)) -ge 20 ]; then
            shown=$seconds
            echo "  $line" >&2
        fi
    done
}

# live LOG COMMAND...: the command with its output in LOG, and a sign of life. Its exit status.
live()
{
    live_log=$1
    shift
    : >"$live_log"
    show_life "$live_log" &
    life=$!
    live_status=0
    "$@" >"$live_log" 2>&1 || live_status=$?
    kill "$life" 2>/dev/null
    wait "$life" 2>/dev/null
    [ ! -t 2 ] || printf '\r\033[K' >&2
    return "$live_status"
}

# libheif's decoder of HEVC is a package of its own, but for Debian 12.
heic_package()
{
    case $( (. /etc/os-release && echo "$ID $VERSION_ID") 2>/dev/null) in
    "debian 12") ;;
    *) echo libheif-plugin-libde265 ;;
    esac
}

build_packages="gcc libc6-dev meson ninja-build pkg-config gettext
    libavformat-dev libavcodec-dev libavfilter-dev libavutil-dev
    libheif-dev $(heic_package) libwebp-dev libass-dev libfontconfig-dev libfreetype-dev
    fonts-wqy-microhei libuchardet-dev libicu-dev libswscale-dev
    libkissfft-dev libespeak-ng-dev espeak-ng-data libdnnl-dev libjansson-dev libxxhash-dev
    libprotobuf-c-dev protobuf-c-compiler
    libsqlite3-dev libhiredis-dev libmicrohttpd-dev libcurl4-openssl-dev libexpat1-dev libssl-dev libarchive-dev libseccomp-dev
    zlib1g-dev libunistring-dev"
test_packages="libcmocka-dev libimage-exiftool-perl redis-server openssl iproute2 ffmpeg espeak-ng chromium libyaml-dev
    python3-torch python3-numpy clang-format clang-tidy lld"
package_packages="build-essential debhelper dpkg-dev help2man"

# The same by the names that other systems know too.
needed_tools="cc meson ninja pkg-config msgfmt node npm"
needed_libraries="libavformat libavcodec libavfilter libavutil libswscale libheif libwebpdemux libass fontconfig freetype2 uchardet icu-uc kissfft-float espeak-ng jansson
    libxxhash sqlite3 hiredis libmicrohttpd libcurl expat libcrypto libarchive libseccomp zlib"

# "Debian GNU/Linux 12 (bookworm)", and is it a system whose packages are known? (docs/packages.md: which were tried)
system_name()
{
    (. /etc/os-release && echo "$PRETTY_NAME") 2>/dev/null || uname -s
}

is_known_system()
{
    case $( (. /etc/os-release && echo "$ID $VERSION_ID") 2>/dev/null) in
    "debian 12" | "debian 13" | "ubuntu 24.04") return 0 ;;
    esac
    return 1
}

# What of the tools and libraries is not here, by name.
missing_here()
{
    for tool in $needed_tools; do
        command -v "$tool" >/dev/null || echo "$tool"
    done
    for library in $needed_libraries; do
        pkg-config --exists "$library" 2>/dev/null || echo "$library"
    done
    echo '#include <dnnl.h>' | cc -E - >/dev/null 2>&1 || echo "oneDNN"
}

# On a system that nobody tried: goes on if everything is there, whatever brought it.
check_other_system()
{
    missing=$(echo $(missing_here))
    [ -n "$missing" ] || {
        say "没有在 $(system_name) 上试过（试过 Debian 12 和 13），但需要的都在，继续" \
            "$(system_name) was not tried (Debian 12 and 13 were), but all that is needed is here: going on"
        return 0
    }
    known="Debian 12, Debian 13, Ubuntu 24.04"
    die "koubo 只会在 $known 上自己安装软件包；这是 $(system_name)。请先安装这里缺少的，再运行一次：$missing（在 Debian 上软件包叫：$(echo $*) nodejs npm）" \
        "koubo installs packages by itself on $known only; this is $(system_name). Install what is missing here and run it again: $missing (on Debian the packages are called: $(echo $*) nodejs npm)"
}

# install_packages NAME...: those of the system's packages that are missing.
install_packages()
{
    is_known_system || {
        check_other_system "$@"
        return 0
    }
    missing=
    for package; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q ' installed' ||
            missing="$missing $package"
    done
    # Node may come from elsewhere than the system.
    command -v node >/dev/null || missing="$missing nodejs"
    command -v npm >/dev/null || missing="$missing npm"
    [ -n "$missing" ] || return 0

    root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            die "缺少软件包，请用 root 运行：apt-get install$missing" \
                "packages are missing; run as root: apt-get install$missing"
        root=sudo
        sudo -v || exit 5 # asks for the password before lines are rewritten
    fi
    say "安装软件包：$missing" "installing packages:$missing"
    apt_log=$(mktemp)
    live "$apt_log" $root apt-get update &&
        live "$apt_log" $root env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
            apt-get install -y --no-install-recommends $missing || {
        tail -n 15 "$apt_log" >&2
        rm -f "$apt_log"
        die "软件包安装失败（见上面的信息），请检查网络后重试" \
            "the packages could not be installed (see above); check the network and try again"
    }
    rm -f "$apt_log"
}

# install_from_npm FOLDER CHINESE ENGLISH: what its package-lock.json names, once.
install_from_npm()
{
    [ ! "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ] || return 0
    say "$2" "$3"
    npm_log=$(mktemp)
    live "$npm_log" \
        npm --prefix "$1" ci --ignore-scripts --no-audit --no-fund --loglevel=error || {
        head -n 15 "$npm_log" >&2
        rm -f "$npm_log"
        die "npm 下载失败（见上面的信息），请检查网络后重试" \
            "npm failed (see above); check the network and try again"
    }
    rm -f "$npm_log"
}

# As meson.build says it.
koubo_version()
{
    sed -n "s/^  version: '\(.*\)',$/\1/p" meson.build
}

# The face models and the demo's photograph.
install_models()
{
    install_from_npm . "从 npm 下载人脸模型" "fetching the face models from npm"
    [ models/face/selfie_segmentation_landscape.tflite -nt package-lock.json ] ||
        node tools/fetch_models.mjs node_modules models >&2 || exit 5
}

# The page, when it is missing or older than its sources.
build_page()
{
    install_from_npm web "从 npm 下载网页所需的库" "fetching the page's libraries from npm"
    [ -e web/dist/index.html ] &&
        [ -z "$(find web -path web/node_modules -prune -o -path web/dist -prune -o \
            -type f -newer web/dist/index.html -print -quit)" ] && return 0
    say "生成网页" "building the page"
    live web/build.log npm --prefix web run --silent build || {
        tail -n 20 web/build.log >&2
        die "网页生成失败（见上面的信息）" "the page could not be built (see above)"
    }
    rm -f web/build.log
}

# configure FOLDER OPTION...: once for each folder.
configure()
{
    folder=$1
    shift
    [ -f "$folder/build.ninja" ] || meson setup "$folder" "$@" >"$folder.log" 2>&1 || {
        tail -n 20 "$folder.log" >&2
        rm -rf "$folder"
        die "Meson 配置失败（见上面的信息）" "Meson failed (see above)"
    }
    rm -f "$folder.log"
}

# build FOLDER [FILE...]: all, or these files; output only when it fails.
build()
{
    folder=$1
    shift
    live "$folder/build.log" ninja -C "$folder" "$@" || {
        grep -A 20 -m 3 -E 'error|FAILED' "$folder/build.log" >&2
        die "编译失败，完整记录在 $folder/build.log" "the build failed; the whole log is $folder/build.log"
    }
}

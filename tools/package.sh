#!/bin/sh
# Makes dist/koubo_VERSION_ARCHITECTURE.deb out of what is committed (outside of git: of what lies here):
#
#   tools/package.sh
#
# Needs Debian 12, 13 or Ubuntu 24.04; installs what it needs, fetches the models and builds the page as
# start.sh does. The package is for the system that it is made on. The same commit gives the same bytes.
cd "$(dirname "$0")/.." || exit 5
. tools/setup.sh
here=$PWD
version=$(koubo_version)

# in_git COMMAND...: the checkout may belong to somebody else than the one who runs this.
in_git()
{
    git -c safe.directory="$here" "$@" 2>/dev/null
}

# copy_sources FOLDER: what the package is made of.
copy_sources()
{
    if [ -e .git ] && in_git rev-parse HEAD >/dev/null; then
        [ -z "$(in_git status --porcelain)" ] ||
            say "有没有提交的改动，它们不在软件包里" "there are changes that are not committed; the package is without them"
        in_git archive HEAD | tar -x -C "$1"
    else
        tar -c --exclude=./build* --exclude=node_modules --exclude=./data --exclude=./dist --exclude=./web/dist \
            --exclude=./models/face . | tar -x -C "$1"
    fi
    mkdir -p "$1/models/face" "$1/web"
    cp -r models/face "$1/models/" && cp -r web/dist "$1/web/"
}

# The day of the commit, or that of the newest line of CHANGELOG.md's file: not today's.
when()
{
    echo "${SOURCE_DATE_EPOCH:-$(in_git log -1 --format=%ct || stat -c %Y CHANGELOG.md)}"
}

write_changelog()
{
    cat <<END
koubo ($version) stable; urgency=medium

  * CHANGELOG.md beside this file tells what changed.

 -- $(sed -n 's/^Maintainer: //p' debian/control)  $(LC_ALL=C date -u -R -d "@$1")
END
}

n_steps=5
step "软件包" "packages" install_packages $build_packages $package_packages
step "人脸模型（约 53 MB）" "face models (some 53 MB)" install_models
step "网页（所需的库约 160 MB）" "the page (its libraries: some 160 MB)" build_page

place=$(mktemp -d) || exit 5
trap 'rm -rf "$place"' EXIT
trap 'exit 130' HUP INT TERM
sources=$place/koubo-$version
mkdir "$sources" && copy_sources "$sources" || die "不能把源码复制到 $place" "the sources could not be copied to $place"
epoch=$(when)
write_changelog "$epoch" >"$sources/debian/changelog"

make_package()
{
    (cd "$sources" && SOURCE_DATE_EPOCH=$epoch DEB_BUILD_OPTIONS="parallel=$(nproc) nocheck" \
        live "$place/log" dpkg-buildpackage --build=binary --no-sign) || {
        tail -n 30 "$place/log" >&2
        die "软件包没有做成（见上面的信息）" "the package could not be made (see above)"
    }
}

take_package()
{
    mkdir -p dist && mv "$place"/koubo_"$version"_*.deb dist/
}

step "软件包（一两分钟）" "the package (a minute or two)" make_package
step "放进 dist" "into dist" take_package
ls dist/koubo_"$version"_*.deb

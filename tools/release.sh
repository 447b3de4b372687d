#!/bin/sh
# A release, in dist/: the Debian package, the sources, what changed, and SHA256SUMS of the three.
#
#   tools/release.sh
#
# Refuses what is not committed, and a version (meson.build) of which CHANGELOG.md does not tell. The same commit gives
# the same bytes, on the same system.
cd "$(dirname "$0")/.." || exit 5
. tools/setup.sh
version=$(koubo_version)

in_git()
{
    git -c safe.directory="$PWD" "$@"
}

# What CHANGELOG.md says of this version, without its heading.
notes()
{
    awk -v heading="## $version" '
        /^## / { told = $0 == heading || index($0, heading " ") == 1; next }
        told { print }' CHANGELOG.md | sed '/./,$!d'
}

in_git rev-parse --verify -q HEAD >/dev/null || die "这里不是 git 仓库" "this is no git repository"
[ -z "$(in_git status --porcelain)" ] ||
    die "有没有提交的改动（git status），请先提交" "there are changes that are not committed (git status); commit them first"
! grep -q '^## Unreleased' CHANGELOG.md ||
    die "CHANGELOG.md 里还有 “## Unreleased”，请改成 “## $version — 日期”" \
        "CHANGELOG.md still says '## Unreleased'; make it '## $version — DATE'"
[ -n "$(notes)" ] || die "CHANGELOG.md 里没有版本 $version（meson.build）的说明" \
    "CHANGELOG.md tells nothing of version $version (meson.build)"
for tag in $(in_git tag --points-at HEAD 'v*'); do
    [ "$tag" = "v$version" ] || die "提交上的标签 $tag 和版本 $version 不一致" "the commit's tag $tag is not version $version"
done

rm -rf dist
tools/package.sh >/dev/null || exit 5
in_git archive --format=tar --prefix="koubo-$version/" HEAD | gzip -n9 >"dist/koubo-$version.tar.gz" &&
    notes >"dist/koubo-$version.md" &&
    (cd dist && sha256sum koubo* >SHA256SUMS) || die "dist 里写不下" "dist could not be written"
say "发布的文件在 dist 里：" "the release is in dist:"
cat dist/SHA256SUMS

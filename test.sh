#!/bin/sh
# Sets up what the tests need, builds twice (plain, and with address and undefined-behaviour
# sanitizers), runs every test in both. The last line is "N passed, N failed, N skipped".
cd "$(dirname "$0")" || exit 5
exec </dev/null
. tools/setup.sh

install_packages $build_packages $test_packages
install_models
build_page
configure build-test -Dwerror=true
configure build-asan -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false

status=0
for folder in build-test build-asan; do
    say "编译 $folder" "compiling $folder"
    build $folder
    say "在 $folder 里运行测试" "running the tests in $folder"
    # The limits are for a machine that does nothing else; one that is busy is not at fault.
    meson test -C $folder --no-rebuild --print-errorlogs --timeout-multiplier 4 || status=1
done
python3 tools/count_tests.py build-test/meson-logs/testlog.json \
    build-asan/meson-logs/testlog.json || status=1
exit $status

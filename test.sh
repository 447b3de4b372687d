#!/bin/sh
# Sets up what the tests need, builds, and runs them; --help tells how.
cd "$(dirname "$0")" || exit 5
exec </dev/null
. tools/setup.sh

usage()
{
    pick "用法：./test.sh [测试或测试组 …]

  ./test.sh                全部测试，三种编译：普通的，带地址与未定义行为检查的，以及带线程检查的
                           （最后一种只运行有多个线程的测试）
  ./test.sh store/store    一个测试，只用普通的编译，不必等待其他测试
  ./test.sh queue web/mock 一组测试（以及另一个测试），同样只用普通的编译
  ./test.sh --list         所有测试的名字，前面是它们的组

  KOUBO_TEST=zip ./test.sh server    只运行名字里有 zip 的用例（C、网页和训练的测试都认）

没有通过的测试，它输出的内容会显示出来；随后是最慢的测试。最后一行是 “N passed, N failed, N skipped”，
全部通过时退出码为 0。编译在 build-test、build-asan 和 build-tsan 里，完整的记录是其中的
meson-logs/testlog.txt。
" "usage: ./test.sh [TEST or SUITE ...]

  ./test.sh                every test, in three builds: plain, with the address and
                           undefined-behaviour sanitizers, and, those in which threads meet, with
                           the thread sanitizer
  ./test.sh store/store    one test, in the plain build only, without waiting for the others
  ./test.sh queue web/mock a suite of tests (and one test more), likewise
  ./test.sh --list         the names of all tests, each after its suite

  KOUBO_TEST=zip ./test.sh server    only the cases with zip in their name (the tests in C, of the
                                     page and of the training know it)

What a failing test printed is shown, then which tests took longest. The last line is \"N passed,
N failed, N skipped\", and the status is 0 if all passed. The builds are in build-test, build-asan
and build-tsan; their meson-logs/testlog.txt holds the whole record.
"
}

case ${1:-} in
-h | --help)
    usage
    exit
    ;;
-*) [ "$1" = --list ] || {
    usage >&2
    exit 2
} ;;
esac

# The tests and suites in which threads meet: what ThreadSanitizer is to see.
threads="base http server notify store/backup store/patience worker/inspect worker/broker worker/worker worker/supervisor queue/lease lipsync/dub
cluster/wire cluster/redis cluster/head"

# run FOLDER [TEST or SUITE...]: builds what they need and runs them, all without any.
run()
{
    folder=$1
    shift
    tests=
    for wanted; do
        named=$(tools/name_tests.py "$folder" "$wanted" 2>/dev/null) ||
            die "没有叫 “$wanted” 的测试或测试组；./test.sh --list 列出全部" \
                "there is no test or suite '$wanted'; ./test.sh --list shows them all"
        tests="$tests $named"
    done
    say "编译 $folder" "compiling $folder"
    build "$folder" ${tests:+$(tools/name_tests.py "$folder" --built $tests)}
    say "在 $folder 里运行测试" "running the tests in $folder"
    # The limits are for a machine that does nothing else; one that is busy is not at fault.
    $within meson test -C "$folder" --no-rebuild --timeout-multiplier 4 $tests || status=1
    logs="$logs $folder/meson-logs/testlog.json"
}

install_packages $build_packages $test_packages
install_models
install_from_npm tests/cluster "从 npm 下载测试用的 S3 存储" "fetching an S3 store for the tests from npm"
build_page
configure build-test -Dwerror=true
ninja -C build-test build.ninja >/dev/null || exit 5
if [ "${1:-}" = --list ]; then
    exec meson test -C build-test --no-rebuild --list
fi

status=0
logs=
within=
run build-test "$@"
if [ $# = 0 ]; then
    configure build-asan -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false
    run build-asan
    configure build-tsan -Dwerror=true -Db_sanitize=thread -Db_lundef=false
    ninja -C build-tsan build.ninja >/dev/null || exit 5
    # GCC 12's ThreadSanitizer ends at once where a kernel spreads addresses as wide as newer ones do.
    ! setarch -R true 2>/dev/null || within="setarch -R"
    if echo 'int main(void) { return 0; }' | cc -fsanitize=thread -x c - -o build-tsan/probe &&
        $within build-tsan/probe; then
        run build-tsan $threads
    else
        say "线程检查在这个内核上无法运行，跳过" "ThreadSanitizer does not run on this kernel; left out"
    fi
fi
python3 tools/count_tests.py $logs || status=1
exit $status

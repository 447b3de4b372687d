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
meson-logs/testlog*.txt。
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
and build-tsan; their meson-logs/testlog*.txt hold the whole record.
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

# With sanitizers GCC optimises little and warns of nothing: it takes a quarter of the time, and what it
# warns of there is often not so. The plain build has both, and the clips.
set_up_sanitizer()
{
    configure "$1" -Doptimization=1 -Dc_args=-g1 -Db_lundef=false -Db_sanitize="$2" $linker \
        -Dclips="$PWD/build-test/tests/clips"
    ninja -C "$1" build.ninja >/dev/null || exit 5
}

# What the next tests need is compiled while others run, with what they leave of the processors;
# compile() goes on with it where it stopped, and says what is wrong.
ahead=
compile_ahead()
{
    idle="nice -n 19"
    ! chrt --idle 0 true 2>/dev/null || idle="chrt --idle 0"
    $idle ninja -C "$@" >/dev/null 2>&1 &
    ahead=$!
}

end_compiling_ahead()
{
    [ -n "$ahead" ] || return 0
    kill "$ahead" 2>/dev/null
    wait "$ahead" 2>/dev/null
    ahead=
}

# compile FOLDER [TEST or SUITE...]: what these tests need, without any all.
compile()
{
    folder=$1
    shift
    end_compiling_ahead
    say "编译 $folder" "compiling $folder"
    build "$folder" ${1:+$(tools/name_tests.py "$folder" --built "$@")}
}

# meson_test FOLDER LOG ARGUMENTS...: the limits are for a machine that does nothing else; one that is
# busy is not at fault.
meson_test()
{
    folder=$1
    log=$2
    shift 2
    $within meson test -C "$folder" --logbase "$log" --no-rebuild --timeout-multiplier 4 "$@" || status=1
    logs="$logs $folder/meson-logs/$log.json"
}

# run FOLDER [TEST or SUITE...]: these tests, without any all.
run()
{
    folder=$1
    shift
    say "在 $folder 里运行测试" "running the tests in $folder"
    meson_test "$folder" testlog ${1:+$(tools/name_tests.py "$folder" "$@")}
}

# All tests of the plain build. Browsers, servers and machines wait for each other more than they work:
# one more of those at once than there are processors.
run_plain()
{
    say "在 build-test 里运行测试" "running the tests in build-test"
    meson_test build-test testlog --no-suite web --no-suite e2e
    meson_test build-test testlog-waiting --suite web --suite e2e --num-processes $(($(nproc) + 1))
}

install_packages $build_packages $test_packages
install_models
install_from_npm tests/cluster "从 npm 下载测试用的 S3 存储" "fetching an S3 store for the tests from npm"
build_page
# Some 150 programs are linked for each build: lld takes a fifth of the time.
linker=
! command -v ld.lld >/dev/null || linker=-Dc_link_args=-fuse-ld=lld
configure build-test -Dwerror=true $linker
ninja -C build-test build.ninja >/dev/null || exit 5
if [ "${1:-}" = --list ]; then
    exec meson test -C build-test --no-rebuild --list
fi

for wanted; do
    tools/name_tests.py build-test "$wanted" >/dev/null 2>&1 ||
        die "没有叫 “$wanted” 的测试或测试组；./test.sh --list 列出全部" \
            "there is no test or suite '$wanted'; ./test.sh --list shows them all"
done

status=0
logs=
within=
trap end_compiling_ahead EXIT
trap 'exit 130' HUP INT TERM
compile build-test "$@"
if [ $# = 0 ]; then
    set_up_sanitizer build-asan address,undefined
    compile_ahead build-asan
    run_plain
    set_up_sanitizer build-tsan thread
    compile build-asan
    compile_ahead build-tsan $(tools/name_tests.py build-tsan --built $threads)
    run build-asan
    # GCC 12's ThreadSanitizer ends at once where a kernel spreads addresses as wide as newer ones do.
    ! setarch -R true 2>/dev/null || within="setarch -R"
    if echo 'int main(void) { return 0; }' | cc -fsanitize=thread -x c - -o build-tsan/probe &&
        $within build-tsan/probe; then
        compile build-tsan $threads
        run build-tsan $threads
    else
        say "线程检查在这个内核上无法运行，跳过" "ThreadSanitizer does not run on this kernel; left out"
    fi
else
    run build-test "$@"
fi
python3 tools/count_tests.py $logs || status=1
exit $status

#!/bin/sh
# Fuzzing for real, with clang's libFuzzer; CONTRIBUTING.md tells more.
cd "$(dirname "$0")/.." || exit 5
exec </dev/null
. tools/setup.sh

usage()
{
    pick "用法：tools/fuzz.sh 小时数 [目标 …]

  tools/fuzz.sh 2              所有目标一共两小时，轮流进行，每次一分钟
  tools/fuzz.sh 0.1 http pth   只要这两个目标，一共六分钟
  tools/fuzz.sh 0              只编译，在 build-fuzz 里

找到的新输入在 build-fuzz/found/目标 里；使程序崩溃、卡住或占用太多内存的输入在
build-fuzz/broken/ 里，名字以目标开头。每一轮之后打印每个目标的执行次数、秒数和覆盖
的分支数。没有坏的输入时退出码为 0。
" "usage: tools/fuzz.sh HOURS [TARGET ...]

  tools/fuzz.sh 2              all targets, two hours together, in turns of a minute
  tools/fuzz.sh 0.1 http pth   only these two, six minutes together
  tools/fuzz.sh 0              only compile, in build-fuzz

Inputs that reach something new are in build-fuzz/found/TARGET; what crashes, hangs or takes too
much memory is in build-fuzz/broken/, its name begins with the target's. After each round: how
often each target was executed, for how many seconds, and how many branches it covers. The status is
0 if nothing broke.
"
}

case ${1:-} in
-h | --help)
    usage
    exit
    ;;
esac
seconds=$(echo "${1:-}" | awk '/^[0-9]+(\.[0-9]+)?$/ { printf "%d", $1 * 3600; ok = 1 } END { exit !ok }') || {
    usage >&2
    exit 2
}
shift

turn=60
folder=build-fuzz
all=$(ls tests/fuzz/fuzz_*.c | sed 's/.*fuzz_//; s/\.c$//')
targets=${*:-$all}
for target in $targets; do
    [ -f "tests/fuzz/fuzz_$target.c" ] ||
        die "没有叫 “$target” 的目标；有：$(echo $all)" "there is no target '$target'; there are: $(echo $all)"
done

install_packages $build_packages libcmocka-dev clang
version=$(clang --version | sed -n 's/.*clang version \([0-9]*\).*/\1/p')
install_packages "libclang-rt-$version-dev" "libomp-$version-dev"
compiler=clang
command -v ccache >/dev/null && compiler="ccache clang"
CC=$compiler configure $folder -Dfuzz=true -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false
ninja -C $folder build.ninja >/dev/null || exit 5
say "编译 $folder" "compiling $folder"
build $folder $(for target in $targets; do echo "tests/fuzz/fuzz_$target"; done)

# number NAME FILE: the last one that libFuzzer printed after NAME.
number()
{
    grep -oE "$1:? +[0-9]+" "$2" | tail -n 1 | grep -oE '[0-9]+$' || echo 0
}

# fuzz TARGET SECONDS: one turn; its totals are kept in build-fuzz/totals/TARGET.
fuzz()
{
    mkdir -p "$folder/found/$1" $folder/broken $folder/totals $folder/logs
    log=$folder/logs/$1
    begin=$(date +%s)
    seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
    ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1 \
        OMP_WAIT_POLICY=passive ONEDNN_PRIMITIVE_CACHE_CAPACITY=16 \
        LSAN_OPTIONS=suppressions=tests/lsan.supp:print_suppressions=0 \
        "$folder/tests/fuzz/fuzz_$1" -max_total_time="$2" -seed="$seed" -rss_limit_mb=2048 -timeout=25 \
        -max_len=65536 -print_final_stats=1 -artifact_prefix="$folder/broken/$1-" \
        "$folder/found/$1" "tests/fuzz/corpus/$1" >"$log" 2>&1 ||
        say "$1 有坏的输入，见 $log" "$1: an input broke it, see $log"
    executed=$(number stat::number_of_executed_units "$log")
    [ "$executed" -gt 0 ] || executed=$(grep -oE '^#[0-9]+' "$log" | tail -n 1 | tr -d '#')
    echo "${executed:-0} $(($(date +%s) - begin)) $(number cov "$log")" >>"$folder/totals/$1"
}

show()
{
    date '+%Y-%m-%d %H:%M:%S'
    printf '%-14s %14s %9s %9s %7s %7s\n' target executions seconds branches found broken
    for target in $targets; do
        [ -f "$folder/totals/$target" ] || continue
        awk -v target="$target" -v found="$(ls "$folder/found/$target" | wc -l)" \
            -v broken="$(find "$folder/broken" -name "$target-*" | wc -l)" \
            '{ n += $1; s += $2; if ($3 > cov) cov = $3 }
             END { printf "%-14s %14d %9d %9d %7d %7d\n", target, n, s, cov, found, broken }' \
            "$folder/totals/$target"
    done
    cat "$folder"/totals/* | awk '{ n += $1; s += $2 } END { printf "%-14s %14d %9d\n", "together", n, s }'
}

[ "$seconds" -gt 0 ] || exit 0
end=$(($(date +%s) + seconds))
left=$seconds
while [ "$left" -gt 0 ]; do
    for target in $targets; do
        left=$((end - $(date +%s)))
        [ "$left" -gt 0 ] || break
        n=$((seconds / $(echo $targets | wc -w)))
        [ $n -le $turn ] || n=$turn
        [ $n -ge 1 ] || n=1
        [ $n -le $left ] || n=$left
        fuzz "$target" "$n"
    done
    left=$((end - $(date +%s)))
    show
done
[ -z "$(ls $folder/broken)" ]

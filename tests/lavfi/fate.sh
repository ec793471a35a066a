#!/bin/sh
# FFmpeg's own tests that need no sample files, on the patched tree of one or more releases: fate.sh 7.1 9.0
#
# Its filter and program tests, and with them those of libavfilter-patch/fate. Uses the objects that
# configure-hook/build-ffmpeg.sh left in the cache. Closing line `N passed, N failed`.
set -u
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${BUILD:-$root/build}" && pwd) || exit 1
cache=${HUNYUANVIDEO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hunyuanvideo}
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
LD_LIBRARY_PATH=$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH

[ $# -gt 0 ] || { echo 'usage: fate.sh RELEASE...' >&2; exit 2; }

passed=0
failed=0
for release; do
    dir=$cache/ffmpeg/$release
    if [ ! -f "$dir/obj/ffbuild/config.mak" ]; then
        echo "FAIL fate of ffmpeg $release: $dir/obj is missing (configure-hook/build-ffmpeg.sh $release makes it)"
        failed=$((failed + 1))
        continue
    fi
    exec 9> "$dir/lock"
    if command -v flock > /dev/null; then flock 9; fi
    tests=$(make -s -C "$dir/obj" fate-list 2> /dev/null | grep -E '^fate-(filter|ffmpeg)')
    # 5.1 lists this one although it needs a sample file
    [ "$release" != 5.1 ] || tests=$(echo "$tests" | grep -vx fate-filter-silenceremove)
    tests="$tests fate-opt fate-parseutils"
    log=$dir/fate.log
    # shellcheck disable=SC2086
    nice make -k -C "$dir/obj" -j"$jobs" $tests > "$log" 2>&1
    exec 9>&-
    all=$(echo "$tests" | wc -w)
    bad=$(sed -n 's/.*\[.*: \(fate-[a-z0-9_-]*\)\] Error.*/\1/p' "$log" | sort -u)
    ran=$(grep -c '^TEST' "$log")
    for name in $bad; do echo "FAIL fate of ffmpeg $release: $name (see $log)"; done
    n=$(echo "$bad" | grep -c .)
    if [ "$ran" -ne "$all" ] && [ "$n" -eq 0 ]; then
        echo "FAIL fate of ffmpeg $release: $ran of $all tests ran (see $log)"
        n=1
    fi
    echo "ffmpeg $release: $all tests, among them $(echo "$tests" | grep -c hunyuanvideo) of the filter"
    failed=$((failed + n))
    passed=$((passed + all - n))
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]

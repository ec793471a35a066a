#!/bin/sh
# The command-line tests of the patched ffmpeg, for one or more releases that were built before: run.sh 7.1 9.0
#
# A line a test, then `N passed, N failed[, N skipped]`. Numbers before their names tell the kinds of use apart:
# 1 to 9 clips and prompts, 14 to 16 ending early, 17 and 18 failures, 19 quoting, 20 and 21 the option table and commands,
# 22 to 24 builds and the hook; 10 to 13 are left for filters with an input. Groups are in the t_*.sh files; ONLY="clips stops" chooses.
set -u
LC_ALL=C.UTF-8
export LC_ALL

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$(cd "${BUILD:-$root/build}" && pwd) || exit 1
newest=9.0
unset HUNYUANVIDEO_MODEL

[ $# -gt 0 ] || { echo 'usage: run.sh RELEASE...' >&2; exit 2; }

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
exec 3>&1

. "$here/common.sh"
for group in clips prompts errors stop reference resume nano hook builds; do
    . "$here/t_$group.sh"
done

for release; do
    ff=$build/ffmpeg-$release
    probe=$build/ffprobe-$release
    if [ ! -x "$ff" ] || [ ! -x "$probe" ]; then
        failed=$((failed + 1))
        echo "FAIL ffmpeg $release: $ff is missing (configure-hook/build-ffmpeg.sh $release makes it)"
        continue
    fi
    source_tree=$("$root/configure-hook/get-ffmpeg.sh" "$release") || exit 1
    h264=libx264
    h264_fast='-preset ultrafast'
    "$ff" -hide_banner -h encoder=libx264 2>&1 | grep -q '^Encoder' || { h264=mpeg4; h264_fast=; }
    rm -rf "$tmp/run"
    mkdir "$tmp/run"
    cd "$tmp/run" || exit 1
    tmp_root=$tmp
    tmp=$tmp/run
    for group in ${ONLY:-clips prompts errors stops references resume nano hooks builds}; do $group; done
    tmp=$tmp_root
done

printf '%d passed, %d failed' $passed $failed
[ $skipped = 0 ] || printf ', %d skipped' $skipped
echo
[ $failed = 0 ]

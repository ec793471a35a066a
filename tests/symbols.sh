#!/bin/sh
# The shared library exports the functions of the public header, all of them and nothing else.
set -u
cd "$(dirname "$0")/.." || exit 2
library=${1:-build/lib/libhunyuanvideo.so}
declared=$(sed -n 's/^HYV_API .*[ *]\(hyv_[a-z_]*\)(.*/\1/p' engine/hunyuanvideo.h | sort)
exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sort)
if [ -n "$declared" ] && [ "$declared" = "$exported" ]; then
    echo "1 passed, 0 failed"
else
    echo "FAIL exported symbols differ from the header:"
    printf '%s\n' "$declared" > "${TMPDIR:-/tmp}/hyv-declared.$$"
    printf '%s\n' "$exported" | diff "${TMPDIR:-/tmp}/hyv-declared.$$" - 
    rm -f "${TMPDIR:-/tmp}/hyv-declared.$$"
    echo "0 passed, 1 failed"
    exit 1
fi

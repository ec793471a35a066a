#!/bin/sh
# The public header compiles as C99, C11 and C++11, alone and without a warning.
set -u
cd "$(dirname "$0")/.." || exit 2
passed=0
failed=0
for how in 'cc -std=c99 -xc' 'cc -std=c11 -xc' 'c++ -std=c++11 -xc++'; do
    if echo '#include "engine/hunyuanvideo.h"
int main(void) { hyv_video v = HYV_INIT(hyv_video); return v.size == 0; }' |
        $how -Wall -Wextra -Wpedantic -Werror -I. -fsyntax-only -; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL header as $how"
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]

#!/bin/sh
# The whole program under valgrind on the tiny reference model: no invalid access, no leak, whichever way a run ends.
set -u
cd "$(dirname "$0")/.." || exit 2
passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

check() { # name, expected exit status, arguments of hyv
    name=$1
    expected=$2
    shift 2
    valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite,possible --error-exitcode=99 \
        build/hyv "$@" > /dev/null 2> "$log"
    code=$?
    if [ "$code" -eq "$expected" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL valgrind $name: exit status $code, expected $expected"
        tail -n 20 "$log"
    fi
}

tiny='--model tests/golden/t2v --width 32 --height 32 --frames 5 --steps 2 --seed 1'
# valgrind knows no AVX-512.
check 'generate' 0 generate -p 'a cat' $tiny --isa avx2 --threads 2 -o -
check 'generate with guidance' 0 generate -p 'a cat' --negative dog --cfg 2 $tiny --isa c -o -
check 'plan' 0 plan -p 'a cat' $tiny --isa avx2
check 'info' 0 info tests/golden/t2v
check 'doctor' 0 doctor tests/golden/t2v --json
check 'doctor of another model' 1 doctor tests/golden/i2v_concat
check 'test model' 0 generate -p x --model test --width 64 --height 64 --frames 5 -o -
check 'failing model' 1 generate -p x --model test --width 64 --height 64 --frames 5 --test_fail 2 -o -
check 'missing model' 1 generate -p x --model /nonexistent -o -
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

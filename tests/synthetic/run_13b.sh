#!/bin/sh
# The published geometry with made-up weights, end to end: makes the folders, plans, runs two steps at 256x256, 9 frames,
# and shows what was planned beside what was held, read and waited for. Fails where the budget was not kept.
#
#   tests/synthetic/run_13b.sh FOLDER      needs 49 GB there, and half an hour on two cores
set -u
folder=${1:?usage: run_13b.sh FOLDER}
mkdir -p "$folder" || exit 1
hyv=build/hyv
status=0

[ -d "$folder/bf16" ] || build/tests/synthetic/make_13b "$folder/bf16" bf16 || exit 1
[ -d "$folder/q4_k" ] || build/tests/synthetic/make_13b "$folder/q4_k" q4_k "$folder/bf16" || exit 1

run() { # folder, budget in GiB
    set -- "$1" "$2" -m "$folder/$1" -p 'a cat walks on the grass, realistic style' -s 256x256 --frames 9 --steps 2 \
        --seed 1 --memory "$2G"
    name=$1 budget=$2
    shift 2
    echo "== $name, memory=${budget}G"
    $hyv plan "$@" 2> /dev/null
    tests/synthetic/watch.sh "$folder/$name.log" $hyv generate "$@" -v -f rgb24 -o "$folder/$name.rgb" | tee "$folder/$name.held"
    grep -E '^hyv: (text_encoder|text_encoder_2|modulations of all steps|step): ' "$folder/$name.log"
    awk -v budget="$budget" '/peak/ { if ($5 > budget) bad = 1; n++ } END { exit bad || !n }' "$folder/$name.held" &&
        [ -s "$folder/$name.rgb" ] || { echo "FAIL $name"; status=1; }
}

run bf16 12
run q4_k 10
tests/synthetic/start_13b.sh "$folder" || status=1
exit $status

#!/bin/sh
# How long the published geometry takes from the start of the process to the first kernel of the text encoder: the files
# are looked through, the video is planned, times are estimated, the encoder is loaded. Fails where it is a second or
# more of wall time in each of five runs; on a busy machine this says more about the others than about hyv.
#
#   tests/synthetic/start_13b.sh FOLDER      the folder of run_13b.sh, whose first run warms the system's cache
set -u
folder=${1:?usage: start_13b.sh FOLDER}
hyv=build/hyv
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
status=0

start() { # folder; prints seconds until hyv says that the first network is loaded, and those of processors
    mkfifo "$work/log"
    began=$(date +%s.%N)
    $hyv generate -m "$folder/$1" -p 'a cat walks on the grass, realistic style' -s 256x256 --frames 9 --steps 2 --seed 1 \
        -v -f rgb24 -o /dev/null > /dev/null 2> "$work/log" &
    child=$!
    while IFS= read -r line; do
        case $line in
        'hyv: loading: '*)
            ended=$(date +%s.%N)
            ticks=$(awk '{ print $14 + $15 }' "/proc/$child/stat")
            echo "$began $ended $ticks $(getconf CLK_TCK)" | awk '{ printf "%.2f %.2f\n", $2 - $1, $3 / $4 }'
            break ;;
        'hyv: '*': '*' s') echo "$line" >> "$work/parts" ;;
        esac
    done < "$work/log"
    kill -9 "$child"
    wait "$child" 2> /dev/null
    rm "$work/log"
}

for name in bf16 q4_k; do
    best=
    for run in 1 2 3 4 5; do
        : > "$work/parts"
        seconds=$(start "$name")
        [ -n "$seconds" ] || { echo "FAIL $name: no start"; exit 1; }
        busy=${seconds#* } seconds=${seconds% *}
        echo "$name: $seconds s to the first kernel, $busy s of processors; $(sed 's/^hyv: //' "$work/parts" | paste -sd , | sed 's/,/, /g')"
        best=$(printf '%s\n' $best "$seconds" | sort -n | head -n 1)
    done
    awk -v best="$best" 'BEGIN { exit !(best < 1) }' || { echo "FAIL $name: $best s at best"; status=1; }
done
exit $status

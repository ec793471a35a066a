#!/bin/sh
# Runs a command and says what it holds and reads, phase by phase: resident memory (anonymous and mapped pages)
# from /proc, bytes from the disk, seconds. A phase lasts until hyv's progress names the next.
#
#   tests/synthetic/watch.sh LOG COMMAND...
set -u
log=$1
shift
"$@" 2> "$log" > /dev/null &
child=$!
trap 'kill "$child" 2> /dev/null' INT TERM
while kill -0 "$child" 2> /dev/null; do
    phase=$(grep -oE '^hyv: (text|denoise|decode) ' "$log" | tail -n 1 | cut -d ' ' -f 2)
    awk -v phase="${phase:-text}" -v now="$(date +%s.%N)" '
        /^RssAnon|^RssFile/ { kib += $2 }
        /^read_bytes/ { read = $2 }
        END { if (kib) print phase, now, kib, read }' "/proc/$child/status" "/proc/$child/io" 2> /dev/null
    sleep 0.2
done | awk '
    !($1 in first) { first[$1] = $2; before[$1] = read; order[++n] = $1 }
    { last[$1] = $2; read = $4; done[$1] = read; if ($3 > peak[$1]) peak[$1] = $3 }
    END { for (i = 1; i <= n; i++) { p = order[i]; printf "%-8s %8.1f s  peak %8.3f GiB  read %7.3f GB\n",
          p, last[p] - first[p], peak[p] / 1048576, (done[p] - before[p]) / 1e9 } }'
wait "$child"

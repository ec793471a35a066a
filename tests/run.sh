#!/bin/sh
# Runs test programs and adds up their closing lines `N passed, N failed[, N skipped]`.
#
#   run.sh SUMMARY COMMAND...     each COMMAND is one word or a quoted line, $JOBS of them (as many as processors) at a time;
#                                 results are appended to the file SUMMARY
#   run.sh --one SUMMARY COMMAND  one of them
#   run.sh --total SUMMARY        prints what failed and was skipped, and the closing line over all of them; exit status 1 if any failed
#
# A program that ends without such a line, or with a non-zero status, counts as one failure more.
set -u

if [ "$1" = --total ]; then
    grep -E '^(FAIL|BROKEN)' "$2"
    awk '/^SKIP / { sub(/^SKIP /, ""); n[$0]++ } END { for (s in n) print "skipped: " s " (" n[s] ")" }' "$2" | sort
    awk '/^COUNT / { p += $2; f += $3; s += $4 }
         END { printf "%d passed, %d failed", p, f; if (s) printf ", %d skipped", s; print ""; exit f || !p }' "$2"
    exit
fi

if [ "$1" != --one ]; then
    summary=$1
    shift
    printf '%s\0' "$@" | xargs -0 -n 1 -P "${JOBS:-$(getconf _NPROCESSORS_ONLN)}" "$0" --one "$summary"
    exit
fi

summary=$2
command=$3
output=$(mktemp)
trap 'rm -f "$output"' EXIT
began=$(date +%s)
sh -c "$command" > "$output" 2>&1
code=$?
seconds=$(($(date +%s) - began))
closing=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$output" | tail -n 1)
broken=
if [ -z "$closing" ] || { [ "$code" -ne 0 ] && [ "${closing#* passed, 0 }" != "$closing" ]; }; then
    broken="BROKEN $command: exit status $code
COUNT 0 1 0"
fi
{
    grep -E '^(FAIL|SKIP) ' "$output"
    [ -z "$broken" ] || echo "$broken"
    [ -z "$closing" ] || echo "$closing" | sed 's/[^0-9 ]//g; s/^ */COUNT /; s/  */ /g; s/ *$//'
} | flock "$summary" tee -a "$summary" > /dev/null
line=$(printf '%4ds  %-58s %s' "$seconds" "$command" "${closing:-no closing line}")
printf '%s\n' "$([ -z "$broken" ] || tail -n 30 "$output"; echo "$line"; grep -E '^FAIL' "$output" | head -n 20)" # in one piece
case $broken$closing in
*' passed, 0 failed'*) ;;
*) exit 1 ;;
esac

#!/bin/sh
# Runs test programs one after the other and adds up their closing lines `N passed, N failed[, N skipped]`.
#
#   run.sh SUMMARY COMMAND...     each COMMAND is one word or a quoted line; results are appended to the file SUMMARY
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

summary=$1
shift
status=0
for command in "$@"; do
    output=$(mktemp)
    began=$(date +%s)
    sh -c "$command" > "$output" 2>&1
    code=$?
    seconds=$(($(date +%s) - began))
    closing=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$output" | tail -n 1)
    grep -E '^(FAIL|SKIP) ' "$output" >> "$summary"
    if [ -z "$closing" ] || { [ "$code" -ne 0 ] && [ "${closing#* passed, 0 }" != "$closing" ]; }; then
        echo "BROKEN $command: exit status $code" >> "$summary"
        echo "COUNT 0 1 0" >> "$summary"
        tail -n 30 "$output"
        status=1
    fi
    [ -z "$closing" ] || echo "$closing" | sed 's/[^0-9 ]//g; s/^ */COUNT /; s/  */ /g; s/ *$//' >> "$summary"
    printf '%4ds  %-58s %s\n' "$seconds" "$command" "${closing:-no closing line}"
    case $closing in
    *' 0 failed'*) ;;
    *) grep -E '^FAIL' "$output" | head -n 20; status=1 ;;
    esac
    rm -f "$output"
done
exit $status

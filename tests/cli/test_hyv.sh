#!/bin/sh
# hyv as people use it: files and pipes, refusals, signals, full disks. HYV names the program.
# Every case states the exit status and what must stand in the output; nothing partial may stay.
set -u
cd "$(dirname "$0")/../.." || exit 2
hyv=${HYV:-$PWD/build/hyv}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
unset HUNYUANVIDEO_MODEL

pass() {
    passed=$((passed + 1))
}

fail() {
    failed=$((failed + 1))
    printf 'FAIL %s\n' "$1"
    sed 's/^/  /' "$work/err" "$work/out" 2> /dev/null | head -5
}

check() { # description, command that must succeed
    what=$1
    shift
    if "$@"; then pass; else fail "$what"; fi
}

# expect STATUS TEXT ARGUMENTS: runs hyv; TEXT (may be empty) stands in stdout or stderr, and the folder holds no leftovers
expect() {
    want=$1 text=$2
    shift 2
    rm -f "$work"/*.y4m*
    "$hyv" "$@" > "$work/out" 2> "$work/err" < /dev/null
    got=$?
    if [ $got -ne "$want" ]; then
        fail "hyv $*: exit $got, not $want"
    elif [ -n "$text" ] && ! grep -qF -e "$text" "$work/out" "$work/err"; then
        fail "hyv $*: no \"$text\""
    elif [ "$want" -ne 0 ] && ls "$work"/*.y4m* > /dev/null 2>&1; then
        fail "hyv $*: left $(ls "$work"/*.y4m*)"
    else
        pass
    fi
}

small='-m test -s 64x48 --frames 5 --steps 2 --seed 7'

# Words that are not commands or options
expect 2 'a command is missing'
expect 2 'no command; there are: generate, plan, info, doctor, convert, options, help' genrate
expect 0 'hyv generate -p' help
expect 0 'hyv generate -p' --help
expect 0 'hyv generate -p' generate --help
expect 0 'libhunyuanvideo 0.' --version
expect 2 '' generate --stpes 3
expect 2 'no prompt' generate $small -o "$work/a.y4m"
expect 2 'no output' generate $small -p x
expect 2 'no output' generate $small -p x -o ''
expect 2 'the prompt goes behind -p' generate $small cat -p x -o "$work/a.y4m"
expect 2 'one argument too many' plan $small a b
expect 2 'yuv420p, yuv444p, rgb24' generate $small -p x -f nv12 -o "$work/a.y4m"

# Values out of range: the message names option, value and what is valid
expect 2 'nearest valid: 96 and 112' generate $small -p x -s 100x100 -o "$work/a.y4m"
expect 2 'nearest valid: 9 and 13' generate $small -p x --frames 10 -o "$work/a.y4m"
expect 2 'is not like 1280x720' generate $small -p x -s 100 -o "$work/a.y4m"
expect 2 '-1 to 4294967295' generate $small -p x --seed 4294967296 -o "$work/a.y4m"
expect 2 '1 to 1000' generate $small -p x --steps 0 -o "$work/a.y4m"
expect 2 'there are: 480p, 540p, 720p' generate $small -p x --preset 999p -o "$work/a.y4m"
expect 1 'cuda is not part of this build' generate $small -p x --device cuda -o "$work/a.y4m"
expect 1 'fp8 is not available' generate $small -p x --precision fp8 -o "$work/a.y4m"
expect 1 'there is no folder or file "/no/such"' generate -p x -m /no/such -o "$work/a.y4m"
expect 1 'neither a folder or file' info no-such-model

# A whole file, the same on a pipe, in three formats
expect 0 'seed 7' generate $small -p 'a red fox' -o "$work/first.y4m"
mv "$work/first.y4m" "$work/a"
check 'y4m is as long as its frames' test "$(wc -c < "$work/a")" -eq \
    $(($(head -n 1 "$work/a" | wc -c) + 5 * (6 + 64 * 48 * 3 / 2)))
check 'y4m header' test "$(head -n 1 "$work/a")" = \
    'YUV4MPEG2 W64 H48 F24:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED'
"$hyv" generate $small -q -p 'a red fox' -o - 2> "$work/err" | cmp -s - "$work/a" && pass || fail 'pipe equals file'
check '--quiet says nothing' test ! -s "$work/err"
HUNYUANVIDEO_MODEL=test "$hyv" generate -s 64x48 --frames 5 --steps 2 --seed 7 -q -p 'a red fox' -o - | cmp -s - "$work/a" &&
    pass || fail 'model from the environment'
expect 0 '' generate $small -p 'a red fox' -f yuv444p --rate 30000/1001 -o "$work/b.y4m"
check 'C444' grep -qa 'F30000:1001 Ip A1:1 C444 ' "$work/b.y4m"
expect 0 '' generate $small -p 'a red fox' -f rgb24 -o "$work/c.rgb"
check 'rgb24 has no header' test "$(wc -c < "$work/c.rgb")" -eq $((5 * 64 * 48 * 3))
umask 027
expect 0 '' generate $small -p x -o "$work/d.rgb"
check 'the file has the mode of the umask' test "$(stat -c %a "$work/d.rgb")" = 640
umask 022

# An existing file is replaced only by a whole one
printf 'precious' > "$work/old.rgb"
expect 1 'fails at frame 3' generate $small -p x --test_fail 3 -f rgb24 -o "$work/old.rgb" 2> /dev/null
check 'a failure keeps the old file' test "$(cat "$work/old.rgb")" = precious
rm -f "$work"/*.y4m "$work"/*.rgb

# Failures: one line, nothing left
expect 1 'fails at plan' generate $small -p x --test_fail plan -o "$work/a.y4m"
expect 1 'fails at frame 0' generate $small -p x --test_fail first -o "$work/a.y4m"
check 'one error line' test "$(grep -c fails "$work/err")" -eq 1
expect 1 'No such file' generate $small -p x -o "$work/none/a.y4m"
expect 1 'No space left on device' generate $small -p x -o /dev/full
(
    ulimit -f 4
    exec "$hyv" generate $small -p x -f rgb24 -o "$work/a.y4m"
) 2> "$work/err"
check 'a limit on file size is an error' test $? -eq 1
check 'and it says so' grep -qF 'File too large' "$work/err"
check 'and leaves nothing' test -z "$(ls "$work" | grep y4m)"
"$hyv" generate $small -q -p x --frames 65 -o - 2> "$work/err" | head -c 100 > /dev/null
check 'a closed pipe is an error' grep -qF 'Broken pipe' "$work/err"

# Prompts from files
printf '\357\273\277a red fox\r\n\n' > "$work/p.txt"
reference=$("$hyv" generate $small -q -p 'a red fox' -o - | cksum)
same() { # description, arguments
    what=$1
    shift
    check "$what" test "$("$hyv" generate $small -q "$@" -o - 2> "$work/err" < "$work/p.txt" | cksum)" = "$reference"
}
same '--promptfile' --promptfile "$work/p.txt"
same '@file' -p "@$work/p.txt"
same 'prompt on standard input' --promptfile /dev/stdin
mkfifo "$work/fifo"
printf 'a red fox\n' > "$work/fifo" &
same 'prompt from a pipe' --promptfile "$work/fifo"
printf 'a\nfox\n' > "$work/p2.txt"
check 'inner newlines count' test "$("$hyv" generate $small -q -p @"$work/p2.txt" -o - | cksum)" = \
    "$("$hyv" generate $small -q -p 'a
fox' -o - | cksum)"
expect 0 '' generate $small -p '@@home' -o /dev/null
: > "$work/empty.txt"
printf '\n\r\n' > "$work/blank.txt"
printf 'a\000b' > "$work/nul.txt"
printf 'caf\351' > "$work/latin.txt"
head -c 65537 /dev/zero | tr '\0' a > "$work/long.txt"
head -c 65536 /dev/zero | tr '\0' a > "$work/longest.txt"
expect 1 'is empty' generate $small --promptfile "$work/empty.txt" -o "$work/a.y4m"
expect 1 'is empty' generate $small --promptfile "$work/blank.txt" -o "$work/a.y4m"
expect 1 'holds a NUL' generate $small --promptfile "$work/nul.txt" -o "$work/a.y4m"
expect 2 'not UTF-8' generate $small --promptfile "$work/latin.txt" -o "$work/a.y4m"
expect 1 'longer than 65536 bytes' generate $small --promptfile "$work/long.txt" -o "$work/a.y4m"
expect 0 '' generate $small --promptfile "$work/longest.txt" -o /dev/null
expect 1 'No such file' generate $small --promptfile "$work/none.txt" -o "$work/a.y4m"
expect 1 'Is a directory' generate $small --promptfile "$work" -o "$work/a.y4m"
expect 2 'exclude each other' generate $small -p x --promptfile "$work/p.txt" -o "$work/a.y4m"
expect 2 'is empty' generate $small -p '' -o "$work/a.y4m"

# Signals: during the steps and during the frames; status, nothing left, soon
stop() { # description, signal, status, milliseconds option
    "$hyv" generate $small -p x --$4 3000 -o "$work/s.y4m" > "$work/out" 2> "$work/err" &
    pid=$!
    sleep 0.4
    kill -"$2" $pid
    began=$(date +%s%N)
    wait $pid
    got=$?
    took=$((($(date +%s%N) - began) / 1000000))
    check "$1: exit $got, not $3" test $got -eq "$3"
    check "$1: took $took ms" test $took -lt 1500
    check "$1: left something" test -z "$(ls "$work" | grep y4m)"
    check "$1: says so" grep -qF 'hyv: stopped' "$work/err"
}
stop 'TERM while denoising' TERM 143 test_step_ms
stop 'TERM while decoding' TERM 143 test_frame_ms
# A script's background jobs begin with INT ignored; hyv takes it nevertheless.
stop 'INT while denoising' INT 130 test_step_ms

# plan, info, options
expect 0 '118800 video' plan -m test --preset 720p
expect 0 '64x48, 5 frames at 24/1' plan $small
expect 0 'built in' info test
"$hyv" options --table > "$work/table"
check 'the table has nine columns' test "$(awk -F '\t' 'NF != 9' "$work/table" | wc -l)" -eq 0
"$hyv" options > "$work/list"
cut -f 1 "$work/table" | while read -r name; do grep -q "^  --$name " "$work/list" || echo "$name"; done > "$work/missing"
check 'options lists every row' test ! -s "$work/missing"
# The tiny reference model: whole, without a part, and with a cut file
model=tests/golden/t2v
expect 0 '48 video' plan -m $model -s 64x64 --frames 9
expect 0 'guidance embedded' info $model
check 'tensors are listed' grep -q '^transformer/.*\[' "$work/out"
expect 0 '' info $model --quiet
check 'and not with --quiet' sh -c "! grep -q '^transformer/' '$work/out'"
cp -r "$model" "$work/mute" && rm "$work/mute/tokenizer/tokenizer.json"
expect 1 'there is no tokenizer' info "$work/mute"
expect 0 '9 frames' generate -m $model -s 64x64 --frames 9 --steps 2 --seed 1 -p 'a cat' -o "$work/r.y4m"
cp -r $model "$work/model"
rm -r "$work/model/vae"
expect 1 'vae' info "$work/model"
expect 1 'vae' generate -m "$work/model" -s 64x64 --frames 9 -p 'a cat' -o "$work/a.y4m"
check 'one error line' test "$(grep -vc warning "$work/err")" -eq 1
cp -r $model/vae "$work/model/"
file=$(ls "$work"/model/transformer/*.safetensors | head -n 1)
head -c 20000 "$file" > "$work/cut" && cp "$work/cut" "$file"
expect 1 'safetensors' generate -m "$work/model" -s 64x64 --frames 9 -p 'a cat' -o "$work/a.y4m"
check 'one error line' test "$(grep -vc warning "$work/err")" -eq 1
cp "$model/transformer/${file##*/}" "$file"
# A type that is not read, then a name that would steer the terminal; the header stays as long
LC_ALL=C sed -i '1s/"dtype":"F32"/"dtype":"I32"/' "$file"
expect 1 'has type I32' info "$work/model"
LC_ALL=C sed -i '1s/"contex/"\\u001b/' "$file"
expect 1 'transformer/?t_embedder' info "$work/model"
rm -rf "$work/model"

# The manual has each row with its default, and no other.
awk -F '\t' '{ print $1 "|" ($4 == "" ? "none" : $4) }' "$work/table" | sort > "$work/rows"
sed -n '/^.SS Options of the library/,/^.SH/p' engine/hyv.1 | sed 's/\\-/-/g' |
    sed -n 's/^\.BI --\([a-z_0-9]*\) .*/\1/p; s/^Default: \(.*\)\.$/\1/p' | paste -d '|' - - | sort > "$work/manual"
check 'the manual page agrees with the table' cmp -s "$work/rows" "$work/manual"
"$hyv" options > /dev/full 2> "$work/err"
check 'a full disk under options' test $? -eq 1

printf '%d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]

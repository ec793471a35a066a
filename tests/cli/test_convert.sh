#!/bin/bash
# hyv convert as people use it: words, exit statuses, full disks, signals. Nothing half-written stays, and after kill -9
# only what has a temporary name.
#
# Runs in the project's root, or with HYV= elsewhere.
set -u
cd "$(dirname "$0")/../.." || exit 2
hyv=${HYV:-$PWD/build/hyv}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
model=$PWD/tests/golden/t2v
unset HUNYUANVIDEO_MODEL

pass() {
    passed=$((passed + 1))
}

fail() {
    failed=$((failed + 1))
    printf 'FAIL %s\n' "$1"
    sed 's/^/  /' "$work/err" 2> /dev/null | head -5
}

check() { # NAME COMMAND...
    name=$1
    shift
    if "$@" > /dev/null 2>&1; then pass; else fail "$name"; fi
}

# expect STATUS TEXT ARGUMENTS...: the text (may be empty) is among the messages; after a failure nothing named out* is there
expect() {
    want=$1 text=$2
    shift 2
    rm -rf "$work"/out*
    (cd "$work" && exec "$hyv" "$@") > "$work/err" 2>&1 < /dev/null
    got=$?
    if [ $got -ne "$want" ]; then
        fail "hyv $*: exit $got, not $want"
    elif [ -n "$text" ] && ! grep -qF -e "$text" "$work/err"; then
        fail "hyv $*: no \"$text\""
    elif [ "$want" -ne 0 ] && ls -d "$work"/out* > /dev/null 2>&1; then
        fail "hyv $*: left $(ls -d "$work"/out*)"
    else
        pass
    fi
}

# Words
expect 0 'hyv convert MODEL -o OUT' help
expect 2 'no output' convert "$model"
expect 2 'nothing is set' convert -o out.gguf
expect 2 'valid: same, f32, f16, bf16, f8, Q8_0, Q6_K, Q4_K' convert "$model" -o out.gguf --type q5
expect 2 'valid: text_encoder' convert "$model" -o out.gguf --component dit
expect 2 '4 components' convert "$model" -o out.gguf
expect 2 'cannot hold it' convert "$model" -o out.gguf --component transformer --type f8
expect 2 'one argument too many' convert "$model" transformer -o out.gguf
expect 1 'there is no folder or file' convert /no/such -o out.gguf
expect 1 'cannot be written: No such file' convert "$model" --component vae -o none/out.gguf
expect 1 'cannot be written: No such file' convert "$model" -o none/out

# Files: what info says of them, modes, an old one that stays
expect 0 'rounding error' convert "$model" --component transformer -o out.gguf --type q8_0
check 'GGUF is one' test "$(head -c 4 "$work/out.gguf")" = GGUF
cp "$model/transformer/config.json" "$work/out.json"
check 'info knows it' sh -c "'$hyv' info -m '$model' --transformer '$work/out.gguf' | grep -q '^transformer: .*official names.* Q8_0'"
check 'and misses nothing' "$hyv" info -m "$model" --transformer "$work/out.gguf" --quiet
expect 0 '' convert --transformer "$model/transformer" -q -o out.safetensors --type bf16
check '--quiet says nothing but what is needed' test "$(grep -vc warning "$work/err")" -eq 0
expect 0 '' convert "$model" -q -o out --type f8 -v
check 'a folder is a model' sh -c "'$hyv' info '$work/out' | grep -q '^transformer: .* F8_E4M3'"
check 'and makes videos' "$hyv" generate -q -m "$work/out" -p x -s 32x32 --frames 1 --steps 1 -o "$work/v.y4m"
check 'its files can be read by others' test "$(stat -c %a "$work/out" "$work/out/transformer")" = "755
755"
HUNYUANVIDEO_MODEL=$model expect 0 '' convert -q --component vae -o out.safetensors
echo precious > "$work/old.gguf"
(
    ulimit -f 100
    exec "$hyv" convert "$model" --component transformer -o "$work/old.gguf" --type f32
) > "$work/err" 2>&1
check 'a failure' test $? -eq 1
check 'keeps the old file' test "$(cat "$work/old.gguf")" = precious
check 'success replaces it' "$hyv" convert "$model" -q --component transformer -o "$work/old.gguf" --type f32
check 'by a file of that name alone' test "$(ls "$work" | grep -c old)" -eq 1

# A layer that is never run, so that nobody has looked at it, is damaged
mkdir "$work/odd"
python3 - "$model/text_encoder" "$work/odd" << 'P' || exit 2
import json, shutil, struct, sys
source, out = sys.argv[1:]
with open(source + "/model.safetensors", "rb") as f:
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    data = f.read()
header["layers.3.self_attn.q_proj.weight"]["shape"] = [4, 576]
text = json.dumps(header).encode()
with open(out + "/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)
shutil.copy(source + "/config.json", out)
P
expect 1 'layers.3.self_attn.q_proj.weight does not fit' convert odd -o out.gguf --type q8_0
expect 1 'layers.3.self_attn.q_proj.weight does not fit' convert odd -o out.safetensors --type f32

# Full disks: a limit on the size of files, at once and in the middle of a folder
full() { # NAME LIMIT ARGUMENTS...
    name=$1 limit=$2
    shift 2
    (
        cd "$work" && ulimit -f "$limit"
        exec "$hyv" convert "$model" "$@"
    ) > "$work/err" 2>&1
    check "$name: status" test $? -eq 1
    check "$name: says so" grep -qF 'File too large' "$work/err"
    check "$name: leaves nothing" test -z "$(ls "$work" | grep '^full')"
}
full 'a file' 200 --component transformer -o full.safetensors
full 'a folder' 600 -o full
full 'the first file of a folder' 4 -o full --type q8_0
if mkdir "$work/small" && mount -t tmpfs -o size=600k tmpfs "$work/small" 2> /dev/null; then
    "$hyv" convert "$model" -o "$work/small/out" > "$work/err" 2>&1
    check 'a full file system: status' test $? -eq 1
    check 'a full file system: says so' grep -qF 'No space left on device' "$work/err"
    check 'a full file system: leaves nothing' test -z "$(ls "$work/small")"
    umount "$work/small"
else
    echo 'SKIP convert onto a full file system'
fi

# A transformer of holes, large enough that there is time to stop: the golden one, its width times 32
mkdir "$work/large"
python3 - "$model/transformer" "$work/large" << 'P' || exit 2
import json, re, struct, sys
source, out = sys.argv[1:]
with open(source + "/diffusion_pytorch_model.safetensors", "rb") as f:
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
header.pop("__metadata__", None)
at = 0
for name, t in header.items():
    # multiples of the width 32 grow, as do heads; text and pooled width, sinusoids and channels stay
    grow = [n % 32 == 0 and not (name == "proj_out.weight" and i == 0) for i, n in enumerate(t["shape"])]
    if name == "proj_out.bias":
        grow = [False]
    if re.search(r"linear_1\.weight$", name):
        grow[1] = False
    if re.search(r"norm_(added_)?[qk]\.", name):
        grow = [True]
    t["shape"] = [32 * n if g else n for n, g in zip(t["shape"], grow)]
    count = 1
    for n in t["shape"]:
        count *= n
    t["data_offsets"] = [at, at + 4 * count]
    t["dtype"] = "F32"
    at += 4 * count
text = json.dumps(header).encode()
with open(out + "/diffusion_pytorch_model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    f.truncate(8 + len(text) + at)
config = json.load(open(source + "/config.json"))
config["attention_head_dim"] *= 32
config["rope_axes_dim"] = [32 * n for n in config["rope_axes_dim"]]
json.dump(config, open(out + "/config.json", "w"))
P
large="$hyv convert $work/large --threads 1 --type q4_k"

# stopped NAME OUTPUT SIGNAL STATUS: as soon as there is something
stopped() {
    name=$1 out=$2 signal=$3 status=$4
    $large -o "$work/$out" > "$work/err" 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        ls "$work" | grep -q '^stop' && break
        sleep 0.05
    done
    sleep 0.3
    kill -"$signal" $pid
    wait $pid 2> /dev/null
    got=$?
    check "$name: exit $got, not $status" test $got -eq "$status"
}
stopped 'TERM' stop.gguf TERM 143
check 'TERM leaves nothing' test -z "$(ls "$work" | grep '^stop')"
check 'TERM says so' grep -qF 'hyv: stopped' "$work/err"
stopped 'INT into a folder' stop INT 130
check 'INT leaves nothing' test -z "$(ls "$work" | grep '^stop')"
stopped 'KILL' stop.gguf KILL 137
check 'KILL leaves a temporary name' test "$(ls "$work" | grep '^stop' | sed 's/......$/X/')" = stop.gguf.X
rm -f "$work"/stop*
stopped 'KILL into a folder' stop KILL 137
check 'KILL leaves a temporary folder' test "$(ls "$work" | grep '^stop' | sed 's/......$/X/')" = stop.X

printf '%d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]

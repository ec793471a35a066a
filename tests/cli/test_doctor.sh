#!/bin/sh
# hyv info and hyv doctor as scripts use them: exit status, one JSON document, its keys and kinds in the manual, text, Ctrl-C.
# What the doctor finds is tests/run/test_doctor.c's matter.
set -u
cd "$(dirname "$0")/../.." || exit 2
hyv=${HYV:-$PWD/build/hyv}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
unset HUNYUANVIDEO_MODEL
model=tests/golden/t2v

check() { # description, command that must succeed
    what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n' "$what"
        head -n 5 "$work/out" "$work/err" 2> /dev/null | sed 's/^/  /'
    fi
}

status() { # expected, arguments of hyv
    want=$1
    shift
    "$hyv" "$@" > "$work/out" 2> "$work/err" < /dev/null
    test $? -eq "$want"
}

# expression about the document d that must be true
json() {
    python3 -c 'import json, sys
d = json.load(open(sys.argv[1]), parse_constant=lambda x: sys.exit("not JSON: " + x))
sys.exit(not eval(sys.argv[2]))' "$work/out" "$1"
}

# A healthy model, as text
check 'doctor: healthy' status 0 doctor $model
check 'says so' grep -q '^healthy: 6 components, 474 tensors, 1.4' "$work/out"
check 'names the quantisation' grep -q '^transformer: HunyuanVideo, text to video.*F32 156' "$work/out"
check 'gives ranges' grep -qE '^transformer/x_embedder.proj.weight  F32 \[.*\]  -[0-9.]+ to [0-9.]+$' "$work/out"
check 'says nothing else' test ! -s "$work/err"
check 'doctor --quiet' status 0 doctor --quiet $model
check 'lists no tensors' test "$(wc -l < "$work/out")" -eq 7
check 'info reads no values' status 0 info $model
check 'and gives no ranges' sh -c "! grep -q ' to [0-9]' '$work/out'"

# The same as JSON
check 'doctor --json' status 0 doctor --json -m $model
check 'sums' json 'd["healthy"] is True and d["errors"] == 0 and d["warnings"] == 0 and d["findings"] == []'
check 'what was asked' json 'd["command"] == "doctor" and d["model"] == "tests/golden/t2v"'
check 'family and variant' json 'd["family"] == "HunyuanVideo" and d["variant"].startswith("text to video")'
check 'components' json '[c["component"] for c in d["components"]] == ["text_encoder", "text_encoder_2", "transformer", "vae", "tokenizer", "tokenizer_2"]'
check 'types' json 'd["components"][2]["types"] == {"F32": 156} and d["components"][3]["types"] == {"F16": 244}'
check 'tensors' json 'len(d["tensors"]) == 474 and all(t["min"] <= t["max"] and t["nan"] == 0 for t in d["tensors"])'
keys() {
    python3 -c 'import json, sys
def walk(x, skip=False):
    if isinstance(x, dict):
        for k, v in x.items():
            if not skip: print(k)
            walk(v, k == "types")
    elif isinstance(x, list):
        for v in x: walk(v)
walk(json.load(open(sys.argv[1])))' "$work/out"
}
keys > "$work/keys"
check 'info --json' status 0 info --json $model
check 'has no values' json 'not any("min" in t for t in d["tensors"]) and len(d["tensors"]) == 474'

# Faults: all of them in one run
cp -r $model "$work/model"
head -c 10000 $model/vae/diffusion_pytorch_model.safetensors > "$work/model/vae/diffusion_pytorch_model.safetensors"
python3 - "$work/model/transformer/diffusion_pytorch_model.safetensors" << 'P'
import json, struct, sys
data = bytearray(open(sys.argv[1], 'rb').read())
length = struct.unpack('<Q', data[:8])[0]
item = json.loads(bytes(data[8:8 + length]))['x_embedder.proj.weight']
begin = 8 + length + item['data_offsets'][0]
data[begin:begin + 12] = struct.pack('<3f', float('nan'), float('inf'), float('nan'))
open(sys.argv[1], 'wb').write(data)
P
check 'doctor of a damaged model' status 1 doctor --json "$work/model"
check 'both faults' json '[(f["component"], f["kind"]) for f in d["findings"]] == [("vae", "truncated"), ("transformer", "nan"), ("transformer", "inf")]'
check 'the tensor' json 'd["findings"][1]["tensor"] == "x_embedder.proj.weight" and d["findings"][1]["found"].startswith("2 of ")'
check 'what to do' json 'all(f["advice"] and f["valid"] and f["file"].startswith(d["model"]) for f in d["findings"])'
check 'counts' json '[(t["nan"], t["inf"]) for t in d["tensors"] if t["name"] == "x_embedder.proj.weight"] == [(2, 1)]'
check 'not healthy' json 'd["healthy"] is False and d["errors"] == 3'
keys >> "$work/keys"
check 'as text' status 1 doctor -q "$work/model"
check 'names the file' grep -q '^  file    .*/vae/diffusion_pytorch_model.safetensors$' "$work/out"
check 'names the tensor' grep -qF 'error: transformer: x_embedder.proj.weight: 2 of ' "$work/out"
check 'gives advice' grep -q '^  do      download it again' "$work/out"
check 'counts' grep -qx '3 errors, 0 warnings' "$work/out"
check 'info does not read values, but sees the cut file' status 1 info -q "$work/model"
check 'as one error' grep -qx '1 error, 0 warnings' "$work/out"
check 'a sound VAE by option' status 1 doctor --json --vae $model/vae "$work/model"
check 'leaves the other faults' json '[f["kind"] for f in d["findings"]] == ["nan", "inf"]'

# A path that JSON cannot hold, a model that is not there, many findings of one kind
bad=$(printf '%s/caf\351' "$work")
cp -r "$work/model" "$bad"
check 'a path that is not UTF-8' status 1 doctor --json "$bad"
check 'is JSON still' json 'd["errors"] == 3'
check 'no such model' status 1 doctor --json "$work/none"
check 'is a finding' json 'd["findings"][0]["kind"] == "no_model" and "none" in d["findings"][0]["found"]'
keys >> "$work/keys"
sed -i 's/"num_layers": 2/"num_layers": 12/' "$work/model/transformer/config.json"
check 'a flood' status 1 doctor -q "$work/model"
check 'is cut in text' grep -qE '^  and [0-9]+ more like these; --json lists all$' "$work/out"
check 'at 20' test "$(grep -c 'is missing' "$work/out")" -eq 20
status 1 doctor --json "$work/model"
check 'and whole in JSON' json 'len([f for f in d["findings"] if f["kind"] == "missing_tensor"]) == 320'
check 'a full disk' sh -c "! '$hyv' doctor --json $model > /dev/full 2> '$work/err'"
check 'is told' grep -q 'No space left' "$work/err"

# The manual has every key and every kind
sed -n '/^.SH JSON/,/^.SH FILES/p' engine/hyv.1 | sed 's/\\-/-/g' > "$work/manual"
missing=$(sort -u "$work/keys" | while read -r key; do grep -qw -- "$key" "$work/manual" || echo "$key"; done)
check "keys that the manual lacks: $missing" test -z "$missing"
sed -n 's/.*\.kind = "\([a-z_]*\)".*/\1/p; s/^    {"[^"]*",$/&/p' engine/run/*.c engine/cli*.c | grep -v '[^a-z_]' > "$work/kinds"
tr '\n' ' ' < engine/run/findings.c | grep -oE '\{"[^"]+", +"[a-z_]+"' | sed 's/.*"\([a-z_]*\)"$/\1/' >> "$work/kinds"
sed -n 's/.*tell_tensor(e, [&]*info, "\([a-z_]*\)".*/\1/p; s/.*tell_error(.*"\([a-z]*_[a-z_]*\)".*/\1/p' engine/run/*.c >> "$work/kinds"
sort -u "$work/kinds" > "$work/kinds.have"
sed -n '/^Kinds of findings/,$p' "$work/manual" | grep -oE '\b[a-z]+(_[a-z]+)*[,.]' | tr -d ',.' | sort -u > "$work/kinds.told"
check "kinds that differ from the manual's: $(diff "$work/kinds.have" "$work/kinds.told" | grep '^[<>]' | tr '\n' ' ')" \
    cmp -s "$work/kinds.have" "$work/kinds.told"

# Ctrl-C while values are read: a sparse gigabyte and a half beside the small ones
python3 - "$work/model/loose.safetensors" << 'P'
import json, struct, sys
rows = 96 << 10
header = json.dumps({'img_in.proj.weight': {'dtype': 'F16', 'shape': [rows, 8192], 'data_offsets': [0, rows * 16384]},
                     'double_blocks.0.img_attn_qkv.weight': {'dtype': 'F16', 'shape': [0], 'data_offsets': [rows * 16384] * 2}})
with open(sys.argv[1], 'wb') as f:
    f.write(struct.pack('<Q', len(header)) + header.encode())
    f.truncate(8 + len(header) + rows * 16384)
P
"$hyv" doctor --transformer "$work/model/loose.safetensors" $model > "$work/out" 2> "$work/err" &
pid=$!
sleep 0.5
kill -INT $pid
began=$(date +%s%N)
wait $pid
check 'exit status of Ctrl-C' test $? -eq 130
check 'Ctrl-C is soon' test $((($(date +%s%N) - began) / 1000000)) -lt 1000
check 'and told' grep -q 'hyv: stopped' "$work/err"

printf '%d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]

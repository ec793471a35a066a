#!/bin/bash
# NaN, Inf and exploding values are reported where they arise: network, block, step, and the weight that holds them.
#
# Runs in the project's root, or with BUILD= elsewhere.
set -u
cd "$(dirname "$0")/../.." || exit 2
hyv=$PWD/${BUILD:-build}/hyv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# with NAME COMPONENT TENSOR ELEMENT VALUE TEXT...: one weight gets another value; the run fails with each text in its one
# error, writes no video, and keeps the state it had.
with() {
    name=$1
    rm -rf "$work/model" "$work/k"
    cp -r tests/golden/t2v "$work/model"
    python3 - "$work/model/$2" "$3" "$4" "$5" <<'P' || exit 2
import glob, json, struct, sys
folder, tensor, element, value = sys.argv[1:]
path = glob.glob(folder + "/*.safetensors")[0]
data = bytearray(open(path, "rb").read())
size = int.from_bytes(data[:8], "little")
entry = json.loads(data[8:8 + size])[tensor]
form = {"F32": "f", "F16": "e"}[entry["dtype"]]
at = 8 + size + entry["data_offsets"][0] + struct.calcsize(form) * int(element)
struct.pack_into("<" + form, data, at, float(value))
open(path, "wb").write(data)
P
    shift 5
    "$hyv" generate --quiet -p cat --model "$work/model" -s 64x48 --frames 5 --steps 3 --seed 5 --checkpoint "$work/k" \
        -o "$work/no.y4m" 2> "$work/log"
    status=$?
    bad=
    [ $status = 1 ] || bad="status $status"
    [ "$(grep -vc '^hyv: warning: ' "$work/log")" = 1 ] || bad="$bad, not one error"
    [ ! -e "$work/no.y4m" ] || bad="$bad, a video is there"
    for text; do
        grep -qF -- "$text" "$work/log" || bad="$bad, no \"$text\""
    done
    if [ -z "$bad" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $name: $bad"
        cat "$work/log"
    fi
}

with 'NaN in a double block' transformer transformer_blocks.1.attn.to_q.weight 7 nan \
    'transformer: NaN in the output of transformer_blocks.1 at step 1 of 3' 'transformer_blocks.1.attn.to_q.weight'
with 'Inf in a single block' transformer single_transformer_blocks.0.proj_out.weight 0 inf \
    'transformer: Inf in the output of single_transformer_blocks.0 at step 1 of 3' 'single_transformer_blocks.0.proj_out.weight'
with 'exploding values' transformer single_transformer_blocks.1.proj_out.bias 2 1e30 \
    'transformer: exploding values in the output of single_transformer_blocks.1' 'its weights are finite'
with 'NaN in Llama' text_encoder layers.0.mlp.down_proj.weight 3 nan \
    'text_encoder: NaN in the output of layers.0' 'layers.0.mlp.down_proj.weight'
with 'NaN in the VAE' vae decoder.mid_block.resnets.0.conv1.conv.weight 5 nan \
    'vae: NaN in the output of decoder.mid_block.resnets.0' 'decoder.mid_block.resnets.0.conv1.conv.weight'

printf '%d passed, %d failed\n' $passed $failed
[ $failed = 0 ]

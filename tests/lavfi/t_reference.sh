# The tiny reference model through ffmpeg: frames must be the reference's within 1 of 255, in every way of asking.
#
# The model is that of tests/golden. A reference file is safetensors: eight bytes of header
# length, a JSON header, data; `frames` is U8 [frames, height, width, 3]. Sourced by run.sh.
# shellcheck shell=sh

golden=$root/tests/golden

# The reference's frames of a case as raw rgb24.
reference() {
    file=$golden/cases/$1.safetensors
    header=$(od -An -t u8 -N 8 "$file" | tr -d ' ')
    span=$(tail -c +9 "$file" | head -c "$header" |
        sed -n 's/.*"frames": *{[^}]*"data_offsets": *\[\([0-9]*\), *\([0-9]*\)\].*/\1 \2/p')
    [ -n "$span" ] || { echo "$file has no frames"; return 1; }
    first=${span% *}
    tail -c +$((9 + header + first)) "$file" | head -c $((${span#* } - first))
}

# Bytes that differ, and by how much at most.
compare() {
    same "$(wc -c < "$1") bytes" "$(wc -c < "$2") bytes" || return 1
    cmp -l "$1" "$2" | awk -v all="$(wc -c < "$1")" '
        function number(octal) { return substr(octal, length(octal) - 2, 1) * 64 * (length(octal) > 2) + \
            substr(octal, length(octal) - 1, 1) * 8 * (length(octal) > 1) + substr(octal, length(octal), 1) }
        { d = number($2) - number($3); if (d < 0) d = -d; if (d > most) most = d; n++ }
        END { printf "%d of %d bytes differ, by %d at most\n", n, all, most; exit most > 1 }'
}

# The options of a case, except for the prompt.
case_options() {
    case $1 in
    t2v_en) echo s=64x64:frames=9:steps=4:guidance=6:shift=7:seed=42 ;;
    t2v_zh) echo s=96x48:frames=5:steps=3:guidance=4:shift=7:seed=0 ;;
    t2v_cfg) echo s=48x32:frames=13:steps=3:guidance=1:shift=7:seed=7:cfg=3 ;;
    esac
}

write_prompts() {
    printf 'A cat walks on the grass, realistic style.' > t2v_en.txt
    printf '一只小狗在草地上奔跑。' > t2v_zh.txt
    printf 'A fox jumps over a fallen tree in the snow.' > t2v_cfg.txt
    printf '%s' 'Aerial view, aerial view, overexposed, low quality, deformation, a poor composition, bad hands, bad teeth,' \
        ' bad eyes, bad limbs, distortion' > negative.txt
}

graph_of() {
    negative=
    [ "$1" != t2v_cfg ] || negative=:negativefile=negative.txt
    echo "hunyuanvideo=promptfile=$1.txt$negative:model=$golden/t2v:$(case_options "$1")${2:+:$2}"
}

equals_reference() {
    reference "$1" > want.rgb && ff -f lavfi -i "$(graph_of "$1"),format=rgb24" -f rawvideo got.rgb &&
        compare want.rgb got.rgb > compared && { echo "     $1: $(cat compared)" >&3; } || { cat compared; return 1; }
}

# The default format, twice, and from a graph.
repeats() {
    ff -f lavfi -i "$(graph_of t2v_zh)" -f framecrc a.crc && ff -f lavfi -i "$(graph_of t2v_zh)" -f framecrc b.crc &&
        cmp a.crc b.crc && ff -filter_complex "$(graph_of t2v_zh)" -f framecrc c.crc &&
        grep -v '^#' a.crc > a && grep -v '^#' c.crc > c && cmp a c && same 5 "$(count a.crc)"
}

# The same bytes for any number of threads and any instruction set of this machine.
canonical() {
    sums=
    for options in threads=1 threads=2 opts=isa=c opts=isa=avx2 opts=isa=avx512 opts=isa=avx512bf16 opts=isa=amx; do
        if ! ff_log error -f lavfi -i "$(graph_of t2v_zh $options),format=gbrpf32" -f md5 -; then
            grep -q isa log && case $options in *avx* | *amx) continue ;; esac
            cat log
            return 1
        fi
        sums="$sums$options $(cat out)
"
    done
    printf '%s' "$sums"
    same 1 "$(printf '%s' "$sums" | cut -d' ' -f2 | sort -u | wc -l)"
}

reference_clip() {
    ff -f lavfi -i "$(graph_of t2v_en)" -c:v "$h264" ref.mp4 && same 9 "$(frames_in ref.mp4)"
}

references() {
    write_prompts
    check '1 the reference model to an mp4' reference_clip
    for name in t2v_en t2v_zh t2v_cfg; do
        check "1 frames of $name equal the reference's" equals_reference $name
    done
    check '2, 3 the reference model again, and from a graph' repeats
    check '2 the reference model with other threads and instruction sets' canonical
}

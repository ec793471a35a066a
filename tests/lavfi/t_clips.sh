# Clips from command lines people type: length, format, tags, time stamps, graphs with other sources and inputs.
#
# Sourced by run.sh.
# shellcheck shell=sh

default_clip() {
    ff -f lavfi -i "hunyuanvideo=prompt='a cat walks on the grass':preset=720p:seed=42:model=test" \
        -c:v "$h264" $h264_fast one.mp4 &&
        same 129 "$(frames_in one.mp4)" &&
        stream one.mp4 width,height,pix_fmt,color_range,color_space,color_transfer,color_primaries,r_frame_rate > found &&
        holds found width=1280 height=720 pix_fmt=yuv420p r_frame_rate=24/1 || return 1
    before7 || holds found color_range=tv color_space=bt709 color_transfer=bt709 color_primaries=bt709
}

# 5.1 loses the tags of lavfi inputs, but not those of its own graphs.
tags_in_graph() {
    ff -filter_complex "hunyuanvideo=x:$small:frames=5" -c:v "$h264" tags.mp4 &&
        stream tags.mp4 pix_fmt,color_range,color_space,color_transfer,color_primaries,chroma_location > found &&
        holds found pix_fmt=yuv420p color_range=tv color_space=bt709 color_transfer=bt709 color_primaries=bt709
}

repeated() {
    ff -f lavfi -i "hunyuanvideo=prompt='a cat':$small:frames=9" -f framemd5 a.md5 &&
        ff -f lavfi -i "hunyuanvideo=prompt='a cat':$small:frames=9" -f framemd5 b.md5 &&
        same 9 "$(count a.md5)" && cmp a.md5 b.md5 &&
        ff -f lavfi -i "hunyuanvideo=prompt='a cat':model=test:s=64x48:seed=2:frames=9" -f framemd5 c.md5 &&
        ! cmp -s a.md5 c.md5
}

graph_equals_input() {
    ff -f lavfi -i "hunyuanvideo=prompt=x:$small:frames=9" -f framecrc a.crc &&
        ff -filter_complex "hunyuanvideo=prompt=x:$small:frames=9" -f framecrc b.crc &&
        grep -v '^#' a.crc > a && grep -v '^#' b.crc > b && cmp a b && same 9 "$(count a.crc)"
}

positional() {
    ff -f lavfi -i "hunyuanvideo=x:640x368:d=1.5:model=test:seed=1" -f framecrc d.crc &&
        same 36 "$(count d.crc)" && holds d.crc '#dimensions 0: 640x368' '#tb 0: 1/24'
}

# As many frames as begin before the end of the duration, whatever the rate.
durations() {
    for case in 25:1:25 30000/1001:0.5:15 24:0.01:1 10:0.95:10; do
        rate=${case%%:*}
        frames=${case##*:}
        length=${case#*:}
        length=${length%:*}
        ff -f lavfi -i "hunyuanvideo=x:$small:r=$rate:d=$length" -f framecrc d.crc &&
            same "$frames frames at $rate" "$(count d.crc) frames at $rate" || return 1
    done
}

time_stamps() {
    ff -f lavfi -i "hunyuanvideo=x:$small:frames=5:r=30:sar=4/3" -f framecrc ts.crc &&
        holds ts.crc '#tb 0: 1/30' '#sar 0: 4/3' &&
        same '0 1 2 3 4' "$(grep -v '^#' ts.crc | awk -F, '{ printf "%s%d", (NR > 1 ? " " : ""), $3; if ($4 != 1) print "duration" $4 }')"
}

# exact FORMAT: delivered as asked for, without a scaler, with its tags. showinfo stands right behind the source.
exact() {
    case $1 in gbr* | rgb*) want='color_space:gbr color_range:pc' ;; *) want='color_space:bt709 color_range:tv' ;; esac
    ff_log verbose -filter_complex "hunyuanvideo=x:$small:frames=1,format=$1,showinfo" -f null - || return 1
    lacks log auto_scale && holds log "fmt:$1 " || return 1
    for tag in $want color_primaries:bt709 color_trc:bt709; do
        grep -q "$(echo "$tag" | sed 's/:/: */')" log || { echo "$1: no $tag"; grep showinfo log; return 1; }
    done
}

lossless() {
    g=hunyuanvideo=x:$small:frames=5,format=gbrp
    ff -f lavfi -i "$g" -f framemd5 a.md5 && ff -f lavfi -i "$g" -c:v ffv1 a.mkv &&
        ff -i a.mkv -vf format=gbrp -f framemd5 b.md5 &&
        same "$(grep -v '^#' a.md5 | sed 's/.*,//')" "$(grep -v '^#' b.md5 | sed 's/.*,//')" &&
        ff -f lavfi -i "hunyuanvideo=x:$small:frames=5,format=yuv444p10" -c:v ffv1 a.mkv && stream a.mkv pix_fmt > found &&
        holds found pix_fmt=yuv444p10le
}

# From 7.0 on, the encoder's range and a format filter's matrix are negotiated back to the source.
negotiated() {
    ff_log verbose -filter_complex "hunyuanvideo=x:$small:frames=5" -c:v mjpeg a.mov || return 1
    lacks log auto_scale && stream a.mov color_range > found && holds found color_range=pc || return 1
    ff_log verbose -filter_complex "hunyuanvideo=x:$small:frames=1,format=yuv420p:color_spaces=smpte170m:color_ranges=pc,showinfo" \
        -f null - || return 1
    lacks log auto_scale && grep -q 'color_space: *smpte170m' log && grep -q 'color_range: *pc' log
}

overlaid() {
    ff -f lavfi -i testsrc2=s=128x96:r=24:d=1 -c:v "$h264" -pix_fmt yuv420p in.mp4 &&
        ff -i in.mp4 -filter_complex "hunyuanvideo=x:$small:frames=9[g];[0:v][g]overlay=10:10:eof_action=pass" \
            -c:v "$h264" o.mp4 && same 24 "$(frames_in o.mp4)"
}

combined() {
    g="hunyuanvideo=x:$small:frames"
    ff -filter_complex "$g=9[a];$g=9[b];[a][b]hstack" -f framecrc h.crc && same 9 "$(count h.crc)" &&
        holds h.crc '128x48' &&
        ff -filter_complex "$g=9[a];$g=9[b];[a][b]concat" -f framecrc c.crc && same 18 "$(count c.crc)" &&
        ff -filter_complex "$g=25[a];$g=25[b];[a][b]xfade=duration=0.5:offset=0.5" -f framecrc x.crc && same 37 "$(count x.crc)"
}

# A clip of which only the beginning is taken: the rest is not generated (13 seconds if it were).
early_end() {
    slow=hunyuanvideo=x:$small:frames=129:opts=test_frame_ms=100
    began=$(now)
    ff -f lavfi -i "$slow" -frames:v 2 -f framecrc a.crc && same 2 "$(count a.crc)" &&
        ff -t 0.1 -f lavfi -i testsrc2=r=24 -f framecrc b.crc &&
        ff -t 0.1 -f lavfi -i "$slow" -f framecrc a.crc && same "$(count b.crc)" "$(count a.crc)" &&
        ff -filter_complex "$slow,trim=end_frame=2" -f framecrc a.crc && same 2 "$(count a.crc)" || return 1
    took=$(($(now) - began))
    [ "$took" -lt 900 ] || { echo "took $took hundredths of a second"; return 1; }
}

probed() {
    timeout "$limit" "$probe" -v error -f lavfi -i "hunyuanvideo=a dog:$small:frames=9" -show_frames > frames || return 1
    same 9 "$(grep -c '^TAG:lavfi.hunyuanvideo.seed=1$' frames)" &&
        same 1 "$(grep -c '^TAG:lavfi.hunyuanvideo.prompt=a dog$' frames)" &&
        holds frames TAG:lavfi.hunyuanvideo.frame=0 TAG:lavfi.hunyuanvideo.frame=8 TAG:lavfi.hunyuanvideo.model=test \
            TAG:lavfi.hunyuanvideo.steps= pict_type=I key_frame=1 pix_fmt=yuv420p || return 1
    before7 || same 9 "$(grep -c '^color_space=bt709$' frames)"
}

probed_at_once() {
    began=$(now)
    timeout "$limit" "$probe" -v error -nofind_stream_info -f lavfi -i "hunyuanvideo=x:model=test:s=96x64:opts=test_step_ms=1000" \
        -show_streams > streams && holds streams width=96 height=64 && [ $(($(now) - began)) -lt 200 ]
}

listed() {
    "$ff" -hide_banner -h filter=hunyuanvideo > help 2>&1 && holds help 'Filter hunyuanvideo' promptfile guidance precision &&
        "$ff" -hide_banner -filters > filters && grep -q ' hunyuanvideo  *|->V ' filters || return 1
    # every option, and in the promised order
    same 'prompt size s rate r duration d sar frames preset aspect promptfile negative negativefile model m seed steps guidance shift cfg device precision offload transformer vae text_encoder text_encoder_2 tokenizer tokenizer_2 checkpoint recipe opts' \
        "$(sed -n 's/^   \([a-z_0-9]*\)  *<.*/\1/p' help | tr '\n' ' ' | sed 's/ $//')"
}

# Components one by one, and one of them in place of the model's, give what the whole folder gives.
parts() {
    of=$root/tests/golden/t2v
    clip=s=32x32:frames=5:steps=1:seed=3
    alone=transformer=$of/transformer:vae=$of/vae:text_encoder=$of/text_encoder:text_encoder_2=$of/text_encoder_2
    ff -f lavfi -i "hunyuanvideo=x:$clip:model=$of" -f framemd5 whole &&
        ff -f lavfi -i "hunyuanvideo=x:$clip:$alone:tokenizer=$of/tokenizer:tokenizer_2=$of/tokenizer_2" -f framemd5 named &&
        ff -f lavfi -i "hunyuanvideo=x:$clip:model=$of:opts=vae=$of/vae" -f framemd5 opts && cmp whole named && cmp whole opts || return 1
    ff_log error -f lavfi -i "hunyuanvideo=x:$clip:model=$of:vae=$of/transformer" -f null -
    holds log 'this is the transformer, not the vae'
}

commands() {
    ff_log info -f lavfi -i "hunyuanvideo=x:$small:frames=5:threads=3" -f null - || return 1
    ff_log verbose -filter_complex "hunyuanvideo=x:$small:frames=9,sendcmd=c='0.1 hunyuanvideo size 32x32'" -f framecrc a.crc &&
        same 9 "$(count a.crc)" && holds log 'Function not implemented'
}

quiet_and_told() {
    ff_log error -f lavfi -i "hunyuanvideo=x:$small:frames=5" -f null - && same '' "$(cat log)" &&
        ff_log info -f lavfi -i "hunyuanvideo=x:model=test:s=64x48:frames=5:opts=test_step_ms=120" -f null - &&
        holds log 'model test, 64x48, 5 frames' 'denoise 50/50' 's/step' 's left' '5 frames in' 'peak memory' &&
        grep -q 'seed [0-9]' log
}

clips() {
    check '1 prompt, preset and seed to an mp4 of 129 tagged frames' default_clip
    check '1 tags reach the file from a filter graph' tags_in_graph
    check '2 the same command twice gives the same frames, another seed others' repeated
    check '3 -filter_complex and -f lavfi agree' graph_equals_input
    check '4 prompt and size without names, a duration' positional
    check '4 durations at other rates' durations
    check '4 rate, sample aspect and time stamps' time_stamps
    check '6 gbrp and yuv444p10 into ffv1' lossless
    for format in yuv420p yuv422p yuv444p yuv420p10le yuv444p10le gbrp rgb24 gbrp10le gbrpf32le; do
        check "6 $format without a scaler, tagged" exact $format
    done
    before7 || check '7 range and matrix are negotiated' negotiated
    check '8 overlay on an input' overlaid
    check '9 two sources into hstack, concat, xfade' combined
    check '14 a stream that is closed early' early_end
    check '15 ffprobe shows every frame' probed
    check '15 ffprobe answers at once without stream info' probed_at_once
    check '20 components have options of their own' parts
    check '20 help and list' listed
    check '21 threads, and a command to the source' commands
    check 'nothing is logged at level error, progress and sums at level info' quiet_and_told
}

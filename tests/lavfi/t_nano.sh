# The small model that comes with the project, as a newcomer meets it: no model named, words it does not know, and a
# dozen prompts judged from pixels.
#
# Sourced by run.sh.
# shellcheck shell=sh

nano=$root/presets/nano

# One command line, no options: file, size, frames, within a time that a busy machine keeps too.
nano_default() {
    began=$(date +%s)
    ff -f lavfi -i "hunyuanvideo=prompt='a red star moves to the right over green grass':seed=42" \
        -c:v "$h264" $h264_fast clip.mp4 &&
        same 17 "$(frames_in clip.mp4)" && stream clip.mp4 width,height,r_frame_rate > found &&
        holds found width=128 height=128 r_frame_rate=8/1 && [ $(($(date +%s) - began)) -le 40 ]
}

nano_named() {
    ff -f lavfi -i "hunyuanvideo=prompt='a blue ball':seed=1:steps=2" -f framemd5 a.md5 &&
        ff -f lavfi -i "hunyuanvideo=prompt='a blue ball':seed=1:steps=2:model=nano" -f framemd5 b.md5 &&
        ff -f lavfi -i "hunyuanvideo=prompt='a blue ball':seed=1:steps=2:preset=nano" -f framemd5 c.md5 &&
        cmp a.md5 b.md5 && cmp a.md5 c.md5
}

nano_warns() {
    ff_log warning -f lavfi -i "hunyuanvideo=prompt='a cat walks on the grass':seed=1:steps=1" -f null - &&
        holds log '"cat"' '"walks"' 'model' && [ "$(grep -c 'does not know' log)" -eq 1 ] &&
        ff_log warning -f lavfi -i "hunyuanvideo=prompt='一个红色的星星向右移动':seed=1:steps=1" -f null - &&
        lacks log 'does not know'
}

nano_scores() {
    "$nano/score.py" --ffmpeg "$ff" --count 12 --at-least 0.85
}

nano() {
    if [ ! -f "$nano/model_index.json" ]; then
        skip 'the small model: presets/nano holds no trained weights'
        return
    fi
    check 'the small model is the default, quickly' nano_default
    check 'the small model by name and by preset' nano_named
    check 'words that the small model does not know' nano_warns
    [ "$release" != "$newest" ] || check 'the small model follows prompts' nano_scores
}

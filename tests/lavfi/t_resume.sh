# A run that is killed goes on with the same command line: kill -9 while denoising and while decoding, the same frames;
# the recipe as metadata, as a file, and as a preset.
#
# Sourced by run.sh.
# shellcheck shell=sh

kept="model=$root/tests/golden/t2v:s=64x48:seed=5:frames=33:steps=200"

# kill_at TEXT: started, killed when the log holds the text, and again until it ends. step_kept is what the file holds
# then. One thread and frames in real time: the model is small, and must live long enough to be killed.
kill_at() {
    rm -f k killed.crc whole.crc
    ff -f lavfi -i "hunyuanvideo=cat:$kept" -f framecrc whole.crc || return 1
    start "$1" -nostdin -f lavfi -i "hunyuanvideo=cat:$kept:checkpoint=k:opts=threads=1" \
        -vf realtime -f framecrc killed.crc || return 1
    kill -9 $pid || { echo 'it had ended already'; return 1; }
    wait $pid 2> /dev/null
    step_kept=$(grep -a -o '"step": [0-9]*' k | tr -dc 0-9)
    ff -f lavfi -i "hunyuanvideo=cat:$kept:checkpoint=k" -f framecrc killed.crc && cmp whole.crc killed.crc
}

killed_denoising() {
    kill_at 'denoise 3/' && echo "killed after step $step_kept" && [ "$step_kept" -lt 200 ]
}

# The line of the last step is written when the first frames come.
killed_decoding() {
    kill_at 'denoise 200/200' && same 200 "$step_kept"
}

# Killed at random moments, twenty times in all, each run again and again until it ends.
killed_often() {
    kills=0
    draws=0
    while [ $kills -lt 20 ]; do
        rm -f k
        while :; do
            draws=$((draws + 1))
            [ $draws -lt 200 ] || return 1
            life=$(awk -v seed="$draws$$" 'BEGIN { srand(seed); print 0.2 + 2 * rand() }')
            code=0
            timeout -s KILL "$life" "$ff" -nostdin -v error -y -f lavfi \
                -i "hunyuanvideo=cat:$kept:checkpoint=k:opts=threads=1" -vf realtime -f framecrc killed.crc || code=$?
            [ $code != 0 ] || break
            [ $code = 137 ] || { echo "status $code"; return 1; }
            kills=$((kills + 1))
        done
        cmp whole.crc killed.crc || return 1
    done
}

other_run() {
    ! ff_log error -f lavfi -i "hunyuanvideo=dog:$kept:checkpoint=k" -f null - &&
        holds log 'its prompt is "cat", here it is "dog"'
}

recipe() {
    ff -f lavfi -i "hunyuanvideo=cat:$kept:recipe=r.yaml" -f framecrc a.crc &&
        ff -f lavfi -i "hunyuanvideo=preset=./r.yaml" -f framecrc b.crc && cmp a.crc b.crc &&
        ff -f lavfi -i "hunyuanvideo=cat:$kept" -vf metadata=print:file=meta -f null - &&
        holds meta 'lavfi.hunyuanvideo.weights.transformer=' && holds r.yaml 'prompt: cat' '# transformer '
}

resume() {
    check 'killed while denoising, goes on' killed_denoising
    check 'killed while decoding, goes on' killed_decoding
    check 'the state of another run is refused' other_run
    [ "$release" != "$newest" ] || check 'killed at twenty random moments, goes on' killed_often
    check 'the recipe makes the same frames' recipe
}

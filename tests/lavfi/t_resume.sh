# A run that is killed goes on with the same command line: kill -9 while denoising and while decoding, the same frames;
# the recipe as metadata, as a file, and as a preset.
#
# Sourced by run.sh.
# shellcheck shell=sh

kept="model=$root/tests/golden/t2v:s=64x48:seed=5:frames=33:steps=12"

# kill_at TEXT: started, killed when the log holds the text, and again until it ends.
kill_at() {
    rm -f k killed.crc whole.crc
    ff -f lavfi -i "hunyuanvideo=cat:$kept" -f framecrc whole.crc || return 1
    start "$1" -nostdin -f lavfi -i "hunyuanvideo=cat:$kept:checkpoint=k:opts=threads=1" \
        -vf realtime -f framecrc killed.crc || return 1 # decoded slowly enough to be met
    kill -9 $pid
    wait $pid 2> /dev/null
    [ -s k ] && ff -f lavfi -i "hunyuanvideo=cat:$kept:checkpoint=k" -f framecrc killed.crc && cmp whole.crc killed.crc
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
    check 'killed while denoising, goes on' kill_at 'denoise 3/'
    check 'killed while decoding, goes on' kill_at 'decode'
    check 'the state of another run is refused' other_run
    check 'the recipe makes the same frames' recipe
}

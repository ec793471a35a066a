# Stopping: SIGINT while denoising and while decoding, q, four signals; how soon, with which status, and with what file.
#
# Commands run in the background and are ended by number if they outlive their time. Sourced by run.sh.
# shellcheck shell=sh

# start LOG_TEXT ARGUMENTS...: runs ffmpeg in the background and waits until its log holds the text.
start() {
    text=$1
    shift
    rm -f stop.log
    "$ff" -hide_banner -v verbose -y "$@" > out 2> stop.log < "${stdin:-/dev/null}" &
    pid=$!
    tries=0
    until grep -q "$text" stop.log 2> /dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] && kill -0 $pid 2> /dev/null || { echo "never said: $text"; kill -9 $pid; cat stop.log; return 1; }
        sleep 0.1
    done
    began=$(now)
}

# ended HUNDREDTHS STATUS...: the program is gone by then, with one of the statuses.
ended() {
    most=$1
    shift
    (sleep 10 && kill -9 $pid) 2> /dev/null &
    guard=$!
    code=0
    wait $pid || code=$?
    took=$(($(now) - began))
    kill $guard 2> /dev/null
    for wanted; do
        if [ "$wanted" = $code ]; then
            [ $took -le "$most" ] || { echo "took $took hundredths of a second"; return 1; }
            return 0
        fi
    done
    echo "exit status $code, not $*"
    tail -n 5 stop.log
    return 1
}

denoising=hunyuanvideo=x:model=test:s=64x48:seed=1:frames=9:steps=200:opts=test_step_ms=150
decoding=hunyuanvideo=x:model=test:s=64x48:seed=1:frames=129:opts=test_frame_ms=100

stop_denoising() {
    case $1 in
    lavfi) start 'denoise 2/' -nostdin -f lavfi -i "$denoising" -f null - ;;
    complex) start 'denoise 2/' -nostdin -filter_complex "$denoising" -f null - ;;
    esac || return 1
    kill -INT $pid
    # an input that ended before its first frame is an error of its own in some releases, but soon
    ended 100 255 && holds stop.log 'Stopped after 0 of 9 frames'
}

stop_decoding() {
    rm -f part.mp4
    case $1 in
    lavfi) start 'decode 12/' -nostdin -f lavfi -i "$decoding" -c:v "$h264" $h264_fast part.mp4 ;;
    complex) start 'decode 12/' -nostdin -filter_complex "$decoding" -c:v "$h264" $h264_fast part.mp4 ;;
    esac || return 1
    kill -INT $pid
    ended 150 255 && [ "$(frames_in part.mp4)" -ge 5 ] && [ "$(frames_in part.mp4)" -lt 60 ]
}

stop_key() {
    rm -f keys part.mp4
    mkfifo keys
    # held open, so that the program does not see the end of its input
    sleep 20 > keys &
    holder=$!
    stdin=keys
    start 'decode 12/' -filter_complex "$decoding" -c:v "$h264" $h264_fast part.mp4 || return 1
    stdin=
    printf q > keys
    ended 150 0
    result=$?
    kill $holder
    [ $result = 0 ] && [ "$(frames_in part.mp4)" -ge 5 ]
}

four_signals() {
    start 'denoise 2/' -nostdin -filter_complex "$denoising" -f null - || return 1
    for n in 1 2 3 4; do
        kill -INT $pid 2> /dev/null
        sleep 0.01
    done
    ended 100 123 255
}

stops() {
    check '16 SIGINT while denoising, lavfi' stop_denoising lavfi
    check '16 SIGINT while denoising, graph' stop_denoising complex
    check '16 SIGINT while decoding, lavfi: a playable file' stop_decoding lavfi
    check '16 SIGINT while decoding, graph: a playable file' stop_decoding complex
    before7 || check '16 the key q' stop_key
    check '16 four SIGINT' four_signals
}

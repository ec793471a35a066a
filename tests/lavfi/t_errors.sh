# Failures: what is said, how often, the exit status in each mode and release, and that nothing hangs.
#
# Exit statuses are ffmpeg's own: 256 - errno from 7.0 on. Sourced by run.sh.
# shellcheck shell=sh

# Run in a mode; the log is in "log".
in_mode() {
    graph=hunyuanvideo=x:$2
    case $1 in
    lavfi) ff_log error -f lavfi -i "$graph" -f null - ;;
    xerror) ff_log error -xerror -f lavfi -i "$graph" -f null - ;;
    complex) ff_log error -filter_complex "$graph" -f null - ;;
    esac
}

# fails STATUS MODE WHERE TEXT: exactly one line of ours, and it holds the text.
fails() {
    limit=20 status "$1" in_mode "$2" "$small:frames=9:opts=test_fail=$3" && holds log "$4" &&
        one_line
}

# refused STATUS GRAPH TEXT...: fails at once, in both modes, and the message helps.
refused() {
    code=$1
    graph=$2
    shift 2
    for mode in lavfi complex; do
        began=$(now)
        if [ $mode = lavfi ]; then
            limit=20 status "$code" ff_log error -f lavfi -i "$graph" -f null - || return 1
        else
            limit=20 status "$code" ff_log error -filter_complex "$graph" -f null - || return 1
        fi
        holds log "$@" && [ $(($(now) - began)) -lt 200 ] || return 1
    done
}

frames_before_failure() {
    ff_log error -filter_complex "hunyuanvideo=x:$small:frames=9:opts=test_fail=5" -f framecrc - || true
    same 5 "$(count out)"
}

errors() {
    einval=234 enoent=254 enomem=244 enodev=237 erange=222
    if before7; then einval=1 enoent=1 enomem=0 enodev=1 erange=1; fi
    for mode in lavfi complex; do
        check "17 a failure of the plan, $mode" fails $enoent $mode plan 'test_fail'
    done
    check '17 a failure of the first frame, lavfi' fails 0 lavfi first 'test_fail'
    check '17 a failure of the first frame, graph' fails $enomem complex first 'test_fail'
    check '17 a failure of frame 5, lavfi' fails 0 lavfi 5 'test_fail'
    before7 || check '17 a failure of frame 5, lavfi with -xerror' fails $enomem xerror 5 'test_fail'
    check '17 a failure of frame 5, graph' fails $enomem complex 5 'test_fail'
    check '17 frames before the failure are delivered' frames_before_failure

    base=model=test:seed=1
    check '18 a size off the grid' refused $einval "hunyuanvideo=x:s=100x100:$base" 100 96 112 16
    check '18 frames off the grid' refused $einval "hunyuanvideo=x:frames=10:$base" 10 9 13
    check '18 an unknown preset' refused $enoent "hunyuanvideo=x:preset=nosuch:$base" nosuch 540p 720p
    check '18 an unknown model' refused $enoent 'hunyuanvideo=x:model=nosuch' nosuch
    check '18 a model path that is not there' refused $enoent 'hunyuanvideo=x:model=./nosuch' nosuch
    check '18 a model that is not one' refused_model
    check '18 an unknown device' refused $einval "hunyuanvideo=x:device=abacus:$base" abacus cpu cuda
    check '18 a device that is not there' refused_cuda
    check '18 no prompt' refused $einval "hunyuanvideo=$base" prompt promptfile
    check '18 an empty prompt' refused $einval "hunyuanvideo=prompt='':$base" prompt empty
    check '18 a blank prompt' refused $einval "hunyuanvideo=prompt=' ':$base" prompt empty
    check '18 prompt and promptfile' refused $einval "hunyuanvideo=x:promptfile=p.txt:$base" prompt promptfile
    check '18 frames and duration' refused $einval "hunyuanvideo=x:frames=5:d=1:$base" frames duration
    check '18 no duration' refused $einval "hunyuanvideo=x:d=0:$base" duration
    check '18 negative and negativefile' refused $einval "hunyuanvideo=x:negative=y:negativefile=p.txt:$base" negative
    check '18 an option of the library that is not there' refused $einval "hunyuanvideo=x:$base:opts=nosuch=1" nosuch
    check '18 options of the library without a value' refused $einval "hunyuanvideo=x:$base:opts=nosuch" opts key=value
    check '18 steps out of range' refused $einval "hunyuanvideo=x:steps=0:$base" steps 1 1000
    check '18 a seed out of range' refused $erange "hunyuanvideo=x:seed=4294967296:model=test" seed
    check '18 guidance out of range' refused $einval "hunyuanvideo=x:guidance=1000:$base" guidance 100
    check '18 an unescaped colon in a prompt' refused $einval "hunyuanvideo=a fox: the film:$base" size
}

refused_model() {
    mkdir -p nomodel
    refused $enoent "hunyuanvideo=x:model=./nomodel" nomodel transformer vae
}

refused_cuda() {
    refused $enodev "hunyuanvideo=x:device=cuda:$base" cuda cpu
}

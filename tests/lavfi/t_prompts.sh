# Prompts: how they are written on a command line, and how they come from files and pipes.
#
# What arrived is read from the metadata of the first frame. Sourced by run.sh.
# shellcheck shell=sh

typographic=$(printf 'it\342\200\231s raining')

# prompt_of OPTIONS...: the prompt that the first frame names. The rest are options before the output.
prompt_of() {
    ff "$@" -vf metadata=print:file=meta -frames:v 1 -f null - && sed -n 's/^lavfi\.hunyuanvideo\.prompt=//p' meta
}

# Written in a graph, as input and as complex graph.
written() {
    same "$2" "$(prompt_of -f lavfi -i "hunyuanvideo=$1:$small:frames=1")" &&
        ff -filter_complex "hunyuanvideo=$1:$small:frames=1,metadata=print:file=meta" -f null - &&
        same "$2" "$(sed -n 's/^lavfi\.hunyuanvideo\.prompt=//p' meta)"
}

from_file() {
    printf '%s' "$1" > p.txt
    same "$2" "$(prompt_of -f lavfi -i "hunyuanvideo=promptfile=p.txt:$small:frames=1")"
}

# Through ffprobe: the metadata filter of 5.1 prints short lines only.
long_file() {
    printf '%060000d\n' 0 > p.txt
    "$probe" -v error -f lavfi -i "hunyuanvideo=promptfile=p.txt:$small:frames=1" -show_frames > frames &&
        same 60000 "$(sed -n 's/^TAG:lavfi\.hunyuanvideo\.prompt=//p' frames | tr -d '\n' | wc -c)"
}

multiline() {
    printf 'first\nsecond\r\n\n' > p.txt
    ff -f lavfi -i "hunyuanvideo=promptfile=p.txt:$small:frames=1" -vf metadata=print:file=meta -f null - &&
        grep -A1 '^lavfi\.hunyuanvideo\.prompt=first$' meta | grep -qx second
}

byte_order_mark() {
    printf '\357\273\277a fox\r\n' > p.txt
    same 'a fox' "$(prompt_of -f lavfi -i "hunyuanvideo=promptfile=p.txt:$small:frames=1")"
}

from_pipe() {
    for in_graph in no yes; do
        if [ $in_graph = yes ]; then
            set -- -filter_complex "hunyuanvideo=promptfile=/dev/stdin:$small:frames=1,metadata=print:file=meta"
        else
            set -- -f lavfi -i "hunyuanvideo=promptfile=/dev/stdin:$small:frames=1" -vf metadata=print:file=meta
        fi
        echo 'a lighthouse: storm' | ff "$@" -f null - || return 1
        same 'a lighthouse: storm' "$(sed -n 's/^lavfi\.hunyuanvideo\.prompt=//p' meta)" || return 1
    done
}

# The whole graph from a file: the shell's level of quoting is gone.
graph_file() {
    printf "hunyuanvideo=prompt='a fox\\\\: the \"film\"':%s:frames=1,metadata=print:file=meta" "$small" > g.txt
    case ${release%%.*} in
    5) ff -filter_complex_script g.txt -f null - || return 1 ;;
    *) ff -/filter_complex g.txt -f null - || return 1 ;;
    esac
    same 'a fox: the "film"' "$(sed -n 's/^lavfi\.hunyuanvideo\.prompt=//p' meta)" || return 1
    rm meta
    ff -f lavfi -graph_file g.txt -i x -f null - &&
        same 'a fox: the "film"' "$(sed -n 's/^lavfi\.hunyuanvideo\.prompt=//p' meta)"
}

value_from_file() {
    printf "a fox: it's [raining]" > p.txt
    ff -filter_complex "hunyuanvideo=/prompt=p.txt:$small:frames=1,metadata=print:file=meta" -f null - &&
        same "a fox: it's [raining]" "$(sed -n 's/^lavfi\.hunyuanvideo\.prompt=//p' meta)"
}

# bad_file STATUS TEXT FILE: refused with one line of ours that holds the text.
bad_file() {
    limit=20 status "$1" ff_log error -f lavfi -i "hunyuanvideo=promptfile=$3:$small:frames=1" -f null - && holds log "$2" && one_line
}

prompts() {
    check '5 a prompt from a file' from_file 'a fox: the film, [close-up]' 'a fox: the film, [close-up]'
    check '5 a prompt of 60000 bytes' long_file
    check '5 inner line ends stay, those at the end go' multiline
    check '5 a byte order mark goes' byte_order_mark
    check '5 a prompt from a pipe' from_pipe
    check '19 punctuation' written "prompt='a red fox, jumping; [close-up] 50%=half'" 'a red fox, jumping; [close-up] 50%=half'
    check '19 a colon' written "prompt='a fox\: the film'" 'a fox: the film'
    check '19 an apostrophe' written "prompt='it'\\\\\\''s raining'" "it's raining"
    check '19 a typographic apostrophe' written "prompt='$typographic'" "$typographic"
    check '19 Chinese' written "prompt='一只小狗在草地上奔跑。'" '一只小狗在草地上奔跑。'
    check '19 the graph from a file' graph_file
    before7 || check '19 the value from a file' value_from_file

    : > empty.txt
    printf '\n\r\n' > ends.txt
    printf 'a\000b' > zero.txt
    printf '\377\376' > latin.txt
    printf '%070000d' 0 > long.txt
    einval=234 enoent=254 invalid=183
    if before7; then einval=1 enoent=1 invalid=1; fi
    check '5 an empty file is refused' bad_file $einval 'is empty' empty.txt
    check '5 a file of line ends is refused' bad_file $einval 'is empty' ends.txt
    check '5 a file with a zero byte is refused' bad_file $invalid 'zero byte' zero.txt
    check '5 a file that is not UTF-8 is refused' bad_file $einval 'UTF-8' latin.txt
    check '5 a file that is too long is refused' bad_file $einval '65536' long.txt
    check '5 a missing file is refused' bad_file $enoent 'No such file' missing.txt
}

#!/bin/sh
# Builds ffmpeg and ffprobe with the hunyuanvideo filter, for one or more releases, against the library in build/.
#
#   build-ffmpeg.sh                 the newest release
#   build-ffmpeg.sh 5.1 7.1         these; programs go to build/ffmpeg-5.1, ...; build/ffmpeg is a link to the newest
#   build-ffmpeg.sh --source dir    a tree of your own; a copy of it is patched, the tree itself is not touched
#   build-ffmpeg.sh --variant asan|shared|nofilter|nolib 9.0     small builds for the tests
#
# Trees and objects are kept in a cache outside the checkout, so that a second run only compiles what changed. Programs
# find the library at $ORIGIN/lib, beside them. Knows the configure line and nothing of what the filter does.
set -eu
LC_ALL=C
export LC_ALL

newest=9.0
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL     # of a make that calls this
here=$(cd "$(dirname "$0")" && pwd)
build=$(mkdir -p "${BUILD:-$here/../build}" && cd "${BUILD:-$here/../build}" && pwd)
cache=${HUNYUANVIDEO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hunyuanvideo}
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}

say() { printf 'build-ffmpeg.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# What is useful for making, watching and testing clips, and what FFmpeg's own filter tests need.
configure_line() {
    line='--disable-everything --disable-autodetect --disable-doc --disable-debug --disable-network --disable-ffplay
        --enable-indev=lavfi --enable-protocol=file,pipe,md5'
    if [ -n "$variant" ]; then
        line="$line --disable-x86asm --optflags=-O0
            --enable-decoder=wrapped_avframe,rawvideo --enable-encoder=wrapped_avframe,rawvideo
            --enable-muxer=null,framecrc,rawvideo
            --enable-filter=testsrc2,color,null,format,scale,fps,trim,overlay,hstack,concat,xfade"
        case $variant in
        asan) line="$line --toolchain=gcc-asan" ;;
        shared) line="$line --enable-shared --disable-static" ;;
        esac
        case $variant in
        nolib) ;;
        nofilter) line="$line --enable-libhunyuanvideo" ;;
        *) line="$line --enable-libhunyuanvideo --enable-filter=hunyuanvideo" ;;
        esac
        echo "$line"
        return
    fi
    line="$line --enable-zlib --enable-libhunyuanvideo
        --enable-decoder=wrapped_avframe,rawvideo,png,ffv1,pgmyuv,h264,mjpeg,mpeg4
        --enable-parser=png,h264,mjpeg,mpeg4video
        --enable-encoder=wrapped_avframe,rawvideo,png,ffv1,mjpeg,pcm_s16le
        --enable-demuxer=image2,image_png_pipe,rawvideo,yuv4mpegpipe,nut,matroska,mov
        --enable-muxer=mp4,mov,matroska,image2,rawvideo,yuv4mpegpipe,nut,null,framecrc,framemd5,hash,md5
        --enable-filter=hunyuanvideo
        --enable-filter=testsrc,testsrc2,color,nullsrc,movie,null,format,scale,fps,setpts,settb,trim,loop,split
        --enable-filter=concat,xfade,overlay,hstack,crop,pad,setsar,setparams,metadata,showinfo,sendcmd,realtime
        --enable-filter=select,tile,untile,mpdecimate,scdet,freezedetect,blackdetect,ssim,psnr,signalstats,aresample"
    if pkg-config --exists x264; then
        line="$line --enable-gpl --enable-libx264 --enable-encoder=libx264"
    else
        line="$line --enable-encoder=mpeg4"
    fi
    command -v nasm > /dev/null || command -v yasm > /dev/null || line="$line --disable-x86asm"
    # Older releases are built to be tested: quicker to compile, slower to scale and encode.
    [ "$release" = "$newest" ] || [ "$release" = own ] || line="$line --optflags=-O1"
    echo "$line"
}

# The header, library and .pc file at a place that does not depend on the checkout, so that another one can go on with
# these objects. Files are replaced only when they differ: make goes by their times.
put_engine() {
    mkdir -p "$dir/engine/include" "$dir/engine/lib/pkgconfig"
    for pair in "$here/../engine/hunyuanvideo.h include/hunyuanvideo.h" \
        "$build/lib/libhunyuanvideo.so lib/libhunyuanvideo.so"; do
        to=$dir/engine/${pair##* }
        cmp -s "${pair% *}" "$to" || cp -L "${pair% *}" "$to"
    done
    for name in "$build"/lib/libhunyuanvideo.so.*; do
        ln -sf libhunyuanvideo.so "$dir/engine/lib/${name##*/}"
    done
    sed -e "s|^prefix=.*|prefix=$dir/engine|" -e "s|^libdir=.*|libdir=$dir/engine/lib|" \
        -e "s|^includedir=.*|includedir=$dir/engine/include|" \
        "$build/lib/pkgconfig/libhunyuanvideo.pc" > "$dir/engine/lib/pkgconfig/libhunyuanvideo.pc"
}

# A private copy of the sources, patched. An own tree is copied again where it is newer than the copy.
put_tree() {
    # Other insertions than last time: a fresh copy, in which only the files concerned look new to make.
    cat "$here/anchors" "$here/insert.awk" > "$dir/anchors.new"
    touched=
    if ! cmp -s "$dir/anchors.new" "$dir/anchors"; then
        rm -rf "$dir/tree"
        touched=$(cat "$dir/anchors.new" "$dir/anchors" 2> /dev/null | sed -n 's/^file?\{0,1\} "\(.*\)"$/\1/p' | sort -u)
    fi
    if [ "$release" = own ]; then
        mkdir -p "$dir/tree"
        cp -Rup "$src/." "$dir/tree/"
        # left by a build inside the tree, which would forbid one outside of it
        rm -rf "$dir/tree/.git" "$dir/tree/config.h" "$dir/tree/ffbuild/config.mak" "$dir/tree/ffbuild/.config"
    elif [ ! -d "$dir/tree" ]; then
        rm -rf "$dir/tree.new"
        cp -Rp "$src" "$dir/tree.new"
        mv "$dir/tree.new" "$dir/tree"
    fi
    for file in $touched; do
        [ ! -f "$dir/tree/$file" ] || touch "$dir/tree/$file"
    done
    "$here/apply.sh" --no-doc --with-fate "$dir/tree" >&2
    mv "$dir/anchors.new" "$dir/anchors"
}

run_configure() {
    mkdir -p "$dir/obj"
    say "configuring FFmpeg $label"
    # shellcheck disable=SC2086
    (cd "$dir/obj" && PKG_CONFIG_PATH="$dir/engine/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}" \
        nice "$dir/tree/configure" $line \
        > "$dir/configure.log" 2>&1) || {
        tail -n 15 "$dir/configure.log" >&2
        die "configure failed; see $dir/obj/ffbuild/config.log"
    }
}

compile() {
    say "compiling FFmpeg $label (log: $dir/make.log)"
    # An old-style rpath holds for the libraries of the shared variant too.
    nice make -C "$dir/obj" -j"$jobs" LDEXEFLAGS="-Wl,--disable-new-dtags -Wl,-rpath,'\$\$ORIGIN/lib' \
        -Wl,-rpath,'\$\$ORIGIN/lib/ffmpeg-$label' -Wl,-rpath-link,$dir/engine/lib" ffmpeg ffprobe > "$dir/make.log" 2>&1 || {
        grep -nE 'error|Error|undefined' "$dir/make.log" | head -n 20 >&2
        die "make failed; see $dir/make.log"
    }
}

# Copies the programs beside the library and makes sure that the filter is in them: configure only warns about a filter
# that it does not know.
deliver() {
    for program in ffmpeg ffprobe; do
        cmp -s "$dir/obj/$program" "$build/$program-$label" || {
            cp "$dir/obj/$program" "$build/$program-$label.new"
            mv "$build/$program-$label.new" "$build/$program-$label"
        }
    done
    if [ "$variant" = shared ]; then
        mkdir -p "$build/lib/ffmpeg-$label"
        cp -P "$dir"/obj/lib*/lib*.so* "$build/lib/ffmpeg-$label/"
    fi
    case $variant in no*) return 0 ;; esac
    "$build/ffmpeg-$label" -hide_banner -h filter=hunyuanvideo 2>&1 | grep -q '^Filter hunyuanvideo' ||
        die "the new ffmpeg has no filter hunyuanvideo; see $dir/configure.log"
}

# Everything the result depends on, as one number.
inputs() {
    { echo "$src" "$line"
      cat "$here/apply.sh" "$here/anchors" "$here/insert.awk" "$here/../engine/hunyuanvideo.h" \
          "$here"/../libavfilter-patch/*.[ch] "$here"/../libavfilter-patch/fate/*
      [ "$release" != own ] || find "$src" -type f -newer "$build/.ffmpeg-$label" 2> /dev/null
    } | cksum
}

build_one() {
    release=$1
    label=$release${variant:+-$variant}
    if [ "$release" = own ]; then
        src=$(cd "$own" && pwd) || exit 1
        [ -f "$src/libavfilter/allfilters.c" ] || die "$own is not an FFmpeg source tree"
        dir=$cache/ffmpeg/own-$(echo "$src" | cksum | cut -d' ' -f1)
    else
        src=$("$here/get-ffmpeg.sh" "$release")
        dir=$cache/ffmpeg/$label
    fi
    line=$(configure_line | tr -s ' \n' ' ')
    done_key=$build/.ffmpeg-$label
    key=$(inputs)
    if [ -x "$build/ffmpeg-$label" ] && [ -x "$build/ffprobe-$label" ] && [ "$key" = "$(cat "$done_key" 2> /dev/null)" ]; then
        return
    fi

    mkdir -p "$dir"
    exec 9> "$dir/lock"
    if command -v flock > /dev/null; then flock 9; fi
    # Another release or configure line: start anew.
    stamp=$(echo "$src" "$line" | cksum)
    if [ "$stamp" != "$(cat "$dir/stamp" 2> /dev/null)" ]; then
        rm -rf "$dir/tree" "$dir/obj" "$dir/stamp"
    fi
    put_engine
    put_tree
    if [ ! -f "$dir/stamp" ] || [ -n "$(find "$dir/tree/configure" "$dir/tree/libavfilter/allfilters.c" \
        -newer "$dir/obj/ffbuild/config.mak")" ]; then
        run_configure
        echo "$stamp" > "$dir/stamp"
    fi
    compile
    deliver
    exec 9>&-
    inputs > "$done_key"
    say "FFmpeg $label: $build/ffmpeg-$label"
}

usage() { say 'usage: build-ffmpeg.sh [--variant asan|shared|nofilter|nolib] [RELEASE...] | --source DIR'; exit 2; }

variant=
own=${FFMPEG_SRC:-}
case ${1:-} in
--variant)
    case ${2:-} in asan | shared | nofilter | nolib) variant=$2 ;; *) usage ;; esac
    shift 2
    ;;
--source)
    [ $# -eq 2 ] || usage
    own=$2
    shift 2
    ;;
esac
case ${1:-} in -*) usage ;; esac
for file in lib/libhunyuanvideo.so lib/pkgconfig/libhunyuanvideo.pc; do
    [ -e "$build/$file" ] || die "$build/$file is missing; type make first"
done
for tool in cc make pkg-config; do
    command -v $tool > /dev/null || die "$tool is missing (Debian packages: gcc, make, pkg-config)"
done

if [ -n "$own" ] && [ -z "$variant" ]; then
    build_one own
    link=own
else
    [ $# -gt 0 ] || set -- $newest
    for wanted; do build_one "$wanted"; done
    [ -z "$variant" ] || exit 0
    link=$(cd "$build" && ls -d ffmpeg-[0-9]* | sed -n 's/^ffmpeg-\([0-9.]*\)$/\1/p' | sort -t. -k1,1n -k2,2n | tail -n 1)
fi
for program in ffmpeg ffprobe; do
    ln -sfn "$program-$link" "$build/$program"
done

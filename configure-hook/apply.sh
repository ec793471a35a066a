#!/bin/sh
# Adds the hunyuanvideo filter to an FFmpeg source tree: copies its files and inserts the lines that `anchors` lists.
#
# Any release from 5.1 on, tarball or git checkout. Nothing is written unless every anchor was found, a second run
# changes nothing, and --reverse takes everything out again. Anchors are literal; no release is known by number.
# Exit status: 0 done, 1 an anchor failed or the tree is not what it should be, 2 usage.
set -eu
LC_ALL=C
export LC_ALL

here=$(cd "$(dirname "$0")" && pwd)
patch=$here/../libavfilter-patch

usage() {
    cat >&2 << 'TEXT'
usage: apply.sh [--check | --reverse | --diff] [--no-fftools] [--no-doc] [--with-fate] FFMPEG_TREE
  --check       say what would be done and write nothing
  --reverse     take the filter out again
  --diff        print a patch for git apply, git am or quilt, and write nothing
  --no-fftools  leave the programs alone (Ctrl-C then waits for the filter; four of them end ffmpeg)
  --no-doc      leave the manual alone
  --with-fate   add the tests of the filter to FFmpeg's own
TEXT
    exit 2
}

die() { printf 'apply.sh: %s\n' "$*" >&2; exit 1; }

mode=apply
parts='doc fftools'
while [ $# -gt 0 ]; do
    case $1 in
    --check | --reverse | --diff) [ $mode = apply ] || usage; mode=${1#--} ;;
    --no-fftools) parts=$(echo "$parts" | sed 's/fftools//') ;;
    --no-doc) parts=$(echo "$parts" | sed 's/doc//') ;;
    --with-fate) parts="$parts fate" ;;
    --) shift; break ;;
    -*) usage ;;
    *) break ;;
    esac
    shift
done
[ $# -eq 1 ] || usage
tree=$1
if [ ! -f "$tree/configure" ] || [ ! -f "$tree/libavfilter/allfilters.c" ]; then
    die "$tree is not an FFmpeg source tree (no configure, no libavfilter/allfilters.c)"
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/apply.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# Our own files: "source target" a line.
copies() {
    for f in "$patch"/*.[ch]; do
        echo "${f##*/} libavfilter/${f##*/}"
    done
    case " $parts " in *' fate '*)
        for f in "$patch"/fate/filter-*; do
            [ ! -f "$f" ] || echo "fate/${f##*/} tests/ref/fate/${f##*/}"
        done ;;
    esac
}

# The files of the tree that take insertions. A file that only some releases have is left out where it is missing.
targets() {
    sed -n 's/^file\(?\{0,1\}\) "\(.*\)"$/\2 \1/p' "$here/anchors" | sort -u | while read -r f optional; do
        if [ -z "$optional" ] || [ -f "$1/$f" ]; then echo "$f"; fi
    done
}

# insert MODE TREE FILE
insert() {
    awk -f "$here/insert.awk" "mode=$1" "file=$3" "parts=$parts" "texts=$patch" "$here/anchors" "$2/$3"
}

# First pass: looks every anchor up and lists all failures.
look() {
    failed=0
    added=0
    for f in $(targets "$1"); do
        if [ ! -f "$1/$f" ]; then
            printf 'apply.sh: %s: no such file\n' "$f" >&2
            failed=1
            continue
        fi
        insert look "$1" "$f" > "$work/look"
        if sed -n "s|^failed |apply.sh: $f: |p" "$work/look" | grep . >&2; then failed=1; fi
        added=$((added + $(grep -c '^found' "$work/look" || true)))
    done
    [ $failed = 0 ]
}

# Second pass. Files are written through, which keeps their mode and inode, and only if they change.
write() {
    for f in $(targets "$2"); do
        insert "$1" "$2" "$f" > "$work/new" || die "$f was left as it is"
        cmp -s "$work/new" "$2/$f" || cat "$work/new" > "$2/$f"
    done
}

put_files() {
    copies | while read -r from to; do
        mkdir -p "$(dirname "$1/$to")"
        cmp -s "$patch/$from" "$1/$to" || cat "$patch/$from" > "$1/$to"
    done
}

apply() {
    look "$1" || die "nothing was changed; this release needs another line in $here/anchors"
    write write "$1"
    put_files "$1"
    look "$1" || die "$1: an insertion is not where it should be"
    [ "$added" = 0 ] || die "$1: an insertion did not stay"
    # As configure lists filters; a line it does not see would leave the filter out without a word.
    sed -n 's/^extern const [A-Za-z]* ff_[avfsinkrc]\{2,5\}_\([[:alnum:]_]\{1,\}\);/\1/p' \
        "$1/libavfilter/allfilters.c" | grep -qx hunyuanvideo || die 'configure would not list the filter'
}

reverse() {
    parts='doc fftools fate'
    for f in $(targets "$1"); do    # look first: an edited block stops everything
        insert remove "$1" "$f" > /dev/null || die 'nothing was changed'
    done
    write remove "$1"
    copies | while read -r from to; do rm -f "$1/$to"; done
}

# Prints the difference between $work/a and $work/b for one file, as git does.
diff_file() {
    cmp -s "$work/a/$1" "$work/b/$1" && return
    echo "diff --git a/$1 b/$1"
    old=a/$1
    if [ ! -f "$work/a/$1" ]; then
        echo 'new file mode 100644'
        old=/dev/null
        mkdir -p "$(dirname "$work/a/$1")"
        : > "$work/a/$1"
    fi
    printf -- '--- %s\n+++ b/%s\n' "$old" "$1"
    diff -u "$work/a/$1" "$work/b/$1" | sed 1,2d
}

# A patch made from copies of the few files concerned, so that the tree may be read-only or already patched.
make_diff() {
    chosen=$parts
    for f in $(targets "$tree"); do
        [ -f "$tree/$f" ] || die "$tree: $f: no such file"
        mkdir -p "$(dirname "$work/a/$f")"
        cat "$tree/$f" > "$work/a/$f"
    done
    (reverse "$work/a")
    cp -R "$work/a" "$work/b"
    apply "$work/b"
    cat << 'TEXT'
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: libhunyuanvideo <libhunyuanvideo@localhost>
Subject: [PATCH] avfilter: add the hunyuanvideo source

Text to video through libhunyuanvideo. Made by configure-hook/apply.sh --diff.
---
TEXT
    parts=$chosen
    for f in $(targets "$tree"); do diff_file "$f"; done
    for f in $(copies | cut -d' ' -f2); do diff_file "$f"; done
}

release=$(cat "$tree/RELEASE" 2> /dev/null || echo 'of unknown release')
case $mode in
check)
    look "$tree" || die "$tree (FFmpeg $release): this release needs another line in $here/anchors"
    echo "apply.sh: $tree (FFmpeg $release): $added insertions to make, all places found"
    ;;
diff) make_diff ;;
reverse)
    reverse "$tree"
    echo "apply.sh: $tree (FFmpeg $release): the hunyuanvideo filter was taken out"
    ;;
apply)
    look "$tree" || die "$tree (FFmpeg $release): nothing was changed; this release needs another line in $here/anchors"
    planned=$added
    apply "$tree"
    type=$(sed -n 's/^extern const \([A-Za-z]*\) ff_vsrc_hunyuanvideo;.*/\1/p' "$tree/libavfilter/allfilters.c")
    echo "apply.sh: $tree (FFmpeg $release, $type): $planned insertions made; next: configure --enable-libhunyuanvideo"
    ;;
esac

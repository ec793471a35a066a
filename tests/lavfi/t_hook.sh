# The hook: what it changes in a tree, that it changes nothing twice, that it can be undone, and how it fails.
#
# Works on copies of the few files that the hook touches. The stored patches are compared with what it prints.
# Sourced by run.sh.
# shellcheck shell=sh

hook=$root/configure-hook/apply.sh

# A copy of what the hook looks at.
copy_tree() {
    rm -rf "$1"
    mkdir -p "$1"
    (cd "$source_tree" && tar -cf - RELEASE configure fftools libavfilter/Makefile libavfilter/allfilters.c \
        doc/filters.texi tests/fate/filter-video.mak) | (cd "$1" && tar -xf -)
}

sums() { (cd "$1" && find . -type f ! -path './.git/*' -exec cksum {} + | sort); }

there_and_back() {
    copy_tree t
    sums t > before
    ls -li t/configure > inode
    "$hook" --check t && sums t | cmp - before || return 1
    "$hook" --with-fate t > first && sums t > after && ! cmp -s before after || return 1
    "$hook" --with-fate t > second && sums t | cmp - after && holds second '0 insertions' || return 1
    same "$(awk '{ print $1, $2 }' inode)" "$(ls -li t/configure | awk '{ print $1, $2 }')" || return 1
    "$hook" --reverse t && sums t | cmp - before
}

# Every kind of line is where it belongs.
lines() {
    copy_tree t
    "$hook" t > /dev/null
    type=$(sed -n 's/^extern const \([A-Za-z]*\) ff_vsrc_life;/\1/p' t/libavfilter/allfilters.c)
    grep -q "^extern const $type ff_vsrc_hunyuanvideo;" t/libavfilter/allfilters.c &&
        grep -q '^  --enable-libhunyuanvideo ' t/configure && grep -qx 'hunyuanvideo_filter_deps="libhunyuanvideo"' t/configure &&
        grep -q '^OBJS-$(CONFIG_HUNYUANVIDEO_FILTER) .*vsrc_hunyuanvideo.o hunyuanvideo_common.o$' t/libavfilter/Makefile &&
        grep -qx '@section hunyuanvideo' t/doc/filters.texi && grep -q avfilter_hunyuanvideo_interrupt t/fftools/ffmpeg.c &&
        grep -q avfilter_hunyuanvideo_interrupt t/fftools/ffplay.c &&
        cmp t/libavfilter/vsrc_hunyuanvideo.c "$root/libavfilter-patch/vsrc_hunyuanvideo.c" || return 1
    before7 || grep -q avfilter_hunyuanvideo_interrupt t/fftools/ffmpeg_sched.c || return 1
    copy_tree t
    "$hook" --no-fftools --no-doc t > /dev/null && ! grep -rq hunyuanvideo t/fftools t/doc
}

# Without one anchor: all files keep what they had, and the message names the line.
missing_anchor() {
    for cut in 'configure|^    libiec61883$' 'libavfilter/allfilters.c|ff_vsrc_life;$' 'fftools/ffmpeg.c|received_nb_signals++'; do
        copy_tree t
        file=${cut%%|*}
        grep -v "${cut#*|}" "t/$file" > edited
        cat edited > "t/$file"
        sums t > before
        for mode in --check --diff --with-fate; do
            status 1 "$hook" $mode t > said 2>&1 && holds said "$file" 'instead of 1' || return 1
            sums t | cmp - before || return 1
        done
    done
    # twice is as bad as never
    copy_tree t
    echo '    libiec61883' >> t/configure
    status 1 "$hook" t > said 2>&1 && holds said 'begins 2 lines'
}

# Edited lines are not taken out, nor is anything else then.
edited_block() {
    copy_tree t
    "$hook" t > /dev/null
    sed 's|^OBJS-$(CONFIG_LIBHUNYUANVIDEO).*|# &|' t/libavfilter/Makefile > edited
    cat edited > t/libavfilter/Makefile
    sums t > before
    status 1 "$hook" --reverse t > said 2>&1 && sums t | cmp - before && holds said libavfilter/Makefile
}

usage() {
    status 2 "$hook" && status 2 "$hook" --nosuch t && status 2 "$hook" --check --reverse t && status 1 "$hook" /
}

# A patch that git takes, in a plain folder and as a commit, and that gives what the hook gives.
git_patch() {
    copy_tree t
    copy_tree g
    "$hook" --diff t > hook.patch && "$hook" t > /dev/null && sums t > after || return 1
    (cd g && git init -q . && git add . && git -c user.name=t -c user.email=t@t commit -q -m base &&
        git apply --check ../hook.patch && git -c user.name=t -c user.email=t@t am -q ../hook.patch &&
        test -z "$(git status --porcelain)") && sums g | cmp - after || return 1
    "$hook" --diff t | cmp - hook.patch || return 1     # of a patched tree: the same
    "$hook" --check g                                   # a git tree
}

stored_patch() {
    copy_tree t
    "$hook" --diff t > hook.patch &&
        cmp "$root/libavfilter-patch/patches/$release/0001-avfilter-add-the-hunyuanvideo-source.patch" hook.patch
}

# FFmpeg's manual with our section in it becomes readable pod, and the section's options are the filter's.
manual() {
    copy_tree t
    "$hook" t > /dev/null || return 1
    { printf '@setfilename filters\n@settitle filters\n'; cat t/doc/filters.texi; } > filters.texi
    perl "$source_tree/doc/texi2pod.pl" -Dconfig-all=yes filters.texi > pod || return 1
    holds pod '=head2 hunyuanvideo' 'a cat walks on the grass' || return 1
    texi=$root/libavfilter-patch/doc/vsrc_hunyuanvideo.texi
    sed -n 's/^@itemx\{0,1\} //p' "$texi" | tr -s ', ' '\n\n' | grep . > described
    "$ff" -hide_banner -h filter=hunyuanvideo 2>&1 | sed -n 's/^   \([a-z_0-9]*\)  *<.*/\1/p' > options
    cmp described options
}

hooks() {
    check '24 applied, applied again, taken out' there_and_back
    check '24 every line where it belongs' lines
    check '24 a tree without an anchor is left alone' missing_anchor
    check '24 edited lines are left alone' edited_block
    check '24 usage' usage
    if command -v git > /dev/null; then
        check '24 a patch for git' git_patch
    else
        skip '24 a patch for git (git is not installed)'
    fi
    check '24 the stored patch is what the hook prints' stored_patch
    check 'the manual section is well formed and lists the options in order' manual
}

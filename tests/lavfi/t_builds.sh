# Builds: under valgrind and with AddressSanitizer, with shared libraries, without the library; where sources come from.
#
# The extra builds are small, and made for the newest release only. Sourced by run.sh.
# shellcheck shell=sh

grind() {
    timeout 300 valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect \
        "$ff" -nostdin -hide_banner -v error -y "$@"
}

valgrind_clip() { grind -f lavfi -i "hunyuanvideo=x:$small:frames=5" -f framecrc - ; }
valgrind_failure() { status $enomem_graph grind -filter_complex "hunyuanvideo=x:$small:frames=9:opts=test_fail=3" -f null - ; }

# The address sanitizer also reports leaks: the status is then its own, 1, and it says so.
asan() {
    wanted=$1
    shift
    status "$wanted" timeout "$limit" "$build/ffmpeg-$release-asan" -nostdin -hide_banner -v error -y "$@" > out 2> log
    result=$?
    if grep -q 'Sanitizer' log; then cat log; return 1; fi
    return $result
}

asan_clips() {
    asan 0 -f lavfi -i "hunyuanvideo=x:$small:frames=5" -f framecrc - &&
        asan 0 -filter_complex "hunyuanvideo=x:$small:frames=5,format=gbrpf32" -f null - &&
        asan 0 -filter_complex "hunyuanvideo=x:$small:frames=9[a];hunyuanvideo=x:$small:d=0.2[b];[a][b]concat" -f null - &&
        asan 0 -f lavfi -i "hunyuanvideo=x:$small:frames=129" -frames:v 2 -f null -
}

asan_failures() {
    : > empty.txt
    asan 234 -f lavfi -i "hunyuanvideo=x:$small:frames=10" -f null - &&
        asan 254 -f lavfi -i "hunyuanvideo=x:$small:frames=9:opts=test_fail=plan" -f null - &&
        asan 244 -filter_complex "hunyuanvideo=x:$small:frames=9:opts=test_fail=first" -f null - &&
        asan 254 -filter_complex "hunyuanvideo=promptfile=missing.txt:$small" -f null - &&
        asan 234 -filter_complex "hunyuanvideo=promptfile=empty.txt:$small" -f null -
}

shared() {
    [ -e "$build/lib/ffmpeg-$release-shared/libavfilter.so" ] &&
        nm -D "$build/lib/ffmpeg-$release-shared/libavfilter.so" | grep ' [TDBR] .*hunyuanvideo' > symbols &&
        same avfilter_hunyuanvideo_interrupt "$(sed 's/.* //; s/@.*//' symbols)" &&
        "$build/ffmpeg-$release-shared" -nostdin -v error -f lavfi -i "hunyuanvideo=x:$small:frames=5" -f framecrc - > a.crc &&
        same 5 "$(count a.crc)"
}

without() {
    "$build/ffmpeg-$release-$1" -hide_banner -filters > filters && ! grep -w hunyuanvideo filters &&
        "$build/ffmpeg-$release-$1" -nostdin -v error -f lavfi -i testsrc2=s=64x48:d=0.2 -f framecrc - > a.crc &&
        same 5 "$(count a.crc)"
}

variant() { "$root/configure-hook/build-ffmpeg.sh" --variant "$1" "$release"; }

# Both styles of apt sources lead to the same archives; a machine without one is told so. Nothing is downloaded.
apt_sources() {
    mkdir -p etc/sources.list.d none/sources.list.d
    cat > etc/sources.list << 'LIST'
# deb http://comment.invalid/debian bookworm main
deb [signed-by=/x arch=amd64] http://one.invalid/debian/ bookworm main contrib
deb-src http://one.invalid/debian bookworm main
deb http://other.invalid/apt nosuch main
LIST
    cat > etc/sources.list.d/two.sources << 'LIST'
Types: deb deb-src
URIs: http://two.invalid/debian
Suites: trixie trixie-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.invalid/debian
Suites: sid

Types: deb
URIs: http://two.invalid/debian-security
Suites: bookworm-security
LIST
    printf 'Dir::Etc "%s/etc";\n' "$tmp" > apt.conf
    APT_CONFIG=$tmp/apt.conf "$root/configure-hook/get-ffmpeg.sh" --archives > found &&
        printf 'main http://one.invalid/debian\nmain http://two.invalid/debian\nsecurity http://two.invalid/debian-security\n' |
        cmp - found || { cat found; return 1; }
    printf 'Dir::Etc "%s/none";\n' "$tmp" > apt.conf
    APT_CONFIG=$tmp/apt.conf HUNYUANVIDEO_CACHE=$tmp/cache status 1 "$root/configure-hook/get-ffmpeg.sh" 7.1 > said 2>&1 &&
        holds said 'no Debian archive found' FFMPEG_SRC && status 1 "$root/configure-hook/get-ffmpeg.sh" seven
}

builds() {
    enomem_graph=244
    if before7; then enomem_graph=0; fi
    if command -v valgrind > /dev/null; then
        check '22 a clip under valgrind' valgrind_clip
        check '22 a failure under valgrind' valgrind_failure
    else
        skip '22 valgrind (not installed)'
    fi
    [ "$release" = "$newest" ] || return 0
    check '22 an AddressSanitizer build' variant asan
    check '22 clips with AddressSanitizer' asan_clips
    check '22 failures with AddressSanitizer' asan_failures
    check '23 a build with shared libraries' variant shared
    check '23 shared libraries' shared
    check '23 a build without the library' variant nolib
    check '23 a patched tree without the library' without nolib
    check '23 a build with the library and without the filter' variant nofilter
    check '23 a patched tree without the filter' without nofilter
    if command -v apt-config > /dev/null; then
        check 'where sources come from' apt_sources
    else
        skip 'where sources come from (no apt)'
    fi
}

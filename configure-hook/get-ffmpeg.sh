#!/bin/sh
# Gets the sources of one FFmpeg release as a Debian source package and prints the folder they are in.
#
#   get-ffmpeg.sh --archives the Debian archives that the machine uses
#   get-ffmpeg.sh 7.1        any 7.1.x that the archive has; cached, so that a second call takes no time
#
# apt does the download, with a configuration of its own: a list of deb-src entries made from the places the machine's
# configuration already names, own state and cache. The machine's configuration and lists are read, never written, and
# no privilege is needed. Only the release's tarball is taken: it is FFmpeg's own, without Debian's patches, and stays
# in the archive when the .dsc of a superseded revision is already gone.
#
# What is checked: the signatures of the archive's Release files, by apt, against the Debian archive keyring; through
# them the checksums of the package index and of the tarball. Where debian-keyring is installed, also the uploader's
# signature of the .dsc, and that it names this very tarball.
set -eu
LC_ALL=C
export LC_ALL

keyring=${HUNYUANVIDEO_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
uploaders=/usr/share/keyrings/debian-keyring.gpg
cache=${HUNYUANVIDEO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hunyuanvideo}

say() { printf 'get-ffmpeg.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The suites in which a release is looked for, one attempt a line.
suites() {
    case $1 in
    5.1) echo 'bookworm bookworm-security' ;;
    7.1) echo 'trixie trixie-security' ;;
    *) echo 'sid' ;;
    esac
    echo 'forky sid experimental'
}

# Where the machine's apt configuration is: $etc, with a slash at its end.
read_etc() {
    etc=
    eval "$(apt-config shell etc Dir::Etc/d)"
}

# Prints "main URI" or "security URI" for each Debian archive the machine uses: both styles of sources, both kinds.
archives() {
    for file in "$etc"sources.list "$etc"sources.list.d/*.list "$etc"sources.list.d/*.sources; do
        if [ -r "$file" ]; then
            cat -- "$file"
            echo
        fi
    done | awk '
        function entry(uri, suite,    name) {
            name = suite
            sub(/\/.*/, "", name)
            sub(/-(updates|security|backports|proposed-updates|backports-sloppy)$/, "", name)
            if (name !~ /^(bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable|experimental)$/)
                return
            sub(/\/+$/, "", uri)
            if (uri ~ /^(http|https|ftp|file|mirror[+a-z]*):/)
                print (suite ~ /security/ || suite ~ /\/updates$/ ? "security" : "main"), uri
        }
        function stanza(    i, j, u, s, nu, ns) {
            if (types ~ /deb/ && tolower(enabled) !~ /^(no|false|0)/) {
                nu = split(uris, u, /[ \t]+/)
                ns = split(names, s, /[ \t]+/)
                for (i = 1; i <= nu; i++)
                    for (j = 1; j <= ns; j++)
                        if (u[i] != "" && s[j] != "")
                            entry(u[i], s[j])
            }
            types = uris = names = enabled = field = ""
        }
        /^[ \t]*#/ { next }
        /^[ \t]*$/ { stanza(); next }
        /^deb(-src)?[ \t]/ {
            line = $0
            sub(/^deb(-src)?[ \t]+(\[[^]]*\][ \t]*)?/, "", line)
            split(line, part, /[ \t]+/)
            entry(part[1], part[2])
            next
        }
        /^[A-Za-z-]+:/ {
            field = tolower($0)
            sub(/:.*/, "", field)
            value = $0
            sub(/^[^:]*:[ \t]*/, "", value)
        }
        /^[ \t]/ { value = $0 }
        field == "types" { types = types " " value }
        field == "uris" { uris = uris " " value }
        field == "suites" { names = names " " value }
        field == "enabled" { enabled = value }
        END { stanza() }' | sort -u
}

# Writes the private configuration for the given suites into $work and fetches their source indexes.
update() {
    : > "$work/sources.list"
    for suite in "$@"; do
        kind=main
        case $suite in *-security) kind=security ;; esac
        archives | awk -v kind="$kind" -v suite="$suite" -v keyring="$keyring" '
            $1 == kind { print "deb-src [signed-by=" keyring "] " $2 " " suite " main" }' >> "$work/sources.list"
    done
    [ -s "$work/sources.list" ] || die "no Debian archive found in ${etc}sources.list and ${etc}sources.list.d; $hint"
    apt-get -c "$work/apt.conf" -qq update >&2
}

# The newest version of $1 (5.1) among those of the private lists, or nothing.
newest() {
    apt-cache -c "$work/apt.conf" showsrc ffmpeg 2> /dev/null |
        awk -v want="$1" '
            $1 == "Version:" {
                upstream = $2
                sub(/^[0-9]+:/, "", upstream)
                if (index(upstream, want ".") == 1 || index(upstream, want "-") == 1) print $2
            }' | sort -u |
        { best=
          while read -r version; do
              if [ -z "$best" ] || dpkg --compare-versions "$version" gt "$best"; then best=$version; fi
          done
          echo "$best"; }
}

# The uploader's signature: a bad one is an error, an unknown or expired key or a .dsc already gone is only told.
check_dsc() {
    if [ ! -r "$uploaders" ] || ! command -v gpgv > /dev/null; then
        say 'checked: archive signature and checksums (with debian-keyring installed, the uploader too)'
        return
    fi
    if ! (cd "$work" && apt-get -c "$work/apt.conf" -qq source --download-only --dsc-only "ffmpeg=$1" > dsc.log 2>&1); then
        say 'checked: archive signature and checksums (the .dsc of this revision has left the archive)'
        return
    fi
    set -- "$work"/*.dsc
    status=0
    gpgv -q --keyring "$uploaders" "$1" > "$work/gpgv.log" 2>&1 || status=$?
    if [ $status = 1 ]; then
        cat "$work/gpgv.log" >&2
        die 'the .dsc has a bad signature'
    elif [ $status != 0 ]; then
        say 'checked: archive signature and checksums (the uploader is not in this debian-keyring)'
        return
    fi
    sum=$(sha256sum "$work"/*.orig.tar.xz)
    grep -q "^ ${sum%% *} " "$1" || die 'the .dsc names another tarball'
    say 'checked: archive signature, checksums, signature of the .dsc'
}

if [ $# -ne 1 ]; then
    echo 'usage: get-ffmpeg.sh RELEASE | --archives        (5.1, 7.1, 8.1, 9.0, ...)' >&2
    exit 2
fi
release=$1
if [ "$release" = --archives ]; then
    read_etc
    archives
    exit 0
fi
case $release in
*[!0-9.]* | .* | *. | '') die "'$release' is not a release number such as 7.1" ;;
esac

# A stamp names the tree; it is written last, so a tree without one is left over from an interrupted run.
stamp=$cache/src/$release.tree
if [ -r "$stamp" ]; then
    tree=$(cat "$stamp")
    if [ -x "$cache/src/$tree/configure" ]; then
        echo "$cache/src/$tree"
        exit 0
    fi
fi

hint="or give a tree of your own with FFMPEG_SRC=dir"
for tool in apt-get apt-cache apt-config dpkg xz; do
    command -v "$tool" > /dev/null ||
        die "$tool is missing (Debian packages: apt, xz-utils); install it, $hint"
done
[ -r "$keyring" ] || die "$keyring is missing (Debian package: debian-archive-keyring); install it, $hint"

read_etc
mkdir -p "$cache/src"
work=$(mktemp -d "$cache/src/get.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
: > "$work/state/status"
# The rest of the machine's settings (proxies, certificates) stays in force; hooks after an update are not ours to run.
cat > "$work/apt.conf" << CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State "$work/state";
Dir::State::lists "$work/state/lists";
Dir::State::status "$work/state/status";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "$(id -un)";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
CONF

say "looking for FFmpeg $release in the Debian archive"
version=
tried=
for attempt in $(suites "$release" | tr ' ' ,); do
    # shellcheck disable=SC2046
    update $(echo "$attempt" | tr , ' ') || die "the package index could not be fetched or its signature is not good; $hint"
    tried="$tried $attempt"
    version=$(newest "$release")
    [ -z "$version" ] || break
done
[ -n "$version" ] || die "the archive has no FFmpeg $release (looked in:$tried); choose another release, $hint"

say "downloading ffmpeg $version"
(cd "$work" && apt-get -c "$work/apt.conf" -qq source --download-only --tar-only "ffmpeg=$version" >&2) ||
    die "ffmpeg $version could not be downloaded; try again later, $hint"
check_dsc "$version"
upstream=${version#*:}
tree=ffmpeg-${upstream%-*}
mkdir "$work/tree"
xz -dc "$work"/*.orig.tar.xz | (cd "$work/tree" && tar -xf - --no-same-owner --strip-components=1) ||
    die "ffmpeg $version could not be unpacked"
[ -x "$work/tree/configure" ] || die "ffmpeg $version has no configure"
rm -rf "${cache:?}/src/$tree"
mv "$work/tree" "$cache/src/$tree"
echo "$tree" > "$work/stamp"
mv "$work/stamp" "$stamp"
say "FFmpeg $release: $cache/src/$tree"
echo "$cache/src/$tree"

#!/bin/sh
# Installs the Debian packages that a target needs, or says how: packages.sh build|ffmpeg|check
#
# As root it says what it installs and does it; otherwise it prints the command to type and fails. Nothing is done when all are there.
set -eu

build='gcc make pkg-config libc6-dev libyaml-dev libjansson-dev libpcre2-dev libutf8proc-dev libxxhash-dev'
ffmpeg="$build nasm libx264-dev zlib1g-dev dpkg-dev xz-utils debian-archive-keyring ca-certificates"
check="$ffmpeg clang valgrind g++ binutils perl procps python3-numpy libsimde-dev"
nano="python3-venv g++"
lint="$build clang-format clang-tidy cppcheck"

case ${1:-} in
build) wanted=$build ;;
ffmpeg) wanted=$ffmpeg ;;
check) wanted=$check ;;
lint) wanted=$lint ;;
nano) wanted=$nano ;;
*) echo "usage: packages.sh build|ffmpeg|check|nano|lint" >&2; exit 2 ;;
esac

if ! command -v dpkg-query > /dev/null; then
    echo "packages.sh: this is not a Debian system; needed are: $wanted" >&2
    exit 0
fi
missing=
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "These packages are missing; install them, then run make again:" >&2
    echo "    sudo apt-get install$missing" >&2
    exit 1
fi
echo "Installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists may be absent on a fresh machine, or too old to find a version that is still there.
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing > "$log" 2>&1; }
if ! install; then
    apt-get update > "$log" 2>&1 || { cat "$log" >&2; exit 1; }
    install || { cat "$log" >&2; exit 1; }
fi

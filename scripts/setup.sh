#!/bin/sh
# setup.sh [--tests] — installs what building (and with --tests, testing) Stigmer needs on Debian 12.
# Safe to run again: it only installs what is missing, and says what it does.
set -eu
cd "$(dirname "$0")/.."
tests=no
case ${1:-} in
'') ;;
--tests) tests=yes ;;
*)
    echo "usage: scripts/setup.sh [--tests]" >&2
    exit 2
    ;;
esac

build_packages="gcc libc6-dev meson ninja-build pkg-config ccache
 libuv1-dev libnghttp2-dev libcurl4-openssl-dev libprotobuf-c-dev protobuf-c-compiler
 protobuf-compiler libprotobuf-dev libjansson-dev libyaml-dev libsqlite3-dev libssl-dev
 libseccomp-dev libsodium-dev libc-ares-dev zlib1g-dev busybox-static ca-certificates
 make dpkg-dev patch xz-utils file procps"
test_packages="clang-14 clang-format-14 libclang-rt-14-dev llvm-14 universal-ctags libcmocka-dev lintian debootstrap
 docker-compose
 python3 git curl docker.io podman runc uidmap iproute2 iptables sqlite3 strace systemd tmux util-linux zsh fish python3-pip
 faketime"

say() { echo "setup: $*" >&2; }

missing() {
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        say "error: installing packages needs root; as root run: $*"
        exit 1
    fi
}

install_debian() {
    need=$(missing "$@")
    if [ -z "$need" ]; then
        return
    fi
    if ! command -v apt-get >/dev/null 2>&1; then
        say "error: this script knows Debian 12 only; install by hand: $(echo $need)"
        exit 1
    fi
    say "installing $(echo "$need" | wc -w) Debian packages: $(echo $need)"
    log=$(mktemp)
    as_root apt-get update -qq >"$log" 2>&1 &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $need >"$log" 2>&1 || {
        cat "$log" >&2
        say "error: apt-get failed (above); check the package sources and run this again"
        exit 1
    }
    rm -f "$log"
}

want=$build_packages
[ "$tests" = no ] || want="$want $test_packages"
# A machine with Node.js, Go or a newer Python of its own keeps them.
if [ "$tests" = yes ]; then
    command -v npm >/dev/null 2>&1 || want="$want nodejs npm"
    command -v go >/dev/null 2>&1 || command -v grpcurl >/dev/null 2>&1 || want="$want golang-go"
    python3 -m venv --help >/dev/null 2>&1 && python3 -c 'import ensurepip' 2>/dev/null ||
        want="$want python3-venv python3-pip"
fi
install_debian $want

if [ "$tests" = no ]; then
    say "ready to build: scripts/build.sh"
    exit 0
fi

cache=${STIGMER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stigmer}
mkdir -p "$cache"

venv=$cache/venv-$(sha256sum tests/requirements.txt | cut -c1-12)
if [ ! -x "$venv/bin/pytest" ]; then
    say "installing Python test peers into $venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r tests/requirements.txt
fi
ln -sfn "$venv" "$cache/venv"

lock=$(sha256sum tests/package-lock.json | cut -c1-12)
if [ "$(cat tests/node_modules/.stigmer-lock 2>/dev/null)" != "$lock" ]; then
    say "installing npm test peers into tests/node_modules"
    (cd tests && npm ci --silent --no-audit --no-fund)
    echo "$lock" > tests/node_modules/.stigmer-lock
fi

if [ ! -x "$cache/bin/grpcurl" ] && ! command -v grpcurl >/dev/null 2>&1; then
    say "building grpcurl into $cache/bin"
    GOBIN=$cache/bin GOFLAGS=-modcacherw go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.8.9
fi
# Temporal's real server and its CLI, for the tests of that engine.
if [ ! -x "$cache/bin/temporal" ] && ! command -v temporal >/dev/null 2>&1; then
    say "building Temporal's development server into $cache/bin (once; some minutes)"
    GOBIN=$cache/bin GOFLAGS=-modcacherw go install github.com/temporalio/cli/cmd/temporal@v1.5.1 || {
        say "error: it was not built with $(go version); it wants Go 1.25, or 1.21 and newer, which fetch that: https://go.dev/dl"
        exit 1
    }
fi
say "ready to test: scripts/check.sh"

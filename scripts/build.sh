#!/bin/sh
# build.sh [--prefix DIR] — builds the release and installs it (default ./out):
#   DIR/bin/stigmer
#   DIR/libexec/stigmer/{stigmer-server,stigmer-keeper,agent-runner}   the last two are static
#   DIR/share/stigmer/agent-runner-image.tar              for the container engine, with its .id
#   DIR/share/stigmer/examples/
#   DIR/share/man/, and completions for bash, zsh and fish
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
prefix=$here/out
build=${STIGMER_BUILD_DIR:-$here/build/release}
while [ $# -gt 0 ]; do
    case $1 in
    --prefix)
        [ $# -ge 2 ] || { echo "build: error: --prefix needs a folder" >&2; exit 2; }
        prefix=$2
        shift 2
        ;;
    --prefix=*)
        prefix=${1#--prefix=}
        shift
        ;;
    *)
        echo "usage: scripts/build.sh [--prefix DIR]" >&2
        exit 2
        ;;
    esac
done
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)
cd "$here"
say() { echo "build: $*" >&2; }

scripts/setup.sh 2>&1 | grep -v 'ready to build' >&2 || true
curl_prefix=$(scripts/build-curl.sh)

if [ ! -f "$build/build.ninja" ]; then
    say "configuring $build"
    meson setup "$build" --buildtype=release -Db_ndebug=false -Dtests=false \
        -Dstatic_runner=true "-Dcurl_prefix=$curl_prefix" >&2
fi
meson configure "$build" "-Dcurl_prefix=$curl_prefix"
say "compiling"
ninja -C "$build" >"$build/build.log" 2>&1 || { cat "$build/build.log" >&2; exit 1; }

install -d "$prefix/bin" "$prefix/libexec/stigmer" "$prefix/share/stigmer/examples" \
    "$prefix/share/man/man1" "$prefix/share/man/man8"
put() { # put SOURCE TARGET: a running program keeps its old file
    install -m 755 -s "$1" "$2.new"
    mv -f "$2.new" "$2"
}
put "$build/src/prog/stigmer/stigmer" "$prefix/bin/stigmer"
put "$build/src/prog/stigmer-server/stigmer-server" "$prefix/libexec/stigmer/stigmer-server"
put "$build/src/prog/stigmer-keeper/stigmer-keeper" "$prefix/libexec/stigmer/stigmer-keeper"
put "$build/src/prog/agent-runner/agent-runner" "$prefix/libexec/stigmer/agent-runner"
scripts/build-image.sh "$prefix/libexec/stigmer/agent-runner" "$prefix/share/stigmer/agent-runner-image.tar"
cp -R examples/. "$prefix/share/stigmer/examples/"
for page in docs/man/*.1; do [ ! -f "$page" ] || install -m 644 "$page" "$prefix/share/man/man1/"; done
for page in docs/man/*.8; do [ ! -f "$page" ] || install -m 644 "$page" "$prefix/share/man/man8/"; done
"$prefix/bin/stigmer" completion bash >"$build/stigmer.bash"
"$prefix/bin/stigmer" completion zsh >"$build/stigmer.zsh"
"$prefix/bin/stigmer" completion fish >"$build/stigmer.fish"
install -D -m 644 "$build/stigmer.bash" "$prefix/share/bash-completion/completions/stigmer"
install -D -m 644 "$build/stigmer.zsh" "$prefix/share/zsh/vendor-completions/_stigmer"
install -D -m 644 "$build/stigmer.fish" "$prefix/share/fish/vendor_completions.d/stigmer.fish"
say "installed in $prefix"
say "try: $prefix/bin/stigmer server start"

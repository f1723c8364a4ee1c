#!/bin/sh
# rpc.sh BUILD_DIR [--short] — unary calls over a unix socket, 32 in flight, our client for both
# servers in one run: ours, then grpc-js. Prints a row of Markdown; fails below the bar of 3.
set -eu
build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
calls=100000
other=30000
[ "${2:-}" != --short ] || { calls=20000 other=10000; }
dir=$(mktemp -d /tmp/sg-rpc.XXXXXX)
ours=
peer=
trap '[ -z "$ours" ] || kill "$ours"; [ -z "$peer" ] || kill "$peer"; rm -rf "$dir"' EXIT

await() { # FILE: until the server has said that it listens
    i=0
    until grep -q listening "$1"; do
        i=$((i + 1))
        [ $i -lt 100 ] || { cat "$1" >&2; exit 1; }
        sleep 0.1
    done
}
"$build/tests/fake/rpc-echo-server" "unix:$dir/c.sock" > "$dir/c.out" 2>&1 &
ours=$!
node "$here/grpcjs-server.js" "unix:$dir/js.sock" > "$dir/js.out" 2>&1 &
peer=$!
await "$dir/c.out"
await "$dir/js.out"
bench() { "$build/bench/rpc-bench" "unix:$dir/$1.sock" "$2" 32; }
bench js 5000 > /dev/null # its compiler warms up
bench c 5000 > /dev/null
a=$(bench c "$calls")
b=$(bench js "$other")
echo "$a
$b" | awk '
    NR == 1 { ours = $2; op50 = $4; op99 = $6 }
    NR == 2 { peer = $2; pp50 = $4; pp99 = $6 }
    END {
        printf "| unary call, unix socket, 32 in flight | %d/s, p50 %d us, p99 %d us |", ours, op50, op99
        printf " grpc-js %d/s, p50 %d us, p99 %d us | %.1f | >= 3 |\n", peer, pp50, pp99, ours / peer
        exit ours < 3 * peer
    }'

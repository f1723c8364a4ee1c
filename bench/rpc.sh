#!/bin/sh
# rpc.sh BUILD_DIR [--short] — unary calls over a unix socket, 32 in flight, our client for both
# servers in one run: ours, then grpc-js. First the API's get of an agent, from a real
# stigmer-server with its store; then an echo, which is the gRPC layer alone. Rows of Markdown.
set -eu
build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
calls=60000
[ "${2:-}" != --short ] || calls=10000
dir=$(mktemp -d /tmp/sg-rpc.XXXXXX)
echo_pid=
peer=
chmod 755 "$dir"
export STIGMER_HOME=$dir/home
stigmer=$STIGMER_PREFIX/bin/stigmer
trap '"$stigmer" server stop >/dev/null 2>&1; [ -z "$echo_pid" ] || kill "$echo_pid"; [ -z "$peer" ] || kill "$peer"; rm -rf "$dir"' EXIT

await() { # FILE: until the server has said that it listens
    i=0
    until grep -q listening "$1"; do
        i=$((i + 1))
        [ $i -lt 100 ] || { cat "$1" >&2; exit 1; }
        sleep 0.1
    done
}
"$stigmer" server start --runner none --listen 127.0.0.1:0 >/dev/null
"$stigmer" apply -f "$here/../examples/tour.yaml" >/dev/null
"$stigmer" get agents tour -o json > "$dir/agent.json"
id=$(grep -o 'agt-[0-9a-z]*' "$dir/agent.json" | head -n 1)
"$build/tests/fake/rpc-echo-server" "unix:$dir/c.sock" > "$dir/c.out" 2>&1 &
echo_pid=$!
node "$here/grpcjs-server.js" "unix:$dir/js.sock" "$dir/agent.json" > "$dir/js.out" 2>&1 &
peer=$!
await "$dir/c.out"
await "$dir/js.out"
bench() { # SOCKET CALLS [AGENT_ID]
    "$build/bench/rpc-bench" "unix:$1" "$2" 32 ${3:-}
}
row() { # WHAT
    awk -v what="$1" '
    NR == 1 { ours = $2; op50 = $4; op99 = $6 }
    NR == 2 { peer = $2; pp50 = $4; pp99 = $6 }
    END {
        printf "| %s, unix socket, 32 in flight | %d/s, p50 %d us, p99 %d us |", what, ours, op50, op99
        printf " grpc-js %d/s, p50 %d us, p99 %d us | %.1f | ≥ 3 |\n", peer, pp50, pp99, ours / peer
    }'
}
bench "$dir/js.sock" 5000 "$id" > /dev/null # its compiler warms up
bench "$STIGMER_HOME/data/run/api.sock" 5000 "$id" > /dev/null
{ bench "$STIGMER_HOME/data/run/api.sock" "$calls" "$id" && bench "$dir/js.sock" "$((calls / 2))" "$id"; } | row "unary get of an agent"
bench "$dir/js.sock" 5000 > /dev/null
{ bench "$dir/c.sock" "$calls" && bench "$dir/js.sock" "$((calls / 2))"; } | row "unary echo, no store"

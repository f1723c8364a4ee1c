#!/bin/sh
# soak.sh [--minutes N] [--cycles N] — starts, runs, random kills and stops, again and again, and then
# counts what is left: processes, containers, sockets, descriptors, temporary files. Ends with
# "N cycles, N runs, N kills, leaks = N"; exit 1 when there is a leak or a run was lost or doubled.
set -eu
cd "$(dirname "$0")/.."
cache=${STIGMER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stigmer}
: "${STIGMER_PREFIX:=$PWD/out}" "${STIGMER_PEERS:=$PWD/tests/node_modules}"
export STIGMER_PREFIX STIGMER_PEERS PYTHONDONTWRITEBYTECODE=1
python=$cache/venv/bin/python
[ -x "$python" ] || python=python3
[ -x "$STIGMER_PREFIX/bin/stigmer" ] || scripts/build.sh --prefix "$STIGMER_PREFIX"
exec "$python" tests/soak/soak.py "$@"

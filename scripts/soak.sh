#!/bin/sh
# soak.sh [--minutes N] [--cycles N] — starts, runs, random kills and stops, again and again, and then
# counts what is left: processes, containers, sockets, descriptors, temporary files. Ends with
# "N cycles, N runs, N kills, leaks = N"; exit 1 when there is a leak or a run was lost or doubled.
set -eu
cd "$(dirname "$0")/.."
. scripts/test-env.sh
exec "$python" tests/soak/soak.py "$@"

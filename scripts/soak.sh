#!/bin/sh
# soak.sh [--minutes N] [--cycles N] [--engine embedded|temporal] — starts, runs, random kills (with
# Temporal of its server, too) and stops, again and again, and then counts what is left: processes,
# containers, sockets, descriptors, temporary files. Ends with "N cycles, N runs, N kills, N lost,
# N doubled, N faults, leaks = N"; exit 1 when there is a leak or a run was lost or doubled.
set -eu
cd "$(dirname "$0")/.."
. scripts/test-env.sh
exec "$python" tests/soak/soak.py "$@"

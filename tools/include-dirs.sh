#!/bin/sh
# include-dirs.sh OUT_DIR — one include folder per floor, holding links to just the floors that it
# may include: the build itself refuses a wrong #include. The same table is in check-floors.sh.
set -eu
src=$(cd "$(dirname "$0")/../src" && pwd)
out=$1
while read -r floor allowed; do
    mkdir -p "$out/$floor"
    for a in $allowed; do ln -sfn "$src/$a" "$out/$floor/$a"; done
done <<EOT
base base
wire base wire
platform base wire platform
clients base wire platform clients
core base core
svc base wire platform clients core svc
prog base wire platform clients core svc prog
EOT

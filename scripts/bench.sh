#!/bin/sh
# bench.sh [--short] — the figures of docs/SPEC.md, ours and its anchor in the same run, as rows of
# one Markdown table. --short proves that the benches run (few rounds); its figures mean little.
set -eu
cd "$(dirname "$0")/.."
short=${1:-}
. scripts/test-env.sh
echo "# $(date -u +%Y-%m-%d), $(nproc) × $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r)"
echo "| what | ours | anchor, same run | ratio | bar |"
echo "|---|---|---|---|---|"
$python bench/start.py $short
$python bench/supervise.py $short
$python bench/logs.py $short
if docker version >/dev/null 2>&1; then
    $python bench/container.py $short
else
    echo "bench: no container engine answers: the rows with a container are left out" >&2
fi
curl_prefix=$(scripts/build-curl.sh 2>/dev/null)
[ -f build/bench/build.ninja ] ||
    meson setup build/bench --buildtype=release -Db_ndebug=false -Dtests=false -Dbench=true "-Dcurl_prefix=$curl_prefix" >&2
ninja -C build/bench bench/journal-bench bench/rpc-bench bench/run-bench bench/temporal-bench tests/fake/rpc-echo-server >&2
dir=$(mktemp -d "${STIGMER_BENCH_DIR:-$PWD/build}/journal.XXXXXX") # on a disk, not on a tmpfs
build/bench/bench/journal-bench "$dir" "$([ -n "$short" ] && echo 200 || echo 2000)"
rm -rf "$dir"
bench/rpc.sh build/bench $short
$python bench/one-tool.py $short
$python bench/many-runs.py $short
if PATH=$cache/bin:$PATH command -v temporal >/dev/null; then
    PATH=$cache/bin:$PATH $python bench/temporal.py build/bench/bench $short
else
    echo "bench: there is no temporal (scripts/setup.sh --tests): the rows of the engines are left out" >&2
fi

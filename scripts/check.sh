#!/usr/bin/env bash
# check.sh [--quick] — set-up, all checks and tests; the last line is "N passed, N failed".
#
#   --quick   the inner loop: static checks and unit tests of one sanitized build (< 60 s)
#
# Stages write their output to build/check/<stage>.log and show it only when something fails.
# STIGMER_CHECK_ONLY="unit e2e" runs just the named stages.
set -u
cd "$(dirname "$0")/.." || exit 1
quick=no
case ${1:-} in
'') ;;
--quick) quick=yes ;;
*)
    echo "usage: scripts/check.sh [--quick]" >&2
    exit 2
    ;;
esac

export PYTHONDONTWRITEBYTECODE=1
cache=${STIGMER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stigmer}
san=build/san clang=build/clang logs=build/check
mkdir -p "$logs"
passed=0 failed=0

say() { printf 'check: %s\n' "$*"; }
count() { # count STAGE PASSED FAILED
    passed=$((passed + $2)) failed=$((failed + $3))
    say "$1: $2 passed, $3 failed ($((SECONDS - began)) s)"
    if [ "$3" -gt 0 ]; then
        echo "---- $logs/$1.log (last lines)"
        tail -n "${STIGMER_CHECK_LINES:-120}" "$logs/$1.log"
        echo "----"
    fi
}
wanted() { [ -z "${STIGMER_CHECK_ONLY:-}" ] || case " $STIGMER_CHECK_ONLY " in *" $1 "*) ;; *) return 1 ;; esac; }

# one CHECK that is a command: it passes or fails as a whole
one() {
    local stage=$1
    shift
    wanted "$stage" || return 0
    began=$SECONDS
    if "$@" >"$logs/$stage.log" 2>&1; then count "$stage" 1 0; else count "$stage" 0 1; fi
}

sanitized_build() {
    [ -f $san/build.ninja ] || meson setup $san -Db_sanitize=address,undefined "-Dcurl_prefix=$1" || return 1
    ninja -C $san
}
clang_build() {
    [ -f $clang/build.ninja ] || CC=clang-14 meson setup $clang -Dfuzz=true "-Dcurl_prefix=$1" || return 1
    ninja -C $clang
}

# Unit tests: cmocka says "[  PASSED  ] N test(s)." a binary; a binary that dies counts as one failure.
unit_tests() {
    wanted unit || return 0
    began=$SECONDS
    meson test -C $san --suite unit --print-errorlogs >"$logs/unit.log" 2>&1
    local text=$san/meson-logs/testlog.txt
    local p f dead
    p=$(sed -n 's/.*\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$text" | awk '{ n += $1 } END { print n + 0 }')
    f=$(sed -n 's/.*\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$text" | awk '{ n += $1 } END { print n + 0 }')
    dead=$(sed -n 's/^\(Fail\|Timeout\): *\([0-9]*\).*/\2/p' "$text" | awk '{ n += $1 } END { print n + 0 }')
    [ "$f" -ge "$dead" ] || f=$dead
    [ "$p" -gt 0 ] || f=$((f + 1))
    count unit "$p" "$f"
}

# pytest STAGE FOLDER…: counts come from the JUnit file. A skip is a failure when CI=true.
py_tests() {
    local stage=$1
    shift
    wanted "$stage" || return 0
    began=$SECONDS
    local xml=$PWD/$logs/$stage.xml counts
    rm -f "$xml"
    "$cache/venv/bin/pytest" -q -p no:cacheprovider --junitxml="$xml" "$@" >"$logs/$stage.log" 2>&1
    counts=$(python3 - "$xml" "${CI:-}" <<'EOT'
import sys
import xml.etree.ElementTree as et
try:
    s = et.parse(sys.argv[1]).getroot()[0].attrib
except OSError:
    print("0 1")
    sys.exit()
bad = int(s["failures"]) + int(s["errors"])
skipped = int(s["skipped"])
print(int(s["tests"]) - bad - skipped, bad + (skipped if sys.argv[2] == "true" else 0))
EOT
    )
    count "$stage" ${counts:-0 1}
}

fuzz_short() { # a few seconds each: the seeds and what mutation finds at once
    local f
    for f in "$clang"/tests/fuzz/*_fuzz; do
        [ -x "$f" ] || { echo "no fuzz targets were built"; return 1; }
        echo "== $f"
        "$f" -max_total_time="${STIGMER_FUZZ_SECONDS:-3}" -timeout=10 -rss_limit_mb=1024 -verbosity=0 \
            -artifact_prefix="$logs/" || return 1
    done
}

# A container engine for the tests: the one that answers, or one of our own, ended by its pid.
engine=
start_engine() {
    docker version >/dev/null 2>&1 && return 0
    [ "$(id -u)" = 0 ] || { echo "no container engine answers, and starting one needs root"; return 1; }
    dockerd >"$logs/dockerd.log" 2>&1 &
    engine=$!
    timeout 60 tail -n +1 -F --pid=$engine "$logs/dockerd.log" 2>/dev/null | grep -m1 'API listen on' &&
        docker version
}
stop_engine() {
    [ -n "$engine" ] || return 0
    kill "$engine" 2>/dev/null
    wait "$engine" 2>/dev/null
}
trap stop_engine EXIT

release_build() {
    scripts/build.sh --prefix "$PWD/build/prefix" && ninja -C build/release tests/fake/toolbox tests/fake/agent-runner-dynamic
}

began=$SECONDS
if ! scripts/setup.sh --tests; then
    echo "0 passed, 1 failed"
    exit 1
fi
[ -d "$cache/bin" ] && PATH=$cache/bin:$PATH
PATH=$PATH:$(go env GOPATH 2>/dev/null || echo /nonexistent)/bin
export PATH STIGMER_PEERS=$PWD/tests/node_modules
curl_prefix=$(scripts/build-curl.sh 2>"$logs/curl.log") || { cat "$logs/curl.log"; echo "0 passed, 1 failed"; exit 1; }

one floors tools/check-floors.sh
one size tools/check-size.sh
one words tools/check-words.sh
one format tools/check-format.sh
one gcc sanitized_build "$curl_prefix"
one symbols tools/check-symbols.sh $san
unit_tests
if [ $quick = no ]; then
    one clang clang_build "$curl_prefix"
    one fuzz fuzz_short
    one release release_build
    one engine start_engine
    export STIGMER_PREFIX=$PWD/build/prefix STIGMER_BUILD=$PWD/$san
    py_tests cli tests/cli
    py_tests e2e tests/e2e
    py_tests crash tests/crash
    one soak scripts/soak.sh --cycles 8
    one bench scripts/bench.sh --short
    one demo scripts/demo.sh
fi
say "took $SECONDS s"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

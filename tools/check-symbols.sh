#!/bin/sh
# check-symbols.sh BUILD_DIR — every external symbol of src/x/foo-bar.c starts with foo_bar_ or, where
# one header names several things of a family, with foo_ (or foos_, the collection of them); except
# main, and helpers that the compiler or a sanitizer adds.
set -eu
build=${1:?usage: check-symbols.sh BUILD_DIR}
bad=0
for o in $(find "$build/src" -name '*.c.o'); do
    m=$(basename "$o" .c.o | sed 's/.*_//' | tr - _)
    nm --defined-only -g "$o" | awk -v m="$m" -v f="${m%%_*}" '
        $2 ~ /[TDBRC]/ && $3 !~ /^__/ && $3 != "main" && $3 != m && index($3, m "_") != 1 &&
        index($3, f "_") != 1 && index($3, f "s_") != 1 {
            print m ".c exports " $3; bad = 1 } END { exit bad }' || bad=1
done
exit $bad

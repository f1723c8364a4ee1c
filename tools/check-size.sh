#!/bin/sh
# No function over 100 lines, no file of src over 1000 (docs/STYLE.md, A.12). Uses ctags for where
# functions begin and end; the numbers are stops, not aims.
set -eu
cd "$(dirname "$0")/.."
bad=0
for f in $(find src tests bench -name '*.[ch]' -not -path '*/node_modules/*'); do
    n=$(wc -l < "$f")
    if [ "$n" -gt 1000 ]; then
        echo "$f: $n lines, the limit is 1000"
        bad=1
    fi
done
find src -name '*.c' | ctags --languages=C --kinds-C=f --fields=+ne -o - --sort=no -L - 2>/dev/null | awk -F'\t' '
{
    line = end = 0
    for (i = 4; i <= NF; i++) {
        if ($i ~ /^line:/) line = substr($i, 6)
        if ($i ~ /^end:/) end = substr($i, 5)
    }
    if (end - line + 1 > 100) { print $2 ":" line ": " $1 " has " end - line + 1 " lines, the limit is 100"; bad = 1 }
}
END { exit bad }' || bad=1
exit $bad

#!/bin/sh
# Every C file is as clang-format 14 would write it (.clang-format). With --fix it is made so.
set -eu
cd "$(dirname "$0")/.."
files=$(git ls-files -co --exclude-standard 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]')
if [ "${1:-}" = --fix ]; then
    clang-format-14 -i $files
else
    clang-format-14 --dry-run -Werror $files
fi

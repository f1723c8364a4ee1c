#!/bin/sh
# Calls that are banned (docs/STYLE.md), and words that say something is unfinished.
set -eu
cd "$(dirname "$0")/.."
bad=0
if grep -rnE '(^|[^a-zA-Z0-9_>.])(strcpy|strcat|sprintf|strtok|atoi|atol|system|signal|alloca|gets)\(' src --include='*.[ch]'; then
    echo "^ banned calls"
    bad=1
fi
if grep -rnEi '(TODO|FIXME|XXX)' src scripts tools --include='*.[ch]' --include='*.sh' | grep -vE 'TODO\(#[0-9]+\)|mkstemp|mktemp|XXXXXX|TODO_|_TODO|[a-z]todo|todo[a-z_]|todos|check-words' | grep -E '\b(TODO|FIXME|XXX)\b'; then
    echo "^ unfinished; finish it or name its issue: TODO(#N)"
    bad=1
fi
exit $bad

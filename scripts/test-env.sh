# test-env.sh — for scripts that run the product against its peers (bench.sh, soak.sh): sourced from
# the project's folder. Installs what is missing, builds the tree as it is unless STIGMER_PREFIX names
# what is to be run, and sets $python.
scripts/setup.sh --tests >&2
cache=${STIGMER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stigmer}
[ -n "${STIGMER_PREFIX:-}" ] || scripts/build.sh --prefix "$PWD/out" >&2
: "${STIGMER_PREFIX:=$PWD/out}" "${STIGMER_PEERS:=$PWD/tests/node_modules}"
export STIGMER_PREFIX STIGMER_PEERS PYTHONDONTWRITEBYTECODE=1
python=$cache/venv/bin/python
[ -x "$STIGMER_PREFIX/bin/stigmer" ] || scripts/build.sh --prefix "$STIGMER_PREFIX"

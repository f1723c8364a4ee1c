#!/bin/sh
# demo.sh — sets up, builds, and shows one agent at work from start to stop, in a home of its own.
#
# The runner is a container when a container engine answers, else a sandboxed process. The model is
# Anthropic or OpenAI when their key is in the environment, a local Ollama when it answers and has a
# model, else a recording (examples/tour.cassette), which needs neither key nor network.
set -eu
cd "$(dirname "$0")/.."
src=$PWD
prefix=${STIGMER_DEMO_PREFIX:-$src/out}

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
show() {
    printf '$ %s\n' "$(echo "$*" | sed "s|$prefix/bin/||")"
    "$@"
}

step "Set-up and build"
scripts/build.sh --prefix "$prefix"
stigmer=$prefix/bin/stigmer

STIGMER_HOME=$(mktemp -d /tmp/stigmer-demo.XXXXXX)
export STIGMER_HOME
unset STIGMER_SERVER_ADDR 2>/dev/null || true
clean() {
    "$stigmer" server stop --grace 1s >/dev/null 2>&1 || true
    rm -rf "$STIGMER_HOME"
}
trap clean EXIT
trap 'exit 130' INT TERM

# Another Stigmer may already use the usual port and name: the demo keeps to its own.
port=$(awk 'BEGIN { srand(); print 20000 + int(rand() * 20000) }')
show "$stigmer" config set server.listen "127.0.0.1:$port"
show "$stigmer" config set runner.name "stigmer-demo-$port"

step "Which model"
if [ -n "${ANTHROPIC_API_KEY:-}" ]; then
    show "$stigmer" config set llm.provider anthropic
elif [ -n "${OPENAI_API_KEY:-}" ]; then
    show "$stigmer" config set llm.provider openai
elif command -v ollama >/dev/null 2>&1 && model=$(ollama list 2>/dev/null | awk 'NR == 2 { print $1 }') && [ -n "$model" ]; then
    show "$stigmer" config set llm.provider ollama
    show "$stigmer" config set llm.model "$model"
else
    echo "No key and no Ollama: a recorded model answers (the tools it calls run for real)."
    show "$stigmer" config set llm.provider replay
    show "$stigmer" config set llm.base_url "$prefix/share/stigmer/examples/tour.cassette"
fi

step "Start"
show "$stigmer" server start
show "$stigmer" server status
if [ -f "$STIGMER_HOME/data/agent-runner-container.id" ]; then
    echo "The runner is a container: $(cut -c1-12 "$STIGMER_HOME/data/agent-runner-container.id")."
else
    echo "The runner is a sandboxed process on this machine: no container engine answers."
fi

step "An agent, and a session whose workspace is a copy of this source tree"
show "$stigmer" apply -f "$prefix/share/stigmer/examples/tour.yaml"
instance=$("$stigmer" get agents tour -o json | grep -o '"defaultInstanceId": *"[^"]*"' | cut -d'"' -f4)
cat > "$STIGMER_HOME/session.yaml" <<EOT
apiVersion: agentic.stigmer.ai/v1
kind: Session
metadata: {name: tour-of-the-source}
spec: {agentInstanceId: $instance, subject: A tour of the source}
EOT
show "$stigmer" apply -f "$STIGMER_HOME/session.yaml"
session=$("$stigmer" get sessions tour-of-the-source -o json | grep -o 'ses-[0-9a-z]*' | head -n 1)
workspace=$STIGMER_HOME/data/workspace/$session
mkdir -p "$workspace"
tar -cf - --exclude=./out --exclude=./build --exclude=./.git --exclude=node_modules . | tar -xf - -C "$workspace"
[ "$(id -u)" != 0 ] || chown -R 10002:10002 "$workspace" # root's tools run as the sandbox uid

step "Run"
show "$stigmer" run tour --session "$session" -m "Look around this source tree, write TOUR.md with a short tour of it, and tell me in two sentences what it is."

step "What changed in the workspace"
show head -n 20 "$workspace/TOUR.md"

step "Logs"
show "$stigmer" ps -a
show "$stigmer" server logs --tail 8

step "Stop"
show "$stigmer" server stop
step "Done: no process and no container is left"

"""Completion: what is offered, and that real shells take it."""
import os
import shutil
import subprocess

import pytest

from installed import program


@pytest.fixture
def offered(cli):
    def ask(*words):
        r = cli("internal", "complete", "--", *words)
        assert r.returncode == 0 and r.stderr == ""
        return [line.split("\t")[0] for line in r.stdout.splitlines()]
    return ask


def test_commands_options_and_values_are_offered(offered):
    assert {"server", "run", "apply", "secret", "model"} <= set(offered(""))
    assert offered("serv") == ["server"]
    assert "internal" not in offered("")
    assert set(offered("server", "st")) == {"start", "stop", "status"}
    assert "--runner" in offered("server", "start", "--ru") and "--home" in offered("server", "start", "--")
    assert offered("server", "start", "--runner", "d") == ["docker"]
    assert offered("server", "start", "--runner=p") == ["--runner=podman", "--runner=process"]
    assert set(offered("server", "logs", "-c", "")) == {"stigmer-server", "agent-runner", "temporal"}
    assert offered("-q", "server", "logs", "--level", "w") == ["warn"]
    assert set(offered("get", "")) == {"agents", "instances", "sessions", "executions"}
    assert "llm.provider" in offered("config", "set", "llm.") and offered("config", "set", "llm.provider", "oll") == ["ollama"]
    assert set(offered("image", "")) == {"load", "ls", "build"} and set(offered("session", "")) == {"ls", "show", "rm"}
    assert {"--from", "--tag"} <= set(offered("image", "build", "--")) and "--older-than" in offered("prune", "--ol")
    assert offered("completion", "") == ["bash", "zsh", "fish"]
    assert offered("ps", "-o", "j") == ["json", "jsonl"]
    assert offered("run", "--message", "") == offered("nonsense", "x", "") == []


def test_names_are_offered_and_a_server_that_is_down_costs_nothing(offered, cli):
    cli("secret", "set", "llm.openai", stdin="x")
    assert offered("secret", "rm", "") == ["llm.openai"]
    assert offered("run", "") == [] and offered("get", "agents", "") == []


def shell(args, text, home):
    env = {**os.environ, "STIGMER_HOME": str(home), "PATH": os.path.dirname(program()) + ":" + os.environ["PATH"], "HOME": str(home)}
    home.mkdir(exist_ok=True)
    r = subprocess.run(args, input=text, env=env, text=True, capture_output=True, timeout=60)
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_bash_completes(home):
    out = shell(["bash", "--norc"], """
        source <(stigmer completion bash)
        COMP_WORDS=(stigmer server st); COMP_CWORD=2; _stigmer; printf '%s\\n' "${COMPREPLY[@]}"
        COMP_WORDS=(stigmer server start --runner ''); COMP_CWORD=4; _stigmer; printf '%s\\n' "${COMPREPLY[@]}"
        complete -p stigmer""", home)
    assert out.split()[:8] == ["start", "stop", "status", "auto", "docker", "podman", "process", "none"], out
    assert "-F _stigmer stigmer" in out


def test_zsh_completes(home):
    if not shutil.which("zsh"):
        pytest.skip("there is no zsh")
    out = shell(["zsh", "-f"], """
        autoload -Uz compinit; compinit -u -D
        source <(stigmer completion zsh)
        _describe() { print -l -- "${(@P)2}" }
        words=(stigmer server st); CURRENT=3; _stigmer
        print -- $_comps[stigmer]""", home)
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["start", "stop", "status"], out
    assert lines[0].startswith("start:Bring the stack up") and lines[-1] == "_stigmer"


def test_fish_completes(home):
    if not shutil.which("fish"):
        pytest.skip("there is no fish")
    out = shell(["fish", "--no-config"], """
        stigmer completion fish | source
        complete -C 'stigmer server st'
        complete -C 'stigmer server start --runner d'""", home)
    lines = [line.split("\t")[0] for line in out.splitlines()]
    assert lines[:3] == ["start", "status", "stop"] or set(lines[:3]) == {"start", "stop", "status"}, out
    assert "docker" in lines

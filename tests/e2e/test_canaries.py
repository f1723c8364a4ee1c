"""Secrets that are planted everywhere one can enter, and then looked for everywhere they must not be."""
import glob
import json
import os
import pathlib
import signal
import subprocess

import pytest

from homes import AGENT, STIGMER, Home

docker_missing = pytest.mark.skipif(subprocess.run(["docker", "version"], capture_output=True).returncode != 0,
                                    reason="no container engine answers")


def canary(n):
    return f"canary{n:02d}{os.urandom(12).hex()}"


def processes(home):
    """Ours: by the home in the command line, and all below them."""
    found = set()
    for path in glob.glob("/proc/[0-9]*"):
        try:
            line = pathlib.Path(path, "cmdline").read_bytes()
        except OSError:
            continue
        if home.dir.encode() in line or b"agent-runner" in line or b"stigmer" in line:
            found.add(int(path.rsplit("/", 1)[1]))
    return found


@pytest.mark.parametrize("kind", ["process", pytest.param("docker", marks=docker_missing)])
def test_twenty_planted_secrets_are_found_nowhere(model, kind, tmp_path):
    name = f"stigmer-test-{os.urandom(4).hex()}"
    planted = [canary(n) for n in range(20)]
    it = iter(planted)
    with Home(model, kind=kind, name=name) as h:
        # 0-3: keys in the environment and in files that it names
        h.env["OPENAI_API_KEY"], h.env["STIGMER_LLM_API_KEY"] = next(it), next(it)
        del h.env["ANTHROPIC_API_KEY"]
        for variable in ("ANTHROPIC_API_KEY_FILE", "STIGMER_LLM_API_KEY_FILE"):
            (tmp_path / variable).write_text(next(it))
            h.env[variable] = str(tmp_path / variable)
        # 4-9: stored ones, by each way in
        for i, secret in enumerate(("llm.anthropic", "llm.openai", "llm.ollama")):
            h.ok("secret", "set", secret, input=next(it))
        (tmp_path / "from-file").write_text(next(it))
        h.ok("secret", "set", "a.file", "--from-file", str(tmp_path / "from-file"))
        h.env["FROM_ENV"] = next(it)
        h.ok("secret", "set", "an.env", "--from-env", "FROM_ENV")
        h.env["FROM_ENV"] = "gone"
        h.ok("secret", "set", "replaced", input=next(it))
        h.ok("secret", "set", "replaced", input="by-another")
        h.up()
        # 10-17: of runs, which their tools may see and print
        secrets = {f"SECRET_{i}": next(it) for i in range(8)}
        h.env.update({f"HELD_{k}": v for k, v in secrets.items()})
        flags = [w for k in secrets for w in ("--runtime-env", f"secret:{k}=HELD_{k}")]
        r = h.stigmer("run", "worker", "-m", "show-it", "-o", "jsonl", "-v", *flags)
        assert r.returncode == 0, r.stderr
        assert "[secret SECRET_0]" in r.stdout, r.stdout
        for k in list(h.env):
            if k.startswith("HELD_"):
                del h.env[k]
        # 18-19: in an agent's declared environment
        declared = AGENT.replace("spec: {", "spec: {envSpec: {data: {TOKEN: {isSecret: true, value: %s}, MORE: {isSecret: true, "
                                 "value: %s}}}, " % (next(it), next(it)))
        h.ok("apply", "-f", "-", input=declared)
        shown = h.ok("get", "agents", "worker", "-o", "json")
        assert shown.count("[secret]") == 2, shown
        copied = h.stigmer("apply", "-f", "-", input=declared.replace("name: worker", "name: other").replace(planted[18], "'[secret]'"))
        assert copied.returncode == 2 and "stands for one that is kept" in copied.stderr, copied.stderr
        look(h, name if kind == "docker" else None, planted)
        run = json.loads(h.ok("ps", "-a", "-o", "json"))["items"][0]["id"]
        said = "".join((h.stigmer(*words).stdout + h.stigmer(*words).stderr) for words in (
            ("logs", run), ("logs", run, "-o", "jsonl"), ("inspect", run, "-o", "json"), ("attach", run, "-o", "jsonl"),
            ("server", "status", "-o", "json"), ("server", "logs", "--tail", "all"), ("doctor", "-o", "json"),
            ("config", "list", "-o", "json"), ("secret", "ls", "-o", "json"), ("ps", "-a", "-o", "json")))
        hits(said.encode(), "what commands print", planted)


def hits(data, where, planted):
    found = [i for i, c in enumerate(planted) if c.encode() in data]
    assert not found, (where, found)


def look(home, container, planted):
    for folder, _, files in os.walk(home.dir):
        for f in files:
            path = os.path.join(folder, f)
            try:
                hits(pathlib.Path(path).read_bytes(), path, planted)
            except OSError:
                pass
    for pid in processes(home):
        for part in ("cmdline", "environ"):
            try:
                hits(pathlib.Path(f"/proc/{pid}/{part}").read_bytes(), (pid, part), planted)
            except OSError:
                pass
    if container:
        for words in (["inspect", container], ["logs", container]):
            r = subprocess.run(["docker", *words], capture_output=True)
            hits(r.stdout + r.stderr, words, planted)


def test_a_server_that_crashes_leaves_no_core(model, tmp_path):
    """Even where the person's limit allows one: it would hold the provider's key."""
    with Home(model) as h:
        unlimited = ["bash", "-c", 'ulimit -c unlimited && exec "$@"', "x", STIGMER]
        subprocess.run([*unlimited, "server", "start"], env=h.env, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        server = h.component("stigmer-server")["pid"]
        os.kill(server, signal.SIGSEGV)
        while os.path.exists(f"/proc/{server}"):
            os.sched_yield()
        assert os.listdir(tmp_path) == []
        free = subprocess.run(["bash", "-c", "ulimit -c unlimited && kill -SEGV $$"], cwd=tmp_path)
        assert free.returncode == -signal.SIGSEGV

"""model ls, status, pull and test against real and scripted providers."""
import json
import os
import subprocess
import sys

import pytest

from homes import Home

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fake"))
from llm_server import LlmServer, answer, head, ndjson  # noqa: E402

TAGS = {"models": [{"name": "qwen2.5-coder:7b", "size": 4683087332, "modified_at": "2026-01-02T03:04:05Z",
                    "details": {"family": "qwen2", "parameter_size": "7.6B", "quantization_level": "Q4_K_M"}},
                   {"name": "llama3.2:latest", "size": 2019393189, "details": {}}]}
SHOW = {"model_info": {"qwen2.context_length": 32768, "general.architecture": "qwen2"}, "capabilities": ["completion", "tools"]}


class Cli:
    """A home whose provider is a script; nothing is started."""

    def __init__(self, provider, *script, model="qwen2.5-coder:7b"):
        self.server = LlmServer(*script)
        self.home = Home(1, "ollama")
        with open(f"{self.home.dir}/config.yaml", "w") as f:
            json.dump({"llm": {"provider": provider, "model": model,
                               "base_url": self.server.url + ("/v1" if provider == "openai" else "")}}, f)

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.home.__exit__(*a)
        self.server.__exit__(*a)

    def __call__(self, *args):
        return self.home.stigmer(*args)


def test_ollamas_models_are_listed_and_the_configured_one_is_marked():
    with Cli("ollama", *[answer(200, TAGS)] * 4) as c:
        r = c("server", "llm", "list")
        assert r.returncode == 0 and r.stderr == ""
        row = next(line for line in r.stdout.splitlines() if "qwen2.5-coder:7b" in line)
        assert row.startswith("*") and "4.7 GB" in row and "7.6B" in row and "2026-01-02" in row
        assert c("model", "ls", "-o", "name").stdout.split() == ["llama3.2:latest", "qwen2.5-coder:7b"]
        doc = json.loads(c("model", "ls", "-o", "json").stdout)
        assert doc["schema"] == "stigmer.cli/model-ls/v1" and doc["configuredIsThere"]
        assert doc["items"][1] == {"name": "qwen2.5-coder:7b", "bytes": 4683087332, "family": "qwen2", "parameters": "7.6B",
                                   "quantization": "Q4_K_M", "modifiedAt": "2026-01-02T03:04:05Z"}


def test_a_model_that_is_not_there_is_told_and_nothing_else_is_taken():
    with Cli("ollama", *[answer(200, TAGS)] * 3, model="llama3.1") as c:
        r = c("model", "ls")
        assert r.returncode == 0 and "'llama3.1' is not among them" in r.stderr and "model pull llama3.1" in r.stderr
        r = c("model", "status", "-o", "json")
        assert r.returncode == 1 and json.loads(r.stdout)["modelIsThere"] is False
    with Cli("ollama", answer(200, TAGS), model="llama3.2") as c:  # ":latest" need not be written
        assert c("model", "ls").stderr == ""


def test_a_model_that_is_listed_by_its_day_is_there():
    listed = {"data": [{"id": "claude-sonnet-4-5-20250929"}, {"id": "claude-sonnet-4-5-preview"}]}
    with Cli("anthropic", *[answer(200, listed)] * 4, model="claude-sonnet-4-5") as c:
        assert c("model", "status").returncode == 0
        checks = {x["id"]: x for x in json.loads(c("doctor", "-o", "json").stdout)["checks"]}
        assert checks["llm.model"]["status"] == "ok"
    with Cli("anthropic", answer(200, listed), model="claude-sonnet-4") as c:
        assert c("model", "status").returncode == 1


def test_status_tells_the_context_and_that_no_key_is_needed():
    with Cli("ollama", answer(200, TAGS), answer(200, SHOW)) as c:
        doc = json.loads(c("model", "status", "-o", "json").stdout)
        assert doc["contextTokens"] == 32768 and doc["reachable"] and doc["modelIsThere"] and not doc["keyIsSet"]
        assert c.server.requests[1][2]["model"] == "qwen2.5-coder:7b"


def test_pull_tells_its_progress_and_ends_when_the_model_is_there():
    lines = [{"status": "pulling manifest"}, *({"status": "pulling aaa", "total": 1000000, "completed": n} for n in
             range(0, 1000001, 250000)), {"status": "verifying sha256 digest"}, {"status": "success"}]
    with Cli("ollama", ndjson(*lines), ndjson(*lines)) as c:
        r = c("server", "llm", "pull", "llama3.2")
        assert r.returncode == 0, r.stderr
        assert "pulling manifest" in r.stderr and "llama3.2 is there" in r.stderr and "config set llm.model llama3.2" in r.stderr
        assert c.server.requests[0][2]["model"] == "llama3.2"
        r = c("model", "pull", "qwen2.5-coder:7b", "--quiet", "-o", "json")
        assert json.loads(r.stdout)["configured"] is True and r.stderr == ""


@pytest.mark.parametrize("script,code,word", [
    (ndjson({"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}), 4, "file does not exist"),
    (ndjson({"status": "pulling manifest"}), 1, "without saying"),
    (answer(500, {"error": "disk full"}), 1, "disk full"),
    (ndjson(b"\xff\xfe not json\n", {"error": "x" * 2000}), 1, "xxx")])
def test_a_pull_that_fails_says_so_in_ollamas_words(script, code, word):
    with Cli("ollama", script) as c:
        r = c("model", "pull", "nope")
        assert r.returncode == code and word in r.stderr, (r.returncode, r.stderr)


@pytest.mark.parametrize("provider,path", [("openai", "/v1/models"), ("anthropic", "/v1/models?limit=1000")])
def test_cloud_models_are_listed_with_the_key_and_a_refused_key_names_what_to_set(provider, path):
    models = answer(200, {"data": [{"id": "m-2"}, {"id": "m-1", "display_name": "M 1"}]})
    refused = answer(401, {"error": {"type": "authentication_error", "message": "invalid key"}})
    with Cli(provider, models, refused) as c:
        assert c("model", "ls", "-o", "name").stdout.split() == ["m-1", "m-2"]
        got, headers, _ = c.server.requests[0]
        key = {k.lower(): v for k, v in headers.items()}
        assert got == path and f"k-{provider}" in key["x-api-key" if provider == "anthropic" else "authorization"]
        r = c("model", "ls")
        assert r.returncode != 0 and "invalid key" in r.stderr and f"secret set llm.{provider}" in r.stderr
        assert f"k-{provider}" not in r.stderr


@pytest.mark.parametrize("script", [answer(200, b"<html>", "text/html"), answer(200, []), answer(200, {"models": 3}),
                                    answer(302, b"", extra=("Location: http://127.0.0.1:1/",)), [b"garbage\r\n\r\n"], [head()],
                                    answer(200, b'{"models":[' + b'{"name":"x"},' * 10 + b"]")])
def test_what_is_no_list_is_told_and_not_crashed_on(script):
    with Cli("ollama", script) as c:
        r = c("model", "ls")
        assert r.returncode != 0 and "stigmer: error: " in r.stderr and "signal" not in r.stderr, r.stderr


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_test_of_the_model_is_a_real_call(model, provider):
    """Against aimock, which speaks the formats."""
    with Home(model, provider) as h:
        r = h.stigmer("model", "test", "-o", "json")
        assert r.returncode == 0, r.stderr
        doc = json.loads(r.stdout)
        assert doc["provider"] == provider and doc["answer"] == "OK" and doc["totalMs"] >= doc["firstMs"] >= 0


def test_test_says_how_fast_and_that_tools_are_missing():
    chat = ndjson({"model": "m", "message": {"role": "assistant", "content": "OK"}, "done": False},
                  {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop",
                   "prompt_eval_count": 9, "eval_count": 1})
    with Cli("ollama", answer(200, {**SHOW, "capabilities": ["completion"]}), chat) as c:
        r = c("model", "test")
        assert r.returncode == 0 and "9 tokens in, 1 out" in r.stdout and "cannot call tools" in r.stderr, (r.stdout, r.stderr)


def test_a_progress_bar_is_drawn_on_a_terminal_only():
    lines = [{"status": "pulling aaa", "total": 1000, "completed": 500}, {"status": "success"}]
    with Cli("ollama", ndjson(*lines)) as c:
        out = subprocess.run(["script", "-qec", f"{os.environ['STIGMER_PREFIX']}/bin/stigmer model pull x", "/dev/null"],
                             env={**c.home.env, "TERM": "xterm"}, capture_output=True, text=True, timeout=60)
        assert "[============            ]  50 %" in out.stdout, out.stdout

"""A stack in a home of its own against aimock, and questions to it: for the tests that use the
product as its user does."""
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import pytest

PREFIX = os.environ["STIGMER_PREFIX"]
PEERS = os.environ.get("STIGMER_PEERS", os.path.join(os.path.dirname(__file__), "../node_modules"))
STIGMER = os.path.join(PREFIX, "bin/stigmer")

AGENT = """apiVersion: agentic.stigmer.ai/v1
kind: Agent
metadata: {name: worker}
spec: {instructions: "You do what the task says."}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def call(tool_id, command):
    return {"toolCalls": [{"id": tool_id, "name": "execute", "arguments": {"command": command}}]}


FIXTURES = {"fixtures": [
    {"match": {"toolCallId": "c_write"}, "response": {"content": "It is written."}},
    {"match": {"toolCallId": "c_gate"}, "response": {"content": "The gate opened."}},
    {"match": {"toolCallId": "c_tools"}, "response": {"content": "Both work."}},
    # Ollama's calls carry no ids: there the result tells them apart
    {"match": {"toolResultContains": "exit code 0"}, "response": {"content": "It is written."}},
    {"match": {"userMessage": "write-it"}, "response": call("c_write", "echo hello > out.txt")},
    {"match": {"userMessage": "wait-at-gate"},
     "response": call("c_gate", "echo begun >> count; i=0; while [ ! -e go ] && [ $i -lt 600 ]; do i=$((i+1)); sleep 0.1; done")},
    {"match": {"userMessage": "use-git-and-python"},
     "response": call("c_tools", "git init -q r && git -C r status > out.txt && python3 -c 'print(6 * 7)' >> out.txt")},
    {"match": {"toolCallId": "c_show"}, "response": {"content": "Shown."}},
    {"match": {"userMessage": "show-it"},
     "response": call("c_show", "env; for n in 0 1 2 3 4 5 6 7; do eval echo \"\\$SECRET_$n\"; done; echo $SECRET_0$SECRET_1")},
    {"match": {"userMessage": "Answer with the word OK."}, "response": {"content": "OK"}},
    {"match": {"userMessage": "What is in this folder?"}, "response": {"content": "A quiet folder."}},
    {"match": {"userMessage": "just-say"}, "response": {"content": "Said."}},
]}


@pytest.fixture(scope="module")
def model():
    d = tempfile.mkdtemp(prefix="se-")
    with open(f"{d}/f.json", "w") as f:
        json.dump(FIXTURES, f)
    port = free_port()
    p = subprocess.Popen([f"{PEERS}/.bin/llmock", "-p", str(port), "-f", f"{d}/f.json"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in p.stdout:
        if "listening" in line:
            break
    drain = threading.Thread(target=p.stdout.read, daemon=True)
    drain.start()
    yield port
    p.terminate()
    p.wait()
    shutil.rmtree(d)


class Home:
    def __init__(self, model_port, provider="openai", **runner):
        """runner: settings of the runner, over kind: process."""
        self.dir = tempfile.mkdtemp(prefix="se-", dir="/tmp")
        self.port = free_port()
        url = {"openai": f"http://127.0.0.1:{model_port}/v1", "anthropic": f"http://127.0.0.1:{model_port}",
               "ollama": f"http://127.0.0.1:{model_port}"}[provider]
        with open(f"{self.dir}/config.yaml", "w") as f:
            json.dump({"server": {"listen": f"127.0.0.1:{self.port}"}, "runner": {"kind": "process", **runner},
                       "llm": {"provider": provider, "model": "test-model", "base_url": url}}, f)
        self.env = {**os.environ, "STIGMER_HOME": self.dir, "OPENAI_API_KEY": "k-openai", "ANTHROPIC_API_KEY": "k-anthropic"}

    def stigmer(self, *args, input=None):
        return subprocess.run([STIGMER, *args], env=self.env, input=input, capture_output=True, text=True, timeout=120)

    def ok(self, *args, input=None):
        r = self.stigmer(*args, input=input)
        assert r.returncode == 0, (args, r.returncode, r.stdout, r.stderr, self.logs())
        return r.stdout

    def logs(self):
        out = ""
        for name in ("stigmer-server", "agent-runner"):
            try:
                with open(f"{self.dir}/data/logs/{name}.log") as f:
                    out += f.read()[-3000:]
            except OSError:
                pass
        return out

    def up(self):
        self.ok("server", "start")
        self.ok("apply", "-f", "-", input=AGENT)
        return self

    def status(self):
        return json.loads(self.ok("server", "status", "-o", "json"))

    def look(self, name):
        """The component as status tells it, whether all is well or not."""
        text = self.stigmer("server", "status", "-o", "json").stdout
        return next((c for c in json.loads(text)["components"] if c["name"] == name), None) if text else None

    def component(self, name):
        return next(c for c in self.status()["components"] if c["name"] == name)

    def begin(self, message):
        return self.ok("run", "worker", "-m", message, "--detach").strip().splitlines()[-1]

    def follow(self, run):
        """The run's events as the CLI prints them, one JSON object a line."""
        return subprocess.Popen([STIGMER, "attach", run, "-o", "jsonl"], env=self.env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)


    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stigmer("server", "stop", "--grace", "1s")
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture
def home(model):
    with Home(model) as h:
        yield h


def gone(pid):
    """Ended, whether anybody has asked how or not."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(wanted, seconds=60):
    """Asks again and again until the answer is true; the answer."""
    end = time.monotonic() + seconds
    while not (got := wanted()):
        assert time.monotonic() < end, "it never happened"
    return got


def started(events, name):
    """Reads events until tool `name` has started."""
    for line in events.stdout:
        e = json.loads(line)
        if e["kind"] == "tool_started" and e.get("name") == name:
            return
    pytest.fail("the tool never started")


def workspace_of(home, run):
    x = json.loads(home.ok("get", "executions", run, "-o", "json"))
    x = x["items"][0] if "items" in x else x
    return f"{home.dir}/data/workspace/{x['spec']['sessionId']}"


def begun(home, run):
    """How often the command of wait-at-gate began; the kill may come before its first step."""
    try:
        with open(f"{workspace_of(home, run)}/count") as f:
            return len(f.readlines())
    except FileNotFoundError:
        return 0


def last(events):
    out = events.stdout.read().splitlines()
    events.wait()
    return json.loads(out[-1])

"""One agent from start to stop with the process runner: real server, runner, sandbox, model endpoint."""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import grpc
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
    {"match": {"userMessage": "write-it"}, "response": call("c_write", "echo hello > out.txt")},
    {"match": {"userMessage": "wait-at-gate"},
     "response": call("c_gate", "echo begun >> count; i=0; while [ ! -e go ] && [ $i -lt 600 ]; do i=$((i+1)); read -t 0.1 x <> /dev/null || sleep 0.1; done")},
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
    def __init__(self, model_port, provider="openai"):
        self.dir = tempfile.mkdtemp(prefix="se-", dir="/tmp")
        self.port = free_port()
        url = {"openai": f"http://127.0.0.1:{model_port}/v1", "anthropic": f"http://127.0.0.1:{model_port}",
               "ollama": f"http://127.0.0.1:{model_port}"}[provider]
        with open(f"{self.dir}/config.yaml", "w") as f:
            json.dump({"server": {"listen": f"127.0.0.1:{self.port}"}, "runner": {"kind": "process"},
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

    def component(self, name):
        return next(c for c in self.status()["components"] if c["name"] == name)

    def begin(self, message):
        return self.ok("run", "worker", "-m", message, "--detach").strip().splitlines()[-1]

    def follow(self, run):
        """The run's events as the CLI prints them, one JSON object a line."""
        return subprocess.Popen([STIGMER, "attach", run, "-o", "jsonl"], env=self.env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)


@pytest.fixture
def home(model):
    h = Home(model)
    yield h
    h.stigmer("server", "stop", "--grace", "1s")
    shutil.rmtree(h.dir, ignore_errors=True)


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


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
def test_a_one_tool_task_is_done_over_each_wire_format(model, provider):
    h = Home(model, provider)
    try:
        h.up()
        # Ollama's calls carry no ids to match on: there a plain answer shows the format
        answer = h.ok("run", "worker", "-m", "just-say" if provider == "ollama" else "write-it")
        assert answer.strip() == ("Said." if provider == "ollama" else "It is written.")
        runs = json.loads(h.ok("ps", "-a", "-o", "json"))["items"]
        assert [r["phase"] for r in runs] == ["completed"]
        if provider != "ollama":
            with open(f"{workspace_of(h, runs[0]['id'])}/out.txt") as f:
                assert f.read() == "hello\n"
    finally:
        h.stigmer("server", "stop", "--grace", "1s")
        shutil.rmtree(h.dir, ignore_errors=True)


def test_stop_leaves_no_process_socket_or_key(home):
    home.up()
    pids = [home.component("stigmer-server")["pid"], home.component("agent-runner")["pid"]]
    home.ok("server", "stop")
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as f:
                assert f.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            pass
    assert sorted(os.listdir(f"{home.dir}/data/run")) == ["runner", "start.lock"]
    assert os.listdir(f"{home.dir}/data/run/runner") == []
    assert home.stigmer("server", "status").returncode == 3
    home.ok("server", "stop")


def test_start_again_says_so_and_changes_nothing(home):
    home.up()
    pid = home.component("stigmer-server")["pid"]
    home.ok("server", "start")
    assert home.component("stigmer-server")["pid"] == pid


def test_two_starts_at_once_make_one_server(home):
    both = [subprocess.Popen([STIGMER, "server", "start"], env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(2)]
    assert [p.wait() for p in both] == [0, 0]
    assert home.status()["state"] == "ready"


def test_a_taken_port_is_exit_9_and_names_the_holder(home):
    with socket.socket() as s:
        s.bind(("127.0.0.1", home.port))
        s.listen()
        r = home.stigmer("server", "start")
        assert r.returncode == 9, r.stderr
        assert str(os.getpid()) in r.stderr
        assert not os.path.exists(f"{home.dir}/data/run/api.sock")
    home.ok("server", "start")


def test_an_engine_that_is_not_there_is_exit_10_with_a_hint(home):
    r = home.stigmer("server", "start", "--runner", "docker")
    assert r.returncode == 10, r.stderr
    assert "hint:" in r.stderr


def test_a_killed_runner_is_replaced_and_the_run_goes_on_once(home):
    home.up()
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    os.kill(home.component("agent-runner")["pid"], signal.SIGKILL)
    end = last(events)
    assert end["phase"] == "completed", end
    assert begun(home, run) <= 1  # an effect is not silently run twice
    text = home.ok("inspect", run, "-o", "json")
    assert "OUTCOME_UNKNOWN" in text or "unknown" in text


def test_a_killed_server_is_restarted_and_the_run_completes(home):
    home.up()
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    server = home.component("stigmer-server")["pid"]
    os.kill(server, signal.SIGKILL)
    end = last(events)
    assert end["phase"] == "completed", end
    now = home.component("stigmer-server")
    assert now["pid"] != server
    assert now["restarts"] == 1 and "signal 9" in now["lastExit"]
    assert begun(home, run) <= 1


def test_everything_killed_then_start_completes_the_run(home):
    home.up()
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    events.kill()
    with open(f"{home.dir}/data/run/server.pid") as f:
        pids = [int(line.split()[1]) for line in f]
    runner = home.component("agent-runner")["pid"]
    for pid in [pids[0], pids[1], runner]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    home.ok("server", "start")
    assert last(home.follow(run))["phase"] == "completed"


def test_cancel_ends_a_run_and_its_command(home):
    home.up()
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    home.ok("cancel", run)
    assert last(events)["phase"] == "cancelled"


def test_a_run_of_nothing_known_is_exit_4(home):
    home.up()
    assert home.stigmer("run", "nobody", "-m", "x").returncode == 4
    assert home.stigmer("inspect", "aex-01arz3ndektsv4rrffq69g5fav").returncode == 4


def test_grpcurl_lists_and_calls_bare(home):
    home.up()
    grpcurl = shutil.which("grpcurl")
    assert grpcurl, "grpcurl is not installed: scripts/setup.sh --tests"
    address = f"127.0.0.1:{home.port}"
    listed = subprocess.run([grpcurl, "-plaintext", address, "list"], capture_output=True, text=True, check=True).stdout
    for service in ("agent.v1.AgentCommandController", "agentinstance.v1.AgentInstanceQueryController",
                    "session.v1.SessionQueryController", "agentexecution.v1.AgentExecutionQueryController"):
        assert f"ai.stigmer.agentic.{service}" in listed
    assert "stigmer.runner.v1" not in listed
    r = subprocess.run([grpcurl, "-plaintext", "-d", '{"slug": "worker"}', address,
                        "ai.stigmer.agentic.agent.v1.AgentQueryController/getByReference"],
                       capture_output=True, text=True, check=True)
    assert json.loads(r.stdout)["metadata"]["name"] == "worker"


def test_strange_bytes_on_the_port_leave_the_server_well(home):
    home.up()
    for bytes_ in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(512), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64):
        with socket.create_connection(("127.0.0.1", home.port)) as s:
            s.sendall(bytes_)
            s.settimeout(10)
            try:
                while s.recv(4096):
                    pass
            except OSError:
                pass
    assert home.status()["state"] == "ready"


def test_a_recording_replays_to_the_same_answer(home, tmp_path):
    home.up()
    cassette = tmp_path / "c.cassette"
    first = home.ok("run", "worker", "-m", "write-it", "--record", str(cassette))
    assert cassette.stat().st_size > 0
    assert b"k-openai" not in cassette.read_bytes()
    assert home.ok("run", "worker", "-m", "write-it", "--replay", str(cassette)) == first


def test_lists_page_and_filter_by_tag(home):
    home.up()
    grpcurl = shutil.which("grpcurl")
    assert grpcurl, "grpcurl is not installed: scripts/setup.sh --tests"

    def rpc(method, **request):
        r = subprocess.run([grpcurl, "-plaintext", "-d", json.dumps(request), f"127.0.0.1:{home.port}",
                            f"ai.stigmer.agentic.{method}"], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)

    instance = json.loads(home.ok("get", "agents", "worker", "-o", "json"))["status"]["defaultInstanceId"]
    for i in range(5):
        rpc("session.v1.SessionCommandController/create", apiVersion="agentic.stigmer.ai/v1", kind="Session",
            metadata={"name": f"s{i}", "org": "local", "ownerScope": "organization", "tags": ["odd"] if i % 2 else ["even"]},
            spec={"agentInstanceId": instance})
    query = "session.v1.SessionQueryController/list"
    names = lambda answer: [s["metadata"]["name"] for s in answer.get("entries", [])]
    assert names(rpc(query)) == ["s0", "s1", "s2", "s3", "s4"]
    assert names(rpc(query, pageSize=2, pageToken="2")) == ["s2", "s3"]
    assert rpc(query, pageSize=2)["totalPages"] == 3
    assert names(rpc(query, tags=["odd"])) == ["s1", "s3"]
    second = rpc(query, tags=["even"], pageSize=2, pageToken="2")
    assert names(second) == ["s4"] and second["totalPages"] == 2
    assert names(rpc(query, tags=["even", "odd"])) == []

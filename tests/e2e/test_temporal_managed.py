"""Temporal's real server as a part of the stack: started, ready, kept up, looked at and stopped with
it; or somebody else's, that may be away."""
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request

import pytest

from homes import AGENT, Home, STIGMER, begun, free_port, last, started, until, workspace_of
from test_supervision import gone, pids, wait_gone

TEMPORAL = shutil.which("temporal") or "temporal"  # scripts/setup.sh --tests puts it on check.sh's PATH


class TemporalHome(Home):
    def __init__(self, model_port, runner=None, **temporal):
        super().__init__(model_port, **(runner or {}))
        self.temporal_port, self.ui_port = free_port(), free_port()
        self.change(address=f"127.0.0.1:{self.temporal_port}", managed="true", heartbeat="2s",
                    ui=f"http://127.0.0.1:{self.ui_port}", **temporal)

    def change(self, **temporal):
        with open(f"{self.dir}/config.yaml") as f:
            config = json.load(f)
        config["engine"] = "temporal"
        config.setdefault("temporal", {}).update(temporal)
        with open(f"{self.dir}/config.yaml", "w") as f:
            json.dump(config, f)

    def temporal(self):
        return self.look("temporal")

    def is_ready(self):
        return self.stigmer("server", "status").returncode == 0

    def finish(self, run):
        with open(f"{workspace_of(self, run)}/go", "w"):
            pass
        assert json.loads(self.ok("attach", run, "-o", "jsonl").splitlines()[-1])["phase"] == "completed"


@pytest.fixture
def managed(model):
    with TemporalHome(model) as h:
        yield h


def is_listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def listeners_of(pid):
    """Addresses that a process listens on, as the kernel writes them."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    found = []
    for name in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{name}") as f:
            rows = [line.split() for line in f.readlines()[1:]]
        found += [r[1] for r in rows if r[3] == "0A" and f"socket:[{r[9]}]" in inodes]
    return found


def at_gate(home):
    """A run whose tool waits: it is in the middle."""
    run = home.begin("wait-at-gate")
    events = home.follow(run)
    started(events, "execute")
    events.kill()
    events.wait()
    until(lambda: begun(home, run))
    return run


def test_it_is_a_part_of_the_stack_from_start_to_stop(managed):
    managed.change(namespace="agents")
    managed.up()
    run = managed.begin("just-say")
    managed.ok("attach", run)
    c = managed.component("temporal")
    assert (c["kind"], c["state"], c["restarts"], c["lastExit"]) == ("process", "ready", 0, None)
    assert c["address"] == f"127.0.0.1:{managed.temporal_port}" and c["namespace"] == "agents"
    assert c["version"][0].isdigit() and c["ui"] == f"http://127.0.0.1:{managed.ui_port}" and c["rssBytes"] > 0
    assert managed.status()["engine"] == "temporal"
    until(lambda: managed.temporal()["pollers"] == {"agent_execution_stigmer": 1, "agent_execution_runner": 1})
    text = managed.ok("server", "status")
    assert f"127.0.0.1:{managed.temporal_port}, namespace agents, version" in text and "1 on agent_execution_runner" in text
    # on this machine only, and it knows no key
    assert all(a.startswith("0100007F:") for a in listeners_of(c["pid"])), listeners_of(c["pid"])
    with open(f"/proc/{c['pid']}/environ") as f:
        assert {v.split("=")[0] for v in f.read().split("\0") if v} == {"PATH", "HOME"}
    # what the run is there, and where to look at it
    shown = json.loads(managed.ok("inspect", run, "-o", "json"))["workflow"]
    assert shown == json.loads(managed.ok("get", "execution", run, "-o", "json"))["workflow"]
    assert shown["id"] == f"stigmer/agent-execution/invoke/{run}" and shown["namespace"] == "agents"
    told = json.loads(subprocess.run([TEMPORAL, "workflow", "describe", "--address", c["address"], "-n", "agents", "-w",
                                      shown["id"], "-o", "json"], capture_output=True, text=True).stdout)
    assert told["workflowExecutionInfo"]["execution"]["runId"] == shown["runId"]
    assert shown["url"].startswith(c["ui"]) and shown["url"].endswith(f"/{shown['runId']}/history")
    assert urllib.request.urlopen(shown["url"]).status == 200
    assert shown["url"] in managed.ok("inspect", run)
    lines = [json.loads(line) for line in until(lambda: managed.ok("server", "logs", "-c", "temporal", "-o", "json").splitlines())]
    assert all(line["component"] == "temporal" and line["at"] for line in lines)
    checks = {c["id"]: c["status"] for c in json.loads(managed.stigmer("doctor", "-o", "json").stdout)["checks"]}
    assert (checks["temporal.binary"], checks["temporal.port"], checks["temporal.reach"]) == ("ok",) * 3
    # the second start changes nothing; the stop leaves nothing
    assert "already running" in managed.ok("server", "start") and managed.temporal()["pid"] == c["pid"]
    managed.ok("server", "stop")
    assert gone(c["pid"]) and not is_listening(managed.temporal_port) and not is_listening(managed.ui_port)
    with open(f"{managed.dir}/data/logs/stigmer-server.log") as f:
        assert "polling fails" not in f.read()
    # its history is kept
    managed.ok("server", "start")
    assert json.loads(managed.ok("inspect", run, "-o", "json"))["workflow"] == shown


def test_with_the_embedded_engine_there_is_nothing_of_it(home):
    home.up()
    run = home.begin("just-say")
    home.ok("attach", run)
    assert home.component("temporal") == {"name": "temporal", "kind": "process", "state": "disabled"}
    assert "workflow" not in json.loads(home.ok("inspect", run, "-o", "json")) and "temporal  " not in home.ok("server", "status").split("COMPONENT")[0]


@pytest.mark.parametrize("whom", ["temporal", "server", "keeper"])
def test_whoever_is_killed_it_comes_back_with_its_database_and_no_orphan_is_left(managed, whom):
    managed.up()
    run = managed.begin("just-say") if whom == "keeper" else at_gate(managed)
    before = managed.temporal()["pid"]
    keeper, server = pids(managed)
    os.kill({"temporal": before, "server": server, "keeper": keeper}[whom], signal.SIGKILL)
    wait_gone(before)
    if whom == "keeper":
        wait_gone(server)
        assert not is_listening(managed.temporal_port)
        managed.ok("server", "start")
    c = until(lambda: (c := managed.temporal()) and c.get("pid") not in (None, before) and managed.is_ready() and c, 20)
    assert is_listening(managed.temporal_port)
    if whom == "temporal":
        assert c["restarts"] == 1 and c["lastExit"] == "killed by signal 9 (Killed)"
    if whom == "keeper":
        assert last(managed.follow(run))["phase"] == "completed"
    else:
        managed.finish(run)
    managed.ok("server", "stop")
    assert gone(c["pid"]) and not is_listening(managed.temporal_port)


def test_one_that_stands_still_is_replaced(managed):
    managed.up()
    before = managed.temporal()["pid"]
    os.kill(before, signal.SIGSTOP)
    run = managed.begin("just-say")
    assert last(managed.follow(run))["phase"] == "completed"
    until(managed.is_ready)
    c = managed.temporal()
    assert gone(before) and c["pid"] != before and c["lastExit"] == "it did not answer any more and was killed"


def test_a_start_whose_caller_is_killed_leaves_a_stack_that_stops_whole(managed):
    with subprocess.Popen([STIGMER, "server", "start"], env=managed.env) as cli:
        until(lambda: os.path.exists(f"{managed.dir}/data/run/server.pid"))
        cli.kill()
    managed.ok("server", "start")
    until(managed.is_ready)
    pid = managed.temporal()["pid"]
    managed.ok("server", "stop")
    assert gone(pid) and not is_listening(managed.temporal_port)


def test_a_stop_hands_work_back_before_it_ends_temporal(managed):
    managed.up()
    run = at_gate(managed)
    pid = managed.temporal()["pid"]
    managed.ok("server", "stop", "--grace", "1s")
    assert gone(pid)
    managed.ok("server", "start")
    managed.finish(run)
    kinds = [json.loads(line)["kind"] for line in managed.ok("attach", run, "-o", "jsonl").splitlines()]
    assert kinds.count("completed") == 1, kinds


def test_a_port_that_somebody_has_is_told_with_who(managed):
    with socket.socket() as s:
        s.bind(("127.0.0.1", managed.temporal_port))
        s.listen()
        r = managed.stigmer("server", "start")
        assert r.returncode == 9 and f"127.0.0.1:{managed.temporal_port} is in use by" in r.stderr, r.stderr
        assert f"(pid {os.getpid()})" in r.stderr and "temporal.address" in r.stderr
        r = managed.stigmer("doctor", "-o", "json")
        check = next(c for c in json.loads(r.stdout)["checks"] if c["id"] == "temporal.port")
        assert r.returncode == 1 and check["status"] == "fail" and check["hint"]
    assert managed.stigmer("server", "status").returncode == 3
    # the UI's is no reason not to start
    with socket.socket() as s:
        s.bind(("127.0.0.1", managed.ui_port))
        s.listen()
        r = managed.stigmer("server", "start")
        assert r.returncode == 0 and f"Temporal has no web UI: 127.0.0.1:{managed.ui_port} is in use" in r.stderr, r.stderr
        assert managed.component("temporal")["ui"] is None


@pytest.mark.parametrize("binary,code,words", [
    ("/nowhere/temporal", 10, "there is no program at '/nowhere/temporal'"),
    ("no-such-temporal", 10, "there is no program 'no-such-temporal' on PATH"),
    ("bin/temporal", 2, "neither an absolute path nor a plain name"),
    ("FOREIGN", 1, "exit code 2: tool: unknown command server")])
def test_a_program_that_is_none_is_told(managed, binary, code, words):
    foreign = f"{managed.dir}/tool"
    with open(foreign, "w") as f:
        f.write('#!/bin/sh\necho "tool: unknown command $1" >&2\nexit 2\n')
    os.chmod(foreign, 0o755)
    r = managed.stigmer("server", "start", "--set", "temporal.binary=" + binary.replace("FOREIGN", foreign))
    assert r.returncode == code and "Temporal cannot be started" in r.stderr and words in r.stderr, r.stderr
    if code == 10:
        assert "go install github.com/temporalio/cli/cmd/temporal@" in r.stderr and "--engine embedded" in r.stderr
    assert managed.stigmer("server", "status").returncode == 3


class External:
    def __init__(self, home):
        self.process = subprocess.Popen(
            [TEMPORAL, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(home.temporal_port),
             "--db-filename", f"{home.dir}/external.db", "--log-level", "never"], stdout=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def test_one_of_somebody_else_is_waited_for_and_never_touched(managed):
    address = f"127.0.0.1:{managed.temporal_port}"
    managed.change(managed="false")
    r = managed.stigmer("server", "start")
    assert r.returncode == 0 and "executions wait until it does" in r.stderr and "Connection refused" in r.stderr, r.stderr
    managed.ok("apply", "-f", "-", input=AGENT)
    runs = [managed.begin("just-say") for _ in range(3)]
    c = managed.temporal()
    assert (c["kind"], c["state"]) == ("external", "degraded") and "Connection refused" in c["trouble"] and "pid" not in c
    assert json.loads(managed.stigmer("server", "status", "-o", "json").stdout)["state"] == "degraded"
    for run in runs:
        x = json.loads(managed.ok("get", "execution", run, "-o", "json"))
        assert x["status"]["phase"] == "EXECUTION_PENDING" and x["workflow"]["runId"] is None and x["workflow"]["why"]
        assert f"waiting for Temporal at {address}" in managed.ok("logs", run)
    with External(managed) as external:
        for run in runs:
            events = managed.follow(run)
            assert last(events)["phase"] == "completed"
        until(managed.is_ready)
        listed = json.loads(subprocess.run([TEMPORAL, "workflow", "list", "--address", address, "-o", "json"],
                                           capture_output=True, text=True).stdout)
        assert sorted(w["execution"]["workflowId"].rsplit("/")[-1] for w in listed) == sorted(runs)
        managed.ok("server", "stop")
        assert external.process.poll() is None and is_listening(managed.temporal_port)
        # a namespace is its owner's to make
        r = managed.stigmer("server", "start", "--temporal-namespace", "elsewhere")
        assert r.returncode == 0 and "there is no namespace 'elsewhere'" in r.stderr and "namespace create -n elsewhere" in r.stderr
        r = managed.stigmer("doctor", "-o", "json")
        check = next(c for c in json.loads(r.stdout)["checks"] if c["id"] == "temporal.reach")
        assert check["status"] == "ok"  # of the settings; the flag was the running server's
        assert managed.temporal()["state"] == "degraded"


def test_a_container_takes_its_work_from_it_and_a_network_that_does_not_reach_it_is_told(model):
    with TemporalHome(model, runner={"kind": "docker", "name": f"sgm-temporal-{os.getpid()}"}) as h:
        h.up()
        h.ok("attach", h.begin("just-say"))
        r = h.stigmer("server", "restart", "--set", "runner.network=bridge")
        assert r.returncode == 0 and "'bridge' does not reach Temporal at" in r.stderr, r.stderr


def test_naming_an_address_is_not_starting_a_server(home):
    """Flags alone: --engine temporal, and an address with nobody at it."""
    r = home.stigmer("server", "start", "--engine", "temporal", "--temporal-address", f"127.0.0.1:{free_port()}")
    assert r.returncode == 0 and "Temporal does not take work" in r.stderr, r.stderr
    assert home.look("temporal")["kind"] == "external"

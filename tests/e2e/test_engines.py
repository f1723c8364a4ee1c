"""Engines that come and go, and which of them is taken."""
import hashlib
import json
import os
import signal
import time

import pytest

import engines
from homes import Home, last, started, workspace_of

NOWHERE = "unix:///nonexistent/engine.sock"


@pytest.fixture(scope="module")
def podman():
    e = engines.podman().start()
    yield e
    e.close()


@pytest.fixture
def dockerd():
    e = engines.dockerd().start()
    yield e
    e.close()


@pytest.fixture
def name():
    return f"stigmer-test-{os.urandom(4).hex()}"


def home_on(model, engine, kind, name, **runner):
    h = Home(model, kind=kind, name=name, **runner)
    h.env["DOCKER_HOST"] = h.env["CONTAINER_HOST"] = NOWHERE
    if engine:
        h.env["CONTAINER_HOST" if kind == "podman" else "DOCKER_HOST"] = engine.url
    return h


def until(home, wanted):
    """Asks for the status again and again, each time by a new process, until wanted(status)."""
    end = time.monotonic() + 60
    while not wanted(status := json.loads(home.stigmer("server", "status", "-o", "json").stdout)):
        assert time.monotonic() < end, (status, home.logs())
    return status


def runner_of(status):
    return next(c for c in status["components"] if c["name"] == "agent-runner")


# ---- podman ---------------------------------------------------------------------------------------

def test_a_task_is_done_in_a_podman_container(model, podman, name):
    with home_on(model, podman, "podman", name) as h:
        h.up()
        assert h.ok("run", "worker", "-m", "write-it").strip() == "It is written."
        runner = h.component("agent-runner")
        assert (runner["kind"], runner["runtime"]) == ("container", "podman")
        box = podman.inspect(name)
        assert box["Id"] == runner["containerId"] and box["HostConfig"]["ReadonlyRootfs"]
        assert box["HostConfig"]["NetworkMode"] == "host"
        h.ok("server", "stop")
        assert podman.inspect(name) is None


def test_a_podman_container_that_dies_is_replaced(model, podman, name):
    with home_on(model, podman, "podman", name) as h:
        h.up()
        run = h.begin("wait-at-gate")
        events = h.follow(run)
        started(events, "execute")
        podman.do(name, "kill")
        assert last(events)["phase"] == "completed"
        runner = h.component("agent-runner")
        assert runner["restarts"] == 1 and runner["lastExit"]


def test_a_killed_server_finds_its_podman_container_again(model, podman, name):
    with home_on(model, podman, "podman", name) as h:
        h.up()
        before = h.component("agent-runner")["containerId"]
        os.kill(h.component("stigmer-server")["pid"], signal.SIGKILL)
        until(h, lambda s: s["state"] == "ready")
        assert h.component("agent-runner")["containerId"] == before


def test_stop_finds_the_engine_again_without_its_environment(model, podman, name):
    with home_on(model, podman, "podman", name) as h:
        h.up()
        pids = [h.component("stigmer-server")["pid"]]
        with open(f"{h.dir}/data/run/server.pid") as f:
            pids = [int(line.split()[1]) for line in f]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert podman.inspect(name)
        h.env["CONTAINER_HOST"] = NOWHERE
        h.ok("server", "stop")
        assert podman.inspect(name) is None
        assert not os.path.exists(f"{h.dir}/data/run/engine")


def test_a_podman_that_does_not_answer_is_exit_10_and_names_what_to_start(model, name):
    with home_on(model, None, "podman", name) as h:
        r = h.stigmer("server", "start")
        assert r.returncode == 10, r.stderr
        assert "/nonexistent/engine.sock" in r.stderr and "podman system service" in r.stderr


def test_auto_takes_podman_when_docker_does_not_answer(model, podman, name):
    with home_on(model, None, "auto", name) as h:
        h.env["CONTAINER_HOST"] = podman.url
        h.ok("server", "start")
        assert h.component("agent-runner")["runtime"] == "podman"


# ---- which socket ---------------------------------------------------------------------------------

def context(tmp_path, host):
    folder = tmp_path / "contexts/meta" / hashlib.sha256(b"mine").hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"Name": "mine", "Endpoints": {"docker": {"Host": host}}}))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    return str(tmp_path)


def test_the_context_in_use_says_where_docker_is(model, podman, name, tmp_path):
    with home_on(model, None, "docker", name) as h:
        del h.env["DOCKER_HOST"]
        h.env["DOCKER_CONFIG"] = context(tmp_path, podman.url)
        h.ok("server", "start")
        assert podman.inspect(name)


@pytest.mark.parametrize("how,word", [
    ({"DOCKER_HOST": "tcp://10.0.0.1:2375"}, "DOCKER_HOST names 'tcp://10.0.0.1:2375'"),
    ({"DOCKER_CONTEXT": "mine"}, "docker's context 'mine' names 'ssh://far'"),
    ({"DOCKER_CONTEXT": "none"}, "docker's context 'none' does not exist")])
def test_an_engine_that_cannot_be_used_is_exit_10_and_says_who_named_it(model, name, tmp_path, how, word):
    with home_on(model, None, "docker", name) as h:
        del h.env["DOCKER_HOST"]
        h.env.update(how, DOCKER_CONFIG=context(tmp_path, "ssh://far"))
        r = h.stigmer("server", "start")
        assert r.returncode == 10 and word in r.stderr and "hint: " in r.stderr, r.stderr


# ---- engines that come and go ---------------------------------------------------------------------

def test_an_engine_that_is_stopped_and_started_again_gets_its_runner_back(model, dockerd, name):
    with home_on(model, dockerd, "docker", name) as h:
        h.up()
        run = h.begin("wait-at-gate")
        events = h.follow(run)
        started(events, "execute")
        dockerd.end()
        status = until(h, lambda s: runner_of(s)["state"] == "failed")
        assert status["state"] == "degraded" and "no container engine" in runner_of(status)["lastExit"]
        assert h.ok("ps", "-q").strip() == run  # it waits
        dockerd.start()
        until(h, lambda s: s["state"] == "ready")
        with open(f"{workspace_of(h, run)}/go", "w"):
            pass
        assert last(events)["phase"] == "completed"


def test_an_engine_that_is_killed_and_comes_back_finds_nothing_lost(model, dockerd, name):
    with home_on(model, dockerd, "docker", name) as h:
        h.up()
        run = h.begin("wait-at-gate")
        events = h.follow(run)
        started(events, "execute")
        dockerd.end(signal.SIGKILL)
        dockerd.start()
        until(h, lambda s: s["state"] == "ready")
        with open(f"{workspace_of(h, run)}/go", "w"):
            pass
        assert last(events)["phase"] == "completed"


def test_auto_goes_on_with_a_process_when_its_engine_goes_away(model, dockerd, name):
    with home_on(model, dockerd, "auto", name) as h:
        h.up()
        assert h.component("agent-runner")["kind"] == "container"
        dockerd.end()
        status = until(h, lambda s: s["state"] == "ready" and runner_of(s)["kind"] == "process")
        assert any("sandboxed process" in w and dockerd.path in w for w in status["warnings"])
        assert h.ok("run", "worker", "-m", "write-it").strip() == "It is written."


def test_a_server_that_crashes_while_its_engine_is_away_serves_on(model, dockerd, name):
    with home_on(model, dockerd, "docker", name) as h:
        h.up()
        dockerd.end()
        until(h, lambda s: runner_of(s)["state"] == "failed")
        pid = json.loads(h.stigmer("server", "status", "-o", "json").stdout)["components"][0]["pid"]
        os.kill(pid, signal.SIGKILL)
        until(h, lambda s: "startedAt" in s and s["components"][0]["pid"] != pid)
        assert h.ok("get", "agents", "-o", "name").strip()
        dockerd.start()
        until(h, lambda s: s["state"] == "ready")


# ---- what others do to the container ---------------------------------------------------------------

def test_a_paused_container_is_told_and_goes_on(model, podman, name):
    with home_on(model, podman, "podman", name) as h:
        h.up()
        podman.do(name, "pause")
        status = until(h, lambda s: s["state"] == "degraded")
        assert runner_of(status)["trouble"] == "the container is paused"
        assert "paused" in h.stigmer("server", "status").stdout
        podman.do(name, "unpause")
        until(h, lambda s: s["state"] == "ready")
        assert h.ok("run", "worker", "-m", "just-say").strip() == "Said."


def test_stop_ends_a_paused_container(model, podman, name):
    with home_on(model, podman, "podman", name) as h:
        h.up()
        podman.do(name, "pause")
        until(h, lambda s: s["state"] == "degraded")
        h.ok("server", "stop", "--grace", "1s")
        assert podman.inspect(name) is None

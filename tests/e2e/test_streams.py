"""What a person's shell does to the standard streams, and what is said while a server is silent."""
import os
import shlex
import signal
import socket
import subprocess

import pytest

from homes import STIGMER, until


@pytest.fixture
def up(home):
    return home.up()


def shell(home, line):
    return subprocess.run(["sh", "-c", line.replace("stigmer ", shlex.quote(STIGMER) + " ")], env=home.env, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_crash_nothing(up, closed):
    for command in ("ps", "get agents", "server status", "run worker -m just-say"):
        assert shell(up, f"stigmer {command} {closed}").returncode == 0, command
    assert shell(up, f"stigmer doctor {closed}").returncode in (0, 1)
    assert up.stigmer("config", "validate").returncode == 0  # nothing that was printed went into a file


def test_a_server_that_was_started_without_streams_is_whole(home):
    assert shell(home, "stigmer server start <&- >&- 2>&-").returncode == 0
    assert home.status()["state"] == "ready"


@pytest.mark.parametrize("command", ["ps -a", "ps -o json", "server status", "get agents -o name", "server logs",
                                     "config path", "run worker -m just-say"])
def test_a_result_that_cannot_be_written_is_a_failure(up, command):
    r = shell(up, f"stigmer {command} >/dev/full")
    assert r.returncode == 1 and "could not be written to standard output" in r.stderr


def test_a_reader_that_leaves_early_is_no_failure(up):
    r = shell(up, "{ stigmer internal man stigmer.1; echo $? >&2; } | head -c 1")
    assert r.stdout == "." and r.stderr.strip() == "0"


def test_config_set_says_that_the_running_server_goes_on_with_what_it_had(up):
    assert "server restart" in up.stigmer("config", "set", "llm.model", "other").stderr
    assert "server restart" in up.stigmer("config", "unset", "llm.model").stderr
    up.ok("server", "stop")
    assert up.stigmer("config", "set", "llm.model", "other").stderr == ""


def test_a_mistyped_restart_stops_nothing(up):
    before = up.component("stigmer-server")["pid"]
    r = up.stigmer("server", "restart", "--wait-timeout", "soon")
    assert r.returncode == 2 and "--wait-timeout" in r.stderr
    assert up.component("stigmer-server")["pid"] == before
    assert up.stigmer("server", "start", "--wait-timeout", "soon").returncode == 2  # also when it runs already


def test_a_restart_that_fails_says_that_nothing_runs_now(up):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        r = up.stigmer("server", "restart", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert r.returncode == 9 and "none runs now" in r.stderr, r.stderr
    assert up.stigmer("server", "status").returncode == 3


def test_a_silent_server_is_told_with_what_to_do(up):
    pid = up.component("stigmer-server")["pid"]
    os.kill(pid, signal.SIGSTOP)
    r = up.stigmer("ps", "--timeout", "1500ms")
    assert r.returncode == 8
    assert "waiting for the server to answer" in r.stderr and "did not answer within 1.5 s" in r.stderr
    assert "hint: stigmer server status" in r.stderr
    r = up.stigmer("server", "status")
    assert r.returncode == 1 and "server restart" in r.stderr
    r = up.stigmer("server", "stop", "--force")
    assert r.returncode == 0 and "waiting for the server to end" in r.stderr


def test_a_server_that_is_being_started_again_is_not_called_stopped(up):
    with open(f"{up.dir}/data/run/server.pid") as f:
        keeper, server = [int(line.split()[1]) for line in f]
    os.kill(keeper, signal.SIGSTOP)  # it holds the moment between the crash and the start
    os.kill(server, signal.SIGKILL)
    r = until(lambda: (r := up.stigmer("ps")).returncode and r)
    os.kill(keeper, signal.SIGCONT)
    assert r.returncode == 3 and "is being started again" in r.stderr
    until(lambda: up.stigmer("ps").returncode == 0)


def test_a_wait_for_an_engine_that_hangs_says_so(home, tmp_path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "e.sock"))
        s.listen(8)
        home.env["DOCKER_HOST"] = f"unix://{tmp_path}/e.sock"
        r = home.stigmer("server", "start", "--runner", "docker")
        assert r.returncode == 10 and f"asking docker at '{tmp_path}/e.sock'" in r.stderr, r.stderr
        assert "looking at this machine" in home.stigmer("doctor").stderr


def test_a_run_without_a_runner_says_what_it_waits_for(home):
    home.ok("config", "set", "runner.kind", "none")
    home.up()
    r = home.stigmer("run", "worker", "-m", "just-say", "--timeout", "2s")
    assert r.returncode == 8 and "waiting for a runner" in r.stderr, r.stderr


def test_another_users_server_is_not_called_stopped(up):
    others = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    if not others:
        os.chmod(f"{up.dir}/data", 0)
    for command in (["ps"], ["server", "status"], ["server", "status", "-o", "json"]):
        r = subprocess.run([STIGMER, *command], env=up.env, text=True, capture_output=True, timeout=60, cwd="/", **others)
        assert r.returncode == 5 and "no permission to use the server" in r.stderr, (command, r)
    os.chmod(f"{up.dir}/data", 0o700)

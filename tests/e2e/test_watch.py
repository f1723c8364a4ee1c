"""server status --watch: what changes is told when it changes, through restarts of the server."""
import json
import os
import signal
import subprocess

import pytest

from homes import STIGMER


@pytest.fixture
def watch(home):
    started = []

    def begin(*args):
        p = subprocess.Popen([STIGMER, "server", "status", "--watch", *args], env=home.env, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        started.append(p)
        return p
    yield begin
    for p in started:
        p.kill()
        p.communicate()


def until(p, wanted):
    for line in p.stdout:
        status = json.loads(line)
        if wanted(status):
            return status
    pytest.fail("the watch ended: " + p.stderr.read())


def runner(status):
    return next(c for c in status["components"] if c["name"] == "agent-runner")


def test_changes_are_told_as_they_happen_and_ctrl_c_is_130(home, watch):
    home.up()
    p = watch("-o", "jsonl")
    first = until(p, lambda s: s["state"] == "ready")
    assert first["schema"] == "stigmer.cli/server-status/v1"
    pid = runner(first)["pid"]
    os.kill(pid, signal.SIGKILL)
    until(p, lambda s: runner(s)["restarts"] == 1 and s["state"] == "ready" and runner(s)["pid"] != pid)
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == 130


def test_a_server_that_is_stopped_and_started_again_is_said(home, watch):
    p = watch("-o", "jsonl")
    until(p, lambda s: s["state"] == "stopped")
    home.up()
    until(p, lambda s: s["state"] == "ready")
    home.ok("server", "stop")
    until(p, lambda s: s["state"] == "stopped")
    home.ok("server", "start")
    until(p, lambda s: s["state"] == "ready")
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == 130 and "the server was started again" in p.stderr.read()


def test_without_a_terminal_blocks_are_appended_and_a_time_can_be_given(home, watch):
    home.up()
    p = watch("--timeout", "1s")
    out, _ = p.communicate(timeout=20)
    assert p.returncode == 8 and "\033" not in out and out.startswith("as of") and out.count("as of") == 1
    shown = subprocess.run(["script", "-qec", f"{STIGMER} server status --watch --timeout 300ms", "/dev/null"], env=home.env,
                           capture_output=True, text=True)
    assert shown.stdout.startswith("\033[H\033[2Jas of"), shown.stdout

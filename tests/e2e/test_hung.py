"""Parts of a running stack that are stopped, not dead: SIGSTOP to worker, launcher and server."""
import json
import os
import signal
import sys
import time

import pytest

from homes import Home, gone, last, started, until

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fake"))
from command_model import CommandModel  # noqa: E402


@pytest.fixture
def stack():
    with CommandModel() as model, Home(model.port) as h:
        yield h.up()


def begin(home, command):
    run = home.begin(command)
    events = home.follow(run)
    started(events, "execute")
    return run, events


def parts(home):
    """pids of launcher and worker."""
    launcher = home.component("agent-runner")["pid"]
    with open(f"/proc/{launcher}/task/{launcher}/children") as f:
        for pid in f.read().split():
            with open(f"/proc/{pid}/comm") as name:
                if "worker" in name.read():
                    return launcher, int(pid)
    raise AssertionError("no worker")


def test_a_worker_that_hangs_is_replaced_and_the_run_goes_on(stack):
    run, events = begin(stack, "echo begun; sleep 600")
    launcher, worker = parts(stack)
    os.kill(worker, signal.SIGSTOP)
    c = until(lambda: (c := stack.look("agent-runner")) and c["restarts"] and c["state"] == "ready" and c)
    assert c["lastExit"] == "it did not answer any more and was killed"
    assert gone(launcher) and gone(worker)
    end = last(events)
    assert end["phase"] == "completed", end
    assert "unknown" in stack.ok("inspect", run)  # what the command did is not guessed
    assert 'msg="runner is attached and does not answer"' in stack.ok("server", "logs", "--tail", "all")


def test_a_launcher_that_hangs_holds_up_no_run_and_stop_ends_it(stack):
    run, events = begin(stack, "echo begun; sleep 1; echo over")
    launcher, worker = parts(stack)
    os.kill(launcher, signal.SIGSTOP)
    assert last(events)["phase"] == "completed"
    stack.ok("server", "stop", "--grace", "1s")
    assert gone(launcher) and gone(worker)


def test_a_server_that_stood_still_takes_no_run_from_its_runner(stack):
    run, events = begin(stack, "echo begun; sleep 19; echo over")
    before = stack.component("agent-runner")
    server = stack.component("stigmer-server")["pid"]
    os.kill(server, signal.SIGSTOP)
    time.sleep(17)  # longer than a lease
    os.kill(server, signal.SIGCONT)
    end = last(events)
    assert end["phase"] == "completed", end
    assert json.loads(stack.ok("inspect", run, "-o", "json"))["status"]["counts"]["attempt"] == 1
    now = stack.component("agent-runner")
    assert (now["pid"], now["restarts"]) == (before["pid"], 0)

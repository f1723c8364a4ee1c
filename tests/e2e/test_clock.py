"""The wall clock is set forward and back by a day under a running stack. libfaketime gives the server
and the command line a clock of the test's own; monotonic clocks stay the machine's."""
import json
import os
import pathlib
import signal
import sys

import pytest

import homes
from clocks import MONOTONIC, library
from homes import Home, last, started, until

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fake"))
from command_model import CommandModel  # noqa: E402

DAY = 86400


class Clock:
    def __init__(self, home):
        self.file = pathlib.Path(home.dir, "clock")
        self.set(0)
        home.env.update(LD_PRELOAD=library(), FAKETIME_TIMESTAMP_FILE=str(self.file), FAKETIME_NO_CACHE="1",
                        **MONOTONIC)

    def set(self, seconds):
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self.file)


@pytest.fixture
def stack():
    with CommandModel() as model, Home(model.port) as h:
        h.clock = Clock(h)
        yield h.up()


def test_a_clock_that_jumps_a_day_ends_no_run_and_no_lease(stack):
    day_of = lambda: stack.status()["startedAt"][:10]  # noqa: E731
    today, n = day_of(), 0
    run = stack.begin("echo begun; sleep 7; echo over")  # longer than a heartbeat
    events = stack.follow(run)
    started(events, "execute")
    ids, answers = [], []
    for jump in (DAY, -DAY, 0):
        stack.clock.set(jump)
        assert (day_of() == today) == (jump == 0)  # the server has seen it
        stack.ok("apply", "-f", "-", input=homes.AGENT.replace("worker", f"agent-{n}"))
        ids.append(json.loads(stack.ok("get", "agents", f"agent-{n}", "-o", "json"))["metadata"]["id"])
        answers.append(stack.ok("run", f"agent-{n}", "-m", "echo fine").splitlines()[0])
        line = next(x for x in stack.ok("server", "status").splitlines() if "stigmer-server" in x)
        assert "1d" not in line and "h" not in line.split()[-1], line  # up for seconds, whatever the date
        n += 1
    end = last(events)
    assert end["phase"] == "completed", end
    assert answers == ["fine"] * 3
    assert ids == sorted(ids)  # ids made later sort later
    x = json.loads(stack.ok("inspect", run, "-o", "json"))
    assert x["status"]["counts"]["attempt"] == 1, x["status"]  # nobody took it away from its runner
    assert stack.component("agent-runner")["restarts"] == 0


def test_logs_of_a_clock_that_was_set_are_all_there(stack):
    for n, jump in enumerate((DAY, -DAY, 0), 1):
        stack.clock.set(jump)
        os.kill(stack.component("agent-runner")["pid"], signal.SIGKILL)
        until(lambda: (c := stack.look("agent-runner"))["restarts"] == n and c["state"] == "ready")
        recent = stack.ok("server", "logs", "--since", "1h", "--tail", "all", "-c", "stigmer-server")
        assert 'msg="component ended"' in recent, recent
    every = stack.ok("server", "logs", "--tail", "all")
    assert every.count('msg="component ended"') == 3 and 'msg="attached"' in every
    stack.ok("server", "restart")  # a start that is older than the last stop
    assert stack.ok("run", "worker", "-m", "echo fine").startswith("fine\n")

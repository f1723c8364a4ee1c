"""kill -9 of a part, or of all, after the events of a run: the run completes once, no command runs twice
without the model being told, no event is lost."""
import json
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from runs import Stack, check_journal  # noqa: E402
from scripted_model import ScriptedModel, call  # noqa: E402

# Every run appends a line to a file of its own: how often a command ran can be counted.
TURNS = [("First I look.", [call("l", "ls"), call("g", "glob", pattern="*")]),
         ("Now I do it.", [call("a", "execute", command="echo ran >> one.txt; sleep 0.2"),
                           call("b", "execute", command="echo ran >> two.txt; sleep 0.2")]),
         ("And note it.", [call("t", "write_todos", todos=[{"content": "check", "status": "completed"}])]),
         ("All done.", [])]


@pytest.fixture  # of its own for each: ten deaths in ten minutes are too many for one server
def model():
    with ScriptedModel(TURNS, delay=0.1) as m:
        yield m


@pytest.fixture  # of its own for each: ten deaths in ten minutes are too many for one server
def stack(model):
    with Stack(model.url) as s:
        yield s


def lines_of(stack, name):
    """Of the newest workspace: one is made for each run."""
    root = os.path.join(stack.home, "data/workspace")
    newest = max((os.path.join(root, d) for d in os.listdir(root)), key=os.path.getctime)
    try:
        with open(os.path.join(newest, name)) as f:
            return len(f.readlines())
    except FileNotFoundError:
        return 0


def events_of_a_run_in_which(stack, number, kill):
    """The events of a run; kill() is called when event `number` arrives."""
    killed = []

    def on_event(e):
        if e.get("seq") == number and not killed:
            killed.append(e["kind"])
            kill()

    return stack.follow("do it", on_event=on_event), killed


def check_once(stack, events, killed):
    """It completed, and what has an effect ran once, or not at all and the model was told."""
    log = check_journal(events)
    assert log[-1]["kind"] == "completed", log[-1]
    assert log[-1]["answer"] == "All done."
    ends = [e for e in log if e["kind"] == "tool_finished"]
    # A machine under load may refuse the tools' user a process: an error, and it says so.
    told = [e["callId"] for e in ends if e["outcome"] == "unknown" or "nothing was run" in e["text"]]
    for name, prefix in (("one.txt", "a_"), ("two.txt", "b_")):
        ran = lines_of(stack, name)
        assert ran == 1 or (ran == 0 and any(c.startswith(prefix) for c in told)), (name, ran, killed, ends, stack.logs())


@pytest.mark.parametrize("number", range(1, 19))
def test_a_run_survives_the_death_of_its_runner_after_event(stack, number):
    check_once(stack, *events_of_a_run_in_which(stack, number, stack.kill_runner))


@pytest.mark.parametrize("number", range(1, 19, 2))
def test_a_run_survives_the_death_of_the_server_after_event(stack, number):
    check_once(stack, *events_of_a_run_in_which(stack, number, stack.kill_server))


@pytest.mark.parametrize("number", range(2, 19, 4))
def test_a_run_survives_the_death_of_everything_after_event(stack, number):
    """Keeper, server and runner at once, as a power cut; then a start."""
    def kill():
        stack.kill_all()
        stack.cli("server", "start")
    events, killed = events_of_a_run_in_which(stack, number, kill)
    if not any(e["kind"] == "completed" for e in events):  # its follower may have given up meanwhile
        run = events[0]["executionId"]
        out = stack.cli("attach", run, "-o", "jsonl").stdout
        events = [json.loads(line) for line in out.splitlines()]
    check_once(stack, events, killed)


@pytest.fixture
def boxed(model):
    if subprocess.run(["docker", "version"], capture_output=True).returncode != 0:
        pytest.skip("no container engine answers")
    name = f"stigmer-test-{os.urandom(4).hex()}"
    with Stack(model.url, runner={"kind": "docker", "name": name}) as s:
        s.name = name
        yield s


@pytest.mark.parametrize("number", range(1, 19, 3))
def test_a_run_survives_the_death_of_its_container_after_event(boxed, number):
    def kill():
        subprocess.run(["docker", "kill", "-s", "KILL", boxed.name], capture_output=True)
    check_once(boxed, *events_of_a_run_in_which(boxed, number, kill))


@pytest.mark.parametrize("number", range(3, 19, 5))
def test_a_container_that_outlives_the_server_goes_on(boxed, number):
    events, killed = events_of_a_run_in_which(boxed, number, boxed.kill_server)
    check_once(boxed, events, killed)
    assert not any(e.get("outcome") == "unknown" for e in events)  # nothing was disturbed

"""kill -9 of the runner after each event of a run: the run completes once, no command runs twice
without the model being told, no event is lost."""
import os
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


def killed_after(stack, number):
    """The events of a run whose runner is killed when event `number` arrives."""
    killed = []

    def on_event(e):
        if e.get("seq") == number and not killed:
            killed.append(e["kind"])
            stack.kill_runner()

    return stack.follow("do it", on_event=on_event), killed


@pytest.mark.parametrize("number", range(1, 19))
def test_a_run_survives_the_death_of_its_runner_after_event(stack, number):
    events, killed = killed_after(stack, number)
    log = check_journal(events)
    assert log[-1]["kind"] == "completed", log[-1]
    assert log[-1]["answer"] == "All done."
    unknown = [e["callId"] for e in log if e["kind"] == "tool_finished" and e.get("outcome") == "unknown"]
    for name, prefix in (("one.txt", "a_"), ("two.txt", "b_")):
        ran = lines_of(stack, name)
        told = any(c.startswith(prefix) for c in unknown)
        assert ran == 1 or (ran == 0 and told), (name, ran, unknown, killed)

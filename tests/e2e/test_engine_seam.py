"""What both engines promise alike: the same tests over the embedded one and over Temporal's real server."""
import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from runs import Stack, check_journal, command_line, descendants, kill_tree, until  # noqa: E402
from scripted_model import ScriptedModel, call  # noqa: E402
from temporals import Temporal  # noqa: E402

GATE = "while [ ! -e go ]; do sleep 0.02; done"


def turns(message):
    """"gate NAME": a command that waits for the file `go`; "busy NAME": one that takes a moment; "gates NAME": two of
    the first kind, NAME1 and NAME2, each with its own `go`; else: just a word. All note when they begin and end."""
    kind, _, name = message.partition(" ")
    if kind == "gates":
        return [("Do.", [call(n, "execute", command=f"echo +{n} >> ledger; {GATE}; rm go; echo -{n} >> ledger")])
                for n in (f"{name}1", f"{name}2")] + [(f"{name} is done.", [])]
    work = {"gate": GATE, "busy": "sleep 0.15"}.get(kind)
    if not work:
        return [("Said.", [])]
    return [("Look.", [call("ls", "ls")]),
            ("Do.", [call(name, "execute", command=f"echo +{name} >> ledger; {work}; echo -{name} >> ledger")]),
            (f"{name} is done.", [])]


@pytest.fixture(scope="module")
def model():
    with ScriptedModel(turns) as m:
        yield m


@pytest.fixture(params=["embedded", "temporal"])
def engine(request):
    return request.param


@pytest.fixture
def stack(engine, model):
    if engine == "embedded":
        with Stack(model.url) as s:
            s.temporal = None
            yield s
        return
    with Temporal() as t, Stack(model.url, **t.settings()) as s:
        s.temporal = t
        yield s


@pytest.fixture
def two(stack):
    """With a second runner."""
    p = stack.add_runner()
    until(lambda: "attached" in pathlib.Path(stack.home, "data/logs/other-runner.log").read_text())
    stack.other = p
    yield stack
    if p.poll() is None:
        os.kill(p.pid, signal.SIGTERM)
    p.wait(timeout=20)


def ends(stack, run, kind="completed"):
    """The whole log; in Temporal the workflow has ended as well."""
    log = check_journal(stack.events(run, check=False))
    assert log[-1]["kind"] == kind, (log[-1], stack.logs())
    if stack.temporal:
        until(lambda: stack.temporal.status(run) not in ("RUNNING",), 30)
    return log


def open_gate(stack, run):
    pathlib.Path(stack.workspace(run), "go").touch()


def begun(stack, run):
    """Its command runs."""
    until(lambda: any(line.startswith("+") for line in stack.lines(run)))


# ---- submit, run, cancel, delete ---------------------------------------------------------------


def test_a_run_completes(stack):
    run = stack.begin("busy a")
    assert ends(stack, run)[-1]["answer"] == "a is done."
    assert stack.lines(run) == ["+a", "-a"]
    if stack.temporal:
        assert stack.temporal.status(run) == "COMPLETED"


def test_a_running_execution_is_cancelled(stack):
    run = stack.begin("gate a")
    begun(stack, run)
    stack.cli("cancel", run, "--reason", "enough")
    log = ends(stack, run, "cancelled")
    assert log[-1]["reason"] == "enough"
    if stack.temporal:
        assert stack.temporal.status(run) == "CANCELED"
    assert ends(stack, stack.begin("say"))


def test_a_pending_execution_is_cancelled_and_the_one_before_it_goes_on(stack):
    first = stack.begin("gate a")
    begun(stack, first)
    session = stack.inspect(first)["spec"]["sessionId"]
    second, third = (stack.begin(m, "--session", session) for m in ("busy b", "busy c"))
    stack.cli("cancel", second)
    assert ends(stack, second, "cancelled")
    open_gate(stack, first)
    ends(stack, third)
    assert stack.lines(first) == ["+a", "-a", "+c", "-c"]


def test_a_cancel_while_no_runner_answers_ends_the_run(stack):
    for p in (frozen := descendants(stack.runner_pid())):
        os.kill(p, signal.SIGSTOP)
    try:
        run = stack.begin("say")
        stack.cli("cancel", run, "--reason", "never mind")
        assert ends(stack, run, "cancelled")[-1]["reason"] == "never mind"
    finally:
        for p in frozen:
            with contextlib.suppress(ProcessLookupError):  # a runner that hangs is replaced
                os.kill(p, signal.SIGCONT)


def test_what_is_deleted_is_forgotten_and_its_session_goes_on(stack):
    first = stack.begin("gate a")
    begun(stack, first)
    session = stack.inspect(first)["spec"]["sessionId"]
    second, third = (stack.begin(m, "--session", session) for m in ("busy b", "busy c"))
    stack.cli("delete", "execution", second, "--yes")
    assert stack.cli("inspect", second, check=False).returncode == 4
    assert stack.cli("delete", "execution", first, "--yes", check=False).returncode == 1  # it runs
    open_gate(stack, first)
    ends(stack, third)
    assert stack.lines(third) == ["+a", "-a", "+c", "-c"]


# ---- what people say to runs -------------------------------------------------------------------


def said(log):
    return [(e["by"], e["text"]) for e in log if e["kind"] == "input_received"]


def journal_says(stack, run):
    return said([json.loads(line) for line in stack.cli("logs", run, "-o", "jsonl").stdout.splitlines()])


def newest_request(model):
    return model.requests[-1]["messages"]


def test_what_is_said_to_a_run_is_read_after_the_results_of_what_it_does(stack, model):
    run = stack.begin("gate a")
    begun(stack, run)
    assert "with its next turn" in stack.cli("send", run, "-m", "Leave the tests alone.").stderr
    assert journal_says(stack, run)
    open_gate(stack, run)
    log = ends(stack, run)
    assert log[-1]["answer"] == "Said."  # what the model says to anything but a gate
    assert said(log) == [(f"uid {os.getuid()}", "Leave the tests alone.")]
    assert [m["role"] for m in newest_request(model)[-2:]] == ["tool", "user"]
    assert newest_request(model)[-1]["content"] == "Leave the tests alone."
    ends(stack, stack.begin("say", "--session", stack.inspect(run)["spec"]["sessionId"]))
    assert "gate a\n\nLeave the tests alone." in [m["content"] for m in newest_request(model)]  # in its history
    late = stack.cli("send", run, "-m", "more", check=False)
    assert late.returncode == 1 and "has ended" in late.stderr
    assert "Leave the tests alone." in [m.get("content") for m in stack.inspect(run)["status"]["messages"]]


def test_what_is_said_to_a_run_that_waits_is_read_with_its_task(stack, model):
    first = stack.begin("gate a")
    begun(stack, first)
    second = stack.begin("say", "--session", stack.inspect(first)["spec"]["sessionId"])
    for text in ("one", "two"):
        assert "when a runner has it" in stack.cli("send", second, "-m", text).stderr
    stack.cli("send", second, "-m", "three", "--id", "mine")
    stack.cli("send", second, "-m", "three", "--id", "mine")  # its sender got no answer
    open_gate(stack, first)
    assert [text for _, text in said(ends(stack, second))] == ["one", "two", "three"]
    assert [m["content"] for m in newest_request(model)[-4:]] == ["say", "one", "two", "three"]


@pytest.mark.parametrize("who", ["runner", "server", "all"])
def test_what_was_said_is_read_once_whoever_is_killed(stack, who):
    run = stack.begin("gate a")
    begun(stack, run)
    with stack.killed(who):
        stack.cli("send", run, "-m", "On the way.")
    stack.cli("server", "start")
    until(lambda: journal_says(stack, run))
    open_gate(stack, run)
    assert [text for _, text in said(ends(stack, run))] == ["On the way."]


# ---- order -------------------------------------------------------------------------------------


def never_at_once(ledger):
    return all(re.fullmatch(r"\+(.*) -\1", " ".join(pair)) for pair in zip(ledger[::2], ledger[1::2]))


def test_runs_of_a_session_go_in_their_order_and_never_at_once_with_two_runners(two):
    first = two.begin("busy a0")
    session = two.inspect(first)["spec"]["sessionId"]
    runs = [first, *(two.begin(f"busy a{n}", "--session", session) for n in range(1, 6))]
    for run in runs:
        ends(two, run)
    ledger = two.lines(first)
    assert [line for line in ledger if line[0] == "+"] == [f"+a{n}" for n in range(6)]
    assert never_at_once(ledger)


def test_many_sessions_over_two_runners_each_in_its_order(two):
    runs = {}
    for n in range(4):
        for s in range(5):
            session = ["--session", two.inspect(runs[s, 0])["spec"]["sessionId"]] if n else []
            runs[s, n] = two.begin(f"busy s{s}n{n}", *session)
    for run in runs.values():
        ends(two, run)
    for s in range(5):
        ledger = two.lines(runs[s, 0])
        assert [line[1:] for line in ledger if line[0] == "+"] == [f"s{s}n{n}" for n in range(4)] and never_at_once(ledger)


# ---- crash, resume -----------------------------------------------------------------------------


def told(log):
    """Outcomes of the command, and how often the run was told of one that is unknown."""
    return [e["outcome"] for e in log if e["kind"] == "tool_finished" and not e["callId"].startswith("ls")]


def victims(stack):
    def everything():
        stack.kill_all()
        stack.cli("server", "start")
    return {"runner": stack.kill_runner, "server": stack.kill_server, "everything": everything}


@pytest.mark.parametrize("victim", ["runner", "server", "everything"])
def test_a_run_survives_a_death_during_its_command(stack, victim):
    run = stack.begin("gate a")
    begun(stack, run)
    victims(stack)[victim]()
    until(lambda: stack.cli("inspect", run, check=False).returncode == 0)
    open_gate(stack, run)
    log = ends(stack, run)
    assert log[-1]["answer"] == "a is done."
    ledger = stack.lines(run)
    assert ledger.count("+a") == 1  # an effect is never repeated silently
    assert told(log) == (["result"] if victim == "server" else ["unknown"])


@pytest.mark.parametrize("victim", ["runner", "server", "everything"])
def test_a_run_survives_a_death_while_its_model_thinks(engine, victim):
    with ScriptedModel(turns, delay=0.4) as slow:
        def play(temporal, stack):
            stack.temporal = temporal
            run = stack.begin("busy a")
            until(lambda: slow.waiting)
            victims(stack)[victim]()
            until(lambda: stack.cli("inspect", run, check=False).returncode == 0)
            assert ends(stack, run)[-1]["answer"] == "a is done." and stack.lines(run) == ["+a", "-a"]
        if engine == "embedded":
            with Stack(slow.url) as s:
                play(None, s)
        else:
            with Temporal() as t, Stack(slow.url, **t.settings()) as s:
                play(t, s)


def holder_of(two, name):
    """The launcher below which the command runs."""
    def look():
        for pid in (two.runner_pid(), two.other.pid):
            if any(f"+{name}" in " ".join(command_line(p)) for p in descendants(pid)):
                return pid
    return until(look)


def test_of_two_runners_the_other_one_goes_on(two):
    """kill -9 of the one that has it."""
    run = two.begin("gate a")
    begun(two, run)
    kill_tree(holder_of(two, "a"))
    open_gate(two, run)
    log = ends(two, run)
    assert told(log) == ["unknown"] and two.lines(run).count("+a") == 1


def test_a_stop_and_a_start_in_the_middle_of_a_run(stack):
    """The drain parks it; the tool's outcome is told, once."""
    run = stack.begin("gate a")
    begun(stack, run)
    workspace = stack.workspace(run)
    stack.cli("server", "stop", "--grace", "1s")
    pathlib.Path(workspace, "go").touch()
    stack.cli("server", "start")
    log = ends(stack, run)
    assert log[-1]["answer"] == "a is done." and told(log) == ["unknown"] and stack.lines(run).count("+a") == 1


def handed_back(history):
    """The first attempt of the activity completed with that, and a second activity was scheduled: no retry of Temporal's
    made it wait, and nothing failed."""
    steps = [e["eventType"].removeprefix("EVENT_TYPE_") for e in history if "ACTIVITY_TASK" in e["eventType"]]
    assert steps == ["ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"] * 2, steps
    started, completed = ([e[f"activityTask{what}EventAttributes"] for e in history if e["eventType"].endswith(f"TASK_{what.upper()}")
                           and "ACTIVITY" in e["eventType"]] for what in ("Started", "Completed"))
    assert all(a.get("attempt", 1) == 1 and "lastFailure" not in a for a in started), started
    results = [a["result"]["payloads"][0] if isinstance(a["result"], dict) else a["result"][0] for a in completed]
    said = [json.loads(base64.b64decode(r["data"])) if "data" in r else r for r in results]
    assert [r.get("handedBack") for r in said] == [True, None], said


def test_a_drained_runner_s_work_is_claimed_by_another_at_once(two):
    """SIGTERM, as of `docker stop`: its command ends, and from there on another one has the run."""
    run = two.begin("gate a")
    begun(two, run)
    os.kill(holder_of(two, "a"), signal.SIGTERM)
    open_gate(two, run)
    log = ends(two, run)
    claims = [i for i, e in enumerate(log) if e["kind"] == "claimed"]
    assert len(claims) == 2, log
    notices = [e["text"] for e in log if e["kind"] == "notice"]
    assert any("the runner stops" in n for n in notices) and not any("lost" in n for n in notices), notices
    if two.temporal:
        handed_back(two.temporal.history(run))
    assert two.lines(run) == ["+a", "-a"] and told(log) == ["result"]

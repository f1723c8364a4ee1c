"""Temporal as an engine when something goes wrong: it is away, slow, frozen, forgets everything; an operator acts
with its CLI; a server or a runner dies or is late. Nothing is lost, nothing runs twice, and what waits says why."""
import asyncio
import base64
import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import sys
import time

import grpc
import pytest
from temporalio.client import Client

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import protos  # noqa: E402
from runs import Stack, check_journal, command_line, descendants, kill_tree, until  # noqa: E402
from scripted_model import ScriptedModel  # noqa: E402
from temporals import Proxy, Temporal, workflow_id  # noqa: E402
from test_engine_seam import begun, holder_of, journal_says, open_gate, told, turns  # noqa: E402

execution = protos.module("ai.stigmer.agentic.agentexecution.v1.agentexecution")


@pytest.fixture(scope="module")
def model():
    with ScriptedModel(turns) as m:
        yield m


@pytest.fixture
def temporal():
    with Temporal() as t:
        yield t


@pytest.fixture
def stack(temporal, model):
    with Stack(model.url, **temporal.settings()) as s:
        yield s


def server_log(stack):
    return pathlib.Path(stack.home, "data/logs/stigmer-server.log").read_text()


def ends(stack, run, kind="completed"):
    log = check_journal(stack.events(run, check=False))
    assert log[-1]["kind"] == kind, (log[-1], stack.logs())
    return log


def closed(temporal, run, status, seconds=30):
    until(lambda: temporal.status(run) not in ("RUNNING", ""), seconds)
    assert temporal.status(run) == status, temporal.history(run)


def notices(stack, run):
    """Of a run that may not have ended."""
    r = stack.cli("attach", run, "-o", "jsonl", "--timeout", "2s", check=False)
    return [e["text"] for e in map(json.loads, r.stdout.splitlines()) if e.get("kind") == "notice"]


@contextlib.contextmanager
def frozen(stack):
    """No runner takes anything meanwhile."""
    pids = descendants(stack.runner_pid())
    for p in pids:
        os.kill(p, signal.SIGSTOP)
    try:
        yield
    finally:
        for p in pids:
            with contextlib.suppress(ProcessLookupError):  # a runner that hangs for a lease is replaced
                os.kill(p, signal.SIGCONT)


# ---- it is away --------------------------------------------------------------------------------


def test_temporal_killed_and_restarted_in_the_middle_of_a_run(stack, temporal):
    run = stack.begin("gate a")
    begun(stack, run)
    temporal.kill()
    open_gate(stack, run)
    temporal.start()
    log = ends(stack, run)
    assert told(log) == ["result"] and stack.lines(run) == ["+a", "-a"]
    closed(temporal, run, "COMPLETED")


def test_temporal_away_at_the_start_is_waited_for_with_the_reason(temporal, model):
    temporal.kill()
    with Stack(model.url, **temporal.settings()) as stack:
        runs = [stack.begin(f"busy r{n}") for n in range(3)]
        assert all(temporal.address in text for run in runs for text in until(lambda run=run: notices(stack, run)))
        assert {stack.phase(run) for run in runs} == {"PENDING"}
        temporal.start()
        for n, run in enumerate(runs):
            assert ends(stack, run)[-1]["answer"] == f"r{n} is done."
            assert len([e for e in ends(stack, run) if e["kind"] == "notice"]) == 1  # said once
            closed(temporal, run, "COMPLETED")


def test_a_cancel_while_temporal_is_away_ends_the_run_and_it_is_well_again_when_it_is_back(stack, temporal):
    temporal.kill()
    run = stack.begin("busy a")
    until(lambda: notices(stack, run))
    stack.cli("cancel", run)
    ends(stack, run, "cancelled")
    temporal.start()
    until(lambda: "temporal takes work again" in server_log(stack), 30)
    assert stack.lines(run) == []


def deleted(stack):
    """What the server still has to tell Temporal."""
    with contextlib.closing(sqlite3.connect(pathlib.Path(stack.home, "data/stigmer.db"))) as db:
        return [row[0] for row in db.execute("SELECT execution_id FROM workflow_end ORDER BY 1")]


def test_runs_deleted_while_it_is_away_leave_no_open_workflow(temporal, model):
    """One that nobody had, and one that ended meanwhile, whose runner has not said so to Temporal. What is to be said
    outlives the server; what was never in Temporal, and what has ended there, leave nothing behind."""
    with Stack(model.url, slots=1, **temporal.settings()) as stack:
        early = stack.begin("busy early")
        ends(stack, early)
        closed(temporal, early, "COMPLETED")
        held = stack.begin("gate held")
        begun(stack, held)
        waiting = stack.begin("busy waiting")
        until(lambda: temporal.status(waiting) == "RUNNING")
        temporal.kill()
        never = stack.begin("busy never")
        open_gate(stack, held)
        ends(stack, held)
        gone = sorted((early, held, waiting, never))
        stack.cli("delete", "executions", *gone, "--yes")
        assert deleted(stack) == gone
        stack.kill_all()
        temporal.start()
        assert {temporal.status(r) for r in (held, waiting)} == {"RUNNING"}
        stack.cli("server", "start")
        for run in (held, waiting):
            closed(temporal, run, "CANCELED")
        assert temporal.status(never) == ""
        until(lambda: deleted(stack) == [])
        assert ends(stack, stack.begin("busy after"))


def test_a_run_deleted_while_its_start_is_under_way_leaves_no_open_workflow(temporal, model):
    """Temporal has the start when the deletion comes, and its answer is lost."""
    with Proxy(temporal.port) as proxy, Stack(model.url, **temporal.settings(proxy.address)) as stack:
        with frozen(stack):
            proxy.hold_answers()
            run = stack.begin("busy a")
            until(lambda: temporal.status(run) == "RUNNING")
            stack.cli("delete", "executions", run, "--yes")
            proxy.drop()
            proxy.release()
        closed(temporal, run, "CANCELED")
        until(lambda: deleted(stack) == [])


def test_a_slow_temporal(temporal, model):
    with Proxy(temporal.port, delay=0.2) as proxy, Stack(model.url, **temporal.settings(proxy.address)) as stack:
        runs = [stack.begin(f"busy r{n}") for n in range(4)]
        for run in runs:
            assert told(ends(stack, run)) == ["result"]


def test_a_temporal_whose_connections_break_again_and_again(temporal, model):
    with Proxy(temporal.port) as proxy, Stack(model.url, **temporal.settings(proxy.address)) as stack:
        runs = [stack.begin(f"busy r{n}") for n in range(8)]
        until(lambda: proxy.drop() or time.sleep(0.1) or stack.phase(runs[-1]) == "COMPLETED")
        for n, run in enumerate(runs):
            assert ends(stack, run)[-1]["answer"] == f"r{n} is done." and stack.lines(run) == [f"+r{n}", f"-r{n}"]


def test_a_namespace_that_is_missing_is_said_in_words_and_found_when_it_is_made(temporal, model):
    with Stack(model.url, **temporal.settings(namespace="elsewhere")) as stack:
        run = stack.begin("busy a")
        text = until(lambda: notices(stack, run))[0]
        assert "there is no namespace 'elsewhere'" in text and "temporal operator namespace create" in text
        temporal.cli("operator", "namespace", "create", "-n", "elsewhere")
        assert ends(stack, run)[-1]["answer"] == "a is done."


def test_a_frozen_temporal_longer_than_its_time_outs(stack, temporal):
    run = stack.begin("gate a")
    begun(stack, run)
    temporal.freeze()
    waiting = stack.begin("busy b")
    time.sleep(5)  # the time-out of a heartbeat is 2 s
    temporal.thaw()
    open_gate(stack, run)
    assert ends(stack, waiting)[-1]["answer"] == "b is done."
    log = ends(stack, run)
    assert stack.lines(run) == ["+a", "-a"] and told(log) == ["result"]
    closed(temporal, run, "COMPLETED")


def test_a_temporal_that_has_forgotten_everything_is_given_its_work_again(stack, temporal):
    held = stack.begin("gate a")
    begun(stack, held)
    with frozen(stack):
        runs = [stack.begin(f"busy r{n}") for n in range(3)]
        until(lambda: temporal.status(runs[-1]) == "RUNNING")
        temporal.lose_everything()
    temporal.start()
    open_gate(stack, held)
    for run in [held, *runs]:
        assert told(ends(stack, run)) == ["result"] and len(stack.lines(run)) == 2


# ---- an operator, with Temporal's CLI -----------------------------------------------------------


def test_a_workflow_terminated_while_a_runner_has_it(stack, temporal):
    run = stack.begin("gate a")
    begun(stack, run)
    began = time.monotonic()
    temporal.workflow("terminate", run, "--reason", "we need the money elsewhere")
    log = ends(stack, run, "cancelled")
    assert time.monotonic() - began < 20 and "we need the money elsewhere" in log[-1]["reason"]
    until(lambda: not any("+a" in " ".join(command_line(p)) for p in descendants(stack.runner_pid())), 20)


def test_a_workflow_terminated_while_nobody_has_it(stack, temporal):
    with frozen(stack):
        run = stack.begin("busy a")
        until(lambda: temporal.status(run) == "RUNNING")
        temporal.workflow("terminate", run, "--reason", "not today")
        assert "not today" in ends(stack, run, "cancelled")[-1]["reason"]
    assert ends(stack, stack.begin("busy b"))


def test_workflows_terminated_while_the_server_was_down_and_more_than_are_started_at_once(temporal, model):
    """The reason is longer than is kept, and cut in the middle of a letter."""
    with Stack(model.url, slots=1, **temporal.settings()) as stack:
        busy = stack.begin("gate a")
        begun(stack, busy)
        runs = [stack.begin(f"busy r{n}") for n in range(36)]
        until(lambda: all(temporal.status(run) == "RUNNING" for run in runs))
        stack.kill_all()
        for run in runs:
            temporal.workflow("terminate", run, "--reason", "a" + "\u0436" * 600)
        stack.cli("server", "start")
        for run in runs:
            assert "\u0436" * 100 in ends(stack, run, "cancelled")[-1]["reason"] and not stack.lines(run)
        open_gate(stack, busy)
        ends(stack, busy)


def test_a_workflow_cancelled_by_an_operator(stack, temporal):
    run = stack.begin("gate a")
    begun(stack, run)
    temporal.workflow("cancel", run)
    ends(stack, run, "cancelled")
    closed(temporal, run, "CANCELED")


def test_a_workflow_cancelled_before_anybody_took_it(stack, temporal):
    with frozen(stack):
        run = stack.begin("busy a")
        until(lambda: temporal.status(run) == "RUNNING")
        temporal.workflow("cancel", run)
        ends(stack, run, "cancelled")
    closed(temporal, run, "CANCELED")
    assert stack.lines(run) == []


def test_a_workflow_that_is_reset_goes_on_where_it_is(stack, temporal):
    """Its first run is terminated by that: that is no end of the execution."""
    run = stack.begin("gate a")
    begun(stack, run)
    temporal.workflow("signal", run, "--name", "input", "--input", '"On the way."')
    until(lambda: journal_says(stack, run))
    temporal.workflow("reset", run, "--type", "FirstWorkflowTask", "--reason", "a try")
    time.sleep(21)  # the server has looked at what was terminated meanwhile
    assert stack.phase(run) == "IN_PROGRESS"
    open_gate(stack, run)
    log = ends(stack, run)
    assert told(log) == ["result"] and stack.lines(run) == ["+a", "-a"]
    assert [e["text"] for e in log if e["kind"] == "input_received"] == ["On the way."]  # said again by the reset
    closed(temporal, run, "COMPLETED")


def test_a_workflow_that_is_reset_after_its_end_ends_the_same(stack, temporal):
    run = stack.begin("busy a")
    before = ends(stack, run)
    closed(temporal, run, "COMPLETED")
    temporal.workflow("reset", run, "--type", "FirstWorkflowTask", "--reason", "a try")
    closed(temporal, run, "COMPLETED")
    assert ends(stack, run) == before and stack.lines(run) == ["+a", "-a"]


def test_the_signal_input_is_said_to_the_run_once_whoever_is_killed(stack, temporal):
    def say(payload, **kw):
        temporal.workflow("signal", run, "--name", "input", "--input", json.dumps(payload), **kw)

    run = stack.begin("gate a")
    begun(stack, run)
    say({"text": "gate b"})  # what it has in hand when the server dies ends with it: it waits again
    until(lambda: len(journal_says(stack, run)) == 1)
    _, pid = stack._pids()
    os.kill(pid, signal.SIGSTOP)
    say("two")  # its task goes to the frozen server, or waits for the next one
    os.kill(pid, signal.SIGKILL)
    say({"txt": "no text"})
    say("three")
    until(lambda: len(journal_says(stack, run)) == 3)
    open_gate(stack, run)
    log = ends(stack, run)
    assert [e["text"] for e in log if e["kind"] == "input_received"] == ["gate b", "two", "three"]
    assert log[-1]["answer"] == "Said."
    assert "its input must be a text" in server_log(stack)
    closed(temporal, run, "COMPLETED")


def test_signals_are_told_in_the_log_and_harm_nothing(stack, temporal):
    run = stack.begin("gate a")
    begun(stack, run)
    temporal.workflow("signal", run, "--name", "faster", "--input", '{"please": true}')
    until(lambda: "faster" in server_log(stack))
    open_gate(stack, run)
    ends(stack, run)
    assert len([line for line in server_log(stack).splitlines() if "faster" in line]) == 1
    closed(temporal, run, "COMPLETED")


def test_queries_are_answered_while_it_runs_and_after_its_end(stack, temporal):
    def query(kind="status"):
        return temporal.workflow("query", run, "--type", kind, "-o", "json", check=False)

    def phase():
        r = query()
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)["queryResult"][0]["phase"]

    run = stack.begin("gate a")
    begun(stack, run)
    assert phase() == "EXECUTION_IN_PROGRESS"
    wrong = query("nonsense")
    assert wrong.returncode != 0 and "unknown query 'nonsense'; there is 'status'" in wrong.stderr
    open_gate(stack, run)
    ends(stack, run)
    closed(temporal, run, "COMPLETED")
    assert phase() == "EXECUTION_COMPLETED"


def test_an_activity_that_is_paused_stops_after_its_step_and_goes_on_when_it_may(stack, temporal):
    run = stack.begin("gate a")
    begun(stack, run)
    temporal.cli("activity", "pause", "-w", workflow_id(run), "-a", run)
    time.sleep(2)  # a heartbeat has heard of it
    open_gate(stack, run)
    until(lambda: "run ends" in pathlib.Path(stack.home, "data/logs/agent-runner.log").read_text(), 20)
    time.sleep(3)
    assert stack.phase(run) == "IN_PROGRESS" and stack.lines(run) == ["+a", "-a"]
    temporal.cli("activity", "unpause", "-w", workflow_id(run), "-a", run)
    log = ends(stack, run)
    assert told(log) == ["result"] and len([e for e in log if e["kind"] == "claimed"]) == 2


def test_an_activity_that_times_out_at_temporal_goes_on_at_the_same_runner(stack, temporal):
    run = stack.begin("gate a")
    begun(stack, run)
    temporal.cli("activity", "update-options", "-w", workflow_id(run), "-a", run, "--start-to-close-timeout", "1s")
    until(lambda: temporal.attempts(run) >= 2)
    temporal.cli("activity", "update-options", "-w", workflow_id(run), "-a", run, "--start-to-close-timeout", "1h")
    open_gate(stack, run)
    assert told(ends(stack, run)) == ["result"] and stack.lines(run) == ["+a", "-a"]
    closed(temporal, run, "COMPLETED")


def test_an_activity_that_an_operator_completes_or_fails_ends_the_run_with_words(stack, temporal):
    done, failed = (stack.begin(f"gate {name}") for name in ("a", "b"))
    for run in (done, failed):
        begun(stack, run)
    temporal.cli("activity", "complete", "-w", workflow_id(done), "--activity-id", done, "--result", '"fine"')
    temporal.cli("activity", "fail", "-w", workflow_id(failed), "--activity-id", failed, "--reason", "the disk is wet")
    assert "has not ended" in ends(stack, done, "failed")[-1]["error"]["message"]
    assert "the disk is wet" in ends(stack, failed, "failed")[-1]["error"]["message"]
    assert ends(stack, stack.begin("busy c"))


def test_a_history_with_an_event_of_a_kind_that_is_not_known_here(stack, temporal):
    run = stack.begin("gate a")
    begun(stack, run)
    temporal.workflow("update-options", run, "--versioning-override-behavior", "auto_upgrade")
    assert "EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED" in {e["eventType"] for e in temporal.history(run)}
    open_gate(stack, run)
    ends(stack, run)
    closed(temporal, run, "COMPLETED")


def test_a_history_of_many_pages_is_read_whole(stack, temporal):
    async def signal_often():
        client = await Client.connect(temporal.address)
        handle = client.get_workflow_handle(workflow_id(run))
        for _ in range(60):
            await asyncio.gather(*(handle.signal("noise", n) for n in range(10)))

    run = stack.begin("gate a")
    begun(stack, run)
    asyncio.run(signal_often())
    open_gate(stack, run)
    ends(stack, run)
    closed(temporal, run, "COMPLETED")
    assert len(temporal.history(run)) > 600


# ---- servers and runners -------------------------------------------------------------------------


@pytest.mark.parametrize("victims", ["server", "server and runner"])
def test_a_server_that_dies_over_a_workflow_task(stack, temporal, victims):
    run = stack.begin("gate a")
    begun(stack, run)
    pid = stack._pids()[1]
    os.kill(pid, signal.SIGSTOP)
    temporal.workflow("signal", run, "--name", "wake-up")  # the task for it goes to the frozen server
    until(lambda: temporal.describe(run).get("pendingWorkflowTask", {}).get("state") == "PENDING_WORKFLOW_TASK_STATE_STARTED")
    if victims == "server and runner":
        kill_tree(pid)
    else:
        os.kill(pid, signal.SIGKILL)
    until(lambda: stack.cli("inspect", run, check=False).returncode == 0)
    open_gate(stack, run)
    log = ends(stack, run)
    assert stack.lines(run).count("+a") == 1 and told(log) == [{"server": "result"}.get(victims, "unknown")]
    closed(temporal, run, "COMPLETED", 40)


def test_a_late_runner_is_refused(stack):
    """Its worker is frozen longer than its lease and Temporal's time-outs; its tool host goes on meanwhile."""
    other = stack.add_runner()
    until(lambda: "attached" in pathlib.Path(stack.home, "data/logs/other-runner.log").read_text())
    stack.other = other
    run = stack.begin("gate a")
    begun(stack, run)
    worker = next(p for p in descendants(holder_of(stack, "a")) if "worker" in command_line(p)[1:2])
    os.kill(worker, signal.SIGSTOP)
    try:
        log = ends(stack, run)  # the other one was told that the outcome is unknown
        assert told(log) == ["unknown"]
        open_gate(stack, run)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it was replaced meanwhile
            os.kill(worker, signal.SIGCONT)
    assert ends(stack, stack.begin("busy b"))
    assert stack.events(run) == log and stack.lines(run).count("+a") == 1
    os.kill(other.pid, signal.SIGTERM)
    other.wait(timeout=20)


def scheduled(temporal, run):
    """The ids of its activities."""
    return [e["activityTaskScheduledEventAttributes"]["activityId"] for e in temporal.history(run)
            if e["eventType"] == "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"]


def attached(stack, log):
    """How often its runner has."""
    return pathlib.Path(stack.home, "data/logs", log).read_text().count('msg="attached"')


@contextlib.contextmanager
def second_runner(stack):
    stack.other = stack.add_runner()
    until(lambda: attached(stack, "other-runner.log"))
    yield
    if stack.other.poll() is None:
        os.kill(stack.other.pid, signal.SIGTERM)
    stack.other.wait(timeout=20)


@pytest.mark.parametrize("victim", ["runner", "server and runner"])
def test_a_killed_runner_s_run_goes_on_without_waiting_for_its_heartbeats(temporal, model, victim):
    """The time-out of a heartbeat is longer than this test may take."""
    with Stack(model.url, **temporal.settings(heartbeat="10m")) as stack:
        run = stack.begin("gate a")
        begun(stack, run)
        if victim == "runner":
            stack.kill_runner()
        else:
            stack.kill_all()
            stack.cli("server", "start")
        log = ends(stack, run)
        assert told(log) == ["unknown"] and stack.lines(run) == ["+a"]
        closed(temporal, run, "COMPLETED")
        started = [e["activityTaskStartedEventAttributes"] for e in temporal.history(run)
                   if e["eventType"] == "EVENT_TYPE_ACTIVITY_TASK_STARTED"]
        assert [e["attempt"] for e in started] == [2]
        assert "its runner is lost" in started[0]["lastFailure"]["message"]


def test_runners_that_are_stopped_hand_a_run_on_without_another_attempt(stack, temporal):
    """SIGTERM in the middle of a command: it ends, and another runner goes on behind it; then that one, too."""
    with second_runner(stack):
        run = stack.begin("gates a")
        for command in ("a1", "a2"):
            until(lambda c=command: f"+{c}" in stack.lines(run))
            holder, before = holder_of(stack, command), attached(stack, "agent-runner.log")
            os.kill(holder, signal.SIGTERM)
            open_gate(stack, run)
            until(lambda c=command: f"-{c}" in stack.lines(run))
            if holder == stack.other.pid:
                stack.other.wait(timeout=20)
            else:  # the server starts another one in its place
                until(lambda n=before: attached(stack, "agent-runner.log") > n)
        log = ends(stack, run)
        closed(temporal, run, "COMPLETED")
    assert told(log) == ["result", "result"] and stack.lines(run) == ["+a1", "-a1", "+a2", "-a2"]
    assert len([e for e in log if e["kind"] == "claimed"]) == 3
    assert scheduled(temporal, run) == [run, f"{run}/2", f"{run}/3"]
    events = temporal.history(run)
    assert {e["activityTaskStartedEventAttributes"]["attempt"] for e in events
            if e["eventType"] == "EVENT_TYPE_ACTIVITY_TASK_STARTED"} == {1}
    result = events[-1]["workflowExecutionCompletedEventAttributes"]["result"]["payloads"][0]["data"]
    assert json.loads(base64.b64decode(result)) == {"executionId": run, "phase": "EXECUTION_COMPLETED"}


def test_a_pause_outlives_the_runner_that_has_not_heard_of_it(stack, temporal):
    """What is paused is the activity: it stays the one that is there."""
    with second_runner(stack):
        run = stack.begin("gate a")
        begun(stack, run)
        holder = holder_of(stack, "a")
        temporal.cli("activity", "pause", "-w", workflow_id(run), "-a", run)
        os.kill(holder, signal.SIGTERM)
        open_gate(stack, run)
        until(lambda: temporal.describe(run)["pendingActivities"][0]["state"] == "PENDING_ACTIVITY_STATE_PAUSED")
        assert stack.phase(run) == "IN_PROGRESS" and stack.lines(run) == ["+a", "-a"]
        temporal.cli("activity", "unpause", "-w", workflow_id(run), "-a", run)
        assert told(ends(stack, run)) == ["result"]
        closed(temporal, run, "COMPLETED")
    assert scheduled(temporal, run) == [run]


def test_two_homes_on_one_namespace_lose_nothing_and_say_what_is_wrong(stack, temporal, model):
    with Stack(model.url, **temporal.settings()) as second:
        runs = [(s, s.begin(f"busy r{n}")) for n in range(4) for s in (stack, second)]
        for s, run in runs:
            # Each may get the other's tasks many times in a row, and is asked again later and later.
            log = check_journal(s.events(run, timeout=300))
            assert log[-1]["kind"] == "completed" and told(log) == ["result"]
            closed(temporal, run, "COMPLETED", 300)
        assert any("give each a namespace of its own" in server_log(s) for s in (stack, second))


MANY = int(os.environ.get("STIGMER_TEMPORAL_MANY", "300"))


def submit(stack, count):
    """So many runs, each of a session of its own, over one connection."""
    agent = json.loads(stack.cli("get", "agents", "-o", "json").stdout)["items"][0]["metadata"]["id"]
    with grpc.insecure_channel(stack.address) as channel:
        create = channel.unary_unary(
            "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionCommandController/create",
            request_serializer=lambda m: m.SerializeToString(), response_deserializer=execution.AgentExecution.FromString)
        def one(n):
            x = execution.AgentExecution(api_version="agentic.stigmer.ai/v1", kind="AgentExecution")
            x.metadata.name = f"many-{n}"
            x.spec.agent_id, x.spec.message = agent, "say"
            return create(x, timeout=60).metadata.id
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            return list(pool.map(one, range(count)))


def test_very_many_pending_executions(temporal, model):
    """Each has its workflow, a server that comes back asks for all of them again, and all complete."""
    def still_open():
        """-1: it was asked too often."""
        r = temporal.cli("workflow", "count", "--query", "ExecutionStatus = 'Running'", "-o", "json", check=False)
        return -1 if "rate limit" in r.stderr else int(json.loads(r.stdout).get("count", 0))

    with Stack(model.url, slots=64, **temporal.settings()) as stack:
        with frozen(stack):
            began = time.monotonic()
            runs = submit(stack, MANY)
            print(f"{MANY} submitted after {time.monotonic() - began:.1f} s")
            until(lambda: still_open() == MANY, 120)
            print(f"{MANY} workflows after {time.monotonic() - began:.1f} s")
            stack.kill_server()
            until(lambda: stack.cli("inspect", runs[0], check=False).returncode == 0)
        began = time.monotonic()
        for run in reversed(runs):
            assert ends(stack, run)
        print(f"all completed after {time.monotonic() - began:.1f} s")
        until(lambda: still_open() == 0, 60)

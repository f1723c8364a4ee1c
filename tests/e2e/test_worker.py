"""One agent end to end: server, process runner, sandboxed tools, a scripted model."""
import json
import shutil
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from runs import Stack, check_journal, journaled, kinds  # noqa: E402
from scripted_model import ScriptedModel, call  # noqa: E402

ROOT = os.path.join(os.path.dirname(__file__), "../..")


def test_a_run_uses_tools_and_completes():
    turns = [("I write it.", [call("w", "write_file", file_path="a.txt", content="hello\n")]),
             ("I look.", [call("c", "execute", command="cat a.txt; echo done"), call("r", "read_file", file_path="a.txt")]),
             ("It says hello.", [])]
    with ScriptedModel(turns) as model, Stack(model.url) as stack:
        events = stack.follow("write and read")
        log = check_journal(events)
        assert log[-1]["kind"] == "completed" and log[-1]["answer"] == "It says hello."
        results = [m["content"] for m in model.requests[-1]["messages"] if m["role"] == "tool"]
        assert "hello\ndone\nexit code 0" in results[1]
        assert "hello" in results[2]


def test_faults_of_the_model_are_results_it_reads():
    turns = [("", [call("a", "no_such_tool"), {"id": "b", "name": "execute", "arguments": "{broken"}]), ("Sorry.", [])]
    with ScriptedModel(turns) as model, Stack(model.url) as stack:
        log = check_journal(stack.follow("go"))
        assert log[-1]["answer"] == "Sorry."
        results = [m["content"] for m in model.requests[-1]["messages"] if m["role"] == "tool"]
        assert "there is no tool 'no_such_tool'" in results[0]
        assert "not valid JSON" in results[1]


def test_the_tour_recording_replays_with_real_tools():
    with Stack(os.path.join(ROOT, "examples/tour.cassette"), provider="replay") as stack:
        log = check_journal(stack.follow("Look around this source tree."))
        assert log[-1]["kind"] == "completed"
        assert "Stigmer" in log[-1]["answer"]
        found = [os.path.join(d, "TOUR.md") for d, _, names in os.walk(os.path.join(stack.home, "data/workspace"))
                 if "TOUR.md" in names]
        assert len(found) == 1


def test_what_is_recorded_can_be_replayed(tmp_path):
    tape = str(tmp_path / "t.cassette")
    turns = [("", [call("x", "execute", command="echo one")]), ("Recorded.", [])]
    with ScriptedModel(turns) as model, Stack(model.url) as stack:
        first = stack.follow("go", "--record", tape)
        assert journaled(first)[-1]["answer"] == "Recorded."
        asked = len(model.requests)
        with open(tape) as f:
            assert len(f.readlines()) == 3
        again = stack.follow("go", "--replay", tape)
        assert journaled(again)[-1]["answer"] == "Recorded."
        assert len(model.requests) == asked


def test_cancel_ends_a_command_that_runs():
    turns = [("", [call("s", "execute", command="sleep 60")]), ("never", [])]
    with ScriptedModel(turns) as model, Stack(model.url) as stack:
        def stop(e):
            if e["kind"] == "tool_started":
                stack.cli("cancel", e["executionId"])
        before = time.monotonic()
        log = check_journal(stack.follow("sleep", on_event=stop))
        assert log[-1]["kind"] == "cancelled"
        assert time.monotonic() - before < 20


def test_two_runs_of_a_session_share_history():
    with ScriptedModel([("Noted.", [])]) as model, Stack(model.url) as stack:
        first = stack.follow("my name is Ada")
        run = json.loads(stack.cli("inspect", first[0]["executionId"], "-o", "json").stdout)
        session = json.dumps(run)
        session = session[session.index("ses-"):][:30]
        stack.follow("what is my name?", "--session", session)
        texts = [m["content"] for m in model.requests[-1]["messages"] if m["role"] != "system"]
        assert texts == ["my name is Ada", "Noted.", "what is my name?"]


def test_a_recording_that_is_not_there_is_said_at_start():
    stack = Stack("http://127.0.0.1:9/v1", llm={"provider": "replay", "base_url": "/nowhere.cassette"})
    r = stack.cli("server", "start", check=False)
    shutil.rmtree(stack.home)
    assert r.returncode == 4
    assert "/nowhere.cassette" in r.stderr and "--record" in r.stderr

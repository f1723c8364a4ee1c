"""Tool calls that policy holds back, over both engines: asked for once, decided once, run once, whoever dies
meanwhile; and how a person is asked on a terminal."""
import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys

import grpc
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import protos  # noqa: E402
from runs import STIGMER, Stack, check_journal, until  # noqa: E402
from scripted_model import ScriptedModel, call  # noqa: E402
from temporals import Temporal  # noqa: E402

POLICY = {"tools": {"require_approval": "execute"}}


def turns(message):
    """"two": two commands in one turn; else one. Each writes its name into the ledger."""
    names = ["a", "b"] if message == "two" else ["a"]
    return [("I look first.", [call("ls", "ls")]),
            ("I act.", [call(n, "execute", command=f"echo {n} >> ledger") for n in names]),
            ("All done.", [])]


@pytest.fixture(scope="module")
def model():
    with ScriptedModel(turns) as m:
        yield m


@contextlib.contextmanager
def over(engine, model, **more):
    with contextlib.ExitStack() as with_:
        temporal = with_.enter_context(Temporal()) if engine == "temporal" else None
        s = with_.enter_context(Stack(model.url, **more, **POLICY, **(temporal.settings() if temporal else {})))
        s.temporal = temporal
        yield s


@pytest.fixture(params=["embedded", "temporal"])
def engine(request):
    return request.param


@pytest.fixture
def stack(engine, model):
    with over(engine, model) as s:
        yield s


@pytest.fixture
def embedded(model):
    with Stack(model.url, **POLICY) as s:
        yield s


def waiting(stack, run=None):
    out = stack.cli("approvals", "ls", *([run] if run else []), "-o", "json", check=False)
    return json.loads(out.stdout)["items"] if out.returncode == 0 else []


def asked(stack, run, count=1):
    """The questions of a run, once it has asked."""
    return until(lambda: (w := waiting(stack, run)) and len(w) == count and w)


def kinds(log, *wanted):
    return [e["kind"] for e in log if e["kind"] in wanted]


def ends(stack, run, kind="completed"):
    log = check_journal(stack.events(run, check=False))
    assert log[-1]["kind"] == kind, (log[-1], stack.logs())
    assert waiting(stack, run) == []
    return log


def test_a_call_waits_until_it_is_approved(stack):
    run = stack.begin("go")
    (a,) = asked(stack, run)
    assert a["id"] == f"{run}.{a['seq']}" and a["tool"] == "execute" and a["decision"] == ""
    assert json.loads(a["arguments"]) == {"command": "echo a >> ledger"}
    assert a["argumentsBytes"] == len(a["arguments"])
    assert stack.lines(run) == [] and stack.phase(run) == "IN_PROGRESS"
    assert "needs approval" in stack.cli("ps").stdout
    assert json.loads(stack.cli("ps", "-o", "json").stdout)["items"][0]["waitingApprovals"] == 1
    stack.cli("approve", a["id"])
    log = ends(stack, run)
    assert stack.lines(run) == ["a"] and log[-1]["answer"] == "All done."
    (decided,) = [e for e in log if e["kind"] == "approval_decided"]
    assert decided["approved"] is True and decided["by"] == f"uid {os.getuid()}"
    assert json.loads(stack.cli("ps", "-a", "-o", "json").stdout)["items"][0]["waitingApprovals"] == 0


def test_what_is_denied_does_not_run_and_the_model_reads_why(stack, model):
    run = stack.begin("two")
    a, b = asked(stack, run, 2)
    both = stack.cli("deny", run, check=False)
    assert both.returncode == 1 and "say which" in both.stderr
    stack.cli("deny", a["id"], "-m", "Not on a Friday.")
    stack.cli("approve", run)  # the one that still waits
    ends(stack, run)
    assert stack.lines(run) == ["b"]
    results = {m["tool_call_id"]: m["content"] for m in model.requests[-1]["messages"] if m["role"] == "tool"}
    assert "A person denied this call; it did not run: Not on a Friday." in results["a_1"]
    assert "exit code 0" in results["b_1"]


def test_what_is_decided_stays_so(embedded):
    run = embedded.begin("two")
    a, b = asked(embedded, run, 2)
    embedded.cli("approve", b["id"])  # it runs when a is decided
    embedded.cli("approve", b["id"])
    no = embedded.cli("deny", b["id"], check=False)
    assert no.returncode == 1 and "is approved already" in no.stderr
    assert embedded.lines(run) == []
    embedded.cli("cancel", run)
    ends(embedded, run, "cancelled")
    late = embedded.cli("approve", a["id"], check=False)
    assert late.returncode == 1 and "has ended already" in late.stderr
    assert embedded.lines(run) == []


def test_words_that_name_no_approval(embedded):
    run = embedded.begin("go")
    asked(embedded, run)
    for words, code, said in [(["approve", "aex-01h.x"], 2, "names no approval"),
                              (["approve", f"{run}.0"], 2, "names no approval"),
                              (["approve", f"{run}."], 2, "names no approval"),
                              (["deny", f"{run}.1"], 4, "has asked nothing as number 1"),
                              (["approve", f"{run}.999999"], 4, "has asked nothing"),
                              (["approve", "aex-01kb0000000000000000000000.1"], 4, "aex-01kb"),
                              (["deny", run, "-m", "x" * 5000], 2, "limit is 4096"),
                              (["approvals", "ls", "nobody"], 4, "nobody"),
                              (["approve"], 2, "needs an argument")]:
        r = embedded.cli(*words, check=False)
        assert r.returncode == code and said in r.stderr, (words, r)
    assert len(waiting(embedded, run)) == 1


@pytest.mark.parametrize("who", ["runner", "server", "all"])
def test_a_question_outlives_whoever_is_killed(stack, who):
    run = stack.begin("two")
    before = asked(stack, run, 2)
    {"runner": stack.kill_runner, "server": stack.kill_server, "all": stack.kill_all}[who]()
    stack.cli("server", "start")
    after = asked(stack, run, 2)
    assert [x["id"] for x in after] == [x["id"] for x in before]
    for x in after:
        stack.cli("approve", x["id"])
    log = ends(stack, run)
    assert stack.lines(run) == ["a", "b"]
    assert kinds(log, "approval_requested", "approval_decided") == ["approval_requested"] * 2 + ["approval_decided"] * 2


@pytest.mark.parametrize("who", ["runner", "server", "all"])
def test_a_decision_that_nobody_took_yet_is_not_lost(stack, who):
    run = stack.begin("go")
    (a,) = asked(stack, run)
    with stack.killed(who):
        stack.cli("approve", a["id"])
        assert [x["decision"] for x in waiting(stack, run)] == ["approved"]
    stack.cli("server", "start")
    log = ends(stack, run)
    (decided,) = [e for e in log if e["kind"] == "approval_decided"]
    assert decided["approved"]
    (end,) = [e for e in log if e["kind"] == "tool_finished" and e["callId"] == a["callId"]]
    # A runner that is woken by its server's death takes it, begins, and is stopped: then it is told.
    assert stack.lines(run) == ["a"] if end["outcome"] == "result" else end["outcome"] == "unknown"


def test_a_run_that_waits_leaves_its_slot_to_others(engine, model):
    with over(engine, model, slots=1) as s:
        first = s.begin("go")
        (a,) = asked(s, first)
        second = s.begin("go")
        (b,) = asked(s, second)
        s.kill_server()  # what it knew of slots is found again
        until(lambda: s.cli("server", "status", check=False).returncode == 0)
        third = s.begin("go")
        (c,) = asked(s, third)
        s.kill_runner()  # each is taken by the next one, and leaves the slot to the one after it
        fourth = s.begin("go")
        (d,) = asked(s, fourth)
        for x in (d, c, a, b):
            s.cli("approve", x["id"])
        for run in (first, second, third, fourth):
            ends(s, run)
            assert s.lines(run) == ["a"]


def test_a_stop_and_a_start_while_it_waits(stack):
    run = stack.begin("go")
    (a,) = asked(stack, run)
    stack.cli("server", "stop")
    stack.cli("server", "start")
    assert [x["id"] for x in asked(stack, run)] == [a["id"]]
    stack.cli("deny", a["id"])
    ends(stack, run)
    assert stack.lines(run) == []


def test_the_agent_asks_for_what_it_holds_back_itself(model):
    agent = {"apiVersion": "agentic.stigmer.ai/v1", "kind": "Agent", "metadata": {"name": "careful"},
             "spec": {"instructions": "You are careful with tools.", "requireApproval": ["l*"]}}
    with Stack(model.url) as s:
        wrong = s.cli("apply", "-f", "-", check=False,
                      input=json.dumps({**agent, "spec": {**agent["spec"], "requireApproval": ["exceute"]}}))
        assert wrong.returncode == 2 and "'exceute' fits no tool" in wrong.stderr
        s.cli("apply", "-f", "-", input=json.dumps(agent))
        run = s.cli("run", "careful", "-m", "go", "--detach").stdout.strip()
        (a,) = asked(s, run)
        assert a["tool"] == "ls"
        s.cli("approve", run)
        ends(s, run)
        assert s.lines(run) == ["a"]
        free = s.begin("go")  # of the agent that holds nothing back
        ends(s, free)


def test_a_runner_that_does_not_ask_gets_no_such_run(model):
    """One of an older version would run everything."""
    runner = protos.module("stigmer.runner.v1.runner")
    with Stack(model.url, **{**POLICY, "runner": {"kind": "none"}}) as s:
        env = dict(line.split("=", 1) for line in s.cli("internal", "runner-env").stdout.splitlines() if "=" in line)
        with open(f"{env['STIGMER_RUNNER_KEYS']}/runner.token") as f:
            token = [("authorization", f"Bearer {f.read().strip()}")]
        with grpc.insecure_channel(f"unix:{env['STIGMER_RUNNER_API']}/runner.sock") as channel:
            def method(kind, name, answer):
                return getattr(channel, kind)(f"/stigmer.runner.v1.RunnerService/{name}",
                                              request_serializer=lambda m: m.SerializeToString(),
                                              response_deserializer=answer.FromString)
            stream = method("unary_stream", "attach", runner.AttachResponse)(
                runner.AttachRequest(runner_id="old", slots=1), metadata=token)
            assert next(stream).WhichOneof("command") == "welcome"
            run = s.begin("go")
            assert next(stream).assign.execution_id == run
            with pytest.raises(grpc.RpcError) as refused:
                method("unary_unary", "claim", runner.ClaimResponse)(
                    runner.ClaimRequest(runner_id="old", execution_id=run), metadata=token)
            assert "does not ask for it" in refused.value.details()
            log = ends(s, run, "failed")
            assert "wait for a person's approval, and runner old is of a version" in log[-1]["error"]["message"]
            stream.cancel()


def test_a_run_that_nobody_can_be_asked_for_leaves_with_6_and_goes_on(embedded):
    r = embedded.cli("run", "worker-test", "-m", "go", "-o", "json", check=False, stdin=subprocess.DEVNULL)
    error = json.loads(r.stdout)
    assert r.returncode == 6 and error["code"] == "APPROVAL_NEEDED" and error["exit"] == 6
    run = re.search(r"run (aex-\w+) waits", error["message"])[1]
    assert f"stigmer approve {run}." in error["hint"]
    embedded.cli("approve", run)
    ends(embedded, run)
    done = embedded.cli("run", "worker-test", "-m", "go", "-o", "jsonl", check=False, stdin=subprocess.DEVNULL)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 6 and [e.get("kind") for e in lines][-2:] == ["approval_requested", None]


# ---- on a terminal -----------------------------------------------------------------------------


class Terminal:
    """A `stigmer` at the far end of a terminal of its own."""

    def __init__(self, stack, *args, then=None):
        """then: what a shell does on the same terminal afterwards."""
        command = ["/bin/sh", "-c", f'"$0" "$@"; {then}', STIGMER] if then else [STIGMER]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], [*command, *args], {**stack.env, "NO_COLOR": "1"})
        self.seen = ""

    def read_until(self, *wanted):
        """What came since the last call, up to and with one of what is wanted."""
        def more():
            if not any(w in self.seen for w in wanted) and select.select([self.fd], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):  # its end
                    self.seen += os.read(self.fd, 65536).decode()
            return any(w in self.seen for w in wanted)
        try:
            until(more, 30)
        except AssertionError:
            raise AssertionError(f"no {wanted!r} in {self.seen!r}") from None
        at = min(self.seen.index(w) + len(w) for w in wanted if w in self.seen)
        out, self.seen = self.seen[:at], self.seen[at:]
        return out

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


ALLOW = "allow it? [y]es, [n]o, or why not: "


def test_a_person_is_asked_on_the_terminal(embedded):
    t = Terminal(embedded, "run", "worker-test", "-m", "two")
    assert 'asks to run execute: {"command": "echo a >> ledger"}' in t.read_until(ALLOW)
    t.type("\n")  # nothing decides nothing
    assert "echo a" in t.read_until(ALLOW)
    t.type("y\n")
    assert "approved by" in t.read_until("echo b >> ledger")
    t.read_until(ALLOW)
    t.type("once is enough\n")
    t.read_until("denied by uid")
    t.read_until("once is enough")
    t.read_until("All done.")
    assert t.end() == 0
    run = json.loads(embedded.cli("ps", "-a", "-o", "json").stdout)["items"][0]["id"]
    assert embedded.lines(run) == ["a"]


def test_answers_in_other_letters_and_a_terminal_that_stays_as_it_was(embedded):
    t = Terminal(embedded, "run", "worker-test", "-m", "two", then="grep flags /proc/self/fdinfo/[02]; echo the end")
    t.read_until(ALLOW)
    t.type(" Yes \n")
    t.read_until("echo b >> ledger")
    t.read_until(ALLOW)
    t.type("NO\n")
    t.read_until("All done.")
    flags = [int(line.split()[-1], 8) for line in t.read_until("the end").splitlines() if "flags:" in line]
    assert len(flags) == 2 and not any(f & os.O_NONBLOCK for f in flags)
    t.end()
    run = json.loads(embedded.cli("ps", "-a", "-o", "json").stdout)["items"][0]["id"]
    assert embedded.lines(run) == ["a"]


def test_an_answer_that_the_server_s_death_took_along_is_asked_for_again(embedded):
    """Delivered or not, the person is asked until it is decided."""
    t = Terminal(embedded, "run", "worker-test", "-m", "go")
    t.read_until(ALLOW)
    run = embedded.cli("ps", "-q").stdout.strip()
    embedded.kill_server()
    t.type("y\n")
    while "approved by" not in t.read_until(ALLOW, "approved by"):
        t.type("y\n")
    t.read_until("All done.")
    assert t.end() == 0
    log = ends(embedded, run)
    assert kinds(log, "approval_decided") == ["approval_decided"]


def test_arguments_cannot_hide_what_they_are(embedded, model):
    """By pushing it out of sight, or by characters that turn the text around."""
    hidden = json.dumps({"command": "echo a >> ledger # \u202e" + " " * 500 + "end"}, ensure_ascii=False)
    model.turns = [("I act.", [{"id": "a", "name": "execute", "arguments": hidden[:-1] + "\n" * 1500 + "}"}]), ("All done.", [])]
    try:
        t = Terminal(embedded, "run", "worker-test", "-m", "go")
        shown = t.read_until(ALLOW).splitlines()
        assert re.search(r'asks to run execute: .*"echo a >> ledger # \\u202e +…end" +… … \(\d+ bytes more\)$', shown[-2])
        t.type("n\n")
        t.read_until("All done.")
        assert t.end() == 0
    finally:
        model.turns = turns


def test_an_answer_from_elsewhere_withdraws_the_question(embedded):
    t = Terminal(embedded, "run", "worker-test", "-m", "two")
    t.read_until(ALLOW)
    run = embedded.cli("ps", "-q").stdout.strip()
    t.type("y")  # and no Enter: it must not answer the next question
    a, b = asked(embedded, run, 2)
    embedded.cli("deny", a["id"], "-m", "I was first")
    t.read_until("I was first")
    t.read_until("echo b >> ledger")
    t.read_until(ALLOW)
    t.type("\n")
    t.read_until(ALLOW)
    assert [x["decision"] for x in asked(embedded, run)] == [""]
    t.type("\x04")  # left to others
    t.read_until(f"stigmer approve {b['id']}")
    embedded.cli("approve", b["id"])
    t.read_until("All done.")
    assert t.end() == 0 and embedded.lines(run) == ["b"]


def test_what_was_decided_before_is_not_asked_by_attach(embedded):
    run = embedded.begin("two")
    a, b = asked(embedded, run, 2)
    embedded.cli("approve", a["id"])
    t = Terminal(embedded, "attach", run)
    assert "echo a >> ledger\"}" not in t.read_until(ALLOW)
    t.type("n\n")
    t.read_until("All done.")
    assert t.end() == 0 and embedded.lines(run) == ["a"]


# ---- by Temporal's signals ---------------------------------------------------------------------


def test_the_signals_approve_and_deny_decide(model):
    with Temporal() as t, Stack(model.url, **POLICY, **t.settings()) as s:
        def signalled(name, payload):
            t.workflow("signal", run, "--name", name, "--input", json.dumps(payload))

        run = s.begin("two")
        a, b = asked(s, run, 2)
        signalled("approve", {"reason": "which?"})
        signalled("approve", "")
        signalled("approve", "aex-01kb0000000000000000000000.1")
        signalled("approve", {"id": a["id"], "reason": 5})
        signalled("deny", {"id": b["id"], "reason": "from Temporal"})
        signalled("approve", b["id"])  # it is denied already
        assert s.lines(run) == []
        signalled("approve", a["seq"])
        log = ends(s, run)
        assert s.lines(run) == ["a"]
        by_call = {e["callId"]: e for e in log if e["kind"] == "approval_decided"}
        assert by_call["a_1"]["approved"] and by_call["b_1"]["reason"] == "from Temporal"
        assert by_call["a_1"]["by"] not in ("", f"uid {os.getuid()}")
        server = s.logs()
        assert server.count("its input must name the call") == 3 and "is denied already" in server
        until(lambda: t.status(run) == "COMPLETED", 30)
        run = s.begin("go")
        (a,) = asked(s, run)
        signalled("approve", {"call": a["callId"]})
        ends(s, run)


def test_a_reset_that_signals_again_decides_nothing_new(model):
    with Temporal() as t, Stack(model.url, **POLICY, **t.settings()) as s:
        run = s.begin("two")
        a, b = asked(s, run, 2)
        t.workflow("signal", run, "--name", "approve", "--input", json.dumps(a["id"]))
        asked(s, run, 1)
        t.workflow("reset", run, "--type", "FirstWorkflowTask", "--reason", "a try")

        def heard_again():
            """The signal stands in the new history, and a task after it is done."""
            history = json.loads(t.workflow("show", run, "-o", "json").stdout)["events"]
            kinds_ = [e["eventType"] for e in history]
            return "EVENT_TYPE_WORKFLOW_TASK_FAILED" in kinds_ and "EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED" in kinds_ and \
                "EVENT_TYPE_WORKFLOW_TASK_COMPLETED" in kinds_[kinds_.index("EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED"):]
        until(heard_again)
        s.cli("deny", b["id"])
        log = ends(s, run)
        assert s.lines(run) == ["a"] and kinds(log, "approval_decided") == ["approval_decided"] * 2

"""Records histories of real workflows, one of each shape, for tests/unit/core/histories_test.c: what a release has
once decided every later one must decide again. Files are temporal.api.history.v1.History, named VERSION-SHAPE.bin.

    python3 tests/histories.py VERSION [METHOD…]     (STIGMER_PREFIX as for the tests)

What is there is never recorded anew: add files of a new VERSION beside them."""
import asyncio
import os
import pathlib
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "e2e"), str(HERE / "fake")]
from google.protobuf import json_format  # noqa: E402
from runs import Stack, descendants, until  # noqa: E402
from scripted_model import ScriptedModel  # noqa: E402
from temporalio.api.history.v1 import message_pb2  # noqa: E402
from temporalio.client import Client  # noqa: E402
from temporals import Temporal, workflow_id  # noqa: E402
from test_engine_seam import begun, open_gate, turns  # noqa: E402


class Recorder:
    def __init__(self, version, temporal, stack):
        self.version, self.temporal, self.stack = version, temporal, stack

    def save(self, shape, run, open_too=False):
        until(lambda: open_too or self.temporal.status(run) not in ("RUNNING", ""), 60)
        text = self.temporal.workflow("show", run, "-o", "json").stdout
        history = json_format.Parse(text, message_pb2.History(), ignore_unknown_fields=True)
        path = HERE / "data/histories" / f"{self.version}-{shape}.bin"
        path.write_bytes(history.SerializeToString(deterministic=True))
        print(f"{path.name}: {len(history.events)} events, {path.stat().st_size} bytes")

    def begin(self):
        run = self.stack.begin("gate a")
        begun(self.stack, run)
        return run

    def completed(self):
        run = self.stack.begin("say")
        self.save("completed", run)

    def open(self):
        run = self.begin()
        self.save("open", run, open_too=True)
        open_gate(self.stack, run)

    def cancelled(self):
        run = self.begin()
        self.temporal.workflow("cancel", run)
        self.save("cancelled", run)

    def cancelled_before_its_activity_was_taken(self):
        pids = descendants(self.stack.runner_pid())
        for p in pids:
            os.kill(p, signal.SIGSTOP)
        run = self.stack.begin("say")
        until(lambda: self.temporal.status(run) == "RUNNING")
        self.temporal.workflow("cancel", run)
        until(lambda: self.stack.phase(run) == "CANCELLED")
        for p in pids:
            os.kill(p, signal.SIGCONT)
        self.save("cancelled-untaken", run)

    def failed(self):
        run = self.begin()
        self.temporal.cli("activity", "fail", "-w", workflow_id(run), "--activity-id", run, "--reason", "no")
        self.save("failed", run)

    def terminated(self):
        run = self.begin()
        self.temporal.workflow("terminate", run, "--reason", "enough")
        self.save("terminated", run)

    def retried(self):
        run = self.begin()
        self.stack.kill_runner()
        open_gate(self.stack, run)
        self.save("retried", run)

    def handed_back(self):
        """Twice: each runner that has it is stopped, and another one goes on."""
        run = self.stack.begin("gates a")
        for command in ("a1", "a2"):
            until(lambda c=command: f"+{c}" in self.stack.lines(run))
            os.kill(self.stack.runner_pid(), signal.SIGTERM)  # the server starts the next one
            open_gate(self.stack, run)
        self.save("handed-back", run)

    def signalled(self):
        run = self.begin()

        async def send():
            handle = (await Client.connect(self.temporal.address)).get_workflow_handle(workflow_id(run))
            for n in range(3):
                await handle.signal("noise", n)
        asyncio.run(send())
        open_gate(self.stack, run)
        self.save("signalled", run)

    def unknown_event(self):
        run = self.begin()
        self.temporal.workflow("update-options", run, "--versioning-override-behavior", "auto_upgrade")
        open_gate(self.stack, run)
        self.save("unknown-event", run)

    def reset(self):
        run = self.begin()
        self.temporal.workflow("reset", run, "--type", "FirstWorkflowTask", "--reason", "a try")
        until(lambda: self.temporal.attempts(run))
        open_gate(self.stack, run)
        self.save("reset", run)

    def task_timed_out(self):
        run = self.begin()
        pid = self.stack._pids()[1]
        os.kill(pid, signal.SIGSTOP)
        self.temporal.workflow("signal", run, "--name", "wake-up")
        until(lambda: self.temporal.describe(run).get("pendingWorkflowTask", {}).get("state", "").endswith("STARTED"))
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.stack.cli("inspect", run, check=False).returncode == 0)
        open_gate(self.stack, run)
        self.save("task-timed-out", run)


SHAPES = [getattr(Recorder, n) for n in vars(Recorder) if n not in ("save", "begin") and not n.startswith("_")]

if __name__ == "__main__":
    with Temporal() as t, ScriptedModel(turns) as m:
        for shape in [x for x in SHAPES if x.__name__ in (sys.argv[2:] or [x.__name__])]:
            with Stack(m.url, **t.settings()) as s:
                shape(Recorder(sys.argv[1], t, s))

"""What the tests of running agents share: a stack in a home of its own (process runner), runs that
are followed event by event, and the processes behind them."""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "fake"))

STIGMER = os.path.join(os.environ.get("STIGMER_PREFIX", "out"), "bin/stigmer")
AGENT = """apiVersion: agentic.stigmer.ai/v1
kind: Agent
metadata: {name: worker-test}
spec: {instructions: "You do what the task says, step by step."}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def descendants(pid):
    found, todo = [], [pid]
    while todo:
        p = todo.pop()
        found.append(p)
        try:
            with open(f"/proc/{p}/task/{p}/children") as f:
                todo += [int(c) for c in f.read().split()]
        except OSError:
            pass
    return found


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return f.read().split("\0")
    except OSError:
        return []


def kill_all_of(pids):
    for p in pids:
        try:
            os.kill(p, signal.SIGKILL)
        except ProcessLookupError:
            pass


def kill_tree(pid):
    """It and all below it, at once."""
    kill_all_of(descendants(pid))


class Stack:
    def __init__(self, base_url, provider="openai", slots=16, **settings):
        self.home = tempfile.mkdtemp(prefix="sw-", dir="/tmp")
        self.address = f"127.0.0.1:{free_port()}"
        config = {"server": {"listen": self.address},
                  "runner": {"kind": "process", "slots": slots},
                  "llm": {"provider": provider, "base_url": base_url}}
        if provider != "replay":
            config["llm"]["model"] = "scripted"
        config.update(settings)
        with open(os.path.join(self.home, "config.yaml"), "w") as f:
            json.dump(config, f)
        self.env = {**os.environ, "STIGMER_HOME": self.home, "OPENAI_API_KEY": "test-key-1234567"}

    def cli(self, *args, check=True, timeout=60, **kw):
        r = subprocess.run([STIGMER, *args], env=self.env, capture_output=True, text=True, timeout=timeout, **kw)
        assert not check or r.returncode == 0, f"stigmer {' '.join(args)}: {r.returncode} {r.stderr} {self.logs()}"
        return r

    def logs(self):
        out = ""
        for name in ("stigmer-server.log", "agent-runner.log", "other-runner.log"):
            try:
                with open(os.path.join(self.home, "data/logs", name)) as f:
                    out += f"\n== {name}\n" + f.read()[-3000:]
            except OSError:
                pass
        return out

    def __enter__(self):
        self.cli("server", "start")
        self.cli("apply", "-f", "-", input=AGENT)
        return self

    def __exit__(self, *_):
        self.cli("server", "stop", "--grace", "1s", check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    def runner_pid(self):
        """The launcher of the process runner."""
        status = json.loads(self.cli("server", "status", "-o", "json").stdout)
        return next(c for c in status["components"] if c["name"] == "agent-runner").get("pid")

    def worker_pid(self):
        return next(p for p in descendants(self.runner_pid()) if "worker" in command_line(p)[1:2])

    def add_runner(self):
        """Another runner beside the stack's own: the same program in the same surroundings; its launcher."""
        pid = self.runner_pid()
        with open(f"/proc/{pid}/environ") as f:
            env = dict(line.split("=", 1) for line in f.read().split("\0") if line)
        with open(os.path.join(self.home, "data/logs/other-runner.log"), "a") as log:
            return subprocess.Popen(command_line(pid)[:2], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    start_new_session=True)

    def kill_runner(self):
        """The launcher and all below it, as a power cut would."""
        kill_tree(self.runner_pid())

    def _pids(self):
        """Of keeper and server."""
        with open(os.path.join(self.home, "data/run/server.pid")) as f:
            return [int(line.split()[1]) for line in f]

    def kill_server(self):
        """The keeper starts it again."""
        os.kill(self._pids()[1], signal.SIGKILL)

    def kill_all(self):
        """Keeper, server, and what is below them."""
        kill_all_of([p for pid in self._pids() for p in descendants(pid)])

    @contextlib.contextmanager
    def killed(self, who):
        """What is done inside reaches no runner; then the runner, the server or all are killed."""
        frozen = descendants(self.runner_pid())
        for p in frozen:
            os.kill(p, signal.SIGSTOP)
        yield
        if who != "server":
            kill_all_of(frozen)
        if who == "server":
            self.kill_server()
        elif who == "all":
            self.kill_all()
        for p in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(p, signal.SIGCONT)

    def begin(self, message, *flags):
        """Its id."""
        return self.cli("run", "worker-test", "-m", message, "--detach", *flags).stdout.split()[-1]

    def inspect(self, run):
        return json.loads(self.cli("inspect", run, "-o", "json").stdout)

    def phase(self, run):
        return self.inspect(run)["status"].get("phase", "").removeprefix("EXECUTION_")

    def events(self, run, check=True, timeout=60):
        """All of them, to the end of the run."""
        out = self.cli("attach", run, "-o", "jsonl", check=check, timeout=timeout).stdout
        return [json.loads(line) for line in out.splitlines()]

    def workspace(self, run):
        return os.path.join(self.home, "data/workspace", self.inspect(run)["spec"]["sessionId"])

    def lines(self, run, name="ledger"):
        """Of a file in the run's workspace."""
        try:
            with open(os.path.join(self.workspace(run), name)) as f:
                return f.read().split()
        except FileNotFoundError:
            return []

    def follow(self, message, *flags, on_event=None):
        """Runs to the end; the events as dicts. on_event sees each one as it arrives."""
        p = subprocess.Popen([STIGMER, "run", "worker-test", "-m", message, "-o", "jsonl", *flags], env=self.env,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        events, end = [], time.monotonic() + 60
        for line in p.stdout:
            e = json.loads(line)
            events.append(e)
            if on_event:
                on_event(e)
            assert time.monotonic() < end, "the run does not end"
        p.wait(timeout=10)
        return events


def until(wanted, seconds=60):
    """Asks again and again until the answer is true; the answer."""
    end = time.monotonic() + seconds
    while not (got := wanted()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
    return got


def journaled(events):
    """One of each seq, in order."""
    seen = {e["seq"]: e for e in events if "seq" in e}
    assert list(seen) == sorted(seen)
    return [seen[s] for s in sorted(seen)]


def kinds(events):
    return [e["kind"] for e in journaled(events)]


def check_journal(events):
    """Contiguous, one end, one tool_finished for each call, and that before the next turn."""
    log = journaled(events)
    assert [e["seq"] for e in log] == list(range(1, len(log) + 1))
    terminal = [e["kind"] for e in log if e["kind"] in ("completed", "failed", "cancelled")]
    assert len(terminal) == 1 and log[-1]["kind"] == terminal[0]
    finished = [e["callId"] for e in log if e["kind"] == "tool_finished"]
    assert len(finished) == len(set(finished))
    open_calls = set()
    for e in log:
        if e["kind"] == "turn_started":
            assert not open_calls, (e, open_calls)
        elif e["kind"] == "turn_finished":
            open_calls = {c["callId"] for c in e["toolCalls"]}
        elif e["kind"] == "tool_finished":
            open_calls.remove(e["callId"])
    return log

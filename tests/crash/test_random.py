"""Parts of a stack are killed at random moments while several sessions have runs in flight. Afterwards
every acknowledged run has completed, once, in its session's order; what had an effect had it at most
once, and not at all only if the model was told; the journal keeps its invariants; a stop leaves nothing.

STIGMER_CRASH_SECONDS (default 50, for both kinds of runner) and STIGMER_CRASH_SEED choose how long and what."""
import json
import os
import pathlib
import queue
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import leaks  # noqa: E402
from runs import STIGMER, Stack, check_journal, command_line, descendants  # noqa: E402
from scripted_model import ScriptedModel, call  # noqa: E402

SECONDS = float(os.environ.get("STIGMER_CRASH_SECONDS", "50"))
SEED = int(os.environ.get("STIGMER_CRASH_SEED") or random.SystemRandom().randint(0, 1 << 30))
SESSIONS, RUNS, SETTLE_S = 3, 3, 90
KILLS = 4  # in one stack: ten restarts in ten minutes, or five lost runners without a step, end a run rightly


def turns(name):
    """Commands with an effect each, one of them with a payload that is kept as a blob."""
    def note(step, then):
        return call(f"{name}-{step}", "execute", command=f"echo {name}-{step} >> ledger; {then}")
    return [("Look.", [call("ls", "ls"), call("glob", "glob", pattern="*")]),
            ("Do.", [note(1, "sleep 0.05"), note(2, "head -c 40000 /dev/zero | tr '\\0' x")]),
            ("Do more.", [note(3, "sleep 0.1; echo end")]),
            (f"{name} is done.", [])]


class Case:
    """One stack, and what is done to it."""

    def __init__(self, stack, rng):
        self.stack, self.rng, self.log = stack, rng, []
        self.runs, self.sessions = {}, {}  # run id → name; number of the session → id
        self.moments, self.began = queue.Queue(), time.monotonic()

    def say(self, text):
        self.log.append(f"{time.monotonic() - self.began:.4f} {text}")

    # ---- runs

    def submit(self, session, number):
        """Acknowledged when the id is printed; what is refused meanwhile is nobody's loss."""
        name = f"s{session}r{number}"
        known = ["--session", self.sessions[session]] if session in self.sessions else []
        r = subprocess.run([STIGMER, "run", "worker-test", "-m", name, "--detach", *known, "--timeout", "10s"],
                           env=self.stack.env, capture_output=True, text=True, timeout=60)
        self.say(f"submit {name}: {r.returncode} {r.stdout.strip()}")
        if r.returncode == 0:
            run = r.stdout.strip().splitlines()[-1]
            self.runs[run] = name
            if session not in self.sessions:
                self.sessions[session] = self.inspect(run)["spec"]["sessionId"]

    def submit_all(self):
        for number in range(RUNS):
            for session in range(SESSIONS):
                self.submit(session, number)

    def inspect(self, run):
        """Of a run that was acknowledged: it is there, as soon as there is a server."""
        end = time.monotonic() + SETTLE_S
        while time.monotonic() < end:
            r = subprocess.run([STIGMER, "inspect", run, "-o", "json", "--timeout", "10s"], env=self.stack.env,
                               capture_output=True, text=True, timeout=60)
            if r.returncode == 0:
                return json.loads(r.stdout)
            assert r.returncode != 4, f"{run} is lost: {r.stderr}"
            if r.returncode == 3 and not self.killing:
                self.start()
            time.sleep(0.05)
        raise AssertionError(f"{run} cannot be read: {r.returncode} {r.stderr}")

    def watch(self, run):
        """Every event of a run is a moment."""
        p = subprocess.Popen([STIGMER, "attach", run, "-o", "jsonl"], env=self.stack.env, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
        for line in p.stdout:
            self.moments.put(line)
        p.wait()

    # ---- kills

    def victims(self):
        """Name → pids: every process of the stack by what it is; a container as well."""
        found = {}
        every = dict(leaks.processes(self.stack.home))
        for i in leaks.containers(self.stack.home):
            found["container"] = [i]
            r = subprocess.run(["docker", "inspect", "-f", "{{.State.Pid}}", i], capture_output=True, text=True)
            if r.returncode == 0 and int(r.stdout) > 1:
                every.update({p: command_line(p) for p in descendants(int(r.stdout))})
        for pid, args in every.items():
            program = os.path.basename(args[0]) if args else ""
            if program == "agent-runner":
                found.setdefault(args[1], []).append(pid)
            elif program in ("stigmer-keeper", "stigmer-server"):
                found.setdefault(program, []).append(pid)
            elif program != "stigmer" and pid != os.getpid():
                found.setdefault("command", []).append(pid)
        return found

    def kill_one(self):
        found = self.victims()
        if not found:
            return
        what = self.rng.choice(sorted(found))
        who = self.rng.choice(sorted(found[what]))
        how = self.rng.choice(["kill", "kill", "stop, then kill", "stop, then go on"])
        pause = self.rng.choice([0.001, 0.05, 0.4, 2.5]) * self.rng.random()
        self.say(f"{how} {what} {who}" + (f" after {pause:.4f}" if "stop" in how else ""))
        if what == "container":
            subprocess.run(["docker", "kill", who], capture_output=True)
            return
        try:
            if how != "kill":
                os.kill(who, signal.SIGSTOP)
                time.sleep(pause)
            os.kill(who, signal.SIGCONT if "go on" in how else signal.SIGKILL)
        except ProcessLookupError:
            pass

    def wait_for_a_moment(self):
        """Some time, or some microseconds after an event."""
        if self.rng.random() < 0.3:
            time.sleep(self.rng.random() * 0.5)
            return
        for _ in range(self.rng.randint(1, 12)):
            try:
                self.moments.get(timeout=0.5)
            except queue.Empty:
                return
        until = time.monotonic() + self.rng.choice([0, 0.0001, 0.002]) * self.rng.random()
        while time.monotonic() < until:
            pass

    def start(self):
        r = subprocess.run([STIGMER, "server", "start"], env=self.stack.env, capture_output=True, text=True, timeout=120)
        self.say(f"start: {r.returncode} {r.stderr.strip()[-200:]}")

    def play(self):
        self.killing = True
        submitter = threading.Thread(target=self.guarded(self.submit_all))
        submitter.start()
        watched = set()
        for _ in range(self.rng.randint(1, KILLS)):
            for run in [r for r in list(self.runs) if r not in watched]:
                watched.add(run)
                threading.Thread(target=self.watch, args=[run], daemon=True).start()
            self.wait_for_a_moment()
            self.kill_one()
            if "stigmer-keeper" not in self.victims():
                self.start()
        self.killing = False
        submitter.join()
        assert not self.broken, self.broken

    broken = None

    def guarded(self, fn):
        def body():
            try:
                fn()
            except BaseException as e:  # told by play
                self.broken = repr(e)
        return body

    # ---- what must be true

    def settle(self):
        end = time.monotonic() + SETTLE_S
        for run, name in self.runs.items():
            while (phase := self.inspect(run)["status"].get("phase", "")) in ("EXECUTION_PENDING", "EXECUTION_IN_PROGRESS"):
                assert time.monotonic() < end, f"{name} {run} does not end: {phase}"
                time.sleep(0.05)
            assert phase == "EXECUTION_COMPLETED", (name, run, self.inspect(run)["status"])

    def ledger(self, session):
        path = pathlib.Path(self.stack.home, "data/workspace", self.sessions[session], "ledger")
        return path.read_text().split() if path.exists() else []

    def check_run(self, run, name):
        out = self.stack.cli("attach", run, "-o", "jsonl").stdout
        log = check_journal([json.loads(line) for line in out.splitlines()])
        assert log[-1]["answer"] == f"{name} is done."
        done = self.ledger(int(name[1]))
        commands = {e["callId"]: e["args"]["command"] for e in log if e["kind"] == "tool_started" and e["name"] == "execute"}
        ends = {e["callId"]: e for e in log if e["kind"] == "tool_finished"}
        assert len(commands) == 3, commands
        for call_id, command in commands.items():
            token = re.match(r"echo (\S+)", command).group(1)
            # A command that was killed is told as that; a "result" of a whole one had its effect.
            whole = ends[call_id]["outcome"] == "result" and "exit code 0" in ends[call_id]["text"]
            assert done.count(token) == 1 or (done.count(token) == 0 and not whole), (token, done, ends[call_id])

    def check_order(self, session):
        numbers = [int(re.match(r"s\d+r(\d+)-", t).group(1)) for t in self.ledger(session)]
        assert numbers == sorted(numbers), (session, self.ledger(session))

    def check_store(self):
        """After the stop: the file is whole, seqs are contiguous, epochs only grow."""
        with sqlite3.connect(f"file:{self.stack.home}/data/stigmer.db?mode=ro", uri=True) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            last = {}
            for run, seq, epoch in db.execute("SELECT execution_id, seq, epoch FROM event ORDER BY execution_id, seq"):
                before, highest = last.get(run, (0, 0))
                assert seq == before + 1 and (epoch == 0 or epoch >= highest), (run, seq, epoch, before, highest)
                last[run] = (seq, max(epoch, highest))
            assert set(self.runs) <= set(last)
            assert db.execute("SELECT count(*) FROM event WHERE hash IS NOT NULL AND hash NOT IN (SELECT hash FROM blob)"
                              ).fetchone() == (0,)

    def check_stopped(self):
        r = self.stack.cli("server", "stop", "--grace", "2s", check=False)
        assert r.returncode == 0, (r.returncode, r.stderr)
        end = time.monotonic() + 5  # commands of a process runner are ended beside the stop
        while (found := leaks.left(self.stack.home)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not found, found
        strays = [str(p) for p in pathlib.Path(self.stack.home).rglob("*") if re.search(r"\.(tmp|new)(\.|$|-)", p.name)]
        assert not strays, strays


def play_cases(seed, seconds, **settings):
    end, cases = time.monotonic() + seconds, 0
    rng = random.Random(seed)
    while cases == 0 or time.monotonic() < end:
        with ScriptedModel(turns, delay=0.02) as model, Stack(model.url, **settings) as stack:
            case = Case(stack, rng)
            try:
                case.play()
                case.settle()
                for run, name in case.runs.items():
                    case.check_run(run, name)
                for session in case.sessions:
                    case.check_order(session)
                case.check_stopped()
                case.check_store()
            except Exception as e:
                print("\n".join(case.log), stack.logs(), sep="\n")
                raise AssertionError(f"STIGMER_CRASH_SEED={seed}, case {cases + 1}: {e}") from e
        cases += 1
    print(f"{cases} cases, seed {seed}")


def test_kills_at_random_moments_lose_and_double_nothing():
    play_cases(SEED, SECONDS * 0.6)


def test_kills_at_random_moments_with_a_container_lose_and_double_nothing():
    if os.environ.get("CI") != "true" and subprocess.run(["docker", "version"], capture_output=True).returncode != 0:
        pytest.skip("no container engine answers")
    play_cases(SEED + 1, SECONDS * 0.4, runner={"kind": "docker", "name": f"stigmer-test-{os.urandom(4).hex()}"})

"""Runner, server and Temporal are killed at random moments, alone and together, while many executions run
on Temporal. Every execution completes once, every effect has happened at most once, and not at all only if the
model was told; in Temporal every workflow has ended, none twice.

STIGMER_TEMPORAL_KILLS (default 10), STIGMER_TEMPORAL_RUNS (default 10, at any time) and STIGMER_CRASH_SEED choose
how long and what."""
import json
import os
import random
import sqlite3
import sys
import time

import grpc

sys.path[:0] = [os.path.join(os.path.dirname(__file__), d) for d in ("..", "../e2e")]
import leaks  # noqa: E402
import protos  # noqa: E402
from runs import Stack, check_journal, kill_tree, until  # noqa: E402
from scripted_model import ScriptedModel, call  # noqa: E402
from temporals import Temporal  # noqa: E402

KILLS = int(os.environ.get("STIGMER_TEMPORAL_KILLS", "10"))
RUNS = int(os.environ.get("STIGMER_TEMPORAL_RUNS", "10"))
SEED = int(os.environ.get("STIGMER_CRASH_SEED") or random.SystemRandom().randint(0, 1 << 30))
STEPS, COMPLETED = 4, 3
execution = protos.module("ai.stigmer.agentic.agentexecution.v1.agentexecution")


def turns(name):
    return [*((f"Step {n}.", [call(f"{name}-{n}", "execute", command=f"echo {name}-{n} >> ledger; sleep 0.2")])
              for n in range(STEPS)), (f"{name} is done.", [])]


class Case:
    def __init__(self, stack, temporal, rng):
        self.stack, self.temporal, self.rng = stack, temporal, rng
        self.acknowledged, self.count, self.kills = set(), 0, {}
        self.agent = json.loads(stack.cli("get", "agents", "-o", "json").stdout)["items"][0]["metadata"]["id"]

    def states(self):
        """Execution → (has ended, phase), as the journal's file says: also while no server answers."""
        db = sqlite3.connect(f"file:{self.stack.home}/data/stigmer.db?mode=ro", uri=True, timeout=20)
        try:
            return {run: (state == 2, phase) for run, state, phase in db.execute("SELECT id, state, phase FROM execution")}
        finally:
            db.close()

    def submit(self, count):
        with grpc.insecure_channel(self.stack.address) as channel:
            create = channel.unary_unary(
                "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionCommandController/create",
                request_serializer=lambda m: m.SerializeToString(), response_deserializer=execution.AgentExecution.FromString)
            for _ in range(count):
                self.count += 1
                x = execution.AgentExecution(api_version="agentic.stigmer.ai/v1", kind="AgentExecution")
                x.metadata.name = x.spec.message = f"r{self.count}"
                x.spec.agent_id = self.agent
                try:
                    self.acknowledged.add(create(x, timeout=2).metadata.id)
                except grpc.RpcError:
                    return  # it is between two lives: what it has of it, it has

    def fill(self):
        self.submit(RUNS - sum(not ended for ended, _ in self.states().values()))

    def kill_one(self):
        """Parts of the stack, by what they are; what nobody restarts is started again."""
        kinds = {"runner": self.kill_runner, "server": self.kill_server, "temporal": self.kill_temporal,
                 "runner and temporal": lambda: (self.kill_runner(), self.kill_temporal()),
                 "server and runner": lambda: (self.kill_runner(), self.kill_server()),
                 "server and temporal": lambda: (self.kill_server(), self.kill_temporal()),
                 "temporal frozen": self.freeze_temporal}
        what = self.rng.choice(list(kinds))
        self.kills[what] = self.kills.get(what, 0) + 1
        try:
            kinds[what]()
        except (OSError, IndexError):
            pass  # it is dead already, and its pid file is on its way

    def kill_runner(self):
        for pid, line in leaks.processes(self.stack.home).items():
            if line[1:2] == ["launch"]:
                kill_tree(pid)

    def kill_server(self):
        self.stack.kill_server()

    def kill_temporal(self):
        self.temporal.kill()
        time.sleep(self.rng.random())
        self.temporal.start()

    def freeze_temporal(self):
        self.temporal.freeze()
        time.sleep(self.rng.choice([0.5, 3]))
        self.temporal.thaw()

    def play(self):
        for _ in range(KILLS):
            self.fill()
            time.sleep(self.rng.random() * 3)
            self.kill_one()
            if self.stack.cli("server", "status", "-q", check=False).returncode == 3:
                self.stack.cli("server", "start", check=False)  # the keeper has given up: too many in ten minutes
        self.fill()

    # ---- what must be true

    def settle(self):
        def ended():
            self.stack.cli("server", "start", check=False)
            time.sleep(0.3)
            return all(ended for ended, _ in self.states().values())
        until(ended, 240)
        states = self.states()
        assert self.acknowledged <= set(states)
        assert {phase for _, phase in states.values()} == {COMPLETED}, [r for r, (_, p) in states.items() if p != COMPLETED]

    def check(self, run):
        log = check_journal(self.stack.events(run))
        name = log[0]["message"]
        assert log[-1]["answer"] == f"{name} is done."
        done = self.stack.lines(run)
        ends = {e["callId"]: e for e in log if e["kind"] == "tool_finished"}
        for n in range(STEPS):
            end = next(e for c, e in ends.items() if c.startswith(f"{name}-{n}_"))
            whole = end["outcome"] == "result" and "exit code 0" in end["text"]
            assert done.count(f"{name}-{n}") == 1 or (done.count(f"{name}-{n}") == 0 and not whole), (run, n, done, end)

    def check_temporal(self):
        """Every execution's workflow has completed, once; what counts them is some seconds behind."""
        def statuses():
            out = self.temporal.cli("workflow", "list", "--limit", "5000", "-o", "jsonl").stdout
            found = [json.loads(line) for line in out.splitlines()]
            return sorted((x["execution"]["workflowId"].rsplit("/", 1)[1], x["status"]) for x in found)
        wanted = sorted((run, "WORKFLOW_EXECUTION_STATUS_COMPLETED") for run in self.states())
        end = time.monotonic() + 90
        while (found := statuses()) != wanted:
            if time.monotonic() > end:
                odd = sorted({run for run, _ in set(wanted) ^ set(found)})
                raise AssertionError((set(wanted) ^ set(found), [self.temporal.workflow("show", r).stdout[-3000:] for r in odd[:5]]))
            time.sleep(0.5)


def test_kills_of_every_part_at_random_moments_lose_and_double_nothing():
    rng = random.Random(SEED)
    with Temporal() as temporal, ScriptedModel(turns, delay=0.05) as model, \
            Stack(model.url, slots=64, **temporal.settings()) as stack:
        case = Case(stack, temporal, rng)
        try:
            case.play()
            case.settle()
            for run in case.states():
                case.check(run)
            case.check_temporal()
            stack.cli("server", "stop", "--grace", "2s")
            until(lambda: not leaks.left(stack.home), 5)
        except Exception as e:
            raise AssertionError(f"STIGMER_CRASH_SEED={SEED}: {e} {stack.logs()}") from e
        print(f"{KILLS} kills {case.kills}, {len(case.states())} executions, {len(case.acknowledged)} acknowledged, "
              f"seed {SEED}: 0 lost, 0 doubled")

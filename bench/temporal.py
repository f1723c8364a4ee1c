"""The engines: what one trivial execution takes, and how many a second, on Temporal and embedded,
beside the same shape in Temporal's Python SDK on the same server; what is ours beyond the bare
round trips; how several runners share work and hand it over.
Temporal's server has its database in memory here. By default it looks for tasks that are due 20 times
a second, so each of its steps takes 50 ms; what is ours is measured on one without that limit.
   temporal.py FOLDER [--short]        (of temporal-bench and run-bench)"""
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

import grpc

ROOT = os.path.join(os.path.dirname(__file__), "..")
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "tests/fake")]
import protos  # noqa: E402
from common import AGENT, PREFIX, SHORT, STIGMER, Home, children, row, rss_kb, wait_for  # noqa: E402
from scripted_model import ScriptedModel  # noqa: E402
from temporal_peer import TemporalServer  # noqa: E402
from temporalio.client import Client  # noqa: E402

execution = protos.module("ai.stigmer.agentic.agentexecution.v1.agentexecution")
ROUNDS = 10 if SHORT else 100
RUNS, IN_FLIGHT = (100, 50) if SHORT else (500, 50)
BATCHES = 2 if SHORT else 10
HANDED = 2 if SHORT else 10
SLOTS, RUNNERS = 16, 4
MODEL_S = 1.0
API = "/ai.stigmer.agentic.agentexecution.v1.AgentExecution"
OURS, PYTHON, BARE, SHARED = "ours", "python", "bare", "shared"
UNLIMITED = ["history.transferProcessorMaxPollRPS=10000", "history.transferProcessorMaxPollHostRPS=10000"]


class Stack(Home):
    """A home with an agent, and its executions through the API."""

    def __init__(self, temporal, namespace, **settings):
        engine = {"engine": "temporal", "temporal.address": temporal.address, "temporal.namespace": namespace} \
            if temporal else {}
        super().__init__(**{"runner.kind": "process", **engine, **settings})
        self.engine, self.runners = engine, []

    def __enter__(self):
        self.run("server", "start")
        self.run("apply", "-f", "-", input=AGENT)
        agent = json.loads(self.run("get", "agents", "bench", "-o", "json"))
        self.agent = (agent["items"][0] if "items" in agent else agent)["metadata"]["id"]
        return self

    def __exit__(self, *_):
        for r in self.runners:
            stop(r)
        super().__exit__()

    def log(self, text):
        with open(f"{self.dir}/data/logs/stigmer-server.log") as f:
            return sum(text in line for line in f)

    def start_runner(self):
        """One more, as a person starts it for a server with --runner none."""
        before = self.log('msg="runner attached"')
        folders = dict(line.split("=", 1) for line in self.run("internal", "runner-env").splitlines() if "=" in line)
        env = {"PATH": os.environ["PATH"],
               "STIGMER_BACKEND_ENDPOINT": f"unix:{folders['STIGMER_RUNNER_API']}/runner.sock",
               "STIGMER_KEYS_DIR": folders["STIGMER_RUNNER_KEYS"], "WORKSPACE_ROOT": folders["STIGMER_RUNNER_WORKSPACE"],
               "STIGMER_HOST_PATHS": "1", "STIGMER_SLOTS": str(SLOTS), "STIGMER_SANDBOX_REQUIRE": "landlock,seccomp"}
        if self.engine:
            env["TEMPORAL_SERVICE_ADDRESS"] = self.engine["temporal.address"]
            env["TEMPORAL_NAMESPACE"] = self.engine["temporal.namespace"]
        with open(f"{self.dir}/runners.log", "a") as log:
            p = subprocess.Popen([f"{PREFIX}/libexec/stigmer/agent-runner"], env=env, stdout=log, stderr=log)
        self.runners.append(p)
        wait_for("a runner", lambda: self.log('msg="runner attached"') > before)
        return p

    @contextlib.asynccontextmanager
    async def executions(self):
        """A function that makes one and returns its id when it has completed."""
        async with grpc.aio.insecure_channel(f"unix:{self.dir}/data/run/api.sock") as channel:
            create = channel.unary_unary(f"{API}CommandController/create", lambda m: m.SerializeToString(),
                                         execution.AgentExecution.FromString)
            watch = channel.unary_stream(f"{API}QueryController/subscribe", lambda m: m.SerializeToString(),
                                         execution.AgentExecution.FromString)
            asked = execution.AgentExecution(
                api_version="agentic.stigmer.ai/v1", kind="AgentExecution", metadata={"name": "bench", "org": "local"},
                spec={"agent_id": self.agent, "message": "bench"})

            async def one():
                asked.metadata.name = f"bench {uuid.uuid4()}"
                made = await create(asked)
                phase = made.status.phase
                async for x in watch(execution.AgentExecutionId(value=made.metadata.id)):
                    phase = x.status.phase
                assert phase == execution.EXECUTION_COMPLETED, (made.metadata.id, phase)
                return made.metadata.id
            yield one


def stop(process):
    if process.poll() is None:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def python_worker(temporal):
    p = subprocess.Popen([sys.executable, os.path.join(ROOT, "bench/temporal-sdk-worker.py"), temporal.address, PYTHON],
                         stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "serves\n"
    yield p
    stop(p)


@contextlib.asynccontextmanager
async def python_executions(temporal):
    client = await Client.connect(temporal.address, namespace=PYTHON)

    async def one():
        got = await client.execute_workflow("invoke", {"executionId": "x"}, id=str(uuid.uuid4()), task_queue="bench")
        assert got["phase"] == "EXECUTION_COMPLETED"
    yield one


async def timed(one):
    t = time.monotonic()
    await one()
    return time.monotonic() - t


async def rate(one, runs=RUNS, in_flight=IN_FLIGHT):
    """Executions a second with so many in flight."""
    left = iter(range(runs))

    async def lane():
        for _ in left:
            await one()
    t = time.monotonic()
    await asyncio.gather(*(lane() for _ in range(in_flight)))
    return runs / (time.monotonic() - t)


def ms(samples):
    s = sorted(samples)
    return statistics.median(s) * 1000, s[min(len(s) - 1, len(s) * 99 // 100)] * 1000


def spread(samples):
    return "p50 {:.1f} ms, p99 {:.1f} ms".format(*ms(samples))


def runner_pids(home):
    return children(next(c for c in home.status()["components"] if c["name"] == "agent-runner")["pid"])


def server_pid(home):
    with open(f"{home.dir}/data/run/server.pid") as f:
        return [int(line.split()[1]) for line in f][1]


def record():
    """A recording of one turn: a model without any latency."""
    with ScriptedModel([("Done.", [])]) as model, \
            Stack(None, None, **{"llm.provider": "openai", "llm.model": "scripted", "llm.base_url": model.url}) as home:
        fd, path = tempfile.mkstemp(prefix="sb-", suffix=".cassette")
        os.close(fd)
        home.run("run", "bench", "-m", "bench", "--record", path)
        return path


def bare(programs, temporal, rounds, pause_ms):
    """Medians in ms: the activity handed out, the workflow closed. pause_ms: between two rounds."""
    out = subprocess.run([f"{programs}/temporal-bench", temporal.address, BARE, str(rounds), f"{pause_ms:.0f}"], check=True,
                         stdout=subprocess.PIPE, text=True)
    return {line.split()[0]: int(line.split()[1]) / 1000 for line in out.stdout.splitlines()}


async def trivial(temporal, cassette):
    quick = {"llm.provider": "replay", "llm.base_url": cassette, "runner.slots": 64}
    with Stack(temporal, OURS, **quick) as home, Stack(None, None, **quick) as embedded, \
            python_worker(temporal) as python:
        idle = sum(rss_kb(p) for p in runner_pids(home))
        row("Temporal engine: runner idle, 2 polls open (launcher and worker)", f"{idle / 1024:.1f} MB", "", "", "≤ 10 MB")
        async with home.executions() as ours, embedded.executions() as own, python_executions(temporal) as theirs:
            for one in (ours, own, theirs):
                await rate(one, 10, 5)
            took = {ours: [], own: [], theirs: []}
            for _ in range(ROUNDS):  # by turns, so that what else the machine does is everybody's
                for one, samples in took.items():
                    samples.append(await timed(one))
            rates = {one: await rate(one) for one in (ours, theirs, own)}
            o, t, e = (ms(took[one])[0] for one in (ours, theirs, own))
            row("trivial execution, submit → completed, Temporal engine", spread(took[ours]),
                f"Python SDK, one workflow, one activity: {spread(took[theirs])}", f"{o / t:.2f}", "≤ 1")
            row("the same, embedded engine", spread(took[own]), "the same", f"1/{t / e:.0f}", "≤ 1/10")
            row(f"executions/s, {IN_FLIGHT} in flight, Temporal engine", f"{rates[ours]:.0f}/s",
                f"Python SDK: {rates[theirs]:.0f}/s", f"{rates[ours] / rates[theirs]:.2f}", "≥ 1")
            row("the same, embedded engine", f"{rates[own]:.0f}/s", "the same", f"{rates[own] / rates[theirs]:.0f}", "≥ 10")
            row("RSS after that: server, runner (launcher, worker)",
                f"{rss_kb(server_pid(home)) / 1024:.1f} MB, {sum(rss_kb(p) for p in runner_pids(home)) / 1024:.1f} MB",
                f"Python worker: {rss_kb(python.pid) / 1024:.0f} MB", "", "")


def run_once(home, programs):
    """By our own client: ms from create to completed, and the execution's id."""
    us, run = subprocess.run([f"{programs}/run-bench", f"unix:{home.dir}/data/run/api.sock", home.agent], check=True,
                             stdout=subprocess.PIPE, text=True).stdout.split()
    return int(us) / 1000, run


async def added(programs, temporal, cassette):
    """Journal, claim, turn, appends: what a no-op client does not do. Each begins when the one before
    is over in Temporal, too, as the no-op client's do, and after the same pause: a Temporal that was
    idle for the moment in which our client's process starts is slower to wake."""
    took, pauses, trips, alone = [], [], [], []
    client = await Client.connect(temporal.address, namespace=OURS)
    quick = {"llm.provider": "replay", "llm.base_url": cassette}
    with Stack(temporal, OURS, **quick) as home, Stack(None, None, **quick) as embedded:
        for _ in range(BATCHES):
            for _ in range(10):
                began = time.monotonic()
                ms_, run = run_once(home, programs)
                took.append(ms_)
                pauses.append((time.monotonic() - began) * 1000 - ms_)
                await client.get_workflow_handle(f"stigmer/agent-execution/invoke/{run}").result()
            trips.append(bare(programs, temporal, 10, statistics.median(pauses)))
            alone += [run_once(embedded, programs)[0] for _ in range(10)]
    handed, closed = (statistics.median(t[k] for t in trips) for k in ("handed", "closed"))
    row("server and runner beyond the bare round trips (start → activity handed out)",
        f"{statistics.median(took) - handed:+.1f} ms (embedded engine, all: {statistics.median(alone):.1f} ms)",
        f"{handed:.1f} ms; until the workflow is closed: {closed:.1f} ms", "", "≤ 5 ms")


def events_of(home, run):
    p = subprocess.Popen([STIGMER, "attach", run, "-o", "jsonl"], env=home.env, stdout=subprocess.PIPE, text=True)
    return p, (json.loads(line) for line in p.stdout)


def hand_over(temporal, namespace):
    """From SIGTERM to a runner in the middle of a model call until another one has claimed the run."""
    samples = []
    with ScriptedModel([("Done.", [])], delay=3) as model, \
            Stack(temporal, namespace, **{"llm.provider": "openai", "llm.model": "slow", "llm.base_url": model.url,
                                          "runner.kind": "none"}) as home:
        first = home.start_runner()
        for i in range(HANDED):
            run = home.run("run", "bench", "--detach", "-m", f"hand over {i}").strip().splitlines()[-1]
            wait_for("the model call", lambda: model.waiting > 0)
            second = home.start_runner()
            p, events = events_of(home, run)
            assert any(e["kind"] == "turn_started" for e in events)
            t = time.monotonic()
            first.terminate()
            assert any(e["kind"] == "claimed" for e in events)
            samples.append(time.monotonic() - t)
            assert any(e["kind"] == "completed" for e in events)
            p.communicate()
            first.wait()
            first = second
            wait_for("the model's end", lambda: model.waiting == 0)
    return samples


async def share(temporal, namespace, model_s):
    """Runs a second of one runner and of RUNNERS, when the model takes its time."""
    rates = []
    with ScriptedModel([("Done.", [])], delay=model_s) as model, \
            Stack(temporal, namespace, **{"llm.provider": "openai", "llm.model": "slow", "llm.base_url": model.url,
                                          "runner.kind": "none"}) as home:
        home.start_runner()
        async with home.executions() as one:
            for runners in (1, RUNNERS):
                while len(home.runners) < runners:
                    home.start_runner()
                lanes = runners * SLOTS
                rates.append(await rate(one, lanes * (2 if SHORT else 6), lanes))
    return rates


def share_row(name, at, model_s):
    one, many = asyncio.run(share(*at, model_s))
    row(f"{RUNNERS} runners × {SLOTS} slots, the model takes {model_s:.0f} s, {name}", f"{many:.1f} runs/s",
        f"1 runner: {one:.1f} runs/s", f"{many / one:.2f}", "≥ 3.5")


def main():
    programs = next(a for a in sys.argv[1:] if not a.startswith("-"))
    cassette = record()
    try:
        with TemporalServer(OURS, PYTHON, SHARED, in_memory=True) as temporal:
            asyncio.run(trivial(temporal, cassette))
            share_row("Temporal with its limit", (temporal, SHARED), 4 * MODEL_S)
        with TemporalServer(OURS, BARE, SHARED, in_memory=True, settings=UNLIMITED) as temporal:
            asyncio.run(added(programs, temporal, cassette))
            share_row("Temporal", (temporal, SHARED), MODEL_S)
            share_row("embedded", (None, None), MODEL_S)
            for name, at in (("Temporal", (temporal, SHARED)), ("embedded", (None, None))):
                samples = hand_over(*at)
                row(f"runner stopped (SIGTERM) in mid-call → claimed by another, {name}",
                    f"p50 {ms(samples)[0]:.0f} ms, most {max(samples) * 1000:.0f} ms", "", "", "≤ 1 s")
    finally:
        os.unlink(cassette)


main()

"""Temporal's Python SDK as a stranger to the engine: as a client of our workflow, and as the worker
of the runners' queue in place of our runner (the contract: svc/temporal-worker.h, svc/activities.h)."""
import asyncio
import contextlib
import json
import os
import sys

import grpc
import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import (Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowQueryFailedError)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Worker

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import protos  # noqa: E402
from homes import Home, started, until, workspace_of  # noqa: E402
from temporal_peer import TemporalServer  # noqa: E402

event = protos.module("stigmer.execution.v1.event")
runner = protos.module("stigmer.runner.v1.runner")
execution = protos.module("ai.stigmer.agentic.agentexecution.v1.agentexecution")
WORKFLOW, ACTIVITY = "stigmer/agent-execution/invoke", "stigmer/agent-execution/run"
SERVER_QUEUE, RUNNER_QUEUE = "agent_execution_stigmer", "agent_execution_runner"
CLIENTS, WORKERS = "clients", "workers"


@pytest.fixture(scope="module")
def temporal():
    with TemporalServer(CLIENTS, WORKERS) as t:
        yield t


@contextlib.contextmanager
def home_on(temporal, namespace, model, **runner_settings):
    with Home(model, **runner_settings) as h:
        for key, value in {"engine": "temporal", "temporal.address": temporal.address, "temporal.namespace": namespace,
                           "temporal.heartbeat": "30s"}.items():
            h.ok("config", "set", key, value)
        yield h.up()


@pytest.fixture(scope="module")
def ours(temporal, model):
    with home_on(temporal, CLIENTS, model) as h:
        yield h


@pytest.fixture(scope="module")
def bare(temporal, model):
    """A server without a runner of its own."""
    with home_on(temporal, WORKERS, model, kind="none") as h:
        yield h


@pytest.fixture(scope="module")
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def phase_of(home, run):
    x = json.loads(home.ok("get", "executions", run, "-o", "json"))
    x = x["items"][0] if "items" in x else x
    return x["status"]["phase"]


async def begin(home, message):
    return await asyncio.to_thread(home.begin, message)


async def at_gate(home):
    """A run whose tool waits until open_gate."""
    run = await begin(home, "wait-at-gate")
    events = home.follow(run)
    await asyncio.to_thread(started, events, "execute")
    events.kill()
    events.communicate()
    return run


def open_gate(home, run):
    open(f"{workspace_of(home, run)}/go", "w").close()


def workflow_id(run):
    return f"{WORKFLOW}/{run}"


def start(client, given, wid, **options):
    return client.start_workflow(WORKFLOW, given, id=wid, task_queue=SERVER_QUEUE, **options)


def join(client, run):
    """The run's own workflow, whether the server or this client is the first to start it."""
    return start(client, {"executionId": run}, workflow_id(run), id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING)


async def failure_of(handle):
    with pytest.raises(WorkflowFailureError) as e:
        await handle.result()
    return e.value.cause


# ---- as a client ---------------------------------------------------------------------------------

def test_a_client_joins_the_workflow_of_a_run_and_awaits_its_result(loop, temporal, ours):
    async def go():
        client = await Client.connect(temporal.address, namespace=CLIENTS)
        run = await at_gate(ours)
        there = await client.get_workflow_handle(workflow_id(run)).describe()
        handle = await join(client, run)
        assert handle.result_run_id == there.run_id
        await handle.signal("approve", {"call": "c_gate"})  # it was not asked for: it changes nothing
        open_gate(ours, run)
        assert await handle.result() == {"executionId": run, "phase": "EXECUTION_COMPLETED"}
        assert set(await there.memo()) == {"agent", "session"}
    loop.run_until_complete(go())


def test_a_workflow_by_another_id_waits_for_the_same_run(loop, temporal, ours):
    async def go():
        client = await Client.connect(temporal.address, namespace=CLIENTS)
        run = await at_gate(ours)
        handle = await start(client, {"executionId": run}, f"mine-{run}")
        again = await client.get_workflow_handle(workflow_id(run)).describe()
        assert again.status == WorkflowExecutionStatus.RUNNING
        open_gate(ours, run)
        wanted = {"executionId": run, "phase": "EXECUTION_COMPLETED"}
        both = asyncio.gather(handle.result(), client.get_workflow_handle(workflow_id(run)).result())
        assert await asyncio.wait_for(both, 20) == [wanted, wanted]
        with open(f"{workspace_of(ours, run)}/count") as f:
            assert len(f.readlines()) == 1
    loop.run_until_complete(go())


def test_a_query_tells_what_the_journal_says(loop, temporal, ours):
    async def go():
        client = await Client.connect(temporal.address, namespace=CLIENTS)
        run = await at_gate(ours)
        handle = client.get_workflow_handle(workflow_id(run))
        status = await handle.query("status")
        assert (status["executionId"], status["phase"], status["ended"]) == (run, "EXECUTION_IN_PROGRESS", False)
        with pytest.raises(WorkflowQueryFailedError, match="unknown query 'mood'; there is 'status'"):
            await handle.query("mood")
        open_gate(ours, run)
        await handle.result()
        status = await handle.query("status")
        assert (status["phase"], status["ended"]) == ("EXECUTION_COMPLETED", True)
    loop.run_until_complete(go())


def test_a_cancel_in_temporal_cancels_the_run(loop, temporal, ours):
    async def go():
        client = await Client.connect(temporal.address, namespace=CLIENTS)
        run = await at_gate(ours)
        handle = client.get_workflow_handle(workflow_id(run))
        await handle.cancel()
        assert isinstance(await failure_of(handle), CancelledError)
        assert phase_of(ours, run) == "EXECUTION_CANCELLED"
    loop.run_until_complete(go())


@pytest.mark.parametrize("form", ["id", "object", "resource"])
def test_every_form_of_the_input_names_the_run(loop, temporal, ours, form):
    """resource: json/protobuf, the whole AgentExecution, as the original's server sent it."""
    async def go():
        client = await Client.connect(temporal.address, namespace=CLIENTS)
        run = await begin(ours, "just-say")
        given = {"id": run, "object": {"executionId": run},
                 "resource": execution.AgentExecution(metadata={"id": run}, spec={"message": "just-say"})}[form]
        handle = await start(client, given, f"{form}-{run}")
        assert await handle.result() == {"executionId": run, "phase": "EXECUTION_COMPLETED"}
    loop.run_until_complete(go())


@pytest.mark.parametrize("given", ["", 7, None, [1, 2], {"executionId": 3}, {"other": "x"}, "x" * 5000])
def test_an_input_that_names_no_run_ends_the_workflow_in_words(loop, temporal, ours, given):
    async def go():
        client = await Client.connect(temporal.address, namespace=CLIENTS)
        handle = await start(client, given, "garbage")
        cause = await failure_of(handle)
        assert isinstance(cause, ApplicationError) and "names no execution" in cause.message
    loop.run_until_complete(go())


def test_bytes_for_an_input_end_the_workflow_in_words(loop, temporal, ours):
    async def go():
        client = await Client.connect(temporal.address, namespace=CLIENTS)
        cause = await failure_of(await start(client, b"\xff\x00", "garbage"))
        assert "neither json/plain nor json/protobuf" in cause.message
    loop.run_until_complete(go())


def test_a_run_that_is_not_here_is_left_to_the_server_that_has_it(loop, temporal, ours):
    """The workflow stays open, its task says why, and this server goes on with its own."""
    async def go():
        client = await Client.connect(temporal.address, namespace=CLIENTS)
        handle = await start(client, {"executionId": "aex-01hzzzzzzzzzzzzzzzzzzzzzzz"}, "stranger")
        failed = None
        while failed is None:
            async for e in handle.fetch_history_events():
                if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                    failed = e.workflow_task_failed_event_attributes.failure.message
        assert "has no execution 'aex-01hzzz" in failed and "namespace of its own" in failed
        assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
        run = await begin(ours, "just-say")
        await (await join(client, run)).result()
        await handle.terminate("it is nobody's")
    loop.run_until_complete(go())


# ---- as the worker of the runners' queue -----------------------------------------------------------

class Runner:
    """What a runner asks of the server: attach, claim, append, by the token."""

    def __init__(self, home, name):
        env = dict(line.split("=", 1) for line in home.ok("internal", "runner-env").splitlines() if "=" in line)
        with open(f"{env['STIGMER_RUNNER_KEYS']}/runner.token") as f:
            self.metadata = [("authorization", f"Bearer {f.read().strip()}")]
        self.id = name
        self.channel = grpc.aio.insecure_channel(f"unix:{env['STIGMER_RUNNER_API']}/runner.sock")

    def method(self, kind, name, answer):
        return getattr(self.channel, kind)(f"/stigmer.runner.v1.RunnerService/{name}",
                                           request_serializer=lambda m: m.SerializeToString(),
                                           response_deserializer=answer.FromString)

    async def __aenter__(self):
        self.stream = self.method("unary_stream", "attach", runner.AttachResponse)(
            runner.AttachRequest(runner_id=self.id, slots=4), metadata=self.metadata)
        assert (await self.stream.read()).WhichOneof("command") == "welcome"
        return self

    async def __aexit__(self, *_):
        self.stream.cancel()
        await self.channel.close()

    async def claim(self, run):
        return await self.method("unary_unary", "claim", runner.ClaimResponse)(
            runner.ClaimRequest(runner_id=self.id, execution_id=run), metadata=self.metadata)

    async def append(self, claimed, *events):
        seq = len(claimed.journal)
        for i, e in enumerate(events):
            e.seq, e.epoch, e.at_ms = seq + 1 + i, claimed.epoch, 1
        await self.method("unary_unary", "append", runner.AppendResponse)(
            runner.AppendRequest(execution_id=claimed.execution_id, epoch=claimed.epoch, events=events),
            metadata=self.metadata)


def turn(text):
    return [event.Event(turn_started={"provider": "python", "model": "parrot", "turn": 1, "attempt": 1}),
            event.Event(turn_finished={"text": text, "stop": "end_turn"}), event.Event(completed={"answer": text})]


def serving(client, do):
    """A worker of the runners' queue whose activity is do(the run's id)."""
    @activity.defn(name=ACTIVITY)
    async def run(given: dict) -> dict:
        return await do(given["executionId"])
    return Worker(client, task_queue=RUNNER_QUEUE, activities=[run])


def test_a_python_worker_runs_what_the_runner_would(loop, temporal, bare):
    async def go():
        client = await Client.connect(temporal.address, namespace=WORKERS)
        async with Runner(bare, "python") as r:
            async def do(run):
                claimed = await r.claim(run)
                await r.append(claimed, *turn(f"{claimed.agent_name}: {claimed.journal[0].submitted.message}"))
                return {"executionId": run, "phase": "EXECUTION_COMPLETED"}
            async with serving(client, do):
                out = await asyncio.to_thread(bare.ok, "run", "worker", "-m", "say your name")
                assert "worker: say your name" in out
                run = await begin(bare, "and once more")
                assert (await (await join(client, run)).result())["phase"] == "EXECUTION_COMPLETED"

        def listed():
            found = json.loads(temporal.cli(WORKERS, "workflow", "list", "-o", "json"))
            return [w["status"] for w in found if w["execution"]["workflowId"] == workflow_id(run)]
        until(lambda: listed() == ["WORKFLOW_EXECUTION_STATUS_COMPLETED"])  # what Temporal lists trails what it knows
    loop.run_until_complete(go())


def test_a_worker_may_report_as_the_original_did(loop, temporal, bare):
    """updateStatus, and what follows in the session runs after it."""
    async def go():
        client = await Client.connect(temporal.address, namespace=WORKERS)
        done = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bare.port}") as channel:
            update = channel.unary_unary(
                "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionCommandController/updateStatus",
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=execution.AgentExecution.FromString)

            async def do(run):
                for phase in ("EXECUTION_IN_PROGRESS", "EXECUTION_COMPLETED"):
                    await update(execution.AgentExecutionUpdateStatusInput(execution_id=run, status={
                        "phase": phase, "messages": [{"type": "MESSAGE_AI", "content": "By the old way."}]}))
                done.append(run)
                return {"executionId": run, "phase": "EXECUTION_COMPLETED"}
            async with serving(client, do):
                first = await begin(bare, "the old way")
                assert (await (await join(client, first)).result())["phase"] == "EXECUTION_COMPLETED"
                x = json.loads(bare.ok("get", "executions", first, "-o", "json"))
                x = x["items"][0] if "items" in x else x
                out = await asyncio.to_thread(bare.ok, "run", "worker", "--session", x["spec"]["sessionId"], "-m", "and on")
                assert "By the old way." in out
        assert len(done) == 2
    loop.run_until_complete(go())


def test_an_activity_that_fails_after_its_run_has_ended_changes_nothing(loop, temporal, bare):
    """What became of it is the journal's to say."""
    async def go():
        client = await Client.connect(temporal.address, namespace=WORKERS)
        async with Runner(bare, "python") as r:
            async def do(run):
                await r.append(await r.claim(run), *turn("All is said."))
                raise ApplicationError("and yet", non_retryable=True)
            async with serving(client, do):
                run = await begin(bare, "say it")
                assert (await (await join(client, run)).result())["phase"] == "EXECUTION_COMPLETED"
        assert phase_of(bare, run) == "EXECUTION_COMPLETED"
    loop.run_until_complete(go())


def test_a_worker_that_returns_and_has_not_ended_the_run_fails_it(loop, temporal, bare):
    async def go():
        client = await Client.connect(temporal.address, namespace=WORKERS)

        async def do(run):
            return {"executionId": run, "phase": "EXECUTION_COMPLETED"}
        async with serving(client, do):
            run = await begin(bare, "do nothing")
            cause = await failure_of(await join(client, run))
        assert "its activity completed, and the run has not ended" in cause.message
        assert phase_of(bare, run) == "EXECUTION_FAILED"
        assert "the run has not ended" in bare.ok("inspect", run)
    loop.run_until_complete(go())


def test_an_error_that_no_retry_mends_ends_the_run_with_its_words(loop, temporal, bare):
    async def go():
        client = await Client.connect(temporal.address, namespace=WORKERS)
        tries = []

        async def do(run):
            tries.append(run)
            if len(tries) == 1:
                raise ApplicationError("the parrot sleeps")  # tried again
            try:
                raise ValueError("no seeds in the bowl")
            except ValueError as e:
                raise ApplicationError("the parrot is on strike", non_retryable=True) from e
        async with serving(client, do):
            run = await begin(bare, "say anything")
            cause = await failure_of(await join(client, run))
        assert len(tries) == 2
        assert "the parrot is on strike" in cause.message and "no seeds in the bowl" in cause.message
        assert phase_of(bare, run) == "EXECUTION_FAILED"
        assert "the parrot is on strike" in bare.ok("inspect", run)
    loop.run_until_complete(go())


def test_a_worker_without_a_claim_is_refused_by_the_journal(loop, temporal, bare):
    """Given the run by Temporal, and its writes are of an epoch that nobody holds."""
    async def go():
        client = await Client.connect(temporal.address, namespace=WORKERS)
        refused = []
        async with Runner(bare, "hasty") as r:
            async def do(run):
                with pytest.raises(grpc.aio.AioRpcError) as e:
                    await r.append(runner.ClaimResponse(execution_id=run, epoch=7, journal=[event.Event()]), *turn("hm"))
                refused.append(e.value.code())
                await r.append(await r.claim(run), *turn("In order."))
                return {}
            async with serving(client, do):
                assert "In order." in await asyncio.to_thread(bare.ok, "run", "worker", "-m", "hurry")
        assert refused and refused[0] in (grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION)
    loop.run_until_complete(go())

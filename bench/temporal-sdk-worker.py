"""The anchor of bench/temporal.py: one workflow with one activity by Temporal's Python SDK, with its
defaults.   temporal-sdk-worker.py HOST:PORT NAMESPACE"""
import asyncio
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker


@activity.defn
async def run(given: dict) -> dict:
    return {"executionId": given["executionId"], "phase": "EXECUTION_COMPLETED"}


@workflow.defn(name="invoke")
class Invoke:
    @workflow.run
    async def run(self, given: dict) -> dict:
        return await workflow.execute_activity(run, given, start_to_close_timeout=timedelta(minutes=10),
                                               heartbeat_timeout=timedelta(seconds=30))


async def main():
    client = await Client.connect(sys.argv[1], namespace=sys.argv[2])
    async with Worker(client, task_queue="bench", workflows=[Invoke], activities=[run]):
        print("serves", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":  # the SDK loads this file once more, for the workflow
    asyncio.run(main())

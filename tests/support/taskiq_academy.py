"""Taskiq tasks that end in every way; run by a real worker."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
from typing import Annotated, Any

import redis
from taskiq import AsyncBroker, Context, TaskiqDepends

# The package of the example, not that of the tests: they have two current jobs.
jobtrail: Any = importlib.import_module("jobtrail")
# The example of the documentation, which the test has written into a folder.
broker: AsyncBroker = importlib.import_module("taskiq_tasks").broker


@broker.task("grade")
async def grade(tenant_id: int) -> dict[str, int]:
    job = jobtrail.current_job(jobtrail.AsyncJobReport)
    if job is not None:
        async with job.step("grading", total=1):
            pass
    return {"sheets": 3}


@broker.task("grade_in_a_thread")
def grade_in_a_thread(tenant_id: int) -> bool:
    job = jobtrail.current_job(jobtrail.JobReport)
    if job is not None:
        for percent in (10, 20, 90):
            job.progress("grading", percent)
    return job is not None


@broker.task("break_down")
async def break_down(tenant_id: int) -> None:
    raise LookupError("no answer key")


@broker.task("break_down_each_time")
async def break_down_each_time(tenant_id: int) -> None:
    raise LookupError("no answer key")


@broker.task("need_two_tries")
async def need_two_tries(tenant_id: int, context: Annotated[Context, TaskiqDepends()]) -> int:
    if "_retries" not in context.message.labels:
        raise LookupError("not yet")
    return 5


@broker.task("queue_again")
async def queue_again(tenant_id: int, context: Annotated[Context, TaskiqDepends()]) -> None:
    if "X-Taskiq-requeue" not in context.message.labels:
        await context.requeue()


@broker.task("reject")
async def reject(tenant_id: int, context: Annotated[Context, TaskiqDepends()]) -> None:
    context.reject()


@broker.task("take_too_long")
async def take_too_long(tenant_id: int) -> None:
    await asyncio.sleep(600)


@broker.task("be_cancelled")
async def be_cancelled(tenant_id: int) -> None:
    raise asyncio.CancelledError


@broker.task("be_killed")
async def be_killed(tenant_id: int) -> str:
    with redis.Redis.from_url(os.environ["JOBTRAIL_REDIS_URL"]) as client:
        if client.set("killed", os.getpid(), nx=True):
            os.kill(os.getpid(), signal.SIGKILL)
    return "not again"

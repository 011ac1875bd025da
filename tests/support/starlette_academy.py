"""A FastAPI application whose background tasks end in every way; served by a real uvicorn."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from fastapi import BackgroundTasks, FastAPI

# The package of the example, not that of the tests: they have two current jobs.
jobtrail: Any = importlib.import_module("jobtrail")
# The example of the documentation, which the test has written into a folder.
example: Any = importlib.import_module("imports")
app: FastAPI = example.app


def work_in_a_thread(tenant_id: int) -> bool:
    job = jobtrail.current_job(jobtrail.JobReport)
    if job is not None:
        for percent in (10, 20, 90):
            job.progress("grading", percent)
    return job is not None


async def break_down(tenant_id: int) -> None:
    raise LookupError("no answer key")


async def take_too_long(tenant_id: int) -> None:
    await asyncio.wait_for(asyncio.sleep(600), 0.1)


async def be_interrupted(tenant_id: int) -> None:
    await asyncio.sleep(600)


TASKS = {
    each.__name__: each for each in (work_in_a_thread, break_down, take_too_long, be_interrupted)
}


@app.post("/tasks")
async def start(names: str, background_tasks: BackgroundTasks, tenant: int | None = 7) -> list[str]:
    return [
        await example.jobs.add_task(background_tasks, TASKS[name], tenant_id=tenant)
        for name in names.split(",")
    ]

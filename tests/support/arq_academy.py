"""arq jobs that end in every way; run by a real worker."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
from typing import Any, ClassVar

from arq import Retry, func

# The example of the documentation, which the test has written into a folder.
EXAMPLE = importlib.import_module("arq_tasks")


async def break_down(ctx: dict[str, Any], tenant_id: int) -> None:
    raise LookupError("no answer key")


async def need_two_tries(ctx: dict[str, Any], tenant_id: int) -> int:
    if ctx["job_try"] == 1:
        raise Retry
    return 5


async def retry_too_often(ctx: dict[str, Any], tenant_id: int) -> None:
    raise Retry


async def take_too_long(ctx: dict[str, Any], tenant_id: int) -> None:
    await asyncio.sleep(600)


async def be_aborted(ctx: dict[str, Any], tenant_id: int) -> None:
    await asyncio.sleep(600)


async def be_killed(ctx: dict[str, Any], tenant_id: int) -> str:
    if ctx["job_try"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "not again"


async def be_killed_twice(ctx: dict[str, Any], tenant_id: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def be_stopped(ctx: dict[str, Any], tenant_id: int) -> str:
    if ctx["job_try"] == 1:
        await asyncio.sleep(600)
    return "not again"


class WorkerSettings:
    """The settings of the worker."""

    functions: ClassVar[list[Any]] = [
        EXAMPLE.import_rows,
        break_down,
        need_two_tries,
        func(retry_too_often, max_tries=2),
        func(take_too_long, timeout=0.2),
        be_aborted,
        be_killed,
        func(be_killed_twice, max_tries=1),
        be_stopped,
    ]
    redis_settings = EXAMPLE.WorkerSettings.redis_settings
    allow_abort_jobs = True
    poll_delay = 0.05
    keep_result = 0

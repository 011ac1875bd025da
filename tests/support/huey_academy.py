"""Tasks of Huey that end in every way; run by a real consumer, on the instance of the example."""

from __future__ import annotations

import os
import signal
import time
from importlib import import_module
from typing import Any

from huey.exceptions import CancelExecution, RetryTask

huey: Any = import_module("huey_tasks").huey
import_rows: Any = import_module("huey_tasks").import_rows


def grade(tenant_id: int) -> dict[str, int]:
    return {"sheets": 3}


def break_down(tenant_id: int) -> None:
    raise LookupError("no answer key")


def need_two_tries(task: Any, tenant_id: int) -> int:
    if task.retries:
        raise LookupError("not yet")
    return 5


def ask_for_a_retry(tenant_id: int) -> int:
    if huey.storage.incr("asked") == 1:
        raise RetryTask(delay=1)
    return 5


def give_up(tenant_id: int) -> None:
    raise CancelExecution


def take_too_long(tenant_id: int) -> None:
    time.sleep(600)


def exit_early(tenant_id: int) -> None:
    raise SystemExit(3)


def be_killed(tenant_id: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


TASKS = {
    "grade": huey.task()(grade),
    "break_down": huey.task(retries=1)(break_down),
    "need_two_tries": huey.task(retries=1, context=True)(need_two_tries),
    "ask_for_a_retry": huey.task()(ask_for_a_retry),
    "give_up": huey.task()(give_up),
    "take_too_long": huey.task(timeout=1)(take_too_long),
    "exit_early": huey.task()(exit_early),
    "be_killed": huey.task()(be_killed),
    "import_rows": import_rows,
}


def send(task: str, job: str, **options: Any) -> None:
    """Publish a task under the id of a job."""
    kwargs = {"tenant_id": 7} | ({"rows": 3} if task == "import_rows" else {})
    huey.enqueue(TASKS[task].task_class(kwargs=kwargs, id=job, **options))


def send_all() -> None:
    """Publish one task of each kind."""
    for task in TASKS:
        send(task, task)
    send("grade", "revoke")
    huey.revoke_by_id("revoke")
    send("grade", "expire", expires=-1)

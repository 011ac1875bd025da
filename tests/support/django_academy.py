"""Django tasks that end in every way, and the program that enqueues them and is their worker."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

from django.core.management import call_command
from django.db import transaction
from django_tasks import task

# The package of the example, not that of the tests: they have two current jobs.
jobtrail: Any = importlib.import_module("jobtrail")


def main(names: list[str]) -> None:
    """Enqueue tasks, print their ids, and run them."""
    call_command("migrate", verbosity=0)
    known = globals() | vars(importlib.import_module("school.tasks"))
    for name in names:
        rows = {"rows": 2} if name == "import_rows" else {}
        with transaction.atomic():
            result = known[name].enqueue(tenant_id=7, **rows)
        sys.stdout.write(f"{name} {result.id}\n")
    with transaction.atomic():
        known["break_down"].enqueue(tenant_id=8)
        transaction.set_rollback(True)
    sys.stdout.flush()
    call_command(
        "db_worker", verbosity=0, batch=True, interval=0.05, startup_delay=False, reload=False
    )


@task()
async def work_on_a_loop(tenant_id: int) -> bool:
    job = jobtrail.current_job(jobtrail.AsyncJobReport)
    if job is not None:
        for percent in (10, 20, 90):
            await job.progress("grading", percent)
    return job is not None


@task()
def break_down(tenant_id: int) -> None:
    raise LookupError("no answer key")


@task()
def exit_early(tenant_id: int) -> None:
    raise SystemExit(3)


@task()
def be_killed(tenant_id: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

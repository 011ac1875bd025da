"""Jobs of RQ that end in every way; run by real workers."""

from __future__ import annotations

import os
import signal
import time

from rq import Retry, get_current_job

from tests.support.exceptions import Unprintable


def grade(tenant_id: int) -> dict[str, int]:
    return {"sheets": 3}


def break_down(tenant_id: int) -> None:
    raise LookupError("no answer key")


def need_two_tries(tenant_id: int) -> int:
    job = get_current_job()
    if job is not None and job.retries_left:
        raise LookupError("not yet")
    return 5


def return_a_retry(tenant_id: int, tries: int) -> Retry | int:
    job = get_current_job()
    return 5 if job is not None and job.number_of_retries == tries else Retry(max=1)


def be_killed(tenant_id: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def take_too_long(tenant_id: int) -> None:
    time.sleep(600)


def exit_early(tenant_id: int) -> None:
    raise SystemExit(3)


def raise_unprintable(tenant_id: int) -> None:
    raise Unprintable

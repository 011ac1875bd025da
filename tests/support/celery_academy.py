"""A Celery application whose tasks end in every way; run by real workers of several versions.

The broker is the Redis that `ACADEMY_REDIS_URL` names.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import redis
from celery import Celery
from celery.exceptions import Ignore, Reject

from streams.compat.bridge import Bridge
from streams.integrations.celery import report_tasks
from tests.support.exceptions import Unprintable

URL = os.environ["ACADEMY_REDIS_URL"]

app = Celery("academy", broker=URL, backend=URL)
app.conf.update(
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
report_tasks(through=Bridge(redis.Redis.from_url(URL, protocol=2)))


def grade(tenant_id: int) -> int:
    return 5


def be_killed(tenant_id: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def be_terminated(tenant_id: int) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)


def be_killed_in_a_retry(self: Any, tenant_id: int) -> None:
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    os.kill(os.getpid(), signal.SIGKILL)


def be_killed_and_run_again(self: Any, tenant_id: int) -> None:
    if not self.request.delivery_info["redelivered"]:
        os.kill(os.getpid(), signal.SIGKILL)


def take_too_long(tenant_id: int) -> None:
    time.sleep(600)


def exit_early(tenant_id: int) -> None:
    raise SystemExit(3)


def wait(tenant_id: int) -> None:
    time.sleep(600)


def raise_unprintable(tenant_id: int) -> None:
    raise Unprintable


def ignore(tenant_id: int) -> None:
    raise Ignore


def reject(tenant_id: int) -> None:
    raise Reject("not for us", requeue=False)


def return_a_set(tenant_id: int) -> set[int]:
    return {1, 2}


app.task(grade, name="grade")
app.task(be_killed, name="be_killed")
app.task(be_terminated, name="be_terminated")
app.task(be_killed_in_a_retry, name="be_killed_in_a_retry", bind=True, max_retries=3)
app.task(
    be_killed_and_run_again,
    name="be_killed_and_run_again",
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
)
app.task(take_too_long, name="take_too_long", time_limit=1)
app.task(exit_early, name="exit_early")
app.task(wait, name="wait")
app.task(wait, name="wait_with_late_ack", acks_late=True)
app.task(raise_unprintable, name="raise_unprintable")
app.task(ignore, name="ignore")
app.task(reject, name="reject", acks_late=True)
app.task(return_a_set, name="return_a_set", ignore_result=True)

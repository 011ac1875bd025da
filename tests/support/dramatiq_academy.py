"""Actors of Dramatiq that end in every way; run by real workers, on the broker that is set."""

from __future__ import annotations

import os
import time

import dramatiq
import redis
from dramatiq.middleware import CurrentMessage

from tests.support.exceptions import Unprintable

CLIENT = redis.Redis.from_url(os.environ["JOBTRAIL_REDIS_URL"], protocol=2)
dramatiq.get_broker().add_middleware(CurrentMessage())


@dramatiq.actor(max_retries=0)
def grade(tenant_id: int) -> dict[str, int]:
    return {"sheets": 3}


@dramatiq.actor(max_retries=1, min_backoff=10)
def break_down(tenant_id: int) -> None:
    raise LookupError("no answer key")


@dramatiq.actor(throws=LookupError)
def give_up(tenant_id: int) -> None:
    raise LookupError("no answer key")


@dramatiq.actor(max_retries=3, min_backoff=10)
def need_two_tries(tenant_id: int) -> int:
    message = CurrentMessage.get_current_message()
    if message is None or not message.options.get("retries"):
        raise dramatiq.errors.Retry("not yet", delay=1)
    return 5


@dramatiq.actor(max_retries=0, time_limit=500)
def take_too_long(tenant_id: int) -> None:
    while True:
        time.sleep(0.01)


@dramatiq.actor(max_retries=0)
def exit_early(tenant_id: int) -> None:
    raise SystemExit(3)


@dramatiq.actor(max_retries=0)
def raise_unprintable(tenant_id: int) -> None:
    raise Unprintable


@dramatiq.actor(max_retries=0)
def be_killed_once(tenant_id: int) -> None:
    if CLIENT.incr("be_killed_once") == 1:
        time.sleep(600)

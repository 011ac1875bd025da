"""Real Dramatiq workers on a Redis broker: however a message ends, its job ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from streams.compat.bridge import Bridge
from streams.integrations.dramatiq import report_tasks
from tests.support.queue_workers import URL, Queue, open_queue
from tests.support.waiting import eventually

WORDS = "dramatiq_tasks tests.support.dramatiq_academy --processes 1 --threads 4".split()

ENDS = {
    "grade": ("DONE", 1, None),
    "break_down": ("FAILED", 2, "LookupError"),
    "give_up": ("FAILED", 1, "LookupError"),
    "need_two_tries": ("DONE", 2, None),
    "take_too_long": ("FAILED", 1, "TimeLimitExceeded"),
    "exit_early": ("FAILED", 1, "SystemExit"),
    "raise_unprintable": ("FAILED", 1, "Unprintable"),
    "no_such_actor": ("FAILED", 1, "ActorNotFound"),
    "too_old": ("CANCELLED", 1, None),
    "import_rows": ("DONE", 1, None),
}
"""The expected end of each message's job: its status, attempt and code."""


def send(broker: Any, job: str, *, actor: str = "", **options: object) -> None:
    kwargs = {"tenant_id": 7} | ({"rows": 3} if job == "import_rows" else {})
    broker.enqueue(Message("default", actor or job, (), kwargs, options, message_id=job))


def with_maintenance(page: str) -> str:
    """Dramatiq looks for killed workers at one of a thousand commands; here it is at each."""
    return page.replace(f'"{URL}"', f'"{URL}", maintenance_chance=1_000_000')


@pytest.fixture(scope="module")
def queue() -> Iterator[Queue]:
    """A worker that has received one message of each kind."""
    with open_queue() as queue:
        queue.write("dramatiq_tasks.py", with_maintenance)
        broker = RedisBroker(client=queue.client)  # type: ignore[no-untyped-call]
        report_tasks(broker, through=Bridge(queue.client))
        for job in ENDS.keys() - {"too_old"}:
            send(broker, job)
        send(broker, "too_old", actor="grade", max_age=-1)
        queue.start("dramatiq", *WORDS)
        yield queue


@pytest.mark.parametrize("job", ENDS)
def test_however_a_message_ends__its_job_ends(queue: Queue, job: str) -> None:
    status = queue.ended(job, ENDS[job][1])
    assert (status["status"], status["attempt"], status.get("code")) == ENDS[job]


def test_attempts_that_are_retried_do_not_end(queue: Queue) -> None:
    queue.ended("need_two_tries", 2)
    types = [each["type"] for each in queue.events("need_two_tries")]
    assert (types.count("failed"), types.count("processing"), types[-1]) == (0, 2, "done")
    assert queue.retried("need_two_tries") == [None, "Retry: not yet"]


def test_progress_is_reported_by_the_current_job(queue: Queue) -> None:
    queue.ended("import_rows")
    progress = [each for each in queue.events("import_rows") if each["type"] == "progress"]
    assert progress[0]["step"] == "importing"


def test_a_message_whose_worker_was_killed_runs_again(queue: Queue) -> None:
    """The killed worker's lease of a minute is ended by hand."""
    broker = RedisBroker(client=queue.client)  # type: ignore[no-untyped-call]
    stop = report_tasks(broker, through=Bridge(queue.client))
    send(broker, "be_killed_once")
    stop()
    client: Any = queue.client
    # The actor itself: the job is PROCESSING a moment before it begins.
    eventually(lambda: client.get("be_killed_once"), 60)
    queue.kill()
    for worker in client.zrange("dramatiq:__heartbeats__", 0, -1):
        client.zadd("dramatiq:__heartbeats__", {worker: 1})
    queue.start("dramatiq", *WORDS)
    status = queue.ended("be_killed_once")
    assert (status["status"], status["attempt"]) == ("DONE", 1)

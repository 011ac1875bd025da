"""Real RQ workers with their work-horses: however a job of RQ ends, its job ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import rq
from rq import Repeat, Retry
from rq.command import send_stop_job_command
from rq.job import Job

from streams.compat.bridge import Bridge
from streams.integrations.rq import report_tasks
from tests.support.queue_workers import Queue, open_queue
from tests.support.waiting import eventually

ACADEMY = "tests.support.rq_academy"
TENANT = {"tenant_id": 7}

JOBS: dict[str, dict[str, Any]] = {
    "grade": {},
    "break_down": {},
    "need_two_tries": {"retry": Retry(max=1)},
    "need_a_later_try": {"f": "need_two_tries", "retry": Retry(max=1, interval=1)},
    "return_a_retry": {"kwargs": TENANT | {"tries": 1}},
    "return_two_retries": {"f": "return_a_retry", "kwargs": TENANT | {"tries": 2}},
    "be_killed": {},
    "be_killed_twice": {"f": "be_killed", "retry": Retry(max=1)},
    "take_too_long": {"job_timeout": 1},
    "exit_early": {},
    "raise_unprintable": {},
    "repeat": {"f": "grade", "repeat": Repeat(times=1, interval=0)},
    "depend": {"f": "grade", "depends_on": "grade"},
    "cancel": {"f": "grade"},
    "delete": {"f": "grade"},
}
ENDS = {
    "grade": ("DONE", 1, None),
    "break_down": ("FAILED", 1, "LookupError"),
    "need_two_tries": ("DONE", 2, None),
    "need_a_later_try": ("DONE", 2, None),
    "return_a_retry": ("DONE", 2, None),
    "return_two_retries": ("FAILED", 2, "MaxRetriesExceeded"),
    "be_killed": ("FAILED", 1, "Killed"),
    "be_killed_twice": ("FAILED", 2, "Killed"),
    "take_too_long": ("FAILED", 1, "JobTimeoutException"),
    "exit_early": ("FAILED", 1, "SystemExit"),
    "raise_unprintable": ("FAILED", 1, "Unprintable"),
    "repeat": ("DONE", 2, None),
    "depend": ("DONE", 1, None),
    "cancel": ("CANCELLED", 1, None),
    "delete": ("CANCELLED", 1, None),
    "import": ("DONE", 1, None),
    "later": ("DONE", 1, None),
}
"""The expected end of each job: its status, attempt and code."""


WORDS = "worker -c rq_settings --with-scheduler".split()


def send(to: rq.Queue, job: str, *, f: str = "", kwargs: Any = None, **options: Any) -> Job:
    f = f"{ACADEMY}.{f or job}"
    return to.enqueue(f, kwargs=kwargs or TENANT, **{"job_id": job} | options)


@pytest.fixture(scope="module")
def queue() -> Iterator[Queue]:
    """A worker that has received one job of each kind."""
    with open_queue() as queue:
        queue.write("rq_settings.py")
        queue.write("rq_tasks.py")
        stop = report_tasks(through=Bridge(queue.client))
        to = rq.Queue(connection=queue.client)
        jobs = {job: send(to, job, **options) for job, options in JOBS.items()}
        to.enqueue("rq_tasks.import_rows", **TENANT, rows=3, job_id="import")
        to.enqueue_in(timedelta(seconds=1), f"{ACADEMY}.grade", **TENANT, job_id="later")
        jobs["cancel"].cancel()
        jobs["delete"].delete()
        assert queue.status("depend")["status"] == "PENDING"
        queue.start("rq", *WORDS)
        yield queue
        stop()


@pytest.fixture
def to(queue: Queue) -> rq.Queue:
    return rq.Queue(connection=queue.client)


@pytest.mark.parametrize("job", ENDS)
def test_however_a_job_ends__its_job_ends(queue: Queue, job: str) -> None:
    status = queue.ended(job, ENDS[job][1])
    assert (status["status"], status["attempt"], status.get("code")) == ENDS[job]


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ("need_two_tries", "LookupError: not yet"),
        ("need_a_later_try", "LookupError: not yet"),
        ("be_killed_twice", "Killed: Work-horse terminated unexpectedly"),
    ],
)
def test_a_retry_that_waits_says_why_to_operators(queue: Queue, job: str, reason: str) -> None:
    queue.ended(job, 2)
    first, second = queue.retried(job)
    assert first is None
    assert (second or "").startswith(reason)


def test_progress_is_reported_by_the_current_job(queue: Queue) -> None:
    queue.ended("import")
    progress = [each for each in queue.events("import") if each["type"] == "progress"]
    assert progress[0]["step"] == "importing"


def test_runs_of_a_job_that_repeats_end_once_each(queue: Queue) -> None:
    queue.ended("repeat", 2)
    events = [(each["type"], each["attempt"]) for each in queue.events("repeat")]
    one = [("queued", 1), ("processing", 1), ("done", 1)]
    assert events == [*one, ("queued", 2), ("processing", 2), ("done", 2)]


def test_a_job_that_is_requeued_is_a_new_attempt(queue: Queue) -> None:
    queue.ended("break_down")
    Job.fetch("break_down", queue.client).requeue()
    assert queue.ended("break_down", 2)["status"] == "FAILED"


def test_a_job_that_is_stopped_is_cancelled(queue: Queue, to: rq.Queue) -> None:
    job = send(to, "stop", f="take_too_long")
    eventually(lambda: job.get_status() == "started", what="the start of the work-horse")
    send_stop_job_command(queue.client, "stop")
    assert queue.ended("stop")["status"] == "CANCELLED"


def test_a_job_whose_worker_was_killed_has_failed(queue: Queue, to: rq.Queue) -> None:
    """RQ's lease of a running job, of 60 to 90 seconds, is ended by hand."""
    send(to, "lose", f="take_too_long", job_timeout=600)
    queue.reached("lose", "PROCESSING")
    queue.kill()
    registry = to.started_job_registry.key
    (lease,) = list_of(queue.client.zrange(registry, 0, -1))
    queue.client.zadd(registry, {lease: 1})
    queue.start("rq", *WORDS)
    status = queue.ended("lose")
    assert (status["status"], status["code"]) == ("FAILED", "AbandonedJobError")


def test_a_queue_without_a_worker_reports_what_it_runs(queue: Queue) -> None:
    here = rq.Queue("here", connection=queue.client, is_async=False)
    send(here, "grade", job_id="here")
    assert queue.ended("here")["result"] == {"sheets": 3}


def test_a_second_call_replaces_the_first_and_can_be_ended(queue: Queue) -> None:
    stop = report_tasks(through=Bridge(queue.client))
    assert not hasattr(rq.Queue._enqueue_job.__wrapped__, "__wrapped__")  # type: ignore[attr-defined]
    stop()
    assert not hasattr(rq.Queue._enqueue_job, "__wrapped__")


def list_of(reply: Any) -> list[bytes]:
    return list(reply)

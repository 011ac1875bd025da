"""A real Celery worker on an in-memory broker, and the events that its tasks append."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker
from celery.worker.state import revoked

from projections.decoding import decode
from projections.status.writer import StatusCache
from streams.compat.bridge import Bridge, forget
from streams.entry_ids import of_reply
from streams.integrations.celery import report_tasks
from streams.job_report import JobReport
from streams.tracking import current_job
from tests.support.waiting import eventually


def grade(sheets: int, tenant_id: int | None = None) -> dict[str, int]:
    return {"sheets": sheets}


def break_down(tenant_id: int) -> None:
    raise LookupError("no answer key")


def need_two_tries(self: Any, tenant_id: int) -> int:
    if self.request.retries == 0:
        try:
            int("no number")
        except ValueError as error:
            raise self.retry(countdown=0, exc=error) from error
    return 5


def report_half(tenant_id: int | None = None) -> bool:
    job = current_job(JobReport)
    if job is not None:
        job.progress("grading", 50)
    return job is not None


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    """An application with a running worker."""
    app = Celery("academy", broker="memory://", backend="cache+memory://")
    # Whoever answers this signal keeps Celery from setting levels for the whole process.
    signals.setup_logging.connect(_leave_logging)
    for run in (grade, break_down, report_half):
        app.task(run, name=run.__name__)
    app.task(need_two_tries, name="need_two_tries", bind=True, max_retries=1)
    with start_worker(app, pool="solo", perform_ping_check=False):
        yield app
    signals.setup_logging.disconnect(_leave_logging)


def _leave_logging(**_: object) -> None: ...


class Academy:
    """Sends tasks, and projects the events that are reported for them."""

    def __init__(self, app: Celery, client: redis.Redis) -> None:
        self._app = app
        self._client = client

    def send(self, name: str, *args: object, **kwargs: object) -> str:
        return str(self._app.tasks[name].apply_async(args, kwargs).id)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(raw) for _, raw in self._entries()]

    def status(self, job: str) -> dict[str, Any]:
        entries = [decode("7", of_reply(at), [b"event", raw]) for at, raw in self._entries()]
        StatusCache(self._client).apply(entries)
        raw: Any = self._client.get(f"tenant:7:job:{job}:status")
        status: dict[str, Any] = json.loads(raw or "{}")
        return status

    def ended(self, job: str, word: str) -> Callable[[], bool]:
        return lambda: self.status(job).get("status") == word

    def _entries(self) -> list[tuple[bytes, bytes]]:
        found: Any = self._client.xrange("tenant:7:events")
        return [(entry_id, fields[b"event"]) for entry_id, fields in found]


@pytest.fixture
def academy(app: Celery, redis_client: redis.Redis) -> Iterator[Academy]:
    stop = report_tasks(through=Bridge(redis_client))
    yield Academy(app, redis_client)
    stop()


def test_a_task_is_queued_processed_and_done(academy: Academy) -> None:
    job = academy.send("grade", 3, tenant_id=7)
    eventually(academy.ended(job, "DONE"))
    assert sorted(event["type"] for event in academy.events()) == ["done", "processing", "queued"]
    status = academy.status(job)
    assert (status["job_type"], status["result"]) == ("grade", {"sheets": 3})


def test_a_task_reports_progress_by_the_current_job(academy: Academy) -> None:
    job = academy.send("report_half", tenant_id=7)
    eventually(academy.ended(job, "DONE"))
    (progress,) = [event for event in academy.events() if event["type"] == "progress"]
    assert (progress["id"], progress["job_type"]) == (job, "report_half")
    assert (progress["step"], progress["percent"]) == ("grading", 50)
    assert academy.status(job)["result"] == {"value": True}
    assert current_job() is None


def test_a_task_that_raises_has_failed_with_its_reason(academy: Academy) -> None:
    job = academy.send("break_down", tenant_id=7)
    eventually(academy.ended(job, "FAILED"))
    status = academy.status(job)
    assert (status["error_message"], status["code"]) == ("no answer key", "LookupError")


def test_a_retry_is_a_new_attempt(academy: Academy) -> None:
    job = academy.send("need_two_tries", tenant_id=7)
    eventually(academy.ended(job, "DONE"))
    status = academy.status(job)
    assert (status["attempt"], status["result"]) == (2, {"value": 5})
    queued = [event for event in academy.events() if event["type"] == "queued"]
    reasons = [event.get("operator_detail") for event in queued]
    assert reasons == [None, "ValueError: invalid literal for int() with base 10: 'no number'"]


def test_tasks_of_no_tenant_are_not_reported(academy: Academy) -> None:
    academy.send("grade", 3)
    job = academy.send("grade", 3, tenant_id=7)
    eventually(academy.ended(job, "DONE"))
    assert {event["id"] for event in academy.events()} == {job}


def test_a_task_that_was_revoked_is_cancelled(academy: Academy, app: Celery) -> None:
    revoked.add("r1")
    app.tasks["grade"].apply_async((3,), {"tenant_id": 7}, task_id="r1")
    eventually(academy.ended("r1", "CANCELLED"))
    assert sorted(event["type"] for event in academy.events()) == ["cancelled", "queued"]


def test_a_second_call_replaces_the_first(app: Celery, redis_client: redis.Redis) -> None:
    """Also if the function that ends the first reports is called later."""
    stop_first = report_tasks(through=Bridge(redis_client))
    stop = report_tasks(through=Bridge(redis_client))
    stop_first()
    try:
        app.send_task("grade", args=[1], kwargs={"tenant_id": 42})

        def types() -> list[str]:
            entries: Any = redis_client.xrange("tenant:42:events")
            return [json.loads(fields[b"event"])["type"] for _, fields in entries]

        eventually(lambda: "done" in types())
        assert sorted(types()) == ["done", "processing", "queued"]
    finally:
        stop()


def test_a_worker_without_an_address_warns_when_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("JOBTRAIL_REDIS_URL", raising=False)
    forget()
    stop = report_tasks()
    try:
        signals.worker_ready.send(sender=None)
    finally:
        stop()
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("nothing is appended or read: JOBTRAIL_REDIS_URL")

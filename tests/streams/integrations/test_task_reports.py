"""The common part of all integrations: attempts, tenants and results of tasks."""

from __future__ import annotations

import logging
import os
import signal
from datetime import date
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streams.appender import EventAppender
from streams.compat.bridge import Bridge, Id
from streams.integrations.async_task_reports import AsyncTaskReports
from streams.integrations.lost_tasks import LostTasks
from streams.integrations.task_reports import Task, TaskReports, tenant_argument
from streams.job_report import JobReport
from streams.reporter import Reporter
from streams.reporting.base import ReporterBase
from streams.spool import Spool
from streams.tracking import current_job
from tests.support.job_ends import JobEnds
from tests.support.waiting import ENDING, eventually

TASK = Task("t1", "grade", kwargs={"tenant_id": 7})
OTHER = Task("t2", "grade", kwargs={"tenant_id": 7})
RETRIED = Task("t1", "grade", attempt=2, kwargs={"tenant_id": 7})
TENANT = UUID("0" * 31 + "7")


@pytest.fixture
def jobs(redis_client: redis.Redis) -> JobEnds:
    return JobEnds(redis_client)


@pytest.fixture
def reports(redis_client: redis.Redis) -> TaskReports:
    return TaskReports(through=Bridge(redis_client))


def seen(jobs: JobEnds) -> tuple[str, int]:
    status = jobs.status("t1")
    return status["status"], status["attempt"]


def run(reports: TaskReports, task: Task, error: Exception | None = None) -> None:
    reports.started(task)
    reports.done(task, 1) if error is None else reports.failed(task, error)
    reports.left(task.id)


def test_a_task_that_starts_after_its_end_is_the_next_attempt(
    reports: TaskReports, jobs: JobEnds
) -> None:
    run(reports, TASK, LookupError("the worker was believed dead"))
    assert seen(jobs) == ("FAILED", 1)
    reports.started(TASK)
    assert seen(jobs) == ("PROCESSING", 2)
    reports.queued(RETRIED)
    assert seen(jobs) == ("PENDING", 3)
    reports.left(TASK.id)
    run(reports, RETRIED)
    assert seen(jobs) == ("DONE", 3)
    run(reports, RETRIED)  # the message came twice
    assert seen(jobs) == ("DONE", 3)


def test_a_process_that_did_not_run_the_task_reports_the_end_of_its_attempt(
    reports: TaskReports, jobs: JobEnds, redis_client: redis.Redis
) -> None:
    reports.failed(TASK, LookupError())
    assert seen(jobs) == ("FAILED", 1)
    reports.queued(TASK, again=True)
    assert seen(jobs) == ("PENDING", 2)
    reports.started(TASK)
    assert seen(jobs) == ("PROCESSING", 2)
    TaskReports(through=Bridge(redis_client)).failed(TASK, LookupError())
    assert seen(jobs) == ("FAILED", 2)


def test_queues_that_deliver_once_may_run_a_task_again(
    redis_client: redis.Redis, jobs: JobEnds
) -> None:
    reports = TaskReports(through=Bridge(redis_client), reruns=True)
    for attempt in (1, 2):
        run(reports, TASK)
        assert seen(jobs) == ("DONE", attempt)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ({"day": date(2026, 3, 1)}, {"day": "2026-03-01"}),
        ({2, 1}, {"value": [1, 2]}),
        (None, {"value": None}),
        (TASK, {"id": "t1", "name": "grade", "attempt": 1, "args": [], "kwargs": {"tenant_id": 7}}),
    ],
)
def test_results_are_those_of_job_done(
    reports: TaskReports, jobs: JobEnds, value: object, result: object
) -> None:
    reports.done(TASK, value)
    assert jobs.status("t1")["result"] == result


@pytest.mark.parametrize("tenant", ["7", 7, TENANT])
def test_tenants_may_be_numbers(redis_client: redis.Redis, tenant: Any) -> None:
    TaskReports(lambda _: tenant, Bridge(redis_client)).queued(TASK)
    assert redis_client.xlen(f"tenant:{tenant}:events") == 1


def test_mistakes_of_the_application_are_warnings(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(task: Task) -> Id | None:
        return task.args[0]  # type: ignore[no-any-return]  # there is none

    reports = TaskReports(broken, Bridge(redis_client))
    with caplog.at_level(logging.WARNING):
        reports.queued(TASK)
        reports.started(TASK)
        reports.entered(TASK)
        reports.failed(TASK, LookupError())
        reports.left(TASK.id)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "queued of task t1 was not appended",
        "processing of task t1 was not appended",
        "task t1 has no current job",
        "failed of task t1 was not appended",
    ]


def test_outages_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    nobody = redis.Redis(port=1, protocol=2, retry=Retry(NoBackoff(), 0))
    reporter = Reporter(EventAppender(nobody), end_retry_seconds=0)
    reports = TaskReports(through=Bridge(nobody, reporter=reporter))
    with caplog.at_level(logging.WARNING):
        reports.queued(TASK)
        run(reports, TASK)
    dropped = [record.message.partition(" of task")[0] for record in caplog.records]
    assert {"queued", "done"} <= set(dropped)


def test_an_end_that_could_not_be_appended_is_sent_from_the_spool_by_the_next_process(
    redis_url: str, jobs: JobEnds, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    defaults = ReporterBase.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "end_retry_seconds", 0.0)
    monkeypatch.setenv("JOBTRAIL_REDIS_URL", "redis://127.0.0.1:1/0")
    run(TaskReports(spool=tmp_path), TASK)
    assert list(tmp_path.glob("*.event"))
    monkeypatch.setenv("JOBTRAIL_REDIS_URL", redis_url)
    spool_sent, send = Event(), Spool.send

    def send_late(*args: Any, **options: Any) -> int:
        spool_sent.wait(ENDING)
        return send(*args, **options)

    monkeypatch.setattr(Spool, "send", send_late)
    reports = TaskReports(spool=tmp_path)
    reports.queued(OTHER)
    assert [event["type"] for event in jobs.events(OTHER.id)] == ["queued"]
    spool_sent.set()
    eventually(lambda: not list(tmp_path.iterdir()))
    assert seen(jobs) == ("DONE", 1)


def test_a_spool_that_cannot_be_used_is_an_error_at_once(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for make in (TaskReports, AsyncTaskReports):
        with pytest.raises(OSError, match="file"):
            make(spool=tmp_path / "file")
    with pytest.raises(ValueError, match="through"):
        TaskReports(through=Bridge(redis_client), spool=tmp_path)


def test_a_forked_process_reports_too(
    reports: TaskReports, redis_client: redis.Redis, jobs: JobEnds
) -> None:
    bridge = reports._bridge
    assert bridge is not None
    reports.queued(TASK)
    with bridge._lock:  # as by another thread of the process
        child = os.fork()
        if child == 0:
            reports.started(TASK)
            reports.entered(TASK)
            job = current_job(JobReport)
            if job is not None:
                job.progress(50)
            reports.done(TASK, 1)
            os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    assert seen(jobs) == ("DONE", 1)
    events = jobs.events("t1")
    assert [event["type"] for event in events] == ["queued", "processing", "progress", "done"]
    workers = [event["worker"] for event in events]
    assert len(set(workers)) == 2
    assert len(set(workers[1:])) == 1


def test_tenant_by_position__is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert tenant_argument(Task("a1", "module.by_position", args=(42,))) is None
    assert tenant_argument(Task("a1", "module.cleanup")) is None
    assert [each.getMessage().split(":")[0] for each in caplog.records] == [
        "task module.by_position is not reported"
    ]


def test_a_lost_task_that_runs_again_is_the_next_attempt(
    redis_client: redis.Redis, jobs: JobEnds, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even if readers have not seen yet that the lost run has failed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bridge = Bridge(redis_client)
    reports = TaskReports(through=bridge, reruns=True)
    lost = LostTasks("test", "queue", reports, bridge)
    reports.started(TASK)
    assert seen(jobs) == ("PROCESSING", 1)
    reports.left(TASK.id)
    child = os.fork()
    if child == 0:
        lost.record(TASK)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    lost.report()
    reports.started(TASK)
    assert seen(jobs) == ("PROCESSING", 2)
    reports.done(TASK, 1)
    reports.left(TASK.id)
    assert seen(jobs) == ("DONE", 2)

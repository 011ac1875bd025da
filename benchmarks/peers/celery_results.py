"""Celery and the appender: `update_state` with its Redis result backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import celery
from celery.result import AsyncResult

from benchmarks.measure import Sample, compare
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import job_id, progress_event
from streams.appender import EventAppender

ROUNDS = 5
STATE = "PROCESSING"


def celery_results(bench: Bench) -> list[Figure]:
    """Report progress, one step in a call: append an event, or update a task's state."""
    bench.empty()
    count = bench.scaled(2_000, least=200)
    appender, task = EventAppender(bench.client), _task(bench)

    def product() -> Sample:
        return bench.measured(
            count, lambda: [appender.append("t0", progress_event(job)) for job in range(count)]
        )

    def peer() -> Sample:
        return bench.measured(
            count,
            lambda: [
                task.update_state(task_id=job_id(job), state=STATE, meta=_meta(job))
                for job in range(count)
            ],
        )

    figure = Figure(
        "report progress, one step a call / Celery's update_state",
        key="report_celery",
        **compare(bench.rounds(ROUNDS), product, peer).fields(),
        details={"limit": "Celery's Redis result backend, the same fields"},
    )
    if AsyncResult(job_id(0), app=task.app).info != _meta(0):
        raise RuntimeError("AsyncResult does not have the state that update_state stored")
    return [figure]


def report_all(bench: Bench, answers: Mapping[str, Mapping[str, Any]]) -> None:
    """Set the states of tasks from which a view returns these answers."""
    task = _task(bench)
    for task_id, answer in answers.items():
        fields = {key: value for key, value in answer.items() if key not in ("job_id", "status")}
        task.update_state(task_id=task_id, state=answer["status"], meta=fields)


def _task(bench: Bench) -> Any:
    app = celery.Celery(backend=bench.redis.url)

    def work() -> None:
        """Do nothing: only the states of the task are used."""

    return app.task(work, name="bench.work")


def _meta(job: int) -> dict[str, Any]:
    return progress_event(job).model_dump(
        mode="json", include={"worker", "step", "percent", "step_index", "step_total"}
    )

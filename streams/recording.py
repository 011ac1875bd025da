"""Recording of jobs in tests of an application, without a server.

    def test_import(recorded_jobs):
        import_rows("a1", tenant="42")
        assert recorded_jobs["a1"].state == "done"

While `recording` is active, all reporters and appenders of the process record what they would
append, whenever they were made. Used by applications and by `streams/pytest_plugin.py`, whose
fixture `recorded_jobs` does this for one test.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from unittest import mock

import orjson
import redis

from .appender import AsyncEventAppender, EventAppender
from .async_reporter import AsyncReporter
from .entry_ids import EntryId
from .keys import JobKey, Keys, check_tenant
from .kinds import State
from .payloads import Appendable, payload_of
from .reporter import Reporter
from .reporting import base, outbox
from .reporting.attempts import Known
from .runtime.environment import PREFIX

_URL = "redis://no-server.invalid:6379/0"


class RecordedJob:
    """A job with the events that were reported of it, oldest first."""

    def __init__(self, key: JobKey, events: list[dict[str, Any]]) -> None:
        self.tenant, self.kind, self.id = key
        self.events = events

    def __repr__(self) -> str:
        return f"<job {self.id} of tenant {self.tenant}: {self.state}, {len(self.events)} events>"

    @property
    def types(self) -> list[str]:
        """Types of the events, such as `["processing", "progress", "done"]`."""
        return [event["type"] for event in self.events]

    @property
    def state(self) -> State:
        """State that readers would see."""
        return _state(self._last)

    @property
    def attempt(self) -> int:
        """Number of the highest attempt."""
        return int(self._last.get("attempt", 1))

    @property
    def job_type(self) -> str | None:
        """Application's name for the type of work."""
        return self._last.get("job_type")

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the job."""
        return self._last.get("labels") or {}

    @property
    def result(self) -> Any:
        """Result of a job that is done, as JSON."""
        return self._last.get("result")

    @property
    def error(self) -> str | None:
        """Text of a job that failed."""
        return self._last.get("error")

    @property
    def code(self) -> str | None:
        """Code of a job that failed."""
        return self._last.get("code")

    @property
    def operator_detail(self) -> str | None:
        """Text that only operators see: of a failure, or why the attempt before has failed."""
        return self._last.get("operator_detail")

    @property
    def reason(self) -> str | None:
        """Reason of a job that was cancelled."""
        return self._last.get("reason")

    @property
    def percents(self) -> list[float]:
        """Percents that were sent; what a job reports faster than its rate is left out."""
        return [event["percent"] for event in self.events if event.get("percent") is not None]

    @property
    def steps(self) -> list[str]:
        """Names of the steps, each once, in the order of their first events."""
        return list(dict.fromkeys(event["step"] for event in self.events if event.get("step")))

    @property
    def _last(self) -> dict[str, Any]:
        """The event that determines the state."""
        last = self.events[0]
        for event in self.events[1:]:
            before, after = (
                (each.get("attempt", 1), _state(each).rank, each["type"] == "progress")
                for each in (last, event)
            )
            if after > before or (after == before and not _state(event).ended):
                last = event
        return last


class RecordedJobs:
    """Jobs that were reported since the recording began; a job is found by its id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[tuple[str, dict[str, Any]]] = []

    def __iter__(self) -> Iterator[RecordedJob]:
        return iter(self._jobs().values())

    def __len__(self) -> int:
        return len(self._jobs())

    def __contains__(self, job_id: object) -> bool:
        return any(job.id == str(job_id) for job in self)

    def __getitem__(self, job_id: object) -> RecordedJob:
        return self.find(job_id)

    def find(self, job_id: object, tenant: object = None, kind: str | None = None) -> RecordedJob:
        """Return a job; the tenant and the kind are needed if several jobs have the id.

        Raises:
            KeyError: there is no such job, or more than one.
        """
        found = [
            job
            for job in self
            if job.id == str(job_id)
            and (tenant is None or job.tenant == str(tenant))
            and kind in (None, job.kind)
        ]
        if len(found) != 1:
            raise KeyError(f"{len(found)} jobs have the id {job_id}; all: {list(self)}")
        return found[0]

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events in the order in which they were appended."""
        outbox.finish_all()
        with self._lock:
            return [event for _, event in self._events]

    @cached_property
    def reporter(self) -> Reporter:
        """A strict reporter, for functions that take one as an argument."""
        return Reporter.from_url(_URL, strict=True)

    @cached_property
    def async_reporter(self) -> AsyncReporter:
        """A strict reporter for coroutines."""
        return AsyncReporter.from_url(_URL, strict=True)

    def record(self, events: Iterable[tuple[str, Appendable]]) -> list[EntryId]:
        """Record events as an appender appends them, and return ids of entries.

        Raises:
            InvalidEvent, InvalidTenant: an event or a tenant is not valid.
        """
        parsed = [
            (check_tenant(tenant), orjson.loads(payload_of(event))) for tenant, event in events
        ]
        with self._lock:
            first = len(self._events) + 1
            self._events += parsed
        return [EntryId(first + index, 0) for index in range(len(parsed))]

    def attempts_of(self, job: JobKey) -> list[Known]:
        """Return the attempts of a job, as `attempt="next"` reads them."""
        with self._lock:
            pairs = list(self._events)
        found = _by_job(pairs).get(job)
        events = found.events if found else []
        return [Known(event.get("attempt", 1), event["type"]) for event in events]

    def _jobs(self) -> dict[JobKey, RecordedJob]:
        outbox.finish_all()
        with self._lock:
            pairs = list(self._events)
        return _by_job(pairs)


def _by_job(pairs: Iterable[tuple[str, dict[str, Any]]]) -> dict[JobKey, RecordedJob]:
    jobs: dict[JobKey, RecordedJob] = {}
    for tenant, event in pairs:
        key = JobKey(tenant, event.get("kind", "job"), event["id"])
        jobs.setdefault(key, RecordedJob(key, [])).events.append(event)
    return jobs


@contextmanager
def recording() -> Iterator[RecordedJobs]:
    """Record what all reporters and appenders of the process append; nothing is sent.

    If `JOBTRAIL_REDIS_URL` is not set, it is set meanwhile, so that `from_env` works.
    """
    jobs = RecordedJobs()
    environ = {f"{PREFIX}REDIS_URL": os.environ.get(f"{PREFIX}REDIS_URL") or _URL}

    def append_many(_: object, events: Iterable[tuple[str, Appendable]], **__: object) -> Any:
        return jobs.record(events)

    def append(_: object, tenant: str, event: Appendable, **__: object) -> EntryId:
        return jobs.record([(tenant, event)])[0]

    async def append_many_async(*arguments: Any, **options: Any) -> Any:
        return append_many(*arguments, **options)

    async def append_async(*arguments: Any, **options: Any) -> EntryId:
        return append(*arguments, **options)

    def read_attempts(_client: redis.Redis, _keys: Keys, job: JobKey) -> list[Known]:
        return jobs.attempts_of(job)

    with (
        mock.patch.dict(os.environ, environ),
        mock.patch.multiple(EventAppender, append=append, append_many=append_many),
        mock.patch.multiple(AsyncEventAppender, append=append_async, append_many=append_many_async),
        mock.patch.object(base, "read_attempts", read_attempts),
    ):
        try:
            yield jobs
        finally:
            outbox.finish_all()


def _state(event: dict[str, Any]) -> State:
    return State.PROCESSING if event["type"] == "progress" else State(event["type"])

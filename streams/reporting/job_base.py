"""Base of both job reports: the span, the current job, and the steps of one attempt.

Used by `streams.async_job_report` and `streams.job_report`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..events import Event
from ..tracing import job_span
from . import current
from .job_events import JobEvents
from .pace import Pace
from .steps import StepNumbers

_LOG = logging.getLogger(__name__)


class JobReportBase:
    """Base of the blocking and of the asyncio report of a job."""

    def __init__(self, events: Callable[[], JobEvents], pace: Pace) -> None:
        self._make_events = events
        self._made_events: JobEvents | None = None
        self._pace = pace
        self._numbers: StepNumbers | None = None
        self._ended = False
        self._before: Any = None
        self._span: Any = None

    @property
    def _events(self) -> JobEvents:
        """The builder of the events, made at its first use, when it checks the job's fields."""
        if self._made_events is None:
            self._made_events = self._make_events()
        return self._made_events

    @property
    def _steps(self) -> StepNumbers:
        """The numbers of the job's steps."""
        if self._numbers is None:
            self._numbers = StepNumbers()
        return self._numbers

    @property
    def id(self) -> str:
        """Id of the job."""
        return self._events.id

    @property
    def attempt(self) -> int:
        """Number of the attempt; with `next`, it is known when the block has begun."""
        return self._events.attempt

    @property
    def ended(self) -> bool:
        """True once an end was reported."""
        return self._ended

    def event(self, form: type[Event], **fields: Any) -> Event:
        """Return an event of this job, with an id and the time.

        Raises:
            InvalidEvent: a field is not valid.
        """
        return self._events.event(form, **fields)

    def _enter(self) -> None:
        """Open the job's span, and make this the current job."""
        events = self._events
        self._span = job_span(
            f"job {events.job_type or events.key.kind}",
            events.traceparent,
            {"jobtrail.tenant": events.tenant, "jobtrail.kind": events.key.kind},
        )
        events.traceparent = self._span.__enter__()
        self._before = current.enter(self)

    def _leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the span, and make the job before the current one again."""
        current.leave(self._before)
        try:
            self._span.__exit__(kind, error, traceback)
        except Exception:
            # Recording an exception calls its `__str__`, which may raise.
            _LOG.debug("the span of job %s was not completed", self.id, exc_info=True)

    def _ignored(self, what: str) -> None:
        _LOG.warning("%s of job %s after its end was ignored", what, self.id)

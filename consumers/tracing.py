"""OpenTelemetry spans of batches, in the traces of the workers that appended the events.

A batch has events of many traces. It is one span, linked to those traces. Each of those traces also
gets a span of the same time that shows when its event was projected, linked to the span of the
batch. Only sampled traces are continued, and a bounded number of them in each batch. Without
sampled traces, or without a tracer in the process, a batch costs one pass over its events. Used by
`consumers.composition`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from consumers.protocols import Projection
from projections.decoding import Entry
from streams.runtime.safe_text import bounded, one_line, visible
from streams.tracing import remote_span

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True

TRACES = 32
"""The number of traces that are continued in one batch: the first ones."""

ERROR_LENGTH = 500
"""The number of characters of an error's text in a span at most."""
_SAMPLED = frozenset("13579bdf")
"""Last digits of the flags of a sampled trace."""


def traced(projection: Projection, group: str) -> Projection:
    """Return the projection with spans, or the projection itself without OpenTelemetry."""
    return Traced(projection, group) if INSTALLED else projection


def _record(span: trace.Span, error: Exception) -> None:
    """Record an error, shortened: its text may contain a server's answer or an event."""
    kind = type(error).__qualname__
    message = bounded(visible(one_line(error)), ERROR_LENGTH)
    span.add_event("exception", {"exception.type": kind, "exception.message": message})
    span.set_status(trace.Status(trace.StatusCode.ERROR, f"{kind}: {message}"))


class Traced:
    """A projection whose batches are traced with the tracer of the process."""

    def __init__(self, projection: Projection, group: str) -> None:
        self._projection = projection
        self._group = group
        self._tracer = trace.get_tracer("jobtrail")

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply the entries; raise what the projection raises."""
        continued = self._continued(entries)
        if not continued:
            self._projection.apply(entries)
            return
        started = time.time_ns()
        with self._tracer.start_as_current_span(
            f"apply {self._group}",
            context=Context(),
            kind=trace.SpanKind.CONSUMER,
            links=[trace.Link(context) for context, _ in continued],
            attributes={**self._facts(), "messaging.batch.message_count": len(entries)},
            record_exception=False,
            set_status_on_exception=False,
        ) as batch:
            try:
                self._projection.apply(entries)
            except Exception as error:
                _record(batch, error)
                raise
        link = trace.Link(batch.get_span_context())
        for context, entry in continued:
            self._continue(context, entry, started, link)

    def _continued(self, entries: Sequence[Entry]) -> Sequence[tuple[trace.SpanContext, Entry]]:
        """Return the sampled traces of a batch, each with its first entry."""
        if isinstance(
            trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider
        ):
            return ()
        found: dict[str, tuple[trace.SpanContext, Entry]] = {}
        for entry in entries:
            parent = entry.event.traceparent
            if parent is None or parent[-1:] not in _SAMPLED or parent in found:
                continue
            if context := remote_span(parent):
                found[parent] = context, entry
                if len(found) == TRACES:
                    break
        return list(found.values())

    def _continue(
        self, context: trace.SpanContext, entry: Entry, started: int, batch: trace.Link
    ) -> None:
        job = entry.job
        self._tracer.start_span(
            f"project {self._group}",
            context=trace.set_span_in_context(trace.NonRecordingSpan(context)),
            kind=trace.SpanKind.CONSUMER,
            links=[batch],
            start_time=started,
            attributes={
                **self._facts(),
                "messaging.message.id": str(entry.entry_id),
                "jobtrail.tenant": job.tenant,
                "jobtrail.kind": job.kind,
                "jobtrail.job_id": job.id,
                "jobtrail.event_type": entry.event.type,
            },
        ).end()

    def _facts(self) -> dict[str, str]:
        return {
            "messaging.system": "redis",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": self._group,
        }

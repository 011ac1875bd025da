"""Trace context, where the application traces with OpenTelemetry; elsewhere nothing of it.

Events carry their worker's trace in `traceparent`, so that whoever applies them can continue it.
The API package alone is needed, and only looked for: it is an extra.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

try:
    from opentelemetry import trace
except ImportError:  # nobody traces here
    _current_span: Callable[[], trace.Span] | None = None
else:
    _current_span = trace.get_current_span

TRACEPARENT = re.compile(r"[0-9a-e][0-9a-f]-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
"""What of `traceparent` can be continued; any other is kept, and means nothing."""


def current_traceparent() -> str | None:
    """Give the current span as W3C trace context, or None where there is none."""
    if _current_span is None:
        return None
    context = _current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def remote_span(traceparent: str) -> trace.SpanContext | None:
    """Read another process's span; None where it is none, or nobody traces here."""
    found = TRACEPARENT.match(traceparent)
    if _current_span is None or found is None:
        return None
    context = trace.SpanContext(
        int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=_flags(found[3])
    )
    return context if context.is_valid else None


@contextmanager
def job_span(name: str, traceparent: str | None, facts: Mapping[str, str]) -> Iterator[str | None]:
    """Trace the work at a job, as a part of the trace given or else of the current one.

    Gives what the job's events carry; None where nobody traces. An error that comes by is recorded.
    """
    if _current_span is None:
        yield traceparent
        return
    given = traceparent if traceparent != current_traceparent() else None
    remote = remote_span(given) if given else None
    parent = remote and trace.set_span_in_context(trace.NonRecordingSpan(remote))
    tracer = trace.get_tracer("jobtrail")
    with tracer.start_as_current_span(
        name, context=parent or None, kind=trace.SpanKind.PRODUCER, attributes=dict(facts)
    ):
        yield current_traceparent() or traceparent


def _flags(hexadecimal: str) -> trace.TraceFlags:
    return trace.TraceFlags(int(hexadecimal, 16))

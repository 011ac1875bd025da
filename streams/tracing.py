"""Trace context of events, if the application uses OpenTelemetry.

Events carry the trace of their worker in `traceparent`, and consumers continue it. Only the package
`opentelemetry-api` is needed; without it, all functions do nothing. Used by `consumers.tracing`,
`streams.appender` and `streams.reporting`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

try:
    from opentelemetry import trace
except ImportError:  # tracing is not installed
    _current_span: Callable[[], trace.Span] | None = None
else:
    _current_span = trace.get_current_span

TRACEPARENT = re.compile(r"[0-9a-e][0-9a-f]-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
"""Form of a valid trace context. Any other text stays in the event and is otherwise ignored."""


def current_traceparent() -> str | None:
    """Return the W3C trace context of the current span, or None if there is no span."""
    if _current_span is None:
        return None
    context = _current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def remote_span(traceparent: str) -> trace.SpanContext | None:
    """Return the span that a trace context describes.

    None if it is not valid, or if OpenTelemetry is not installed.
    """
    found = TRACEPARENT.match(traceparent)
    if _current_span is None or found is None:
        return None
    context = trace.SpanContext(
        int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=_flags(found[3])
    )
    return context if context.is_valid else None


@contextmanager
def job_span(name: str, traceparent: str | None, facts: Mapping[str, str]) -> Iterator[str | None]:
    """Open a span for a job, in the trace of `traceparent` or else in the current one.

    The value of the context is the trace context for the job's events, None if there is none. An
    exception that leaves the context is recorded.
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

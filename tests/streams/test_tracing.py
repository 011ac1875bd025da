"""Traces of workers, and the consumers that continue them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from consumers.tracing import ERROR_LENGTH, TRACES, Traced
from projections.decoding import Entry, decode
from streams.appender import EventAppender
from streams.entry_ids import EntryId
from streams.events import dump_json, parse_event
from streams.payloads import payload_of
from streams.reporter import Reporter
from streams.tracing import current_traceparent, remote_span
from tests.support.groups import entries

REMOTE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = REMOTE[:-1] + "0"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Spans of a process that has a tracer; a global tracer would trace all other tests."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def finished(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def said(client: redis.Redis) -> list[str | None]:
    return [
        parse_event(fields["event"]).traceparent for fields in entries(client, "tenant:42:events")
    ]


class Recording:
    """A projection that records its batches, and fails on demand."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.applied = 0

    def apply(self, entries: Sequence[Entry]) -> None:
        if self.error:
            raise self.error
        self.applied += len(entries)


def entry(number: int, traceparent: str | None = None) -> Entry:
    field = b"" if traceparent is None else b',"traceparent":"%b"' % traceparent.encode()
    raw = b'{"type":"done","id":"a%d"%b}' % (number, field)
    return decode("42", EntryId(1_000, number), [b"event", raw])


def traceparent_of(number: int) -> str:
    return f"00-{number + 1:032x}-{number + 1:016x}-01"


def test_event_appended_within_a_span_carries_it(
    spans: InMemorySpanExporter, redis_client: redis.Redis
) -> None:
    appender = EventAppender(redis_client)
    with trace.get_tracer("test").start_as_current_span("work"):
        here = current_traceparent()
        appender.append("42", {"type": "queued", "id": "a1"})
        appender.append("42", parse_event(b'{"type":"queued","id":"a2"}'))
        appender.append("42", b'{"type":"queued","id":"a3"}')
        appender.append("42", {"type": "queued", "id": "a4", "traceparent": REMOTE})
    appender.append("42", {"type": "queued", "id": "a5"})
    assert here is not None
    assert said(redis_client) == [here, here, here, REMOTE, None]


def test_event_that_has_no_room_for_it_is_appended_without(spans: InMemorySpanExporter) -> None:
    raw = payload_of({"type": "queued", "id": "a1", "event_id": "e"})
    with trace.get_tracer("test").start_as_current_span("work"):
        appender = EventAppender(redis.Redis(), max_event_bytes=len(raw))
        (command, *_) = appender._plan([("42", raw)]).commands
    assert command[-1] == raw


def test_job_is_a_span__its_events_carry_it_and_the_workers_own_spans_are_within(
    spans: InMemorySpanExporter, redis_client: redis.Redis
) -> None:
    reporter = Reporter(EventAppender(redis_client))
    tracer = trace.get_tracer("test")
    with (
        tracer.start_as_current_span("request"),
        reporter.job("a1", tenant="42", job_type="excel") as job,
    ):
        with tracer.start_as_current_span("parse"):
            job.progress("parsing", percent=10)
        job.done({})
    found = finished(spans)
    request, span, parse = found["request"], found["job excel"], found["parse"]
    assert span.parent == request.context
    assert parse.parent == span.context
    assert len(said(redis_client)) == 3
    assert [_ids(remote_span(each or "")) for each in said(redis_client)] == 3 * [
        _ids(span.get_span_context())
    ]


def test_job_continues_the_trace_it_is_given(
    spans: InMemorySpanExporter, redis_client: redis.Redis
) -> None:
    reporter = Reporter(EventAppender(redis_client))
    with reporter.job("a1", tenant="42", traceparent=REMOTE):
        pass
    (span,) = spans.get_finished_spans()
    assert span.parent == remote_span(REMOTE)
    assert all(each and each.startswith(REMOTE[:36]) for each in said(redis_client))


def test_failed_job_is_a_failed_span(
    spans: InMemorySpanExporter, redis_client: redis.Redis
) -> None:
    reporter = Reporter(EventAppender(redis_client))
    with pytest.raises(ValueError, match="no such row"), reporter.job("a1", tenant="42"):
        raise ValueError("no such row")
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR


def test_batch_is_a_span_linked_to_the_traces_that_it_continues(
    spans: InMemorySpanExporter,
) -> None:
    inner = Recording()
    one, other = traceparent_of(1), traceparent_of(2)
    Traced(inner, "status").apply([entry(0), entry(1, one), entry(2, other), entry(3, one)])
    assert inner.applied == 4
    batch = finished(spans)["apply status"]
    assert batch.parent is None
    assert batch.attributes is not None
    assert batch.attributes["messaging.batch.message_count"] == 4
    assert [link.context for link in batch.links] == [remote_span(one), remote_span(other)]
    continued = [each for each in spans.get_finished_spans() if each.name == "project status"]
    assert [span.parent for span in continued] == [remote_span(one), remote_span(other)]
    for span, id_ in zip(continued, ("a1", "a2"), strict=True):
        assert [link.context for link in span.links] == [batch.context]
        assert span.attributes is not None
        assert span.attributes["jobtrail.job_id"] == id_
        assert span.start_time is not None
        assert batch.start_time is not None
        assert span.start_time <= batch.start_time


def test_traces_of_one_batch_are_bounded(spans: InMemorySpanExporter) -> None:
    Traced(Recording(), "rows").apply(
        [entry(number, traceparent_of(number)) for number in range(1_000)]
    )
    assert len(spans.get_finished_spans()) == TRACES + 1


@pytest.mark.parametrize("traceparent", [None, UNSAMPLED, "", "1", "nonsense-1", "00-0-0-01"])
def test_what_nobody_sampled_makes_no_span(
    spans: InMemorySpanExporter, traceparent: str | None
) -> None:
    inner = Recording()
    Traced(inner, "rows").apply([entry(1, traceparent)])
    assert inner.applied == 1
    assert spans.get_finished_spans() == ()


def test_batch_that_fails_is_a_failed_span_and_continues_nothing(
    spans: InMemorySpanExporter,
) -> None:
    with pytest.raises(OSError, match="away"):
        Traced(Recording(OSError("away")), "rows").apply([entry(1, REMOTE)])
    (span,) = spans.get_finished_spans()
    assert span.name == "apply rows"
    assert span.status.status_code is trace.StatusCode.ERROR


HOSTILE = "secret\x1b[2J\n<img src=x onerror=alert(1)>{{tenant}}${__from}\u202e\x00" * 10


def test_spans_hold_no_text_that_a_worker_chose(spans: InMemorySpanExporter) -> None:
    """Spans have identities only: other texts may be long, hostile or secret."""
    event = {
        "type": "failed",
        "id": "a1",
        "traceparent": REMOTE,
        "worker": HOSTILE[:200],
        "job_type": HOSTILE[:100],
        "labels": {HOSTILE[:60]: HOSTILE[:60]},
        "error": HOSTILE,
        "code": HOSTILE[:60],
        HOSTILE: HOSTILE,
    }
    one = decode("42", EntryId(1_000, 0), [b"event", dump_json(event)])
    Traced(Recording(), "status").apply([one])
    assert set(finished(spans)) == {"apply status", "project status"}
    for span in spans.get_finished_spans():
        said = span.to_json()
        assert "secret" not in said
        assert "onerror" not in said
        assert all(len(str(value)) <= 130 for value in (span.attributes or {}).values())


def test_error_in_a_span_is_one_bounded_line(spans: InMemorySpanExporter) -> None:
    with pytest.raises(OSError, match="secret"):
        Traced(Recording(OSError(HOSTILE * 1_000)), "rows").apply([entry(1, REMOTE)])
    (span,) = spans.get_finished_spans()
    (recorded,) = span.events
    assert recorded.attributes is not None
    assert recorded.attributes["exception.type"] == "OSError"
    for said in (recorded.attributes["exception.message"], span.status.description):
        assert len(str(said)) <= ERROR_LENGTH + 20
        assert str(said).isprintable()


def test_unsampled_span_is_handed_on_as_unsampled(redis_client: redis.Redis) -> None:
    """The consumer must not sample it; the trace id still connects log lines."""
    tracer = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test")
    with trace.use_span(tracer.start_span("work"), end_on_exit=True):
        EventAppender(redis_client).append("42", {"type": "queued", "id": "a1"})
    (traceparent,) = said(redis_client)
    assert traceparent is not None
    context = remote_span(traceparent)
    assert context is not None
    assert not context.trace_flags.sampled


def _ids(context: trace.SpanContext | None) -> tuple[int, int]:
    assert context is not None
    return context.trace_id, context.span_id

"""Strategies for events: one job's log, with everything that makes folding it hard.

Entry ids come from a small pool in which text order and number order differ (9-0 and 10-0), events
repeat under a second entry id as after a retried append, and every optional field is there or not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar

from hypothesis import strategies as st

from projections.decoding import Entry, decode
from streams.entry_ids import EntryId
from streams.keys import JobKey

T = TypeVar("T")

TYPES = "queued processing progress done failed cancelled".split()
PARTS = (0, 1, 2, 9, 10, 11, 99, 100)

texts = st.text(max_size=12)
"""Any text that JSON can carry: NUL, quotes, backslashes and all planes, but no lone surrogates."""

numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)

json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)

named_keys = st.sampled_from("step percent step_index step_name step_percent extra".split())

json_objects = st.dictionaries(texts | named_keys, json_values, max_size=4)

percents = st.integers(-50, 150) | st.floats(-50, 150)

moments = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=3.5))]),
)

labels = st.dictionaries(st.sampled_from("abcdefghijklmnopqrst"), texts, max_size=16)

_COMMON: dict[str, st.SearchStrategy[Any]] = {
    "attempt": st.integers(1, 3),
    "at": moments.map(datetime.isoformat),
    "job_type": st.sampled_from(["excel", "omr", "hls"]),
    "labels": labels,
    "worker": texts,
    "traceparent": texts,
    "v": st.just(1),
    "unknown": json_values,
}

_OWN: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "progress": {
        "step": texts,
        "percent": percents,
        "step_index": st.integers(0, 9),
        "step_total": st.integers(0, 9),
        "step_name_display": texts,
        "step_percent": percents,
        "remaining_seconds": st.integers(0, 900) | st.floats(0, 900),
        "extra": json_objects,
    },
    "done": {
        "result": json_objects | st.fixed_dictionaries({"hls_path": texts, "duration": percents})
    },
    "failed": {"error": st.text(max_size=12) | st.just("x" * 2_001), "code": texts},
    "cancelled": {"reason": texts},
}


def event_fields(kind: str, job_id: str) -> st.SearchStrategy[dict[str, Any]]:
    """Fields of one valid event of a job, each optional one there or not."""
    return st.sampled_from(TYPES).flatmap(
        lambda name: st.fixed_dictionaries(
            {"type": st.just(name), "kind": st.just(kind), "id": st.just(job_id)},
            optional=_COMMON | _OWN.get(name, {}),
        )
    )


entry_ids = st.builds(EntryId, st.sampled_from(PARTS[1:]), st.sampled_from(PARTS))


@st.composite
def logs(
    draw: st.DrawFn,
    job: JobKey,
    *,
    max_size: int = 8,
    ids: st.SearchStrategy[EntryId] = entry_ids,
) -> list[Entry]:
    """Distinct entries of one job, in no order; some tell the same event twice."""
    positions = draw(st.lists(ids, min_size=1, max_size=max_size, unique=True))
    said: list[bytes] = []
    for number, _ in enumerate(positions):
        if said and draw(st.integers(0, 4)) == 0:
            said.append(draw(st.sampled_from(said)))
            continue
        fields = draw(event_fields(job.kind, job.id))
        if draw(st.booleans()):
            fields["event_id"] = f"own-{number}"
        said.append(json.dumps(fields, ensure_ascii=draw(st.booleans())).encode())
    return [
        decode(job.tenant, position, [b"event", raw])
        for position, raw in zip(positions, said, strict=True)
    ]


@st.composite
def deliveries(draw: st.DrawFn, entries: Sequence[T]) -> list[list[T]]:
    """Batches in which all entries are delivered, at least once each, in any order."""
    again = draw(st.lists(st.sampled_from(entries), max_size=4))
    order = draw(st.permutations([*entries, *again]))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=4)))
    return [
        list(order[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True)
        if start < end
    ]

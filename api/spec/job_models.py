"""Durable answers as models: rows, lists of them, and history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, Field, create_model

from api.spec.models import (
    Answer,
    Attempt,
    Cursor,
    EntryIdText,
    EventType,
    JobProgressDetail,
    Whole,
    always,
    id_type,
    maybe,
    title,
)
from streams.kinds import KINDS, Kind

Code = Annotated[str | None, Field(description="A short machine word for the failure.")]


def _row(kind: Kind, name: str, doc: str, **more: Any) -> type[BaseModel]:
    fields: dict[str, Any] = {
        kind.id_field: (id_type(kind), ...),
        "id": always(id_type(kind), "The same by one name for every kind."),
        "job_type": always(str | None, "What sort of job it is, as its worker named it."),
        "status": (Literal[tuple(kind.words.values())], ...),
        "progress": always(JobProgressDetail | None, "Only while processing."),
        kind.error_field: always(str | None, "Why it ended as it did."),
        "result": always(Any, "What the worker gave as the result, of any size."),
        **{field: always(Any, "Of the result.") for field in kind.result_fields or ()},
        "code": (Code, ...),
        "labels": always(dict[str, str], "What to find it by."),
        "worker": always(str | None, "Who reported last."),
        "attempt": (Attempt, ...),
        "created_at": (AwareDatetime, ...),
        "started_at": (AwareDatetime | None, ...),
        "updated_at": (AwareDatetime, ...),
        "ended_at": (AwareDatetime | None, ...),
        **more,
    }
    return create_model(name, __base__=Answer, __doc__=doc, **fields)


def _list_of(item: Any, name: str, doc: str) -> type[BaseModel]:
    items: Any = list
    return create_model(
        name, __base__=Answer, __doc__=doc, items=(items[item], ...), next_cursor=(Cursor, ...)
    )


ROWS: Mapping[str, type[BaseModel]] = {
    kind.name: _row(kind, title(kind), f"All that is stored of one {kind.name}.")
    for kind in KINDS.values()
}
_LISTED: Mapping[str, type[BaseModel]] = {
    kind.name: _row(
        kind,
        f"Listed{title(kind)}",
        f"A {kind.name} in a list, where a large result is left out.",
        result_omitted=maybe(Literal[True], "The result is too large for a list: see the row."),
        result_bytes=maybe(Whole, "Its size as JSON."),
    )
    for kind in KINDS.values()
}
LISTS: Mapping[str, type[BaseModel]] = {
    kind.name: _list_of(
        _LISTED[kind.name], f"{title(kind)}List", f"A page of {kind.plural}, newest first."
    )
    for kind in KINDS.values()
}


class HistoryEvent(Answer):
    """One distinct event, as it came."""

    entry_id: EntryIdText
    event_id: str
    type: EventType
    attempt: Attempt
    at: AwareDatetime
    event: Annotated[dict[str, Any], Field(description="The event's own JSON.")]


History = _list_of(HistoryEvent, "History", "A page of a job's events, in their order.")

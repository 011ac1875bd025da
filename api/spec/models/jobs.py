"""Models of stored jobs, of their lists and histories. Used by `api.spec.operations.jobs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, Field, create_model

from api.spec.models.base import (
    Answer,
    Attempt,
    Count,
    EntryIdText,
    EventType,
    NextCursor,
    id_type,
    model_name,
    optional,
    required,
)
from api.spec.models.progress import JobProgressDetail
from streams.kinds import KINDS, Kind

Code = Annotated[str | None, Field(description="A short identifier of the error.")]


def _row(kind: Kind, name: str, doc: str, **more: Any) -> type[BaseModel]:
    fields: dict[str, Any] = {
        kind.id_field: (id_type(kind), ...),
        "id": required(id_type(kind), "The job's id, under the same name for every kind."),
        "job_type": required(str | None, "The type of the job, as chosen by its producer."),
        "status": (Literal[tuple(kind.words.values())], ...),
        "progress": required(JobProgressDetail | None, "Null unless the job is processing."),
        kind.error_field: required(str | None, "Why the job failed or was cancelled."),
        "result": required(Any, "The job's result, of any size."),
        **{field: required(Any, "A field of the result.") for field in kind.result_fields or ()},
        "code": (Code, ...),
        "labels": required(dict[str, str], "Pairs of names and values to filter by."),
        "worker": required(str | None, "The worker that reported the last event."),
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
        name, __base__=Answer, __doc__=doc, items=(items[item], ...), next_cursor=(NextCursor, ...)
    )


ROWS: Mapping[str, type[BaseModel]] = {
    kind.name: _row(kind, model_name(kind), f"A stored {kind.name}.") for kind in KINDS.values()
}
"""The models of stored jobs, by the kind's name."""

_LISTED: Mapping[str, type[BaseModel]] = {
    kind.name: _row(
        kind,
        f"Listed{model_name(kind)}",
        f"A stored {kind.name} in a list, without a large result.",
        result_omitted=optional(
            Literal[True],
            f"The result is too large for a list; retrieve the {kind.name} to get it.",
        ),
        result_bytes=optional(Count, "The size of the omitted result as JSON, in bytes."),
    )
    for kind in KINDS.values()
}
LISTS: Mapping[str, type[BaseModel]] = {
    kind.name: _list_of(
        _LISTED[kind.name], f"{model_name(kind)}List", f"A page of {kind.plural}, newest first."
    )
    for kind in KINDS.values()
}
"""The models of lists, by the kind's name."""


class HistoryItem(Answer):
    """An event of a job's history."""

    entry_id: EntryIdText
    event_id: str
    type: EventType
    attempt: Attempt
    at: AwareDatetime
    event: Annotated[dict[str, Any], Field(description="The event's JSON, as appended.")]


History = _list_of(HistoryItem, "History", "A page of a job's events, oldest first.")

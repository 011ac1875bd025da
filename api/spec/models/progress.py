"""Models of progress answers, of queries and of events in live streams.

Used by `api.spec.operations.progress`, `api.spec.models.jobs` and `api.spec.models.operator_jobs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Json, create_model

from api.progress.query import MAX_IDS
from api.spec.models.base import (
    ABSENT,
    Answer,
    Attempt,
    Count,
    Percent,
    id_type,
    model_name,
    optional,
    required,
)
from streams.kinds import KINDS, Kind


class JobProgressDetail(Answer):
    """The progress of a job, and the fields of the worker's `extra`."""

    model_config = ConfigDict(extra="allow")

    step: str | None = ABSENT
    percent: Annotated[float, Field(ge=0, le=100)] | None = ABSENT
    step_index: Count | None = ABSENT
    step_total: Count | None = ABSENT
    step_name: str | None = ABSENT
    step_name_display: str | None = ABSENT
    step_percent: Annotated[float, Field(ge=0, le=100)] | None = ABSENT
    remaining_seconds: Annotated[float, Field(ge=0)] | None = ABSENT


def _progress_model(kind: Kind) -> type[BaseModel]:
    return create_model(
        f"{model_name(kind)}Progress",
        __base__=Answer,
        __doc__=f"The progress of a {kind.name}.",
        **{
            kind.id_field: (id_type(kind), ...),
            "status": (Literal[tuple(kind.words.values())], ...),
            **(_nested() if kind.progress_prefix is None else _flat(kind.progress_prefix)),
            kind.error_field: optional(
                str | None, "Why the job failed or was cancelled. Present once the job has ended."
            ),
            **_result(kind),
            "attempt": optional(Attempt, "The number of the attempt; each re-run increments it."),
            "updated_at": optional(AwareDatetime, "When the last event occurred."),
        },
    )


def _nested() -> dict[str, Any]:
    return {
        "job_type": required(str | None, "The type of the job, as chosen by its producer."),
        "progress": required(JobProgressDetail | None, "Null unless the job is processing."),
    }


def _flat(prefix: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "progress": (Percent | None, "The overall percentage; null unless the job is processing."),
        "remaining_seconds": (Count | None, "The worker's estimate of the remaining time."),
        "step_index": (Count | None, "The number of the current step."),
        "step_total": (Count | None, "The number of steps."),
        "step_name": (str | None, "The display name of the current step."),
        "step_percent": (Percent | None, "The percentage of the current step."),
    }
    return {prefix + name: required(*definition) for name, definition in fields.items()}


def _result(kind: Kind) -> dict[str, Any]:
    if kind.result_fields is None:
        fields = {"result": optional(Any, "The job's result. Present once the job is done.")}
    else:
        description = "A field of the result. Present once the job has ended."
        fields = {name: optional(Any, description) for name in kind.result_fields}
    return {
        **fields,
        "result_omitted": optional(
            Literal[True], "The result is too large for this answer; retrieve the job to get it."
        ),
        "result_bytes": optional(Count, "The size of the omitted result as JSON, in bytes."),
    }


PROGRESS: Mapping[str, type[BaseModel]] = {
    kind.name: _progress_model(kind) for kind in KINDS.values()
}
"""The models of progress answers, by the kind's name."""

QueryId = Annotated[
    str | int, Field(description="An id. An id that answers contain as a number may be a number.")
]


def _query_field(kind: Kind) -> Any:
    text = f"Ids of {kind.plural}. A query has at most {MAX_IDS} ids, of all kinds together."
    return Annotated[list[QueryId], Field(max_length=MAX_IDS, description=text)], ABSENT


def _answer_field(kind: Kind) -> Any:
    mapping: Any = dict  # the type of its values is known at run time only
    return mapping[str, PROGRESS[kind.name] | None], ...


ProgressQuery: type[BaseModel] = create_model(
    "ProgressQuery",
    __config__=ConfigDict(extra="forbid"),
    __doc__="The jobs whose progress to retrieve.",
    **{kind.plural: _query_field(kind) for kind in KINDS.values()},
)
ProgressAnswers: type[BaseModel] = create_model(
    "ProgressAnswers",
    __base__=Answer,
    __doc__="The progress by id; null for ids without progress.",
    **{kind.plural: _answer_field(kind) for kind in KINDS.values()},
)


class StreamEvent(BaseModel):
    """An event of a live stream, as an object of its fields."""

    event: Literal["state"]
    id: Annotated[str, Field(description="The value of `Last-Event-ID` when reconnecting.")]
    retry: Annotated[
        Count, Field(description="The time until the client reconnects, in milliseconds.")
    ] = ABSENT


def _event_model(name: str, doc: str, *data_models: type[BaseModel]) -> type[BaseModel]:
    """Return the model of an event, whose data is the JSON text of one of these models."""
    data = Json[Union[data_models]]  # type: ignore[valid-type] # noqa: UP007 - made at run time
    return create_model(name, __base__=StreamEvent, __doc__=doc, data=(data, ...))


EVENTS: Mapping[str, type[BaseModel]] = {
    kind.name: _event_model(
        f"{model_name(kind)}Event", f"The present state of a {kind.name}.", PROGRESS[kind.name]
    )
    for kind in KINDS.values()
}
"""The models of events in the live stream of one job, by the kind's name."""


def _kind_field(kind: Kind) -> dict[str, Any]:
    return {"kind": (Literal[kind.name], ...)}


TenantEvent = _event_model(
    "TenantEvent",
    "The present state of one of the tenant's jobs.",
    *(
        create_model(
            f"Tenant{model_name(kind)}",
            __base__=PROGRESS[kind.name],
            __doc__=f"The progress of a {kind.name}, with its kind.",
            **_kind_field(kind),
        )
        for kind in KINDS.values()
    ),
)

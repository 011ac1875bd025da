"""What is asked and answered over HTTP, as models that the OpenAPI document is generated from.

Answers are not made from these at run time: they are documents and rows, put together as bytes.
Tests hold that every real answer validates. What workers say freely (results, extras) is free here
too. A field that has a default here may be missing from an answer; that does not make it null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Json, create_model

from streams.keys import JOB_ID_PATTERN
from streams.kinds import KINDS, Kind

ABSENT: Any = None
"""The default of a field that is there or not; the document does not show it."""

JobId = Annotated[str, Field(pattern=JOB_ID_PATTERN, examples=["report-1"])]
Percent = Annotated[int, Field(ge=0, le=100)]
Whole = Annotated[int, Field(ge=0)]
Attempt = Annotated[int, Field(ge=1)]
EventType = Literal["queued", "processing", "progress", "done", "failed", "cancelled"]
Cursor = Annotated[
    str | None, Field(description="`cursor` of the next page's request; null on the last page.")
]
EntryIdText = Annotated[
    str, Field(pattern="^[0-9]+-[0-9]+$", description="A place in the tenant's log.")
]


class Answer(BaseModel):
    """An answer; what later versions add to it is to be ignored."""

    model_config = ConfigDict(extra="ignore")


class Problem(Answer):
    """Why there is no other answer (RFC 9457). `detail` is for people."""

    type: Annotated[
        str, Field(pattern="^[a-z-]+$", description="A word for programs; it does not change.")
    ]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[
        str, Field(description="In English where `Accept-Language` prefers that, else in Korean.")
    ]
    parameter: Annotated[
        str, Field(description="What about the request was not as it should be.")
    ] = ABSENT
    reason: Annotated[str, Field(description="What about it, in a few words.")] = ABSENT
    missing: Annotated[
        list[str], Field(description="Servers that are away; of `/readyz` alone.")
    ] = ABSENT


class Alive(Answer):
    """The process answers."""

    status: Literal["alive"]


class Ready(Answer):
    """What it needs answers too."""

    status: Literal["ready"]
    database: Annotated[
        Literal["ok", "away", "none"],
        Field(
            description="PostgreSQL, which durable reads need and progress does not: `away` while"
            " it does not answer (durable reads are 503), `none` where none is named."
        ),
    ]
    redis: Annotated[
        Literal["refuses writes"],
        Field(
            description="Only while Redis answers reads and refuses writes: it lacks memory, disk"
            " or replicas, and what is served does not change."
        ),
    ] = ABSENT


class JobProgressDetail(Answer):
    """How far the work is; whatever the worker gave as `extra` stands beside these."""

    model_config = ConfigDict(extra="allow")

    step: str | None = ABSENT
    percent: Annotated[float, Field(ge=0, le=100)] | None = ABSENT
    step_index: Whole | None = ABSENT
    step_total: Whole | None = ABSENT
    step_name: str | None = ABSENT
    step_name_display: str | None = ABSENT
    step_percent: Annotated[float, Field(ge=0, le=100)] | None = ABSENT
    remaining_seconds: Annotated[float, Field(ge=0)] | None = ABSENT


def progress_model(kind: Kind) -> type[BaseModel]:
    """Give the model of a kind's progress answer."""
    return create_model(
        f"{title(kind)}Progress",
        __base__=Answer,
        __doc__=f"How one {kind.name} stands; the same documents give the same bytes.",
        **{
            kind.id_field: (id_type(kind), ...),
            "status": (Literal[tuple(kind.words.values())], ...),
            **(_nested() if kind.progress_prefix is None else _flat(kind.progress_prefix)),
            kind.error_field: maybe(str | None, "Why it ended as it did; once ended."),
            **_result(kind),
            "attempt": maybe(Attempt, "A re-run counts up."),
            "updated_at": maybe(AwareDatetime, "When the worker said so."),
        },
    )


def maybe(of: Any, description: str) -> Any:
    """Describe a field that is there or not."""
    return Annotated[of, Field(description=description)], ABSENT


def always(of: Any, description: str) -> Any:
    """Describe a field that is always there."""
    return Annotated[of, Field(description=description)], ...


def _nested() -> dict[str, Any]:
    return {
        "job_type": always(str | None, "What sort of job it is, as its worker named it."),
        "progress": always(JobProgressDetail | None, "Only while processing."),
    }


def _flat(prefix: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "progress": (Percent | None, "Of the whole; null unless it is processing."),
        "remaining_seconds": (Whole | None, "The worker's own estimate."),
        "step_index": (Whole | None, "The number of the step."),
        "step_total": (Whole | None, "Of so many."),
        "step_name": (str | None, "The step's name, as people read it."),
        "step_percent": (Percent | None, "Of the step."),
    }
    return {prefix + name: always(*about) for name, about in shown.items()}


def _result(kind: Kind) -> dict[str, Any]:
    whole = kind.result_fields is None
    names = ("result",) if kind.result_fields is None else kind.result_fields
    said = (
        "What the worker gave as the result; once done." if whole else "Of the result; once ended."
    )
    return {
        **{name: maybe(Any, said) for name in names},
        "result_omitted": maybe(Literal[True], "The result is too large for here: see the row."),
        "result_bytes": maybe(Whole, "Its size as JSON."),
    }


def id_type(kind: Kind) -> Any:
    """Give the type of a kind's id in answers."""
    if not kind.numeric_id:
        return JobId
    return Annotated[
        Whole | JobId, Field(description="A number where it is one.", examples=[7, "clip-7"])
    ]


def title(kind: Kind) -> str:
    """Give a kind's name as models and operations have it."""
    return kind.name.capitalize()


PROGRESS: Mapping[str, type[BaseModel]] = {
    kind.name: progress_model(kind) for kind in KINDS.values()
}
"""The progress answer of each kind, by its name."""

QUERY_IDS = 200
AskedId = Annotated[
    str | int, Field(description="An id; one that answers show as a number may be given as one.")
]
"""Ids that one query may ask for, of all kinds together."""


def _asked(kind: Kind) -> Any:
    text = f"Ids of {kind.plural}; {QUERY_IDS} of all kinds together at most."
    return Annotated[list[AskedId], Field(max_length=QUERY_IDS, description=text)], ABSENT


def _answered(kind: Kind) -> Any:
    mapping: Any = dict  # of a type that only a running program knows
    return mapping[str, PROGRESS[kind.name] | None], ...


ProgressQuery: type[BaseModel] = create_model(
    "ProgressQuery",
    __config__=ConfigDict(extra="forbid"),
    __doc__="Whose progress is asked for.",
    **{kind.plural: _asked(kind) for kind in KINDS.values()},
)
ProgressAnswers: type[BaseModel] = create_model(
    "ProgressAnswers",
    __base__=Answer,
    __doc__="The progress of each id that was asked for; null where there is none.",
    **{kind.plural: _answered(kind) for kind in KINDS.values()},
)


class StreamEvent(BaseModel):
    """One event of a stream, as an object of its fields."""

    event: Literal["state"]
    id: Annotated[str, Field(description="What to come back with, as `Last-Event-ID`.")]
    retry: Annotated[Whole, Field(description="Milliseconds after which to come back.")] = ABSENT


def _event_model(name: str, doc: str, *refs: type[BaseModel]) -> type[BaseModel]:
    """Give the model of an event whose data is the JSON of one of these."""
    told = Json[Union[refs]]  # type: ignore[valid-type] # noqa: UP007 - made at run time
    return create_model(name, __base__=StreamEvent, __doc__=doc, data=(told, ...))


EVENTS: Mapping[str, type[BaseModel]] = {
    kind.name: _event_model(
        f"{title(kind)}Event", f"How a {kind.name} stands now.", PROGRESS[kind.name]
    )
    for kind in KINDS.values()
}
"""An event of one job's stream, by the kind's name."""


def _of_kind(kind: Kind) -> dict[str, Any]:
    return {"kind": (Literal[kind.name], ...)}


TenantEvent = _event_model(
    "TenantEvent",
    "How one of the tenant's jobs stands now.",
    *(
        create_model(
            f"Tenant{title(kind)}",
            __base__=PROGRESS[kind.name],
            __doc__=f"How a {kind.name} stands, among others.",
            **_of_kind(kind),
        )
        for kind in KINDS.values()
    ),
)

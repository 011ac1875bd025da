"""Types and functions that the models of all answers share. Used by `api.spec.models` only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streams.keys import JOB_ID_PATTERN
from streams.kinds import Kind

ABSENT: Any = None
"""The default of a field that may be missing from an answer. If present, the field has its type, so
that it is null only if the type allows it. The OpenAPI document contains no defaults."""

JobId = Annotated[str, Field(pattern=JOB_ID_PATTERN, examples=["report-1"])]
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]
Attempt = Annotated[int, Field(ge=1)]
EventType = Literal["queued", "processing", "progress", "done", "failed", "cancelled"]
NextCursor = Annotated[
    str | None,
    Field(description="The `cursor` to request the next page with; null on the last page."),
]
EntryIdText = Annotated[
    str,
    Field(pattern="^[0-9]+-[0-9]+$", description="The id of an entry in the tenant's stream."),
]


class Answer(BaseModel):
    """An answer. Clients must ignore unknown fields, which later versions may add."""

    model_config = ConfigDict(extra="ignore")


class ProblemDetails(Answer):
    """An error (RFC 9457). `type` is for programs, `detail` is for people."""

    type: Annotated[
        str,
        Field(pattern="^[a-z-]+$", description="An identifier of the error, which never changes."),
    ]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[
        str,
        Field(
            description="A message in Korean, or in English if `Accept-Language` prefers English."
        ),
    ]
    parameter: Annotated[
        str, Field(description="The parameter, or the member of the body, that is not valid.")
    ] = ABSENT
    reason: Annotated[str, Field(description="Why it is not valid.")] = ABSENT
    missing: Annotated[list[str], Field(description="The servers that are unavailable.")] = ABSENT


def optional(of: Any, description: str) -> Any:
    """Return the definition of a field that may be missing."""
    return Annotated[of, Field(description=description)], ABSENT


def required(of: Any, description: str) -> Any:
    """Return the definition of a field that is always present."""
    return Annotated[of, Field(description=description)], ...


def id_type(kind: Kind) -> Any:
    """Return the type of a kind's ids in answers."""
    if not kind.numeric_id:
        return JobId
    return Annotated[
        Count | JobId,
        Field(description="A number if the id is numeric, else a string.", examples=[7, "clip-7"]),
    ]


def title(kind: Kind) -> str:
    """Return a kind's name in the names of models and operations."""
    return kind.name.capitalize()

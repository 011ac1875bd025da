"""Types, fields and the error model that the models of answers share.

Used by the modules of `api.spec`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streams.keys import JOB_ID_PATTERN
from streams.kinds import Kind

ABSENT: Any = None
"""The default of a field that an answer may leave out.

A field that is present is never null, unless its type allows null. The OpenAPI document contains no
defaults."""

JobId = Annotated[str, Field(pattern=JOB_ID_PATTERN, examples=["report-1"])]
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]
Attempt = Annotated[int, Field(ge=1)]
EventType = Literal["queued", "processing", "progress", "done", "failed", "cancelled"]
"""`streams.events.TYPES`, written out because type checkers know only literals."""
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
    """Return the annotation and the default, for `create_model`, of a field that may be missing."""
    return Annotated[of, Field(description=description)], ABSENT


def required(of: Any, description: str) -> Any:
    """Return the annotation and the default, for `create_model`, of a field in every answer."""
    return Annotated[of, Field(description=description)], ...


def id_type(kind: Kind) -> Any:
    """Return the type of a kind's ids in answers."""
    if not kind.numeric_id:
        return JobId
    return Annotated[
        Count | JobId,
        Field(
            description="A number if the id is a decimal number without leading zeros, else a "
            "string.",
            examples=[7, "clip-7"],
        ),
    ]


def model_name(kind: Kind) -> str:
    """Return the word for a kind in the names of models and operations."""
    return kind.name.capitalize()

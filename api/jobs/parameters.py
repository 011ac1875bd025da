"""Parameters of durable reads, as models: of a list of jobs and of a history.

Each stands in the query once at most. What is unknown, repeated or not of its form is refused, and
the answer names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from api.http.cursors import MAX_LENGTH
from api.http.problems import BadRequest
from streams.events import LabelName, LabelValue, Word
from streams.kinds import KINDS, Kind
from streams.leap_seconds import next_second

MAX_LIMIT, DEFAULT_LIMIT = 200, 50
MAX_LABELS = 5
LABEL = "label."
"""Prefix of a label's own parameter: `label.NAME=VALUE`."""
LABEL_PAIR = "label"
"""The same as a parameter that may be repeated: `label=NAME:VALUE`. Generated clients send this
form, as an OpenAPI document cannot describe parameters whose names are free."""

_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:([Zz])|([-+ ])(\d\d:\d\d))\Z",
    re.ASCII,
)
_WHOLE = re.compile(r"[0-9]{1,4}\Z")


def _whole(value: object) -> object:
    """Refuse what Python reads as a number and people do not write, such as 1_0."""
    if isinstance(value, str) and not _WHOLE.match(value):
        raise ValueError("is no whole number")
    return value


def _rfc_3339(value: object) -> object:
    """Take RFC 3339 alone; in a query, the + of an offset that was not escaped is a blank."""
    if not isinstance(value, str):
        return value
    found = _RFC_3339.match(value)
    if found is None:
        raise ValueError("is no date-time of RFC 3339")
    day, time, zulu, sign, offset = found.groups()
    # Python's calendar has microseconds.
    time = time[:15]
    moment = f"{day}T{time}{'Z' if zulu else (sign.replace(' ', '+') + offset)}"
    return next_second(moment) or moment


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("NUL is in no stored text")
    return value


Limit = Annotated[
    int,
    BeforeValidator(_whole),
    Field(ge=1, le=MAX_LIMIT, description="How many at most."),
]
Cursor = Annotated[
    str | None,
    Field(
        max_length=MAX_LENGTH,
        pattern="^[A-Za-z0-9_-]+$",
        description="`next_cursor` of the page before, for the same filters.",
    ),
]
Moment = Annotated[AwareDatetime | None, BeforeValidator(_rfc_3339)]
Text = Annotated[Word, AfterValidator(_storable)]


class PageParameters(BaseModel):
    """Of everything that is paged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor = None

    @classmethod
    def of_query(cls, raw: bytes) -> Self:
        """Read a query.

        Raises:
            BadRequest: naming the parameter that is not as it should be.
        """
        return cls.of_fields(_fields(_pairs(raw)))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read the fields of a query; raises as `of_query`."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            where = error.errors(include_url=False, include_context=False)[0]["loc"]
            raise BadRequest(parameter="".join(map(str, where))) from None


class HistoryParameters(PageParameters):
    """Of a job's history."""


class ListParameters(PageParameters):
    """Of a list of jobs; `list_parameters` gives a kind's own."""

    status: str | None = None
    job_type: Annotated[Text | None, Field(description="As the job's worker named it.")] = None
    updated_since: Annotated[
        Moment, Field(description="Jobs whose `updated_at` is this moment or later (RFC 3339).")
    ] = None
    labels: Annotated[
        Mapping[LabelName, Annotated[LabelValue, AfterValidator(_storable)]],
        Field(
            max_length=MAX_LABELS,
            description=(
                f"`NAME:VALUE`, repeatable with another NAME: jobs whose label NAME is VALUE. "
                f"`{LABEL}NAME=VALUE` is the same, also for a NAME with a colon in it."
            ),
        ),
    ] = Field(default_factory=dict)

    @classmethod
    def of_query(cls, raw: bytes) -> Self:
        """Read a query, in which labels may have either form; raises as the base does."""
        return cls.of_fields(_fields(map(_label_by_name, _pairs(raw))))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read the fields of a query, labels gathered."""
        labels = {
            name.removeprefix(LABEL): value
            for name, value in fields.items()
            if name.startswith(LABEL)
        }
        others = {name: value for name, value in fields.items() if not name.startswith(LABEL)}
        if "labels" in others:
            raise BadRequest(parameter="labels")
        _check_labels(labels)
        return super().of_fields(others | {"labels": labels})

    @property
    def told_by(self) -> Sequence[object]:
        """What a cursor is bound to: the filters, without the page's size."""
        since = self.updated_since and self.updated_since.isoformat()
        return [self.status, self.job_type, since, sorted(self.labels.items())]


def list_parameters(kind: Kind) -> type[ListParameters]:
    """Give the parameters of a kind's list, whose words are its own."""
    return LIST_PARAMETERS[kind.name]


def _model(kind: Kind) -> type[ListParameters]:
    words: Any = Literal[tuple(kind.words.values())]
    return create_model(
        f"{kind.name.title()}ListParameters",
        __base__=ListParameters,
        __doc__=f"Of the list of {kind.plural}.",
        status=(words | None, None),
    )


LIST_PARAMETERS: Mapping[str, type[ListParameters]] = {
    name: _model(kind) for name, kind in KINDS.items()
}
"""By the kind's name."""


def _check_labels(labels: Mapping[str, str]) -> None:
    """Name the very label that is wrong, as it stands in the query."""
    for name, value in labels.items():
        if not 1 <= len(name) <= 64 or "\0" in name + value or len(value) > 256:
            raise BadRequest(parameter=(LABEL + name)[:100])
    if len(labels) > MAX_LABELS:
        raise BadRequest(parameter=LABEL + "*")


MAX_FIELDS = 20


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    """Return the names and values in a query."""
    try:
        return parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:  # too many fields, or not UTF-8
        raise BadRequest(parameter="*") from None


def _label_by_name(pair: tuple[str, str]) -> tuple[str, str]:
    """Return `label=NAME:VALUE` as `label.NAME=VALUE`, and any other pair as it is."""
    name, value = pair
    if name != LABEL_PAIR:
        return pair
    label, colon, wanted = value.partition(":")
    if not (label and colon):
        raise BadRequest(parameter=LABEL_PAIR)
    return LABEL + label, wanted


def _fields(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields of a query, each of which may occur once."""
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            raise BadRequest(parameter=name[:100])
        fields[name] = value
    return fields

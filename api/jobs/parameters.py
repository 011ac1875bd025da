"""The query parameters of lists and histories, as Pydantic models.

Used by `api.jobs.endpoint` to parse requests, and by `api.spec.operations.jobs` to describe them.
Each parameter may occur once, except `label`. An unknown, repeated or invalid parameter is refused,
and the answer contains its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
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
"""The prefix of a filter by label: `label.NAME=VALUE`."""
LABEL_PAIR = "label"
"""The same filter as a repeatable parameter: `label=NAME:VALUE`. Generated clients send this form,
because an OpenAPI document cannot describe parameters with variable names."""

_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:([Zz])|([-+ ])(\d\d:\d\d))\Z",
    re.ASCII,
)
_FLAGS: Mapping[str, bool] = MappingProxyType(
    {"": True, "1": True, "true": True, "0": False, "false": False}
)
_DIGITS = re.compile(r"[0-9]{1,4}\Z")


def _integer(value: object) -> object:
    """Return the value; raise ValueError for a string such as 1_0, which Python would accept."""
    if isinstance(value, str) and not _DIGITS.match(value):
        raise ValueError("must be an integer")
    return value


def _flag(value: object) -> object:
    """Return a flag of a query as a boolean; raise ValueError for other words."""
    if isinstance(value, str):
        if value not in _FLAGS:
            raise ValueError("must be 1 or 0")
        return _FLAGS[value]
    return value


def _rfc_3339(value: object) -> object:
    """Return an RFC 3339 date-time in a form that Pydantic reads.

    In a query, the unescaped + of an offset has become a space, which is accepted too.
    """
    if not isinstance(value, str):
        return value
    found = _RFC_3339.match(value)
    if found is None:
        raise ValueError("must be an RFC 3339 date-time")
    day, time, zulu, sign, offset = found.groups()
    # Python's datetime has microseconds.
    time = time[:15]
    moment = f"{day}T{time}{'Z' if zulu else (sign.replace(' ', '+') + offset)}"
    return next_second(moment) or moment


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain NUL")
    return value


Limit = Annotated[
    int,
    BeforeValidator(_integer),
    Field(ge=1, le=MAX_LIMIT, description="The maximum number of items to return."),
]
CursorParameter = Annotated[
    str | None,
    Field(
        max_length=MAX_LENGTH,
        pattern="^[A-Za-z0-9_-]+$",
        description="The `next_cursor` of the previous page, requested with the same filters.",
    ),
]
Moment = Annotated[AwareDatetime | None, BeforeValidator(_rfc_3339)]
Text = Annotated[Word, AfterValidator(_storable)]


class ReadParameters(BaseModel):
    """The parameters of every endpoint that reads from PostgreSQL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fresh: Annotated[
        bool,
        BeforeValidator(_flag),
        Field(
            description="Read from the primary, never from a replica: `1` or `true`, or no value"
            " at all; `0` and `false` are the default."
        ),
    ] = False

    @classmethod
    def of_query(cls, raw: bytes) -> Self:
        """Return the parameters in a query string.

        Raises:
            BadRequest: a parameter is not valid; the answer contains its name.
        """
        return cls.of_fields(_fields(_pairs(raw)))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Return the parameters in the fields of a query; raises the errors of `of_query`."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            where = error.errors(include_url=False, include_context=False)[0]["loc"]
            raise BadRequest(parameter="".join(map(str, where))) from None


class JobParameters(ReadParameters):
    """The parameters of one job."""


class PageParameters(ReadParameters):
    """The parameters of every paginated endpoint."""

    limit: Limit = DEFAULT_LIMIT
    cursor: CursorParameter = None


class HistoryParameters(PageParameters):
    """The parameters of a job's history."""


class ListParameters(PageParameters):
    """The parameters of a list of jobs; those of a kind are in `LIST_PARAMETERS`."""

    status: str | None = None
    job_type: Annotated[
        Text | None, Field(description="Only return jobs with this `job_type`.")
    ] = None
    updated_since: Annotated[
        Moment, Field(description="Only return jobs updated at or after this time (RFC 3339).")
    ] = None
    labels: Annotated[
        Mapping[LabelName, Annotated[LabelValue, AfterValidator(_storable)]],
        Field(
            max_length=MAX_LABELS,
            description=(
                f"Only return jobs with this label, as `NAME:VALUE`. Repeat the parameter to "
                f"filter by several labels. `{LABEL}NAME=VALUE` is equivalent, and also accepts a "
                f"NAME that contains a colon."
            ),
        ),
    ] = Field(default_factory=dict)

    @classmethod
    def of_query(cls, raw: bytes) -> Self:
        """Return the parameters in a query string, with labels in either form.

        Raises:
            BadRequest: a parameter is not valid; the answer contains its name.
        """
        return cls.of_fields(_fields(map(_label_by_name, _pairs(raw))))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Return the parameters in the fields of a query, with all labels in `labels`."""
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
    def filter_values(self) -> Sequence[object]:
        """The filters, which identify the list in its cursors; the page size is not one of them."""
        since = self.updated_since and self.updated_since.isoformat()
        return [self.status, self.job_type, since, sorted(self.labels.items())]


def list_parameters(kind: Kind) -> type[ListParameters]:
    """Return the model of the parameters of a kind's list."""
    return LIST_PARAMETERS[kind.name]


def _model(kind: Kind) -> type[ListParameters]:
    words: Any = Literal[tuple(kind.words.values())]
    return create_model(
        f"{kind.name.capitalize()}ListParameters",
        __base__=ListParameters,
        __doc__=f"The parameters of the list of {kind.plural}.",
        status=(words | None, None),
    )


LIST_PARAMETERS: Mapping[str, type[ListParameters]] = {
    name: _model(kind) for name, kind in KINDS.items()
}
"""By the kind's name; `status` accepts the kind's words."""


def _check_labels(labels: Mapping[str, str]) -> None:
    """Raise BadRequest with the name of a label that is not valid, as it is in the query."""
    for name, value in labels.items():
        if not 1 <= len(name) <= 64 or "\0" in name + value or len(value) > 256:
            raise BadRequest(parameter=(LABEL + name)[:100])
    if len(labels) > MAX_LABELS:
        raise BadRequest(parameter=LABEL + "*")


MAX_FIELDS = 20
"""The most fields of a query that are accepted."""


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    """Return the names and values in a query string."""
    try:
        return parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:  # too many fields, or not UTF-8
        raise BadRequest(parameter="*") from None


def _label_by_name(pair: tuple[str, str]) -> tuple[str, str]:
    """Return `label=NAME:VALUE` as `label.NAME=VALUE`, and any other pair unchanged."""
    name, value = pair
    if name != LABEL_PAIR:
        return pair
    label, colon, wanted = value.partition(":")
    if not (label and colon):
        raise BadRequest(parameter=LABEL_PAIR)
    return LABEL + label, wanted


def _fields(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields of a query; raise BadRequest if one is repeated."""
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            raise BadRequest(parameter=name[:100])
        fields[name] = value
    return fields

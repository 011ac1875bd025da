"""The form of operators' operations: reads and actions, and parameters that several have.

Used by `api.spec.operations.dead_letters`, `api.spec.operations.figures` and
`api.spec.operations.operators`.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from api.access.limits import BodyTooLarge, BodyTooSlow
from api.http.problems import BadRequest, NoSuchPage, Problem, TryLater
from api.operators.actions.log import REQUEST_ID_HEADER, NotRecorded
from api.operators.gate import ACTION_HEADER, ReadOnly
from api.operators.parameters import MAX_CURSOR, MAX_TEXT
from api.operators.routes import URL
from api.spec.operations.operation import Access, Json, Operation, parameter

TENANT_SCHEMA = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
ONLY_TENANT = parameter(
    "tenant",
    "query",
    "Only return items of this tenant.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{0,64}$"},
)
CURSOR = parameter(
    "cursor",
    "query",
    "The `next_cursor` of the previous page, requested with the same filters.",
    {"type": "string", "pattern": f"^[A-Za-z0-9_-]{{0,{MAX_CURSOR}}}$"},
)

_MAX_LIMIT = 999_999
"""The greatest limit that is accepted."""

_CONSOLE = parameter(
    ACTION_HEADER,
    "header",
    "Any value. The header protects against requests from pages of other origins.",
    {"type": "string"},
    "1",
    required=True,
)
_REQUEST_ID = parameter(
    REQUEST_ID_HEADER,
    "header",
    "An id to record, equal for all requests that are one action: at most 64 letters, digits and "
    "`._:-`. Without a valid one, the server makes one.",
    {"type": "string"},
)


def limit(maximum: int) -> Json:
    """Return the parameter for the size of a page."""
    schema = {"type": "integer", "minimum": 1, "maximum": _MAX_LIMIT}
    return parameter("limit", "query", f"The number of items, at most {maximum}.", schema)


def choice(name: str, description: str, words: list[str]) -> Json:
    """Return a parameter that has one of these values."""
    return parameter(name, "query", description, {"type": "string", "enum": words})


def text(name: str, description: str, max_length: int = MAX_TEXT) -> Json:
    """Return a parameter that has any text."""
    schema = {"type": "string", "maxLength": max_length, "pattern": r"^[^\x00]*$"}
    return parameter(name, "query", description, schema)


def read(
    name: str,
    path: str,
    summary: str,
    answer: type[BaseModel],
    *parameters: Json,
    description: str,
) -> Operation:
    """Return an operation that changes nothing."""
    return Operation(
        name,
        "get",
        URL + path,
        "operators",
        summary,
        answer,
        access=Access.OPERATOR,
        description=description,
        parameters=parameters,
        headers=("ETag", "X-Jobtrail-Now"),
        problems=(TryLater, *_problems(parameters)),
    )


def act(
    name: str,
    path: str,
    summary: str,
    answer: type[BaseModel],
    *parameters: Json,
    description: str,
) -> Operation:
    """Return an operation that changes something."""
    return Operation(
        name,
        "post",
        URL + path,
        "operators",
        summary,
        answer,
        access=Access.OPERATOR,
        description=description,
        parameters=(*parameters, _CONSOLE, _REQUEST_ID),
        problems=(
            TryLater,
            NotRecorded,
            ReadOnly,
            BodyTooLarge,
            BodyTooSlow,
            *_problems(parameters),
        ),
    )


def _problems(parameters: Sequence[Json]) -> list[type[Problem]]:
    """Return the errors of these parameters: an unknown path, or a query that is not valid."""
    places = {each["in"] for each in parameters}
    problems = {"path": NoSuchPage, "query": BadRequest}
    return [problems[place] for place in sorted(places & problems.keys())]

"""An operation: one method of one path, as the OpenAPI document describes it.

The access of an operation determines its security and the errors that result from it; an operation
lists all its other errors. Used by the modules of `api.spec.operations` and by
`api.spec.document`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import BaseModel

from api.http.problems import Problem
from streams.keys import JOB_ID_PATTERN
from streams.kinds import Kind

Json = Mapping[str, Any]

JSON, EVENT_STREAM = "application/json", "text/event-stream"


class Access(Enum):
    """Callers that an operation admits."""

    PUBLIC = "public"
    CALLER = "caller"
    """Callers of a tenant."""
    VIEWER = "viewer"
    """Callers of a tenant, who may also send their credentials in the query, for `EventSource`."""
    OPERATOR = "operator"
    """Callers with the scope `ops`, or `ops:read` where the operation changes nothing."""


class Operation(NamedTuple):
    """One method of one path."""

    name: str
    """The operationId."""
    method: str
    path: str
    tag: str
    summary: str
    answer: type[BaseModel] | None = None
    """The model of the answer, or of one event of a live stream."""
    media: str = JSON
    access: Access = Access.CALLER
    description: str = ""
    parameters: tuple[Json, ...] = ()
    body: type[BaseModel] | None = None
    """The model of the request's body."""
    problems: tuple[type[Problem], ...] = ()
    """Errors other than those that follow from the access."""
    examples: Json = MappingProxyType({})
    """Examples of answers, by name."""
    body_example: Any = None
    headers: tuple[str, ...] = ()
    """Headers of the answer, as named in `document.HEADERS`."""
    links: Json = MappingProxyType({})
    may_be_empty: bool = False
    """True if the status may be 204, for a live stream without further events."""

    @property
    def tagged(self) -> bool:
        """True if the answer has an entity tag, so that the status may be 304."""
        return "ETag" in self.headers


def parameter(
    name: str, where: str, description: str, schema: Json, example: Any = None, **more: Any
) -> Json:
    """Return the description of a parameter.

    Args:
        name: the parameter's name.
        where: `path`, `query` or `header`.
        description: its purpose, for the document's readers.
        schema: the JSON schema of its values.
        example: an example of a value.
        more: other members of the OpenAPI parameter object.
    """
    found = {"name": name, "in": where, "description": description, "schema": schema, **more}
    if where == "path":
        found["required"] = True
    return found if example is None else found | {"example": example}


def id_parameter(kind: Kind) -> Json:
    """Return the description of the parameter that is a job's id in the path."""
    return parameter(
        "id",
        "path",
        "The job's id, as chosen by its producer.",
        {"type": "string", "pattern": JOB_ID_PATTERN},
        "7" if kind.numeric_id else "report-1",
    )

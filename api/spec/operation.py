"""An operation: one method of one path, and what the OpenAPI document says of it.

Who may ask decides its security and the refusals that go with that; everything else that may go
wrong is named by the operation itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import BaseModel

from api.http.problems import Problem
from streams.keys import JOB_ID_PATTERN

Json = Mapping[str, Any]

JSON, EVENT_STREAM = "application/json", "text/event-stream"


class Who(Enum):
    """Who may ask."""

    ANYBODY = "anybody"
    CALLER = "caller"
    """Whoever has a tenant."""
    VIEWER = "viewer"
    """The same, and the query may carry what a browser's EventSource has no header for."""
    OPERATOR = "operator"


class Operation(NamedTuple):
    """One method of one path."""

    name: str
    """Its operationId."""
    method: str
    path: str
    tag: str
    summary: str
    answer: type[BaseModel] | None = None
    """The model of the answer, or of one event of a stream."""
    media: str = JSON
    who: Who = Who.CALLER
    description: str = ""
    parameters: tuple[Json, ...] = ()
    body: type[BaseModel] | None = None
    problems: tuple[type[Problem], ...] = ()
    examples: Json = MappingProxyType({})
    """Answers, by a word for each."""
    asked: Any = None
    """An example of a body."""
    headers: tuple[str, ...] = ()
    """Headers of the answer that the document knows (`openapi.HEADERS`)."""
    links: Json = MappingProxyType({})
    may_be_empty: bool = False
    """Whether a 204 says that nothing is to come."""

    @property
    def tagged(self) -> bool:
        """Whether its answer has an entity tag, so that a 304 may stand for it."""
        return "ETag" in self.headers


def parameter(
    name: str, where: str, description: str, schema: Json, example: Any = None, **more: Any
) -> Json:
    """Describe a parameter."""
    given = {"name": name, "in": where, "description": description, "schema": schema, **more}
    if where == "path":
        given["required"] = True
    return given if example is None else given | {"example": example}


ID = parameter(
    "id",
    "path",
    "The job's own id, as its producer chose it.",
    {"type": "string", "pattern": JOB_ID_PATTERN},
)

"""The operations on stored jobs. Used by `api.spec.operations.all_operations`."""

from __future__ import annotations

from typing import Any

from api.http.problems import BadRequest, NoSuchJob, TryLater
from api.jobs.parameters import (
    LABEL_PAIR,
    LIST_PARAMETERS,
    MAX_LABELS,
    HistoryParameters,
    JobParameters,
    ListParameters,
    ReadParameters,
)
from api.spec.models.base import model_name
from api.spec.models.jobs import LISTS, ROWS, History
from api.spec.operations.operation import Json, Operation, id_parameter, parameter
from streams.kinds import KINDS, Kind

_LABELS = parameter(
    LABEL_PAIR,
    "query",
    str(ListParameters.model_fields["labels"].description),
    {
        "type": "array",
        "items": {"type": "string", "pattern": r"^[^\x00:]{1,64}:[^\x00]{0,256}$"},
        "maxItems": MAX_LABELS,
        "uniqueItems": True,
    },
    style="form",
    explode=True,
)
_PLAIN_TEXT = r"^[^\x00]*$"
"""A pattern for any text that PostgreSQL can store."""


def job_operations() -> list[Operation]:
    """Return the operations of all kinds."""
    return [each for kind in KINDS.values() for each in (_list(kind), _one(kind), _history(kind))]


def _list(kind: Kind) -> Operation:
    return Operation(
        f"list{model_name(kind)}s",
        "get",
        f"{kind.url}/",
        "jobs",
        f"List {kind.plural}",
        LISTS[kind.name],
        description=(
            f"Returns a list of {kind.plural}. To retrieve the next page, pass `next_cursor` as "
            "`cursor`, with the same filters. A page may contain fewer items than `limit`, or "
            "none, and still have a `next_cursor`."
        ),
        parameters=(*_of_query(LIST_PARAMETERS[kind.name]), _LABELS),
        problems=(BadRequest, TryLater),
        headers=("Jobtrail-Replica-Age",),
        links={
            "first": {
                "operationId": f"get{model_name(kind)}",
                "parameters": {"id": f"$response.body#/items/0/{kind.id_field}"},
            },
            "next": {
                "operationId": f"list{model_name(kind)}s",
                "parameters": {"cursor": "$response.body#/next_cursor"},
            },
        },
    )


def _one(kind: Kind) -> Operation:
    return Operation(
        f"get{model_name(kind)}",
        "get",
        f"{kind.url}/{{id}}/",
        "jobs",
        f"Retrieve a {kind.name}",
        ROWS[kind.name],
        description=f"Returns the stored {kind.name}, with its result of any size.",
        parameters=(id_parameter(kind), *_of_query(JobParameters)),
        problems=(BadRequest, NoSuchJob, TryLater),
        headers=("Jobtrail-Replica-Age",),
        links={
            "history": {
                "operationId": f"get{model_name(kind)}History",
                "parameters": {"id": f"$response.body#/{kind.id_field}"},
            }
        },
    )


def _history(kind: Kind) -> Operation:
    return Operation(
        f"get{model_name(kind)}History",
        "get",
        f"{kind.url}/{{id}}/history/",
        "jobs",
        f"List a {kind.name}'s events",
        History,
        description=f"Returns the events of the {kind.name}, oldest first.",
        parameters=(id_parameter(kind), *_of_query(HistoryParameters)),
        problems=(BadRequest, NoSuchJob, TryLater),
        headers=("Jobtrail-Replica-Age",),
    )


def _of_query(model: type[ReadParameters]) -> list[Json]:
    """Return the parameters of a model, except the labels."""
    described = model.model_json_schema()["properties"]
    return [_of_field(name, schema) for name, schema in described.items() if name != "labels"]


def _of_field(name: str, schema: dict[str, Any]) -> Json:
    """Return the parameter of a field; a missing parameter has the default and is not null."""
    description = schema.pop("description", f"Only return jobs with this {name}.")
    schema.pop("title", None)
    # Pydantic does not translate the limits of a field that has a validator.
    schema |= {
        keyword: schema.pop(limit)
        for limit, keyword in (("ge", "minimum"), ("le", "maximum"))
        if limit in schema
    }
    default = schema.pop("default", None)
    if "anyOf" in schema:
        (kept,) = [each for each in schema.pop("anyOf") if each != {"type": "null"}]
        schema = kept | schema
    if schema["type"] == "string" and not {"pattern", "enum", "format"} & schema.keys():
        schema["pattern"] = _PLAIN_TEXT
    if default is not None:
        schema["default"] = default
    return parameter(name, "query", description, schema)

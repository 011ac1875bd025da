"""The operations on durable rows."""

from __future__ import annotations

from typing import Any

from api.http.problems import BadRequest, NoSuchJob, TryLater
from api.jobs.parameters import (
    LABEL_PAIR,
    LIST_PARAMETERS,
    MAX_LABELS,
    HistoryParameters,
    ListParameters,
    PageParameters,
)
from api.spec.job_models import LISTS, ROWS, History
from api.spec.models import title
from api.spec.operation import ID, Json, Operation, parameter
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
"""PostgreSQL stores any text but NUL."""


def job_operations() -> list[Operation]:
    """Give those of every kind."""
    return [each for kind in KINDS.values() for each in (_list(kind), _one(kind), _history(kind))]


def _list(kind: Kind) -> Operation:
    return Operation(
        f"list{title(kind)}s",
        "get",
        f"{kind.url}/",
        "jobs",
        f"The tenant's {kind.plural}, newest first",
        LISTS[kind.name],
        description=(
            "Pages go on by `cursor`, which holds for the same filters. A page may have fewer "
            "items than asked for, or none, while `next_cursor` says that more may follow."
        ),
        parameters=(*_of_query(LIST_PARAMETERS[kind.name]), _LABELS),
        problems=(BadRequest, TryLater),
        links={
            "first": {
                "operationId": f"get{title(kind)}",
                "parameters": {"id": f"$response.body#/items/0/{kind.id_field}"},
            },
            "next": {
                "operationId": f"list{title(kind)}s",
                "parameters": {"cursor": "$response.body#/next_cursor"},
            },
        },
    )


def _one(kind: Kind) -> Operation:
    return Operation(
        f"get{title(kind)}",
        "get",
        f"{kind.url}/{{id}}/",
        "jobs",
        f"A {kind.name}'s durable row",
        ROWS[kind.name],
        description="With its result of whatever size.",
        parameters=(ID,),
        problems=(BadRequest, NoSuchJob, TryLater),
        links={
            "history": {
                "operationId": f"get{title(kind)}History",
                "parameters": {"id": f"$response.body#/{kind.id_field}"},
            }
        },
    )


def _history(kind: Kind) -> Operation:
    return Operation(
        f"get{title(kind)}History",
        "get",
        f"{kind.url}/{{id}}/history/",
        "jobs",
        f"A {kind.name}'s events, in their order",
        History,
        parameters=(ID, *_of_query(HistoryParameters)),
        problems=(BadRequest, NoSuchJob, TryLater),
    )


def _of_query(model: type[PageParameters]) -> list[Json]:
    """Give the parameters of a query as the model has them."""
    described = model.model_json_schema()["properties"]
    return [_of_field(name, schema) for name, schema in described.items() if name != "labels"]


def _of_field(name: str, schema: dict[str, Any]) -> Json:
    """A parameter that is left out is the default; none is ever null."""
    description = schema.pop("description", f"Jobs of this {name}.")
    schema.pop("title", None)
    # What is bounded after a check of our own comes out under the model's own names.
    schema |= {
        word: schema.pop(own)
        for own, word in (("ge", "minimum"), ("le", "maximum"))
        if own in schema
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

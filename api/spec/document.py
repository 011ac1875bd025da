"""The OpenAPI 3.1 document, generated from the operations, their models and their problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.access.limits import HeadersTooLarge, TooManyRequests, UrlTooLong
from api.http.etags import etag_of, is_known
from api.http.problems import BadCredentials, Forbidden, OurFault, Problem, TenantMissing
from api.spec.all_operations import operations
from api.spec.models import Problem as ProblemModel
from api.spec.operation import JSON, Operation, Who
from streams.keys import TENANT
from streams.version import __version__

Json = dict[str, Any]

_PROBLEM = "application/problem+json"
_REF = "#/components/schemas/{model}"

_ABOUT = """
Reads what the projections hold; nothing is written here.

Every answer that is no success is `application/problem+json`, whose `detail` is for people. `HEAD`
answers as `GET` does, without the body. A path's trailing slash may be left out: the answer is the
same, or a redirect to it.
""".strip()

_TAGS = {
    "progress": "How jobs stand now: polled, asked for by the hundred, or watched.",
    "jobs": "Durable rows and the history.",
    "operators": "All tenants, for those with the scope `ops`.",
    "monitoring": "For those who run the API. No credentials, and nothing of any tenant.",
}

HEADERS: Json = {
    "ETag": {
        "description": "The answer's tag, for `If-None-Match`.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{16}"$'},
    },
    "Retry-After": {
        "description": "Seconds after which it is worth asking again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-Jobtrail-Now": {
        "description": "The server's clock, in milliseconds since 1970.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
}

_TOKEN = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "bearerInQuery": {
        "type": "apiKey",
        "in": "query",
        "name": "access_token",
        "description": "The same token, for EventSource, which sends no headers.",
    },
}
_TRUST = {
    "tenant": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Tenant-ID",
        "description": f"A tenant, `{TENANT.pattern}`; believed, on this machine alone.",
    },
    "tenantInQuery": {
        "type": "apiKey",
        "in": "query",
        "name": "tenant",
        "description": "The same, for EventSource, which sends no headers.",
    },
}


def document(auth: str, *, desk: bool = True) -> Json:
    """Give the document of an API in a mode of authentication (`jwt` or `dev`).

    Without a desk there are no operations for operators.
    """
    listed = [each for each in operations() if desk or each.who is not Who.OPERATOR]
    schemes = _TOKEN if auth == "jwt" else _TRUST
    responses: Json = {}
    paths: Json = {}
    for operation in listed:
        paths.setdefault(operation.path, {})[operation.method] = _described(
            operation, tuple(schemes), responses
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jobtrail",
            "version": __version__,
            "summary": "Progress of background jobs.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(listed),
            "responses": responses,
            "headers": HEADERS,
            "securitySchemes": schemes,
        },
    }


def openapi_routes(auth: str, *, desk: bool) -> list[Route]:
    """Give the route of the document, which is made when it is first asked for."""

    async def openapi(request: Request) -> Response:
        body = _bytes(auth, desk=desk)
        tag = etag_of(body)
        headers = {"etag": tag.decode(), "cache-control": "public, no-cache"}
        if is_known(request.scope["headers"], tag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=JSON)

    return [Route("/openapi.json", openapi)]


@lru_cache
def _bytes(auth: str, *, desk: bool) -> bytes:
    return orjson.dumps(document(auth, desk=desk))


def _described(operation: Operation, schemes: tuple[str, ...], responses: Json) -> Json:
    described: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": _security(operation.who, schemes),
        "responses": {
            "200": _success(operation),
            **dict(_refusals(operation, schemes, responses)),
        },
    }
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation.body is not None:
        content = {"schema": _ref(operation.body)}
        if operation.asked is not None:
            content["example"] = operation.asked
        described["requestBody"] = {"required": True, "content": {JSON: content}}
    if operation.may_be_empty:
        described["responses"]["204"] = {"description": "Nothing is to come."}
    if operation.tagged:
        described["responses"]["304"] = {
            "description": "What the caller has still stands.",
            "headers": _headers(operation),
        }
    return described


def _security(who: Who, schemes: tuple[str, ...]) -> list[Json]:
    header, query = schemes
    if who is Who.ANYBODY:
        return []
    return [{header: []}, {query: []}] if who is Who.VIEWER else [{header: []}]


def _success(operation: Operation) -> Json:
    free = {"type": "object" if operation.media == JSON else "string"}
    content: Json = {"schema": free if operation.answer is None else _ref(operation.answer)}
    if operation.examples:
        content["examples"] = {name: {"value": value} for name, value in operation.examples.items()}
    success: Json = {"description": operation.summary + ".", "content": {operation.media: content}}
    if operation.headers:
        success["headers"] = _headers(operation)
    if operation.links:
        success["links"] = dict(operation.links)
    return success


def _headers(operation: Operation) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in operation.headers}


def _refusals(
    operation: Operation, schemes: tuple[str, ...], responses: Json
) -> Iterator[tuple[str, Json]]:
    """Give one response a status, of all problems that have it; each is described once."""
    problems: set[type[Problem]] = {*operation.problems, UrlTooLong, HeadersTooLarge, OurFault}
    if operation.who is not Who.ANYBODY:
        problems |= {TenantMissing, TooManyRequests}
        if "bearer" in schemes:
            problems.add(BadCredentials)
    if operation.who is Who.OPERATOR:
        problems.add(Forbidden)
    by_status: dict[int, list[type[Problem]]] = {}
    for problem in sorted(problems, key=lambda each: (each.status, each.__name__)):
        by_status.setdefault(problem.status.value, []).append(problem)
    for status, alike in by_status.items():
        name = "Or".join(problem.__name__ for problem in alike)
        responses.setdefault(name, _refusal(alike))
        yield str(status), {"$ref": f"#/components/responses/{name}"}


def _refusal(alike: Sequence[type[Problem]]) -> Json:
    shown: Json = {
        "description": " ".join(
            (problem.__doc__ or "").strip().split("\n")[0] for problem in alike
        ),
        "content": {
            _PROBLEM: {
                "schema": _ref(ProblemModel),
                "examples": {problem.__name__: {"value": _example(problem)} for problem in alike},
            }
        },
    }
    waits = any(
        problem is TooManyRequests or any(name == b"retry-after" for name, _ in problem.headers)
        for problem in alike
    )
    if waits:
        shown["headers"] = {"Retry-After": HEADERS["Retry-After"] | {"required": True}}
    return shown


def _example(problem: type[Problem]) -> Json:
    return {
        "type": problem.word,
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.detail,
    }


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": _REF.format(model=model.__name__)}


def _schemas(listed: Sequence[Operation]) -> Json:
    models: dict[str, type[BaseModel]] = {ProblemModel.__name__: ProblemModel}
    for operation in listed:
        for model in (operation.answer, operation.body):
            if model is not None:
                models[model.__name__] = model
    _, definitions = models_json_schema(
        [(model, "validation") for model in models.values()],
        ref_template=_REF,
        schema_generator=_Schemas,
    )
    found: Json = definitions["$defs"]
    return dict(sorted(found.items()))


class _Schemas(GenerateJsonSchema):
    """Without what says nothing: a title that is the field's name, a default that is not used."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - of none
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

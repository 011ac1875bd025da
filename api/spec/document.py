"""The OpenAPI 3.1 document, generated from the operations, their models and their problems.

`api.app` serves it at `/openapi.json`; the documentation site embeds it. Used by `api.app`.
"""

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
from api.http.etags import etag_of, is_not_modified
from api.http.problems import BadCredentials, Forbidden, InternalError, Problem, TenantMissing
from api.spec.models.base import ProblemDetails
from api.spec.operations.all_operations import operations
from api.spec.operations.operation import EVENT_STREAM, JSON, Access, Operation
from streams.keys import TENANT
from streams.version import __version__

JsonObject = dict[str, Any]

_PROBLEM = "application/problem+json"
_REF = "#/components/schemas/{model}"

_ABOUT = """
The jobtrail API returns the progress of background jobs. It is read-only, apart from the operators'
actions on dead letters.

Errors are returned as `application/problem+json`; use `type` in programs and show `detail` to
people. `HEAD` is supported wherever `GET` is. The trailing slash of a path is optional: the answer
without it is the same, or a redirect.
""".strip()

_TAGS = {
    "progress": "The current progress of jobs: poll one job, query many jobs, or watch changes.",
    "jobs": "Stored jobs with their results and histories.",
    "operators": "Jobs and dead letters of all tenants. Requires the scope `ops`; without "
    "actions, `ops:read`.",
    "monitoring": "Health checks, metrics and documentation. No credentials are required.",
}

HEADERS: JsonObject = {
    "ETag": {
        "description": "The version of the answer, to be sent as `If-None-Match`.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{16}"$'},
    },
    "Retry-After": {
        "description": "The number of seconds to wait before the next request.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Jobtrail-After": {
        "description": "With `after`: `reflected` if the answer reflects that entry, `pending` if "
        "the projection has not settled the entry yet, or does not know it.",
        "schema": {"type": "string", "enum": ["reflected", "pending"]},
    },
    "Jobtrail-Replica-Age": {
        "description": "Present if the answer comes from a replica of PostgreSQL: how old its data "
        "is at most, in seconds.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-Jobtrail-Now": {
        "description": "The server's time, in milliseconds since 1970.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
}

_JWT_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "bearerInQuery": {
        "type": "apiKey",
        "in": "query",
        "name": "access_token",
        "description": "The same token, for `EventSource`, which cannot send headers.",
    },
}
_TENANT = TENANT.pattern.removesuffix(r"\Z")
_DEV_SCHEMES = {
    "tenant": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Tenant-ID",
        "description": f"A tenant, `{_TENANT}`. It is not verified; for development only.",
    },
    "tenantInQuery": {
        "type": "apiKey",
        "in": "query",
        "name": "tenant",
        "description": "The same tenant, for `EventSource`, which cannot send headers.",
    },
}


_INT32 = 2**31 - 1


def document(auth: str, *, for_operators: bool = True) -> JsonObject:
    """Return the document.

    Args:
        auth: the mode of authentication, `jwt` or `dev`.
        for_operators: whether the API has the operators' endpoints.
    """
    listed = [each for each in operations() if for_operators or each.access is not Access.OPERATOR]
    schemes = _JWT_SCHEMES if auth == "jwt" else _DEV_SCHEMES
    responses: JsonObject = {}
    paths: JsonObject = {}
    for operation in listed:
        paths.setdefault(operation.path, {})[operation.method] = _describe(
            operation, tuple(schemes), responses
        )
    found: JsonObject = _with_formats(
        {
            "openapi": "3.1.0",
            "info": _info(),
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
    )
    return found


def _with_formats(value: Any) -> Any:
    """Return a part of the document in which numbers have formats.

    Generated clients of languages with sized numbers take 32 bits where a schema names no format,
    which is too few for times in milliseconds, for ids and for shares of a percent.
    """
    if isinstance(value, list):
        return [_with_formats(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: _with_formats(each) for name, each in value.items()}
    if value.get("type") == "integer" and value.get("maximum", _INT32 + 1) > _INT32:
        found.setdefault("format", "int64")
    if value.get("type") == "number":
        found.setdefault("format", "double")
    return found


def openapi_routes(auth: str, *, for_operators: bool) -> list[Route]:
    """Return the route of the document, which is generated at the first request."""

    async def openapi(request: Request) -> Response:
        body = _bytes(auth, for_operators=for_operators)
        tag = etag_of(body)
        headers = {"etag": tag.decode(), "cache-control": "public, no-cache"}
        if is_not_modified(request.scope["headers"], tag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=JSON)

    return [Route("/openapi.json", openapi)]


@lru_cache
def _bytes(auth: str, *, for_operators: bool) -> bytes:
    return orjson.dumps(document(auth, for_operators=for_operators))


def _info() -> JsonObject:
    return {
        "title": "jobtrail",
        "version": __version__,
        "summary": "Progress of background jobs.",
        "description": _ABOUT,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }


def _describe(operation: Operation, schemes: tuple[str, ...], responses: JsonObject) -> JsonObject:
    """Return the description of an operation, and add its errors to the shared responses."""
    described: JsonObject = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": _security(operation.access, schemes),
        "responses": {
            "200": _success(operation),
            **dict(_errors(operation, schemes, responses)),
        },
    }
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation.body is not None:
        described["requestBody"] = _body(operation.body, operation.body_example)
    if operation.may_be_empty:
        described["responses"]["204"] = {"description": "No further events will occur."}
    if operation.tagged:
        described["responses"]["304"] = {
            "description": "The answer has not changed.",
            "headers": _headers(operation),
        }
    return described


def _body(model: type[BaseModel], example: Any) -> JsonObject:
    content = {"schema": _ref(model)}
    if example is not None:
        content["example"] = example
    return {"required": True, "content": {JSON: content}}


def _security(access: Access, schemes: tuple[str, ...]) -> list[JsonObject]:
    header, query = schemes
    if access is Access.PUBLIC:
        return []
    return [{header: []}, {query: []}] if access is Access.VIEWER else [{header: []}]


def _success(operation: Operation) -> JsonObject:
    unrestricted = {"type": "object" if operation.media == JSON else "string"}
    schema = unrestricted if operation.answer is None else _ref(operation.answer)
    content: JsonObject = {"schema": schema}
    if operation.media == EVENT_STREAM:
        # Generated clients read the body as text; OpenAPI 3.1 has no term for what it consists of.
        content = {"schema": {"type": "string"}, "x-itemSchema": schema}
    if operation.examples:
        content["examples"] = {name: {"value": value} for name, value in operation.examples.items()}
    success: JsonObject = {"description": "Success.", "content": {operation.media: content}}
    if operation.headers:
        success["headers"] = _headers(operation)
    if operation.links:
        success["links"] = dict(operation.links)
    return success


def _headers(operation: Operation) -> JsonObject:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in operation.headers}


def _errors(
    operation: Operation, schemes: tuple[str, ...], responses: JsonObject
) -> Iterator[tuple[str, JsonObject]]:
    """Yield one response for each status of the operation's errors."""
    by_status: dict[int, list[type[Problem]]] = {}
    for problem in sorted(
        _possible_problems(operation, schemes), key=lambda each: (each.status, each.__name__)
    ):
        by_status.setdefault(problem.status.value, []).append(problem)
    for status, problems in by_status.items():
        name = "Or".join(problem.__name__ for problem in problems)
        responses.setdefault(name, _error(problems))
        yield str(status), {"$ref": f"#/components/responses/{name}"}


def _possible_problems(operation: Operation, schemes: tuple[str, ...]) -> set[type[Problem]]:
    problems: set[type[Problem]] = {
        *operation.problems,
        UrlTooLong,
        HeadersTooLarge,
        InternalError,
    }
    if operation.access is not Access.PUBLIC:
        problems |= {TenantMissing, TooManyRequests}
        if "bearer" in schemes:
            problems.add(BadCredentials)
    if operation.access is Access.OPERATOR:
        problems.add(Forbidden)
    return problems


def _error(problems: Sequence[type[Problem]]) -> JsonObject:
    """Return the response of all problems with the same status."""
    response: JsonObject = {
        "description": " ".join(
            (problem.__doc__ or "").strip().split("\n")[0] for problem in problems
        ),
        "content": {
            _PROBLEM: {
                "schema": _ref(ProblemDetails),
                "examples": {each.__name__: {"value": _example(each)} for each in problems},
            }
        },
    }
    has_retry_after = any(
        problem is TooManyRequests or any(name == b"retry-after" for name, _ in problem.headers)
        for problem in problems
    )
    if has_retry_after:
        response["headers"] = {"Retry-After": HEADERS["Retry-After"] | {"required": True}}
    return response


def _example(problem: type[Problem]) -> JsonObject:
    return {
        "type": problem.problem_type,
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.korean,
    }


def _ref(model: type[BaseModel]) -> JsonObject:
    return {"$ref": _REF.format(model=model.__name__)}


def _schemas(listed: Sequence[Operation]) -> JsonObject:
    models: dict[str, type[BaseModel]] = {ProblemDetails.__name__: ProblemDetails}
    for operation in listed:
        for model in (operation.answer, operation.body):
            if model is not None:
                models[model.__name__] = model
    _, definitions = models_json_schema(
        [(model, "validation") for model in models.values()],
        ref_template=_REF,
        schema_generator=_Schemas,
    )
    found: JsonObject = definitions["$defs"]
    return dict(sorted(found.items()))


class _Schemas(GenerateJsonSchema):
    """Pydantic's generator, without titles of fields and without defaults."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - for no schema
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

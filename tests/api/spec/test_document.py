"""The OpenAPI document and the routes agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import jsonschema_rs
import pytest
import schemathesis
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from api.app import create_app
from api.application import Application
from api.spec.document import document
from api.spec.operations.all_operations import operations
from api.spec.operations.operation import EVENT_STREAM
from ops.operator_view import RedisOperatorView
from streams.kinds import KINDS
from streams.settings import Settings
from tests.api.conftest import Asker

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
SETTINGS = Settings(redis_url="redis://127.0.0.1:1/0", auth="jwt", jwt_secret="s" * 32)
PAGES = ("/console", "/docs/", "/client.", "/element.")
"""Prefixes of the paths of pages and their files, which are not operations."""


@pytest.fixture(params=["jwt", "dev"])
def api(request: pytest.FixtureRequest) -> dict[str, Any]:
    return document(request.param)


def described(api: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_document__is_openapi(api: dict[str, Any]) -> None:
    """The document is valid by the schema of OpenAPI, and its schemas by that of JSON Schema."""
    schemathesis.openapi.from_dict(api).validate()
    for name, schema in api["components"]["schemas"].items():
        jsonschema_rs.meta.validate(
            schema | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        )
        assert schema["description"], name


def test_document__every_reference_leads_somewhere(api: dict[str, Any]) -> None:
    for reference in references(api):
        found: Any = api
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_document__operations(api: dict[str, Any]) -> None:
    """Each operation has a unique name, its security and its errors."""
    found = list(described(api))
    names = [operation["operationId"] for _, _, operation in found]
    assert len(names) == len(set(names)) == len(operations())
    for _, path, operation in found:
        open_to_all = operation["tags"] == ["monitoring"]
        assert bool(operation["security"]) is not open_to_all, path
        assert {"200", "414", "431", "500"} <= operation["responses"].keys()
        assert open_to_all or "429" in operation["responses"], path


def test_document__examples_validate(api: dict[str, Any]) -> None:
    """Every example conforms to its schema, and the schemas have all words of all kinds."""
    counted = 0
    for content in contents(api):
        for example in examples_of(content):
            validator(api, content["schema"]).validate(example)
            counted += 1
    assert counted >= 20
    for kind in KINDS.values():
        schema = api["components"]["schemas"][f"{kind.name.capitalize()}Progress"]
        assert schema["properties"]["status"]["enum"] == list(kind.words.values())


def contents(api: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _, _, operation in described(api):
        yield from operation.get("requestBody", {"content": {}})["content"].values()
        for response in operation["responses"].values():
            yield from response.get("content", {}).values()
    for response in api["components"]["responses"].values():
        yield from response["content"].values()


def examples_of(content: dict[str, Any]) -> Iterator[Any]:
    if "example" in content:
        yield content["example"]
    for example in content.get("examples", {}).values():
        yield example["value"]


def validator(api: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator(
        {**schema, "components": api["components"]}, validate_formats=True
    )


def test_routes__are_in_the_document() -> None:
    """Every route is described or is a page; the trailing slash does not matter."""
    paths = document("dev")["paths"]
    for route in routes():
        if route.path.startswith(PAGES):
            continue
        bare = route.path.rstrip("/")
        path = bare if bare in paths else f"{bare}/"
        assert path in paths, f"{route.path} is in no operation: add it to api/spec/operations/"
        methods = {method.lower() for method in route.methods or ()} - {"head"}
        assert methods == paths[path].keys(), route.path


def routes() -> list[Route]:
    app = cast(Application, create_app(SETTINGS, RedisOperatorView.of(SETTINGS)))
    found: list[BaseRoute] = cast(Starlette, app._other_routes).routes
    assert all(isinstance(route, Route) for route in found)
    return cast(list[Route], found)


async def test_document__is_served_by_routes(ask: Asker) -> None:
    """Every operation has a route, which refuses other methods and lists its own."""
    settings = SETTINGS.model_dump(include={"redis_url"})
    async with ask(**settings) as client:
        api = (await client.get("/openapi.json")).json()
        for method, path, _ in described(api):
            concrete = path.replace("{id}", "a1")
            wrong = await client.request("DELETE", concrete)
            assert wrong.status_code == 405, path
            assert method.upper() in wrong.headers["allow"], path
            assert wrong.headers["content-type"] == "application/problem+json"


async def test_document__without_operators(ask: Asker) -> None:
    """Without operators' endpoints, the document does not describe them."""
    async with ask() as client:
        api = (await client.get("/openapi.json")).json()
    assert not any("/ops/" in path for path in api["paths"])


async def test_document__cached(ask: Asker) -> None:
    async with ask() as client:
        first = await client.get("/openapi.json")
        again = await client.get("/openapi.json", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("auth", "schemes"),
    [("jwt", {"bearer", "bearerInQuery"}), ("dev", {"tenant", "tenantInQuery"})],
)
def test_document__security(auth: str, schemes: set[str]) -> None:
    """Each mode has its own schemes; only live streams accept one in the query."""
    api = document(auth)
    assert api["components"]["securitySchemes"].keys() == schemes
    for _, path, operation in described(api):
        in_query = any(name.endswith("InQuery") for each in operation["security"] for name in each)
        streams = EVENT_STREAM in operation["responses"]["200"]["content"]
        assert in_query is streams, path


async def test_page(ask: Asker) -> None:
    """The page and its files come from this server, under a policy without exceptions."""
    async with ask(headers={"accept": "*/*"}) as client:
        page = await client.get("/docs")
        loaded = [await client.get(path) for path in loaded_by(page.text)]
        again = await client.get("/docs", headers={"if-none-match": page.headers["etag"]})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "://" not in page.text
    assert "<script>" not in page.text
    assert "style=" not in page.text
    assert again.status_code == 304
    assert len(loaded) == 4
    for answer in (page, *loaded):
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "camera=()" in answer.headers["permissions-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_document__numbers_have_formats(api: dict[str, Any]) -> None:
    """Generated clients take 32 bits for a number without a format."""
    for schema in schemas(api):
        if schema.get("type") == "number":
            assert schema["format"] == "double"
        if schema.get("type") == "integer" and schema.get("maximum", 2**31) >= 2**31:
            assert schema["format"] == "int64"


def schemas(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from schemas(inner)


def test_document__live_streams_are_text(api: dict[str, Any]) -> None:
    """A generated client reads text; what an event consists of is described beside it."""
    for content in contents(api):
        if "x-itemSchema" in content:
            assert content["schema"] == {"type": "string"}
            name = content["x-itemSchema"]["$ref"].rpartition("/")[2]
            fields = api["components"]["schemas"][name]["properties"]
            for example in examples_of(content):
                found = dict(line.split(": ", 1) for line in example.strip().split("\n"))
                assert found.keys() <= fields.keys()
                schema = fields["data"]["contentSchema"]
                validator(api, schema).validate(json.loads(found["data"]))


def loaded_by(page: str) -> list[str]:
    """Return the paths of the styles and scripts that a page at `/docs` loads."""
    return [f"/{path}" for path in re.findall(r'(?:src|stylesheet" href)="([^"]+)"', page)]


@pytest.mark.parametrize("where", ["api/spec/docs/swagger-ui", "api/operators/static/vendor"])
def test_files_of_npm_packages__are_unchanged_and_their_licences_are_beside_them(
    where: str,
) -> None:
    folder = ROOT / where
    source = (folder / "SOURCE.txt").read_text()
    sums = dict(re.findall(r"^([0-9a-f]{64})  (.+)$", source, re.MULTILINE))
    files = [file for file in folder.iterdir() if file.name != "SOURCE.txt"]
    assert {sha256(file.read_bytes()).hexdigest(): file.name for file in files} == sums
    licences = [file.read_text() for file in files if file.name.endswith("LICENSE.txt")]
    assert any(re.search("Apache License|MIT License", text) for text in licences)


def test_document__query_parameters__as_generated_clients_send_them(api: dict[str, Any]) -> None:
    """Each parameter is a value or a list: generators write an object as `name[key]=value`."""
    for _, path, operation in described(api):
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            if schema["type"] == "array":
                assert (parameter["style"], parameter["explode"]) == ("form", True), path
                schema = schema["items"]
            assert schema["type"] in ("string", "integer", "number", "boolean"), (
                path,
                parameter["name"],
            )

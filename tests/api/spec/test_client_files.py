"""/client.js, /element.js and their types: importable from any origin, cached until they change."""

from __future__ import annotations

from pathlib import Path

import pytest

import api.spec.client_files
from tests.api.conftest import Asker

FOLDER = Path(api.spec.client_files.__file__).with_name("client")

pytestmark = pytest.mark.anyio

FILES = pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("client.js", "text/javascript; charset=utf-8"),
        ("client.d.ts", "application/typescript; charset=utf-8"),
        ("element.js", "text/javascript; charset=utf-8"),
        ("element.d.ts", "application/typescript; charset=utf-8"),
    ],
)


@FILES
async def test_the_file_is_served_as_it_stands_in_the_source(
    ask: Asker, name: str, content_type: str
) -> None:
    async with ask() as client:
        answer = await client.get(f"/{name}")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == content_type
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["content-length"] == str(len(answer.content))


@FILES
async def test_who_has_it_already_is_told_so(ask: Asker, name: str, content_type: str) -> None:
    async with ask() as client:
        first = await client.get(f"/{name}")
        again = await client.get(f"/{name}", headers={"if-none-match": first.headers["etag"]})
        other = await client.get(f"/{name}", headers={"if-none-match": '"another"'})

    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]
    assert other.status_code == 200
    assert first.headers["cache-control"] == "public, no-cache"


@FILES
async def test_pages_of_any_origin_may_import_it_without_credentials(
    ask: Asker, name: str, content_type: str
) -> None:
    settings = {"auth": "jwt", "jwt_secret": "s" * 32}
    async with ask(headers={"origin": "https://app.example.com"}, **settings) as client:
        answer = await client.get(f"/{name}")

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_origin_that_is_allowed_by_name_is_named_once(ask: Asker) -> None:
    origin = "https://app.example.com"
    async with ask(headers={"origin": origin}, cors_origins=origin) as client:
        answer = await client.get("/client.js")

    assert answer.headers.get_list("access-control-allow-origin") in ([origin], ["*"])


@FILES
async def test_a_head_request_is_answered_without_the_body(
    ask: Asker, name: str, content_type: str
) -> None:
    async with ask() as client:
        answer = await client.head(f"/{name}")

    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["content-type"] == content_type


async def test_the_module_names_its_types_where_a_tool_looks_for_them(ask: Asker) -> None:
    async with ask() as client:
        answer = await client.get("/client.js")

    assert answer.headers["x-typescript-types"] == "./client.d.ts"

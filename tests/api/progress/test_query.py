"""Queries for the progress of many jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import httpx
import jwt
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from api.http.problems import BadRequest
from api.progress.query import MAX_IDS, parse_query
from tests.api.conftest import Asker, Writer
from tests.support.tokens import FAR

pytestmark = pytest.mark.anyio

PATH = "/api/v1/progress/query"
JSON = {"x-tenant-id": "t", "content-type": "application/json"}


async def test_query__as_polls_answer(ask: Asker, write: Writer) -> None:
    write(
        "t",
        {"type": "done", "id": "a1", "result": {"n": 1}},
        {"type": "progress", "id": "7", "percent": 3},
        {"type": "progress", "kind": "video", "id": "7", "percent": 3},
    )
    write("another", {"type": "done", "id": "b1"})
    async with ask() as client:
        asked = {"jobs": ["a1", "7", "b1", "none"], "videos": ["7", "a1"]}
        answer = await client.post(PATH, json=asked)
        polls = {
            name: (await client.get(f"/api/v1/jobs/{name}/progress/")).json()
            for name in ("a1", "7")
        }
        video = (await client.get("/media/videos/7/progress/")).json()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "jobs": {**polls, "b1": None, "none": None},
        "videos": {"7": video, "a1": None},
    }


async def test_query__two_hundred__one_mget(
    ask: Asker, write: Writer, mgets: Callable[[], int]
) -> None:
    ids = [str(n) for n in range(MAX_IDS)]
    write("t", *({"type": "processing", "id": name} for name in ids))
    async with ask() as client:
        before = mgets()
        answer = await client.post(PATH + "/", json={"jobs": ids[:150], "videos": ids[150:]})
        assert mgets() - before == 1
    assert [each["job_id"] for each in answer.json()["jobs"].values()] == ids[:150]
    assert set(answer.json()["videos"].values()) == {None}


async def test_query__nothing__asks_nobody(ask: Asker, mgets: Callable[[], int]) -> None:
    async with ask() as client:
        queries: list[dict[str, list[str]]] = [
            {},
            {"jobs": []},
            {"videos": [], "jobs": []},
            {"jobs": ["a b", ""]},
        ]
        for asked in queries:
            answer = await client.post(PATH, json=asked)
            found = {"jobs": dict.fromkeys(asked.get("jobs", [])), "videos": {}}
            assert (answer.status_code, answer.json()) == (200, found)
        assert mgets() == 0


async def test_query__ids_of_no_allowed_form__null(
    ask: Asker, write: Writer, redis_client: redis.Redis
) -> None:
    redis_client.set("tenant:t:job:x:y:status", b'{"status":"DONE"}')
    ids = ["", " ", "a b", ":status", "x" * 129, "../a", "a\n", "a\x00", '"', "한", "*"]
    async with ask() as client:
        answer = await client.post(PATH, json={"jobs": ids})
    assert answer.json() == {"jobs": dict.fromkeys(ids), "videos": {}}


async def test_query__one_id_twice__answered_once(ask: Asker, write: Writer) -> None:
    write("t", {"type": "processing", "kind": "video", "id": "7"})
    async with ask() as client:
        answer = await client.post(PATH, json={"videos": [7, "7", 7]})
    assert list(answer.json()["videos"]) == ["7"]


async def test_query__narrowed_token__null_for_the_rest(ask: Asker, write: Writer) -> None:
    write("t", {"type": "done", "id": "a1"}, {"type": "done", "id": "a2"})
    secret = "s" * 32
    token = jwt.encode({"exp": FAR, "tenant_id": "t", "jobs": ["a1"]}, secret)
    headers = {"authorization": f"Bearer {token}"}
    async with ask(headers, auth="jwt", jwt_secret=secret) as client:
        answer = (await client.post(PATH, json={"jobs": ["a1", "a2"], "videos": ["1"]})).json()
        assert answer["jobs"]["a1"]["status"] == "DONE"
        assert (answer["jobs"]["a2"], answer["videos"]) == (None, {"1": None})
        for bad in ({}, {"authorization": "Bearer x"}):
            client.headers = httpx.Headers(bad)
            refused = await client.post(f"{PATH}?access_token={token}", json={"jobs": ["a1"]})
            assert refused.status_code == 401


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"null", None),
        (b'"jobs"', None),
        (b'{"jobs":["\xff"]}', None),
        (b'{"job":["a1"]}', "job"),
        (b'{"jobs":"a1"}', "jobs"),
        (b'{"jobs":{"a1":1}}', "jobs"),
        (b'{"jobs":null}', "jobs"),
        (b'{"jobs":["a1",null]}', "jobs"),
        (b'{"videos":[true]}', "videos"),
        (b'{"videos":[1.5]}', "videos"),
        (b'{"videos":[["1"]]}', "videos"),
        (
            b'{"jobs":['
            + b",".join([b'"a"'] * 150)
            + b'],"videos":['
            + b",".join([b"1"] * 51)
            + b"]}",
            "*",
        ),
    ],
)
async def test_query__of_another_form__refused(
    ask: Asker, body: bytes, parameter: str | None
) -> None:
    async with ask() as client:
        answer = await client.post(PATH, content=body, headers=JSON)
    problem = answer.json()
    assert (answer.status_code, problem.get("parameter")) == (400, parameter)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["reason"]


async def test_query__too_large__refused(ask: Asker) -> None:
    async with ask() as client:
        body = b'{"jobs":["' + b"x" * 65_536 + b'"]}'
        assert (await client.post(PATH, content=body, headers=JSON)).status_code == 413


async def test_query__other_requests__refused(ask: Asker) -> None:
    async with ask() as client:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            answer = await client.request(method, PATH)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        text = await client.post(PATH, content=b"{}", headers={"content-type": "text/plain"})
        assert text.status_code == 415


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["jobs", "videos"]), inner),
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_asked_for__anything__a_query_or_a_problem(body: bytes) -> None:
    with suppress(BadRequest):
        asked = parse_query(body)
        assert set(asked) == {"jobs", "videos"}
        assert sum(map(len, asked.values())) <= MAX_IDS

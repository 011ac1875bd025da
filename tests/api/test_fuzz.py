"""For any input: no 500, no hang, always problem+json, and no token in any log."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import create_app
from ops.operator_view import RedisOperatorView
from streams.settings import Settings
from tests.api.conftest import Writer
from tests.api.conftest import _running as running
from tests.support.thorough import examples
from tests.support.tokens import FAR

SECRET = "a-secret-of-more-than-thirty-two-bytes"
ANSWER_SECONDS = 20
"""The time after which a request counts as hanging; long, for busy machines."""

PATHS = [
    "/api/v1/jobs/{}/progress/",
    "/media/videos/{}/progress/",
    "/api/v1/jobs/{}/",
    "/api/v1/jobs/{}/history/",
    "/media/videos/{}/",
    "/api/v1/jobs/{}/progress/events",
    "/api/v1/jobs/",
    "/media/videos/",
    "/api/v1/progress/query",
    "/api/v1/ops/jobs/",
    "/api/v1/ops/stalled/",
    "/api/v1/ops/tenants/",
    "/api/v1/ops/tenants/{}/",
    "/api/v1/ops/charts/",
    "/api/v1/ops/issues/",
    "/api/v1/ops/failures/",
    "/api/v1/ops/dead/",
    "/api/v1/ops/dead/groups/",
    "/api/v1/ops/dead/requeued/",
    "/api/v1/ops/actions/",
    "/api/v1/ops/actions/requests/",
    "/api/v1/ops/dead/t/{}/",
    "/api/v1/ops/jobs/t/job/{}/history/",
    "/api/v1/ops/jobs/t/job/{}/",
    "/healthz",
    "/openapi.json",
    "/docs",
    "/{}",
]
"""Paths of all requests that end by themselves."""

fuzzed = settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

names = st.sampled_from(
    "wait limit cursor status state job_type updated_since label.a label. labels tenant kind id "
    "order name span access_token last_event_id reason detail group type until entry actor".split()
) | st.text(max_size=8)
numbers = st.one_of(
    st.integers(-(10**30), 10**30), st.floats(), st.sampled_from(["0x10", "1_0", "١", "1e9", "-0"])
).map(str)
cursors = st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode()) | st.lists(
    st.integers() | st.text(max_size=5), max_size=5
).map(lambda place: base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("="))
values = st.text(max_size=20) | numbers | cursors | st.just("2026-02-30T25:00:00Z")
queries = st.lists(st.tuples(names, values), max_size=4)
ids = st.text(min_size=1, max_size=20) | st.sampled_from(["..", "a1", "a" * 200, "%", "\0", "١"])
header_values = st.binary(max_size=60).map(
    # What HTTP itself forbids never comes here: `tests/pipeline/test_raw_requests.py` sends that.
    lambda raw: bytes(each for each in raw if each >= 32 and each != 127)
)
headers = st.lists(
    st.tuples(
        st.sampled_from(
            "if-none-match last-event-id content-type accept range cookie x-tenant-id host "
            "content-length transfer-encoding x-forwarded-for x-jobtrail-console origin".split()
        ).map(str.encode),
        header_values,
    ),
    max_size=4,
)
bodies = st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["jobs", "videos", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


class Api:
    """An application on real servers, on its own event loop, called without HTTP."""

    def __init__(self, redis_url: str, database_url: str) -> None:
        given = Settings(
            redis_url=redis_url,
            database_url=database_url,
            jwt_secret=SECRET,
            bad_token_rate_limit=0,
        )
        self._runner = asyncio.Runner()
        self._app = create_app(given, RedisOperatorView.of(given))
        self._life = running(self._app)
        self._runner.run(self._life.__aenter__())

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request and return the answer; raise TimeoutError if it hangs."""
        return self._runner.run(self._ask(method, path, **options))

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=True)
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            httpx.AsyncClient(transport=transport, base_url="http://api") as client,
        ):
            return await client.request(method, path, **options)

    def close(self) -> None:
        """Stop the application and the event loop."""
        self._runner.run(self._life.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture
def api(redis_url: str, database_url: str) -> Iterator[Api]:
    opened = Api(redis_url, database_url)
    yield opened
    opened.close()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """The log lines written during the block."""
    lines: list[Any] = []
    with structlog.testing.capture_logs() as captured:
        yield lines
        lines += captured


def bearer(**claims: Any) -> dict[bytes, bytes]:
    signed = jwt.encode({"exp": FAR, "tenant_id": "t", "scope": "ops", **claims}, SECRET)
    return {b"authorization": b"Bearer " + signed.encode()}


def assert_proper(answer: httpx.Response) -> None:
    """Check that an answer is a success or a problem in the standard form."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert answer.json()["status"] == answer.status_code
    assert answer.headers["x-content-type-options"] == "nosniff"


def url_of(path: str, job_id: str, query: list[tuple[str, str]]) -> str:
    sent = "".join(f"%{byte:02X}" for byte in job_id.encode())
    return f"{path.format(sent)}?{urlencode(query)}"


@fuzzed
@given(path=st.sampled_from(PATHS), job_id=ids, query=queries, more=headers)
def test_requests(
    api: Api, path: str, job_id: str, query: list[tuple[str, str]], more: list[Any]
) -> None:
    url = url_of(path, job_id, query)
    assert_proper(api.ask("GET", url, headers=[*bearer().items(), *more]))


@fuzzed
@given(
    method=st.sampled_from("POST PUT PATCH DELETE OPTIONS TRACE HEAD FOO".split()),
    path=st.sampled_from(PATHS),
    job_id=ids,
    body=bodies,
    content_type=st.sampled_from(["application/json", "text/plain", "", "application/json;x"]),
)
def test_bodies(
    api: Api, *, method: str, path: str, job_id: str, body: bytes, content_type: str
) -> None:
    sent = [*bearer().items(), (b"content-type", content_type.encode())]
    answer = api.ask(method, url_of(path, job_id, []), headers=sent, content=body)
    if method == "HEAD":
        assert answer.status_code < 500
        assert answer.content == b""
    else:
        assert_proper(answer)
    if method == "POST" and path.endswith("query") and content_type == "text/plain":
        assert answer.status_code == 415


claims = st.dictionaries(
    st.sampled_from(["tenant_id", "jobs", "videos", "scope", "exp", "nbf", "iat", "aud", "sub"]),
    st.none() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.text(max_size=4)),
)
json_headers = st.fixed_dictionaries(
    {"alg": st.sampled_from(["none", "HS256", "hs256", "RS256", "HS512", "", 1, None, ["HS256"]])},
    optional={
        "kid": st.text(max_size=8) | st.sampled_from(["../../etc/passwd", "' OR 1=1", 0]),
        "crit": st.sampled_from([["exp"], "exp", []]),
        "jku": st.just("http://127.0.0.1:1/"),
        "zip": st.just("DEF"),
        "b64": st.booleans(),
    },
)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


forged = st.builds(
    lambda header, payload, signature: ".".join((part(header), part(payload), signature)),
    json_headers,
    claims,
    st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
)
cut = st.builds(
    lambda payload, at: jwt.encode({"exp": FAR, **payload}, SECRET)[:at],
    st.just({"tenant_id": "t"}),
    st.integers(1, 60),
)
nested = st.integers(1, 5_000).map(lambda deep: f"{part({'alg': 'HS256'})}.{'W' * deep}.x")
tokens = forged | cut | nested | st.text(alphabet="abc.=-_ \t", max_size=40)


@fuzzed
@given(sent=tokens, in_query=st.booleans(), path=st.sampled_from(PATHS[:-4]))
def test_bad_tokens(api: Api, sent: str, *, in_query: bool, path: str) -> None:
    """An unsigned or wrongly signed token is answered like a missing one."""
    url = path.format("a1")
    if in_query:
        answer = api.ask("GET", url, params={"access_token": sent})
    else:
        answer = api.ask("GET", url, headers={b"authorization": b"Bearer " + sent.encode()})
    expected = 405 if path.endswith("query") else 401
    assert answer.status_code == expected, answer.text
    assert_proper(answer)


@fuzzed
@given(given=claims)
def test_signed_claims_of_any_form(api: Api, given: dict[str, Any]) -> None:
    """A token with a valid signature may have invalid claims."""
    try:
        signed = jwt.encode({"exp": FAR, **given}, SECRET)
    except (TypeError, ValueError, OverflowError):  # what cannot be signed cannot come
        return
    sent = {b"authorization": b"Bearer " + signed.encode()}
    for path in ("/api/v1/jobs/a1/progress/", "/api/v1/jobs/", "/api/v1/ops/session/"):
        assert_proper(api.ask("GET", path, headers=sent))


def test_logs__no_token(
    api: Api, logged: list[Any], caplog: pytest.LogCaptureFixture, write: Writer
) -> None:
    """No token is in any log: valid or not, in a header or in the query."""
    write("t", {"type": "done", "id": "a1"})
    good = jwt.encode({"exp": FAR, "tenant_id": "t", "scope": "ops"}, SECRET)
    caplog.set_level(logging.DEBUG)
    for path in PATHS:
        for sent in (good, good[:-3], "x" * 9_000):
            url = path.format("a1")
            api.ask("GET", url, headers={"authorization": f"Bearer {sent}"})
            api.ask("GET", url, params={"access_token": sent})
    text = repr(logged) + caplog.text.replace("HTTP Request", "")
    for hidden in (good[10:40], "x" * 100, SECRET):
        assert hidden not in "\n".join(line for line in text.splitlines() if "httpx" not in line)

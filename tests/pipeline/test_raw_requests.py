"""Bytes that are no proper HTTP, at the real server: it refuses them and goes on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.access.limits import MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL_BYTES
from tests.pipeline.conftest import Start
from tests.support.processes import runs
from tests.support.thorough import examples

TIMEOUT = 60
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"

MALFORMED = {
    "no path": b"GET\r\n\r\n",
    "no text": b"\x00\x01\x02\r\n\r\n",
    "unknown version": b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "no number": b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "no such coding": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x\r\n\r\n",
    "bad chunk": b"POST /api/v1/progress/query HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: t\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n\r\n",
    "header without a colon": HEAD + b"no colon\r\n\r\n",
    "control character": HEAD + b"x: a\x00b\r\n\r\n",
    "folded": HEAD + b"x: a\r\n b\r\n\r\n",
    "path of no text": b"GET /heal\xffthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


class Api(NamedTuple):
    """A server process's address."""

    host: str
    port: int
    pid: int

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"http://{self.host}:{self.port}{path}", timeout=TIMEOUT, **options)

    def send(self, raw: bytes) -> bytes:
        """Send bytes and no more; give all that comes back."""
        with closing(self.connect()) as connection:
            try:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
            except OSError:  # it has seen enough
                pass
            return b"".join(_received(connection))

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=TIMEOUT)

    def assert_alive(self) -> None:
        assert runs(self.pid)
        assert self.get("/healthz").json() == {"status": "alive"}


def _received(connection: socket.socket) -> Iterator[bytes]:
    try:
        while some := connection.recv(65_536):
            yield some
    except ConnectionResetError:
        return


@pytest.fixture
def api(start: Start, redis_url: str) -> Api:
    process = start("api", redis_url=redis_url, auth="dev", api_port="0")
    assert process.stdout is not None
    url = urlsplit(process.stdout.readline().decode().removeprefix("api: ").strip())
    return Api(str(url.hostname), int(url.port or 0), process.pid)


def test_malformed(api: Api) -> None:
    """Each is refused or cut off; none is a fault of ours."""
    for why, raw in MALFORMED.items():
        answer = api.send(raw)
        assert not answer or answer.startswith(b"HTTP/1."), why
        assert b" 500 " not in answer[:20], why
    api.assert_alive()


def test_random_bytes(api: Api) -> None:
    """Mutations of a request, and no request at all."""
    lines = st.lists(
        st.binary(max_size=20) | st.sampled_from([b"Host: a", b"x:", b":"]), max_size=5
    )
    requests = st.binary(max_size=60) | st.builds(
        lambda method, path, rest: (
            b"%b %b HTTP/1.1\r\n%b\r\n\r\n" % (method, path, b"\r\n".join(rest))
        ),
        st.sampled_from([b"GET", b"POST", b"get", b"G\0T", b""]),
        st.binary(max_size=30).map(lambda raw: b"/" + raw),
        lines,
    )

    @settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests)
    def fuzz(raw: bytes) -> None:
        assert b" 500 " not in api.send(raw)[:20]

    fuzz()
    api.assert_alive()


def test_limits(api: Api) -> None:
    """What is too much is a problem from us, and far beyond that a bare refusal by the server."""
    for answer, status in (
        (api.get("/healthz?" + "q" * MAX_URL_BYTES), 414),
        (api.get("/healthz", headers={"x-large": "x" * MAX_HEADER_BYTES}), 431),
        (api.get("/healthz", headers={f"x-{n}": "1" for n in range(MAX_HEADERS)}), 431),
    ):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
    for raw, refusal in (
        (b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * 100_000), b"414"),
        (HEAD + b"x: 1\r\n" * 1_000 + b"\r\n", b"431"),
        (HEAD + b"x: " + b"a" * 3_000_000 + b"\r\n\r\n", b"431"),
    ):
        sent = api.send(raw)
        assert not sent or sent.startswith(b"HTTP/1.1 " + refusal)
    api.assert_alive()


def test_body__too_large(api: Api) -> None:
    """It is refused by what it says of itself, or as soon as it proves so; none of it is kept."""
    url = f"http://{api.host}:{api.port}/api/v1/progress/query"
    headers = {"x-tenant-id": "t", "content-type": "application/json"}
    head = b"POST /api/v1/progress/query HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: t\r\n"
    said = api.send(head + b"Content-Length: 1000000000\r\n\r\n{")
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in said
    some = b"%x\r\n%b\r\n" % (60_000, b" " * 60_000)
    json = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert api.send(head + json + some * 3 + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    fits = httpx.post(url, headers=headers, content=b'{"jobs":["a"]}', timeout=TIMEOUT)
    assert fits.json()["jobs"] == {"a": None}


def test_slow_clients(api: Api) -> None:
    """Hundreds that never finish their requests keep nobody else from an answer."""
    with ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(closing(api.connect()))
            connection.sendall(
                (HEAD + b"x: ", b"G", b"", HEAD + b"Content-Length: 9\r\n\r\nx")[number % 4]
            )
        api.assert_alive()


def test_headers__nothing_of_the_software(api: Api) -> None:
    """No answer says which server and which version it came from."""
    for path in ("/healthz", "/none", "/docs", "/openapi.json", "/api/v1/jobs/a/progress/"):
        answer = api.get(path, headers={"x-tenant-id": "t"})
        assert answer.headers.get_list("server") == ["jobtrail"], path
        assert "granian" not in repr(answer.headers).lower()
        assert "x-powered-by" not in answer.headers

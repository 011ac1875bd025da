"""The real server in a separate process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import jwt
import pytest

from streams.connection import connect
from tests.api.conftest import writer_to
from tests.support import forked
from tests.support.processes import descendants
from tests.support.servers import RedisFactory
from tests.support.tokens import FAR
from tests.support.waiting import ENDING, eventually

SCRIPT = """
import sys
from api.access.listening import ListenError
from api.server import serve
from streams.settings import Settings
from tests.support.tokens import FAR
try:
    serve(Settings.from_environ(), lambda url: print(url, flush=True))
except ListenError as error:
    sys.exit(str(error))
"""
PATH = "/api/v1/jobs/a1/progress/"
TENANT = {"x-tenant-id": "t"}

Starter = Callable[..., "Api"]


class Api:
    """A server's process and, once announced, its URL."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.process = process
        self.url = process.stdout.readline().decode().strip()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=TENANT)

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return its exit status and its standard error."""
        _, errors = self.process.communicate(timeout=ENDING)
        return self.process.returncode, errors.decode()


@pytest.fixture
def start() -> Iterator[Starter]:
    """A function that starts servers, which are killed at the end."""
    with ExitStack() as stack:

        def started(redis_url: str, **settings: Any) -> Api:
            # Nothing here reads rows; a database is named so that nothing is said of its absence.
            named = {"database_url": "postgresql://127.0.0.1:1/none", "api_port": 0}
            given = {"redis_url": redis_url, "auth": "dev", **named, **settings}
            ours = {f"JOBTRAIL_{name.upper()}": str(value) for name, value in given.items()}
            process = stack.enter_context(forked.begin((), os.environ | ours, code=SCRIPT))
            stack.callback(process.kill)
            return Api(process)

        yield started


def test_serve(start: Starter, redis_url: str) -> None:
    """The address is announced once it answers; documents in Redis are served."""
    with connect(redis_url) as client:
        writer_to(client)("t", {"type": "processing", "id": "a1"})
    api = start(redis_url)
    host, _, port = api.url.removeprefix("http://").partition(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)
    answer = api.get(PATH)
    assert (answer.status_code, answer.json()["job_id"]) == (200, "a1")
    known = httpx.get(api.url + PATH, headers=TENANT | {"if-none-match": answer.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    head = httpx.head(api.url + PATH, headers=TENANT)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(answer.content))
    assert api.get("/none").status_code == 404


def test_serve__percent_encoded_path(start: Starter, redis_url: str) -> None:
    """Paths are decoded once; an escaped slash in an id does not separate the path."""
    with connect(redis_url) as client:
        writer_to(client)("t", {"type": "processing", "id": "a:1"})
    api = start(redis_url)
    assert api.get("/api/v1/jobs/a%3A1/progress/").json()["job_id"] == "a:1"
    absent = api.get("/api/v1/jobs/none/progress/")
    for bad in ("a%2F1", "a%00", "%ff", "%EA%B0%80"):
        answer = api.get(f"/api/v1/jobs/{bad}/progress/")
        assert (answer.status_code, answer.content) == (404, absent.content), bad


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop(start: Starter, redis_url: str, number: signal.Signals) -> None:
    """A signal ends it in seconds and without output, although a client keeps its connection."""
    api = start(redis_url)
    with httpx.Client(base_url=api.url) as client:
        assert client.get("/healthz").status_code == 200
        assert not descendants(api.process.pid)
        api.process.send_signal(number)
        assert api.ended() == (0, "")


def test_port_taken(start: Starter, redis_url: str) -> None:
    """A taken port is one line with advice, also if another API uses it."""
    port = start(redis_url).url.rpartition(":")[2]
    status, errors = start(redis_url, api_port=port).ended()
    assert status == 1
    assert errors.splitlines() == [
        f"cannot listen on 127.0.0.1:{port}: the port is taken: stop what listens there, "
        "or set JOBTRAIL_API_PORT to another port (0 takes a free one)"
    ]


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 300])
def test_host_unknown(start: Starter, redis_url: str, host: str) -> None:
    status, errors = start(redis_url, api_host=host, auth="jwt", jwt_secret="s" * 32).ended()
    assert status == 1
    assert errors.count("\n") == 1
    assert "the host's name has no address: set JOBTRAIL_API_HOST" in errors


def test_address_of_another_machine(start: Starter, redis_url: str) -> None:
    status, errors = start(redis_url, api_host="192.0.2.1", auth="jwt", jwt_secret="s" * 32).ended()
    assert status == 1
    assert errors.count("\n") == 1
    assert "this machine has no such address" in errors


def test_restart_on_the_same_port(start: Starter, redis_url: str) -> None:
    """Connections of the previous process do not block the port."""
    first = start(redis_url)
    with httpx.Client(base_url=first.url) as client:
        client.get("/healthz")
        first.process.terminate()
        assert first.ended()[0] == 0
        again = start(redis_url, api_port=first.url.rpartition(":")[2])
    assert again.url == first.url
    assert again.get("/healthz").status_code == 200


def test_redis_stops_and_comes_back(start: Starter, own_redis: RedisFactory) -> None:
    """Without Redis it answers 503; once Redis is back, it recovers without a restart."""
    server = own_redis(persist=True)
    with connect(server.url) as client:
        writer_to(client)("t", {"type": "processing", "id": "a1"})
    api = start(server.url)
    assert api.get(PATH).status_code == 200
    server.stop()
    answer = api.get(PATH)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert api.get("/healthz").status_code == 200
    assert api.get("/readyz").json()["missing"] == ["redis"]
    server.start()
    eventually(lambda: api.get(PATH).status_code == 200, what="an answer from the new Redis")
    assert api.get("/readyz").status_code == 200


def test_redis_hangs(start: Starter, own_redis: RedisFactory) -> None:
    """A frozen Redis counts as unavailable in seconds; a stop is clean even then."""
    server = own_redis(persist=False)
    api = start(server.url)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        assert api.get("/readyz").status_code == 503
        assert api.get(PATH).status_code == 503
        api.process.terminate()
        assert api.ended()[0] == 0
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_log__debug(start: Starter, redis_url: str) -> None:
    """The access log contains paths, but no token, query or tenant."""
    secret = "s" * 32
    token = jwt.encode({"exp": FAR, "tenant_id": "tenant-1"}, secret)
    api = start(redis_url, auth="jwt", jwt_secret=secret, log_level="debug")
    for sent in (token, token[:-3]):
        headers = {"authorization": f"Bearer {sent}", "x-tenant-id": "tenant-2"}
        httpx.get(f"{api.url}{PATH}?access_token={sent}", headers=headers)
        httpx.get(f"{api.url}/none?access_token={sent}", headers=headers)
    api.process.terminate()
    _, errors = api.ended()
    assert errors.count(f'"path": "{PATH}", "status": 404') == 1
    assert errors.count(f'"path": "{PATH}", "status": 401') == 1
    for hidden in (token[:-3], token.split(".")[0], "access_token", "tenant-", secret):
        assert hidden not in errors


def test_dual_use_of_a_socket_is_refused(start: Starter, redis_url: str) -> None:
    """No other process can listen on the same port and take some of the requests."""
    port = int(start(redis_url).url.rpartition(":")[2])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))

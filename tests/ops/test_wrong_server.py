"""Every command refuses a server that is not a primary, with one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from ops.cli import app
from ops.devstack import EmbeddedRedis
from ops.doctor.examination import examine
from ops.errors import line_for
from streams.appender import EventAppender
from streams.connection import LogUnavailable, WrongServer, connect, count_refused_servers
from streams.settings import Settings
from streams.wire import ask
from tests.ops.test_cli import jobtrail, plain_failure
from tests.support.proxy import Proxy
from tests.support.replication import (
    OpenRedis,
    Sentinel,
    cluster_of_one,
    demote,
    own_all_slots,
    plain,
    promote,
    replicate,
)
from tests.support.servers import RedisFactory, server_folder, through

COMMANDS = [
    ("append", "--tenant", "42"),
    ("consume", "status"),
    ("consume", "rows"),
    ("api",),
    ("up",),
    ("lag",),
    ("lag", "--tenant", "42", "--json"),
    ("status", "--tenant", "42", "a1"),
    ("tail", "--tenant", "42"),
    ("dead", "list"),
    ("dead", "show", "--tenant", "42", "1-1"),
    ("dead", "requeue", "--tenant", "42", "--all"),
    ("dead", "discard", "--tenant", "42", "--all"),
    ("replay", "status"),
    ("replay", "status", "--reset"),
    ("replay", "rows"),
    ("verify", "status"),
    ("verify", "rows"),
    ("trim",),
    ("groups", "list"),
    ("groups", "deregister", "audit"),
    ("doctor", "--legacy"),
    ("roster", "import", "no.xlsx", "--tenant", "42"),
    ("video", "encode", "no.mp4", "--tenant", "42"),
]
KINDS = {"replica": "is a replica", "cluster": "a cluster's node", "sentinel": "is a Sentinel"}


@pytest.fixture(scope="module")
def wrong_servers() -> Iterator[dict[str, EmbeddedRedis]]:
    """One server of each kind."""
    with ExitStack() as stack:

        def folder() -> Path:
            return stack.enter_context(server_folder())

        master = stack.enter_context(OpenRedis(folder()))
        replica = stack.enter_context(OpenRedis(folder()))
        with plain(master) as client:
            client.xadd("tenant:42:events", {"event": b'{"type":"done","id":"a1"}'})
        replicate(replica, master)
        cluster = stack.enter_context(cluster_of_one(folder()))
        own_all_slots(cluster)
        sentinel = stack.enter_context(Sentinel(folder(), master))
        yield {"replica": replica, "cluster": cluster, "sentinel": sentinel}


@pytest.fixture
def environ(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBTRAIL_DATABASE_URL", database_url)
    monkeypatch.setenv("JOBTRAIL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JOBTRAIL_AUTH", "dev")
    monkeypatch.setenv("JOBTRAIL_API_PORT", "0")


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command__refuses_it(
    wrong_servers: dict[str, EmbeddedRedis],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("JOBTRAIL_REDIS_URL", wrong_servers[kind].url)
    result = CliRunner().invoke(app, words, input='{"type":"done","id":"a1"}')
    assert result.exit_code != 0
    assert isinstance(result.exception, Exception)
    line = line_for(result.exception)
    assert line is not None
    assert KINDS[kind] in line
    assert line.count("JOBTRAIL_REDIS_URL") == 1
    assert str(wrong_servers[kind].port) in line
    assert result.stdout == ""


@pytest.mark.parametrize("kind", KINDS)
def test_doctor__names_it_and_fails(
    wrong_servers: dict[str, EmbeddedRedis], database_url: str, kind: str
) -> None:
    settings = Settings(redis_url=wrong_servers[kind].url, database_url=database_url)
    found = {finding.check: finding for finding in examine(settings)}
    assert not found["redis"].ok
    assert KINDS[kind] in found["redis"].found


def test_long_running_command__ends_with_one_line(
    wrong_servers: dict[str, EmbeddedRedis],
) -> None:
    url = wrong_servers["replica"].url
    line = plain_failure(jobtrail("consume", "status", redis_url=url, timeout=120))
    assert KINDS["replica"] in line


def test_demotion_in_mid_life__is_found_without_a_new_connection(open_redis: RedisFactory) -> None:
    """Reads fail within a second, writes at once; both succeed once the URL leads to a primary."""
    master, replica = open_redis(persist=False), open_redis(persist=False)
    replicate(replica, master)
    with (
        Proxy(master.port) as proxy,
        connect(through(master, proxy), role_seconds=0) as reading,
        connect(through(master, proxy), role_seconds=float("inf")) as writing,
    ):
        appender = EventAppender(writing)
        appender.append("42", {"type": "done", "id": "a1"})
        assert ask(reading, "EXISTS", "tenant:42:events")
        promote(replica)
        demote(master, replica)
        with pytest.raises(WrongServer):
            ask(reading, "EXISTS", "tenant:42:events")
        assert count_refused_servers(reading) > 0
        for _ in range(2):
            with pytest.raises(LogUnavailable, match=r"read only|replica"):
                appender.append("42", {"type": "done", "id": "a1"})
        proxy.point(replica.port)
        assert ask(reading, "EXISTS", "tenant:42:events")
        appender.append("42", {"type": "done", "id": "a2"})
    with plain(replica) as client:
        assert client.xlen("tenant:42:events") == 2


def test_promotion__is_found_by_itself(open_redis: RedisFactory) -> None:
    master, replica = open_redis(persist=False), open_redis(persist=False)
    replicate(replica, master)
    with connect(replica.url) as client:
        with pytest.raises(WrongServer):
            client.ping()
        promote(replica)
        assert client.ping()


def test_server_that_does_not_know_hello__is_taken() -> None:
    """Some proxies do not answer the command that tells: their servers are not refused."""
    with (
        server_folder() as folder,
        OpenRedis(folder, "--rename-command", "HELLO", "") as server,
        connect(server.url) as client,
    ):
        assert client.ping()


def test_password_that_is_missing__is_told_as_such(open_redis: RedisFactory) -> None:
    server = open_redis(persist=False)
    with plain(server) as admin:
        admin.config_set("requirepass", "hunter2")
    with connect(server.url) as client, pytest.raises(redis.AuthenticationError) as raised:
        client.ping()
    assert "HELLO" not in str(raised.value)

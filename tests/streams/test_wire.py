"""Commands whose replies are read later, on the fake and on real servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
import redis

from ops.devstack import EmbeddedRedis
from streams.connection import connect
from streams.wire import PendingReplies, ask, round_trip
from tests.support.proxy import Proxy
from tests.support.waiting import eventually


@pytest.fixture(params=["fake", "real"])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    if request.param == "real":
        url = request.getfixturevalue("redis_url")
        with connect(url) as real:
            yield real
    else:
        with fakeredis.FakeRedis(protocol=2) as fake:
            yield fake


def connections(client: redis.Redis) -> tuple[int, int]:
    """Return how many connections of the pool are free and in use."""
    pool = client.connection_pool
    return len(pool._available_connections), len(pool._in_use_connections)


def test_replies_come_in_order__a_refusal_in_its_place(client: redis.Redis) -> None:
    asked = PendingReplies(client, [("SET", "a", "1"), ("LPUSH", "a", "x"), ("GET", "a")])
    done, refused, value = asked.replies()
    assert (done, value) == (b"OK", b"1")
    assert isinstance(refused, redis.ResponseError)
    assert str(refused).startswith("WRONGTYPE")
    assert connections(client) == (1, 0)


def test_refusal_keeps_no_frame_of_its_caller(client: redis.Redis) -> None:
    """A frame would keep the objects of its caller in memory until the next garbage collection."""
    done, refused = round_trip(client, [("SET", "a", "1"), ("LPUSH", "a", "x")])
    assert done == b"OK"
    assert refused.__traceback__ is None
    assert refused.__context__ is None


def test_commands_are_carried_out_before_their_replies_are_read(client: redis.Redis) -> None:
    with PendingReplies(client, [("SET", "a", "1")]) as asked:
        eventually(lambda: ask(client, "GET", "a") == b"1")
        assert asked.replies() == [b"OK"]


def test_other_commands_in_between_have_replies_of_their_own(client: redis.Redis) -> None:
    first = PendingReplies(client, [("ECHO", "first")])
    second = PendingReplies(client, [("ECHO", "second")])
    assert ask(client, "ECHO", "third") == b"third"
    assert second.replies() == [b"second"]
    assert first.replies() == [b"first"]
    assert connections(client)[1] == 0


@pytest.mark.parametrize("how", ["give_up", "with", "error in with"])
def test_replies_that_are_given_up_reach_nobody(client: redis.Redis, how: str) -> None:
    asked = PendingReplies(client, [("ECHO", "old")] * 3)
    if how == "give_up":
        asked.give_up()
    elif how == "with":
        with asked:
            pass
    else:
        with pytest.raises(LookupError), asked:
            raise LookupError
    assert connections(client) == (1, 0)
    assert round_trip(client, [("ECHO", "new")] * 2) == [b"new"] * 2
    asked.give_up()  # once more changes nothing
    assert connections(client) == (1, 0)


@pytest.mark.parametrize("before", ["replies", "give_up"])
def test_replies_are_read_once(client: redis.Redis, before: str) -> None:
    asked = PendingReplies(client, [("PING",)])
    getattr(asked, before)()
    with pytest.raises(RuntimeError):
        asked.replies()
    assert connections(client) == (1, 0)


def test_nothing_asked_has_no_replies(client: redis.Redis) -> None:
    assert PendingReplies(client, []).replies() == []


def test_name_in_another_encoding_goes_back_byte_for_byte(redis_url: str) -> None:
    with connect(redis_url) as client:
        name = b"\xff".decode(errors="surrogateescape")
        assert PendingReplies(client, [("SET", name, "1"), ("GET", b"\xff")]).replies() == [
            b"OK",
            b"1",
        ]


def test_connection_cut_before_the_replies_is_an_error_and_the_next_command_is_well(
    redis_server: EmbeddedRedis, redis_url: str
) -> None:
    port = socket_port(redis_server)
    with Proxy(port) as proxy, connect(redis_url.replace(str(port), str(proxy.port))) as client:
        ask(client, "PING")
        proxy.sever_replies()
        asked = PendingReplies(client, [("ECHO", "old")])
        with pytest.raises(redis.ConnectionError):
            asked.replies()
        assert connections(client) == (1, 0)
        proxy.start()
        assert ask(client, "ECHO", "new") == b"new"


def test_reply_that_does_not_come_times_out_and_is_not_read_by_the_next(
    redis_server: EmbeddedRedis, redis_url: str
) -> None:
    port = socket_port(redis_server)
    with (
        Proxy(port) as proxy,
        connect(redis_url.replace(str(port), str(proxy.port)), timeout=0.2) as client,
    ):
        ask(client, "PING")
        proxy.stall()
        asked = PendingReplies(client, [("ECHO", "old")])
        with pytest.raises(redis.TimeoutError):
            asked.replies()
        proxy.resume()
        assert ask(client, "ECHO", "new") == b"new"


def test_server_that_is_away_when_asked_is_an_error_and_leaves_no_connection_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with connect(f"redis://127.0.0.1:{port}/0") as client:
        with pytest.raises(redis.ConnectionError):
            PendingReplies(client, [("PING",)])
        assert connections(client)[1] == 0


def test_demoted_server_is_noticed_when_asking(redis_server: EmbeddedRedis, redis_url: str) -> None:
    """The role is checked before the commands are sent, as in a plain round trip."""
    with connect(redis_url, role_seconds=0.0) as client, connect(redis_url) as operator:
        ask(client, "PING")
        operator.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(redis.ConnectionError, match="is a replica"):
                PendingReplies(client, [("GET", "a")])
            assert connections(client)[1] == 0
        finally:
            operator.execute_command("REPLICAOF", "NO", "ONE")
        assert PendingReplies(client, [("ECHO", "new")]).replies() == [b"new"]


def test_write_refused_as_read_only_makes_the_next_command_ask_again(redis_url: str) -> None:
    with connect(redis_url, role_seconds=1e9) as client, connect(redis_url) as operator:
        ask(client, "PING")
        operator.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            (refused,) = PendingReplies(client, [("SET", "a", "1")]).replies()
            assert isinstance(refused, redis.exceptions.ReadOnlyError)
            with pytest.raises(redis.ConnectionError, match="is a replica"):
                PendingReplies(client, [("GET", "a")])
        finally:
            operator.execute_command("REPLICAOF", "NO", "ONE")


def test_large_reply_that_is_read_late_is_whole(redis_url: str) -> None:
    """The server buffers what the socket does not take, and serves others meanwhile."""
    with connect(redis_url) as client, connect(redis_url) as other:
        ask(client, "SET", "large", b"x" * 1_000_000)
        asked = PendingReplies(client, [("GET", "large")] * 16)
        assert ask(other, "ECHO", "other") == b"other"
        assert [len(each) for each in asked.replies()] == [1_000_000] * 16
        assert ask(client, "ECHO", "new") == b"new"


def test_signal_while_waiting_leaves_no_reply_behind(client: redis.Redis) -> None:
    asked = PendingReplies(client, [("ECHO", "old")] * 2)
    connection: Any = vars(asked._sent)["_connection"]
    reading = connection.read_response

    def interrupted(**_: object) -> None:
        connection.read_response = reading
        raise KeyboardInterrupt

    connection.read_response = interrupted
    with pytest.raises(KeyboardInterrupt):
        asked.replies()
    assert ask(client, "ECHO", "new") == b"new"
    assert connections(client) == (1, 0)


def socket_port(server: EmbeddedRedis) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])

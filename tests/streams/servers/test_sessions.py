"""Sessions with a server that accepts connections and says nothing."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import redis
from redis import ConnectionPool

from streams.cluster import Cluster
from streams.connection import SOCKET_TIMEOUT, connect
from streams.servers.sessions import NodeConnection
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    "prefix", ["redis+cluster://", "redis+cluster://me:secret@", "rediss+cluster://"]
)
def test_session_with_a_silent_node__is_waited_for_as_long_as_a_reply(prefix: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"{prefix}127.0.0.1:{silent.getsockname()[1]}")
        assert isinstance(client, Cluster)
        client.set_patience(0.05)
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(redis.ConnectionError, match="no node of the cluster"):
                client.read_map()
        assert time.monotonic() - began < SOCKET_TIMEOUT
        client.close()
        # The server outlives the probes: a socket that is reset before its TLS handshake begins is
        # never closed.
        client.nodes.clear()
        eventually(lambda: not any(each.name == "node-probe" for each in threading.enumerate()))


def test_limit_of_a_session__is_not_that_of_commands(redis_url: str) -> None:
    seconds = []

    def limit() -> float:
        seconds.append(4.0)
        return seconds[-1]

    with connect(redis_url) as plain:
        options = {**plain.connection_pool.connection_kwargs, "session_seconds": limit}
        del options["roles"]
        with ConnectionPool(NodeConnection, **options) as pool:
            connection = pool.get_connection()
            assert isinstance(connection, NodeConnection)
            assert seconds == [4.0]
            assert connection.socket_timeout == SOCKET_TIMEOUT
            assert connection.socket_connect_timeout == SOCKET_TIMEOUT
            assert vars(connection)["_sock"].gettimeout() == SOCKET_TIMEOUT
            pool.release(connection)

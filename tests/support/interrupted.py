"""A client between whose reading and writing somebody else comes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import redis


class Interrupted:
    """A client that calls `meanwhile` after each reply to MGET, before its user has it."""

    def __init__(self, client: redis.Redis, meanwhile: Callable[[], object]) -> None:
        self._client = client
        self._meanwhile = meanwhile
        self.reads = 0

    @property
    def connection_pool(self) -> Any:
        """The pool of the client, with connections that are listened to."""
        return _Pool(self._client.connection_pool, self._read)

    def _read(self) -> None:
        self.reads += 1
        self._meanwhile()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def interrupted(client: redis.Redis, meanwhile: Callable[[], object]) -> redis.Redis:
    """Return such a client."""
    return cast("redis.Redis", Interrupted(client, meanwhile))


class _Pool:
    def __init__(self, pool: Any, read: Callable[[], None]) -> None:
        self._pool = pool
        self._read = read

    def get_connection(self) -> Any:
        return _Connection(self._pool.get_connection(), self._read)

    def release(self, connection: Any) -> None:
        self._pool.release(connection.inner)


class _Connection:
    def __init__(self, inner: Any, read: Callable[[], None]) -> None:
        self.inner = inner
        self._read = read
        self._reads = False

    def send_packed_command(self, pieces: Sequence[bytes], **options: Any) -> None:
        # *N, $4, MGET: the first command of those that are sent.
        self._reads = pieces[0].split(b"\r\n", 3)[2] == b"MGET"
        self.inner.send_packed_command(pieces, **options)

    def read_response(self, **options: Any) -> Any:
        reply = self.inner.read_response(**options)
        if self._reads:
            self._read()
        return reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

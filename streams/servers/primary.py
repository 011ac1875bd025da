"""Connections that refuse a server that is not a primary of its own.

A replica serves states that may be behind and takes no writes; one node of a cluster has a part of
the keys; a Sentinel has none. Each connection asks its server what it is (HELLO, which every Redis
user may send) when it is made, and again with the first command after `Roles.seconds`, or after a
write was refused with READONLY. A connection whose server was demoted is made anew, because its URL
may lead to another server by then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio.connection as aio

ROLE_SECONDS = 1.0
"""Seconds after which a connection in use asks its server again what it is."""

_NAME = "JOBTRAIL_REDIS_URL must name"


class WrongServer(redis.ConnectionError):
    """The server is a replica, a cluster's node or a Sentinel; this passes with a promotion."""


class Roles:
    """The server's role as one client's connections found it; inf `seconds` ask only once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.refused = 0
        """Answers so far by which a server was refused."""


class _Asking:
    """The common part of blocking and asyncio connections."""

    _due = math.inf
    _roles: Roles

    def _judge(self, reply: Any) -> None:
        """Raise WrongServer where the reply to HELLO says that the server is not to be used."""
        kind = _refused(reply)
        if kind is not None:
            self._roles.refused += 1
            raise WrongServer(f"{_address(self)} is {kind}")
        self._due = time.monotonic() + self._roles.seconds


class _AskingBlocking(_Asking):
    def __init__(self, *, roles: Roles, **options: Any) -> None:
        self._roles = roles
        super().__init__(**options)

    def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - theirs
        """Begin the session, and ask what the server is."""
        self._due = math.inf
        super().on_connect_check_health(check_health)  # type: ignore[misc]
        self._ask()

    def check_health(self) -> None:
        """Ask again where it is time; called before each command."""
        if time.monotonic() >= self._due:
            try:
                self._ask()
            except WrongServer:
                self.disconnect()  # type: ignore[attr-defined]
                self.connect_check_health(check_health=False)  # type: ignore[attr-defined]
        super().check_health()  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply; a refused write makes the next command ask."""
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.exceptions.ReadOnlyError:
            self._due = 0.0
            raise

    def _ask(self) -> None:
        self._due = math.inf
        self.send_command("HELLO", check_health=False)  # type: ignore[attr-defined]
        try:
            reply = self.read_response(disconnect_on_error=False)
        except (redis.ResponseError, redis.AuthenticationError):
            return  # not known here, or not logged in, of which the next command will tell
        self._judge(reply)


class _AskingAsync(_Asking):
    def __init__(self, *, roles: Roles, **options: Any) -> None:
        self._roles = roles
        super().__init__(**options)

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - theirs
        """Begin the session, and ask what the server is."""
        self._due = math.inf
        await super().on_connect_check_health(check_health)  # type: ignore[misc]
        await self._ask()

    async def check_health(self) -> None:
        """Ask again where it is time; called before each command."""
        if time.monotonic() >= self._due:
            try:
                await self._ask()
            except WrongServer:
                await self.disconnect(nowait=True)  # type: ignore[attr-defined]
                await self.connect_check_health(check_health=False)  # type: ignore[attr-defined]
        await super().check_health()  # type: ignore[misc]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply; a refused write makes the next command ask."""
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except redis.exceptions.ReadOnlyError:
            self._due = 0.0
            raise

    async def _ask(self) -> None:
        self._due = math.inf
        await self.send_command("HELLO", check_health=False)  # type: ignore[attr-defined]
        try:
            reply = await self.read_response(disconnect_on_error=False)
        except (redis.ResponseError, redis.AuthenticationError):
            return
        self._judge(reply)


class TcpConnection(_AskingBlocking, redis.Connection):
    """A blocking connection of `redis://`."""


class TlsConnection(_AskingBlocking, redis.SSLConnection):
    """A blocking connection of `rediss://`."""


class UnixConnection(_AskingBlocking, redis.UnixDomainSocketConnection):
    """A blocking connection of `unix://`."""


class AsyncTcpConnection(_AskingAsync, aio.Connection):
    """An asyncio connection of `redis://`."""


class AsyncTlsConnection(_AskingAsync, aio.SSLConnection):
    """An asyncio connection of `rediss://`."""


class AsyncUnixConnection(_AskingAsync, aio.UnixDomainSocketConnection):
    """An asyncio connection of `unix://`."""


BLOCKING: dict[str, Any] = {"redis": TcpConnection, "rediss": TlsConnection, "unix": UnixConnection}
"""Connections by the URL's scheme."""
ASYNCIO: dict[str, Any] = {
    "redis": AsyncTcpConnection,
    "rediss": AsyncTlsConnection,
    "unix": AsyncUnixConnection,
}


def _refused(reply: Any) -> str | None:
    """Return what the server is and what to do, or None where it is a primary of its own."""
    if not isinstance(reply, Sequence):
        return None
    said = dict(zip(reply[::2], reply[1::2], strict=False))
    mode, role = said.get(b"mode"), said.get(b"role")
    if mode == b"cluster":
        return f"a cluster's node, which has a part of the keys: {_NAME} a server without a cluster"
    if mode == b"sentinel":
        return f"a Sentinel, which has no data: {_NAME} the primary"
    if role in (b"replica", b"slave"):
        return f"a replica, which may be behind and takes no writes: {_NAME} the primary"
    return None


def _address(connection: Any) -> str:
    path = getattr(connection, "path", None)
    return str(path) if path is not None else f"{connection.host}:{connection.port}"

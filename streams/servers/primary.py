"""Connections that refuse a server that is not a primary.

A replica may have old states and takes no writes; a node of a cluster has a part of the keys; a
Sentinel has none. Each connection reads the role of its server (by HELLO, which every Redis user
may send) when it is made, with the first command after `Roles.seconds`, and after a write was
refused with READONLY. A connection to a demoted server is made anew, because its URL may lead to
another server then. `streams/connection.py` makes clients of these classes. Used by
`streams.connection`, `streams.routing` and `streams.servers.sentinels`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio.connection as aio

ROLE_SECONDS = 1.0
"""Seconds after which a connection in use reads the role of its server again."""

_NAME = "JOBTRAIL_REDIS_URL must name"


class WrongServer(redis.ConnectionError):
    """The server is a replica, a node of a cluster or a Sentinel; a promotion may change that."""


class Roles:
    """Role checks of one client's connections; with infinite `seconds` each checks only once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.refused = 0
        """Number of times that a server was refused, or had been replaced by another primary."""


class _RoleCheck:
    """Base of blocking and asyncio connections that check the role of their server."""

    _due = math.inf
    _roles: Roles

    def _check_role(self, reply: Any) -> None:
        """Raise WrongServer if the server, by its reply to HELLO, is not a primary."""
        kind = _refused(reply)
        if kind is not None:
            self._roles.refused += 1
            raise WrongServer(f"{_address(self)} is {kind}")
        self._due = time.monotonic() + self._roles.seconds


class _BlockingRoleCheck(_RoleCheck):
    def __init__(self, *, roles: Roles, **options: Any) -> None:
        self._roles = roles
        super().__init__(**options)

    def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - theirs
        """Begin the session and read the role of the server."""
        self._due = math.inf
        super().on_connect_check_health(check_health)  # type: ignore[misc]
        self._read_role()

    def check_health(self) -> None:
        """Read the role again if it is due; called before each command."""
        if time.monotonic() >= self._due:
            try:
                self._read_role()
            except WrongServer:
                self.disconnect()  # type: ignore[attr-defined]
                self.connect_check_health(check_health=False)  # type: ignore[attr-defined]
        super().check_health()  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply; after a refused write the role is read before the next command."""
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.exceptions.ReadOnlyError:
            self._due = 0.0
            raise

    def _read_role(self) -> None:
        self._due = math.inf
        self.send_command("HELLO", check_health=False)  # type: ignore[attr-defined]
        try:
            reply = self.read_response(disconnect_on_error=False)
        except (redis.ResponseError, redis.AuthenticationError):
            return  # HELLO is unknown or needs a login: the next command has the better error
        self._check_role(reply)


class _AsyncRoleCheck(_RoleCheck):
    def __init__(self, *, roles: Roles, **options: Any) -> None:
        self._roles = roles
        super().__init__(**options)

    async def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - theirs
        """Begin the session and read the role of the server."""
        self._due = math.inf
        await super().on_connect_check_health(check_health)  # type: ignore[misc]
        await self._read_role()

    async def check_health(self) -> None:
        """Read the role again if it is due; called before each command."""
        if time.monotonic() >= self._due:
            try:
                await self._read_role()
            except WrongServer:
                await self.disconnect(nowait=True)  # type: ignore[attr-defined]
                await self.connect_check_health(check_health=False)  # type: ignore[attr-defined]
        await super().check_health()  # type: ignore[misc]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply; after a refused write the role is read before the next command."""
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except redis.exceptions.ReadOnlyError:
            self._due = 0.0
            raise

    async def _read_role(self) -> None:
        self._due = math.inf
        await self.send_command("HELLO", check_health=False)  # type: ignore[attr-defined]
        try:
            reply = await self.read_response(disconnect_on_error=False)
        except (redis.ResponseError, redis.AuthenticationError):
            return
        self._check_role(reply)


class TcpConnection(_BlockingRoleCheck, redis.Connection):
    """A blocking connection of `redis://`."""


class TlsConnection(_BlockingRoleCheck, redis.SSLConnection):
    """A blocking connection of `rediss://`."""


class UnixConnection(_BlockingRoleCheck, redis.UnixDomainSocketConnection):
    """A blocking connection of `unix://`."""


class AsyncTcpConnection(_AsyncRoleCheck, aio.Connection):
    """An asyncio connection of `redis://`."""


class AsyncTlsConnection(_AsyncRoleCheck, aio.SSLConnection):
    """An asyncio connection of `rediss://`."""


class AsyncUnixConnection(_AsyncRoleCheck, aio.UnixDomainSocketConnection):
    """An asyncio connection of `unix://`."""


BLOCKING: dict[str, Any] = {"redis": TcpConnection, "rediss": TlsConnection, "unix": UnixConnection}
"""Connections by the URL's scheme."""
ASYNCIO: dict[str, Any] = {
    "redis": AsyncTcpConnection,
    "rediss": AsyncTlsConnection,
    "unix": AsyncUnixConnection,
}


def _refused(reply: Any) -> str | None:
    """Return what the server is and what to do, or None if it is a primary."""
    if not isinstance(reply, Sequence):
        return None
    facts = dict(zip(reply[::2], reply[1::2], strict=False))
    mode, role = facts.get(b"mode"), facts.get(b"role")
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

"""Connections to the primary that Redis Sentinels name.

A connection asks the Sentinels for the address whenever it is made. A client also asks one of them
once in `WATCH_SECONDS`, before a command: a primary that a planned failover replaced goes on taking
writes, which it loses when it is demoted, for up to 11 seconds. If the address has changed, the
connection is made anew. If no Sentinel answers then, the connection is kept.

Clients of the Sentinels are passed in, because `streams/connection.py` makes all clients. Used by
`streams.connection`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import redis
import redis.asyncio

from .primary import (
    AsyncTcpConnection,
    AsyncTlsConnection,
    Roles,
    TcpConnection,
    TlsConnection,
    WrongServer,
)

WATCH_SECONDS = 1.0
"""Seconds after which a client asks again whether its primary was replaced."""
AWAY_SECONDS = 5.0
"""The same after a Sentinel did not answer, because each try may take a second."""

Address = tuple[str, int]
ClientT = TypeVar("ClientT", bound=redis.Redis | redis.asyncio.Redis)


class NoPrimary(WrongServer):
    """The Sentinels name no server that is a primary now; an outage, even at the start."""


class _Service(Generic[ClientT]):
    """A service and its Sentinels; the first one in the list answered last.

    Args:
        name: the name of the service.
        sentinels: clients of the Sentinels.
    """

    def __init__(self, name: str, sentinels: Sequence[ClientT]) -> None:
        self.sentinels = list(sentinels)
        self._name = name
        self._question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        self._address: Address | None = None
        """The address that a Sentinel named last."""
        self._due = 0.0

    def _named(self, sentinel: ClientT, reply: Any) -> Address | None:
        """Return the address in a Sentinel's reply; None if it is an error or names none."""
        if not isinstance(reply, list):
            return None
        self.sentinels = [sentinel, *(each for each in self.sentinels if each is not sentinel)]
        self._due = time.monotonic() + WATCH_SECONDS
        self._address = (reply[0].decode(), int(reply[1]))
        return self._address

    def _is_due(self) -> bool:
        """Return True if the Sentinel has to be asked; until it has answered, only once."""
        now = time.monotonic()
        due = now >= self._due
        if due:
            self._due = now + AWAY_SECONDS
        return due

    def _try_next(self, reply: Any) -> None:
        """Ask another Sentinel next time if this one did not answer."""
        if isinstance(reply, redis.RedisError):
            first, *others = self.sentinels
            self.sentinels = [*others, first]

    def _is_replaced(self, address: Address) -> bool:
        return self._address is not None and self._address != address

    def _error(self, replies: Sequence[Any]) -> redis.RedisError:
        """Return the error for the replies of all Sentinels, none of which is an address."""
        errors = [reply for reply in replies if isinstance(reply, redis.RedisError)]
        if len(errors) < len(replies):
            return NoPrimary(
                f"the Sentinels at {self._addresses()} know no service {self._name}: correct"
                " JOBTRAIL_REDIS_URL, or have them monitor it"
            )
        for error in errors:
            if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
                login = "sentinel_username and sentinel_password in the URL are their login"
                return type(error)(f"the Sentinels at {self._addresses()}: {error} ({login})")
        for error in errors:
            if isinstance(error, redis.ResponseError):
                return WrongServer(
                    f"not a Sentinel: {self._addresses()}: it answered {error}: JOBTRAIL_REDIS_URL"
                    " must name Sentinels"
                )
        return NoPrimary(
            f"no Sentinel at {self._addresses()} answers: {errors[0]}: start them, or correct"
            " JOBTRAIL_REDIS_URL"
        )

    def _addresses(self) -> str:
        return ", ".join(sorted(map(_address_of, self.sentinels)))


class Service(_Service[redis.Redis]):
    """A service and its Sentinels, for the blocking connections of one client."""

    def primary(self) -> Address:
        """Return the address of the primary.

        Raises:
            NoPrimary: no Sentinel answers, or none knows the service.
            WrongServer: the servers are no Sentinels.
            redis.RedisError: the Sentinels refuse the login.
        """
        replies = []
        for sentinel in self.sentinels:
            replies.append(self._ask(sentinel))
            if address := self._named(sentinel, replies[-1]):
                return address
        raise self._error(replies)

    def has_replaced(self, address: Address) -> bool:
        """Return True if the server at this address is not the primary any more."""
        if self._is_due():
            sentinel = self.sentinels[0]
            reply = self._ask(sentinel)
            if not self._named(sentinel, reply):
                self._try_next(reply)
        return self._is_replaced(address)

    def ask_all(self, question: str) -> dict[str, Any]:
        """Send `SENTINEL question service` to each; return reply or error by its address."""
        return {
            _address_of(sentinel): self._ask(sentinel, ("SENTINEL", question, self._name))
            for sentinel in self.sentinels
        }

    def _ask(self, sentinel: redis.Redis, question: Sequence[str] = ()) -> Any:
        try:
            return sentinel.execute_command(*(question or self._question))  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            return error


class AsyncService(_Service[redis.asyncio.Redis]):
    """A service and its Sentinels, for the asyncio connections of one client."""

    async def primary(self) -> Address:
        """Return the address of the primary, and raise as the blocking method does."""
        replies = []
        for sentinel in self.sentinels:
            replies.append(await self._ask(sentinel))
            if address := self._named(sentinel, replies[-1]):
                return address
        raise self._error(replies)

    async def has_replaced(self, address: Address) -> bool:
        """Return True if the server at this address is not the primary any more."""
        if self._is_due():
            sentinel = self.sentinels[0]
            reply = await self._ask(sentinel)
            if not self._named(sentinel, reply):
                self._try_next(reply)
        return self._is_replaced(address)

    async def _ask(self, sentinel: redis.asyncio.Redis) -> Any:
        try:
            return await sentinel.execute_command(*self._question)  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            return error


def _address_of(sentinel: redis.Redis | redis.asyncio.Redis) -> str:
    options = sentinel.connection_pool.connection_kwargs
    return f"{options['host']}:{options['port']}"


class _NamedPrimary:
    """Base of blocking and asyncio connections to the primary that the Sentinels name."""

    host: str
    port: int
    _roles: Roles

    def _check_role(self, reply: Any) -> None:
        try:
            super()._check_role(reply)  # type: ignore[misc]
        except WrongServer as error:
            raise NoPrimary(f"the Sentinels of the service have no primary yet: {error}") from None


class _BlockingNamedPrimary(_NamedPrimary):
    def __init__(self, *, service: Service, **options: Any) -> None:
        self._service = service
        super().__init__(**options)

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        """Connect to the present primary, if not connected."""
        if not self._sock:  # type: ignore[attr-defined]
            self.host, self.port = self._service.primary()
        super().connect_check_health(*args, **options)  # type: ignore[misc]

    def check_health(self) -> None:
        """Connect to the present primary if another one was; called before each command."""
        if self._service.has_replaced((self.host, self.port)):
            self._roles.refused += 1
            self.disconnect()  # type: ignore[attr-defined]
            self.connect_check_health(check_health=False)
        super().check_health()  # type: ignore[misc]


class _AsyncNamedPrimary(_NamedPrimary):
    def __init__(self, *, service: AsyncService, **options: Any) -> None:
        self._service = service
        super().__init__(**options)

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        """Connect to the present primary, if not connected."""
        if not self.is_connected:  # type: ignore[attr-defined]
            self.host, self.port = await self._service.primary()
        await super().connect_check_health(*args, **options)  # type: ignore[misc]

    async def check_health(self) -> None:
        """Connect to the present primary if another one was; called before each command."""
        if await self._service.has_replaced((self.host, self.port)):
            self._roles.refused += 1
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            await self.connect_check_health(check_health=False)
        await super().check_health()  # type: ignore[misc]


class NamedTcpConnection(_BlockingNamedPrimary, TcpConnection):
    """A blocking connection of `redis+sentinel://`."""


class NamedTlsConnection(_BlockingNamedPrimary, TlsConnection):
    """A blocking connection of `rediss+sentinel://`."""


class AsyncNamedTcpConnection(_AsyncNamedPrimary, AsyncTcpConnection):
    """An asyncio connection of `redis+sentinel://`."""


class AsyncNamedTlsConnection(_AsyncNamedPrimary, AsyncTlsConnection):
    """An asyncio connection of `rediss+sentinel://`."""


BLOCKING_NAMED: dict[str, Any] = {"redis": NamedTcpConnection, "rediss": NamedTlsConnection}
"""Connections to the named primary, by the URL's scheme without `+sentinel`."""
ASYNCIO_NAMED: dict[str, Any] = {
    "redis": AsyncNamedTcpConnection,
    "rediss": AsyncNamedTlsConnection,
}


class SentinelPool(redis.ConnectionPool):
    """A pool of connections to the named primary, which closes those to the Sentinels as well."""

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - theirs
        """Close the connections, and with those in use also those to the Sentinels."""
        super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.connection_kwargs["service"].sentinels:
                sentinel.close()


class AsyncSentinelPool(redis.asyncio.ConnectionPool):
    """The asyncio pool of connections to the named primary."""

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - theirs
        """Close the connections, and with those in use also those to the Sentinels."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.connection_kwargs["service"].sentinels:
                await sentinel.aclose()

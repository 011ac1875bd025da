"""Commands to Redis in one round trip, and their replies without conversion.

The pipeline of the client library converts every entry of a reply into tuples and dictionaries,
which takes more time than all other steps of reading it. These functions send packed commands on a
connection of the client's pool and return replies as the parser made them. Appenders, consumers,
replays and commands use them. Used by `consumers`, `ops`, `projections` and `streams`.
"""

from __future__ import annotations

import asyncio
import select
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import hiredis
import redis
import redis.asyncio

PIECE_BYTES = 65_536
"""Size from which on packed commands are sent in another piece."""

Command = Sequence[str | bytes | float]


class Sent(ABC):
    """Commands that were sent, to one server or to several."""

    @abstractmethod
    def replies(self) -> list[Any]:
        """Wait for the replies, as `PendingReplies.replies` does."""

    @abstractmethod
    def give_up(self) -> None:
        """Close the connections if the replies were not read."""

    def fileno(self) -> int:
        """Return the number of the socket, if there is one only."""
        raise NotImplementedError


class Router(ABC):
    """Base of clients of several servers, which send each command to the server of its key."""

    @abstractmethod
    def send(self, commands: Sequence[Command], *, partial: bool = False) -> Sent:
        """Send commands without waiting for the replies.

        Args:
            commands: the commands.
            partial: True to have the loss of a server as the reply to its commands, and not
                raised.

        Raises:
            redis.ConnectionError, redis.TimeoutError: some commands may have been executed; with
                `partial`, no server answers.
        """


class AsyncRouter(ABC):
    """Base of asyncio clients of several servers."""

    @abstractmethod
    async def replies_to(self, commands: Sequence[Command], *, partial: bool = False) -> list[Any]:
        """Send commands and return their replies, as `async_round_trip` does."""

    @abstractmethod
    async def run_transaction(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands on one slot as a transaction and return their replies.

        Raises:
            redis.RedisError: the server is unavailable or refuses a command.
        """


class PendingReplies:
    """Commands that were sent, and their replies, which are read later.

    Meanwhile the caller does something else. It reads the replies once with `replies`, or closes
    the connection with `give_up`, so that no later user of the pool reads them. At the end of its
    context the object gives up by itself.

    Args:
        client: the client.
        commands: the commands.
        partial: for a client of several servers, as in `Router.send`.

    Raises:
        redis.ConnectionError, redis.TimeoutError: some commands may have been executed.
    """

    def __init__(
        self, client: redis.Redis, commands: Sequence[Command], *, partial: bool = False
    ) -> None:
        self._sent = (
            client.send(commands, partial=partial)
            if isinstance(client, Router)
            else _SentToOne(client.connection_pool, commands)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give_up()

    def replies(self) -> list[Any]:
        """Wait for the replies and return them in order; for a refused command it is the error.

        Raises:
            RuntimeError: they were read or given up before.
            redis.ConnectionError, redis.TimeoutError: some commands may have been executed.
        """
        return self._sent.replies()

    def give_up(self) -> None:
        """Close the connection if its replies were not read; commands may have been executed."""
        self._sent.give_up()

    def fileno(self) -> int:
        """Return the number of the socket to the one server, for `answered`; -1 once closed."""
        return self._sent.fileno()


def answered(pending: Sequence[PendingReplies], seconds: float) -> list[PendingReplies]:
    """Wait until a reply to some of these arrives, and return those; none after `seconds`.

    Each was sent to one server, and nothing of it was read. Lost connections count as answered.
    """
    poll = select.poll()
    by_number = {number: each for each in pending if (number := each.fileno()) >= 0}
    for number in by_number:
        poll.register(number, select.POLLIN)
    closed = [each for each in pending if each.fileno() < 0]
    found = poll.poll(0 if closed else max(0.0, seconds) * 1000)
    return [*closed, *(by_number[number] for number, _ in found)]


class _SentToOne(Sent):
    """Commands that were sent on a connection of a pool."""

    def __init__(self, pool: redis.ConnectionPool, commands: Sequence[Command]) -> None:
        self._pool = pool
        self._count = len(commands)
        connection: Any = self._pool.get_connection()
        self._connection = connection
        try:
            connection.send_packed_command(packed(commands))
        except BaseException:
            self.give_up()
            raise

    def replies(self) -> list[Any]:
        connection = self._connection
        if connection is None:
            raise RuntimeError("the replies were read or given up before")
        try:
            replies = [_reply(connection) for _ in range(self._count)]
        except BaseException:
            self.give_up()
            raise
        self._connection = None
        self._pool.release(connection)
        return replies

    def fileno(self) -> int:
        socket = vars(self._connection)["_sock"] if self._connection else None
        return -1 if socket is None else int(socket.fileno())

    def give_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.disconnect()
            finally:
                self._pool.release(connection)


def round_trip(
    client: redis.Redis, commands: Sequence[Command], *, partial: bool = False
) -> list[Any]:
    """Send commands and return their replies in order; for a refused command it is the error.

    With `partial` it is also the error of a lost server of several (`Router.send`).

    Raises:
        redis.ConnectionError, redis.TimeoutError: some commands may have been executed.
    """
    return PendingReplies(client, commands, partial=partial).replies()


async def async_round_trip(
    client: redis.asyncio.Redis, commands: Sequence[Command], *, partial: bool = False
) -> list[Any]:
    """Do what `round_trip` does with an asyncio client."""
    if isinstance(client, AsyncRouter):
        return await client.replies_to(commands, partial=partial)
    async with one_async_connection(client) as send:
        return await send(commands)


@contextmanager
def one_connection(client: redis.Redis) -> Iterator[Callable[[Sequence[Command]], list[Any]]]:
    """Provide a function like `round_trip` that sends all commands on one connection.

    All its commands reach one server. The client itself may use several connections, which may be
    to different servers after a failover.
    """
    pool = client.connection_pool
    connection: Any = pool.get_connection()
    first = True

    def send(commands: Sequence[Command]) -> list[Any]:
        nonlocal first
        # A check of the server's role may reconnect, to another server: only before the first.
        check, first = first, False
        return _exchange(connection, commands, check=check)

    try:
        yield send
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


@asynccontextmanager
async def one_async_connection(
    client: redis.asyncio.Redis, answering: asyncio.Event | None = None
) -> AsyncIterator[Callable[[Sequence[Command]], Awaitable[list[Any]]]]:
    """Provide the function of `one_connection` for an asyncio client.

    Args:
        client: the client.
        answering: is set when the first bytes of a reply arrive.
    """
    pool: Any = client.connection_pool  # in part without type hints
    connection = await pool.get_connection()
    first = True

    async def send(commands: Sequence[Command]) -> list[Any]:
        nonlocal first
        check, first = first, False
        await connection.send_packed_command(packed(commands), check_health=check)
        if answering is not None:
            await _begin_reply(connection)
            answering.set()
        return [await _async_reply(connection) for _ in commands]

    try:
        yield send
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


def as_bytes(name: str) -> bytes:
    """Return a name from `as_text` as the bytes that it was made of."""
    return name.encode(errors="surrogateescape")


def as_text(raw: bytes) -> str:
    """Return bytes as a name, which `as_bytes` turns into the same bytes."""
    return raw.decode(errors="surrogateescape")


def ask(client: redis.Redis, *command: str | bytes | float) -> Any:
    """Send one command and return its reply.

    Raises:
        redis.RedisError: the server is unavailable or refuses the command.
    """
    return checked(round_trip(client, [command]))[0]


def checked(replies: Sequence[Any]) -> Sequence[Any]:
    """Return the replies, or raise the first error among them."""
    for reply in replies:
        if isinstance(reply, redis.RedisError):
            raise reply
    return replies


def _exchange(connection: Any, commands: Sequence[Command], *, check: bool = True) -> list[Any]:
    connection.send_packed_command(packed(commands), check_health=check)
    return [_reply(connection) for _ in commands]


def packed(commands: Sequence[Command]) -> list[bytes]:
    """Return the bytes of commands, in pieces to be sent one after another.

    The client library packs commands one by one, checks each part and sends 6 KB by one system
    call. Here the parts need no check, and one piece has many commands or one large event.
    """
    pieces, small, size = list[bytes](), list[bytes](), 0
    for command in commands:
        one = _pack(command)
        small.append(one)
        size += len(one)
        if size >= PIECE_BYTES:
            pieces.append(b"".join(small))
            small, size = [], 0
    pieces.append(b"".join(small))
    return pieces


def _pack(command: Sequence[Any]) -> Any:
    try:
        return hiredis.pack_command(tuple(command))
    except UnicodeEncodeError:
        # A key whose name is not UTF-8: the original bytes are sent.
        return _pack([as_bytes(part) if isinstance(part, str) else part for part in command])


async def _begin_reply(connection: Any) -> None:
    """Wait for the first bytes of a reply, and leave them to the parser."""
    # The reader of the reply raises the same error, as one of the client library.
    with suppress(OSError, redis.RedisError):
        # The library has no other function that returns before the whole reply is there.
        await connection._parser.read_from_socket()  # noqa: SLF001


async def _async_reply(connection: Any) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except redis.ResponseError as refusal:
        return _as_reply(refusal)


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except redis.ResponseError as refusal:
        return _as_reply(refusal)


def _as_reply(refusal: redis.ResponseError) -> redis.ResponseError:
    """Return the error without its traceback, whose frames would keep batches in memory."""
    return refusal.with_traceback(None)

"""Many commands in one round trip, replies as they came.

The client library's own pipeline turns every entry into tuples and dictionaries, which costs more
than all the rest of reading it. This sends the commands packed and gives the parsed replies, an
error in the place of a reply included.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self

import hiredis
import redis
import redis.asyncio

PIECE_BYTES = 65_536
"""Commands are sent together until they take so many bytes."""

Command = Sequence[str | bytes | float]


class Asked:
    """Commands on their way: the server works at them while the caller does something else.

    Their replies are read once with `replies`, or the connection is closed with `give_up`, so that
    no later user of the pool reads them as its own. As a context manager it gives up by itself what
    was not read.

    Raises:
        redis.ConnectionError, redis.TimeoutError: some may have been carried out.
    """

    def __init__(self, client: redis.Redis, commands: Sequence[Command]) -> None:
        self._pool = client.connection_pool
        self._count = len(commands)
        connection: Any = self._pool.get_connection()
        self._connection = connection
        try:
            connection.send_packed_command(packed(commands))
        except BaseException:
            self.give_up()
            raise

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
        """Wait for the replies and return them in order; a refused command's reply is its error.

        Raises:
            RuntimeError: they were read or given up before.
            redis.ConnectionError, redis.TimeoutError: some commands may have been carried out.
        """
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

    def give_up(self) -> None:
        """Close the connection if its replies were not read; some may have been carried out."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.disconnect()
            finally:
                self._pool.release(connection)


def round_trip(client: redis.Redis, commands: Sequence[Command]) -> list[Any]:
    """Send commands and return their replies in order; a refused command's reply is its error.

    Raises:
        redis.ConnectionError, redis.TimeoutError: some may have been carried out.
    """
    return Asked(client, commands).replies()


@contextmanager
def one_connection(client: redis.Redis) -> Iterator[Callable[[Sequence[Command]], list[Any]]]:
    """Provide a `round_trip` whose commands all go to one server, on one connection.

    The client itself may go on with another connection, and by then with another server.
    """
    pool = client.connection_pool
    connection: Any = pool.get_connection()
    first = True

    def send(commands: Sequence[Command]) -> list[Any]:
        nonlocal first
        # A check of its server may end in a connection to another one: not between two of these.
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
    client: redis.asyncio.Redis,
) -> AsyncIterator[Callable[[Sequence[Command]], Awaitable[list[Any]]]]:
    """Provide for an asyncio client what `one_connection` provides."""
    pool: Any = client.connection_pool  # in part without type hints
    connection = await pool.get_connection()
    first = True

    async def send(commands: Sequence[Command]) -> list[Any]:
        nonlocal first
        check, first = first, False
        await connection.send_packed_command(packed(commands), check_health=check)
        return [await _async_reply(connection) for _ in commands]

    try:
        yield send
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


def as_bytes(name: str) -> bytes:
    """Give a name as bytes, also that of a log in another encoding."""
    return name.encode(errors="surrogateescape")


def ask(client: redis.Redis, *command: str | bytes | float) -> Any:
    """Send one command and give its reply, or raise its error."""
    return checked(round_trip(client, [command]))[0]


def checked(replies: Sequence[Any]) -> Sequence[Any]:
    """Give the replies, or raise the first error among them."""
    for reply in replies:
        if isinstance(reply, redis.RedisError):
            raise reply
    return replies


def _exchange(connection: Any, commands: Sequence[Command], *, check: bool = True) -> list[Any]:
    connection.send_packed_command(packed(commands), check_health=check)
    return [_reply(connection) for _ in commands]


def packed(commands: Sequence[Command]) -> list[bytes]:
    """Return the bytes of commands, in pieces that are sent one after another.

    The client library packs one command at a time, tests each part and sends 6 KB a system call.
    These parts need no test, and a piece is as large as many commands or one large event.
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
        # A log that somebody named in another encoding: its name goes back byte for byte.
        return _pack([as_bytes(part) if isinstance(part, str) else part for part in command])


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
    """Return an error that is a value: the frames of its traceback would keep whole batches."""
    return refusal.with_traceback(None)

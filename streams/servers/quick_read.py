"""Reading a few keys of a Redis without its client library.

Importing the client library takes several times as long as reading the keys. This is for commands
that read once and end, and for the plain case alone: a primary that is reached by TCP or a socket,
answers soon and refuses nothing. In every other case nothing is decided here, and the caller asks
the client library, whose errors say what is wrong.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

import hiredis

from .redis_url import InvalidUrl, parse_redis_url

QUICK_SECONDS = 1.0
"""The time limit for connecting, and for each reply, before the client library is used."""

_READ_BYTES = 65_536
_PLAIN = {"host", "port", "path", "db", "username", "password"}
"""Options of a URL that are obeyed here; one with any other is for the client library."""


def read_keys(url: str, keys: Sequence[str]) -> list[bytes | None] | None:
    """Return the strings at the keys, or None where the client library has to be asked.

    Nothing is raised, neither for a URL that is not valid nor for a server that is away.
    """
    try:
        scheme, options = parse_redis_url(url)
        if scheme == "rediss" or not options.keys() <= _PLAIN:
            return None
        commands = [*_login(options), ("HELLO",), ("MGET", *keys)]
        with _connected(options) as connection:
            *begun, hello, found = _exchange(connection, commands)
    except (InvalidUrl, OSError, hiredis.HiredisError):
        return None
    if any(isinstance(reply, Exception) for reply in begun) or not _is_primary(hello):
        return None
    return found if isinstance(found, list) and len(found) == len(keys) else None


def _login(options: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the commands that begin a session."""
    user, password, database = (options.get(name) for name in ("username", "password", "db"))
    commands: list[tuple[Any, ...]] = []
    if user or password:
        commands.append(("AUTH", *((user,) if user else ()), password or ""))
    if database:
        commands.append(("SELECT", str(database)))
    return commands


def _connected(options: Mapping[str, Any]) -> socket.socket:
    if "path" not in options:
        return socket.create_connection((options["host"], options.get("port", 6379)), QUICK_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(QUICK_SECONDS)
        connection.connect(options["path"])
    except BaseException:
        connection.close()
        raise
    return connection


def _exchange(connection: socket.socket, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send the commands at once, and return their replies; a refused one's is its error."""
    connection.sendall(b"".join(hiredis.pack_command(command) for command in commands))
    reader, replies = hiredis.Reader(), list[Any]()
    while len(replies) < len(commands):
        reply = reader.gets()
        if reply is not False:
            replies.append(reply)
        elif received := connection.recv(_READ_BYTES):
            reader.feed(received)
        else:
            raise ConnectionError("the server closed the connection")
    return replies


def _is_primary(hello: object) -> bool:
    """Return True if this is the answer of a primary; other servers may answer anything."""
    if not isinstance(hello, list):
        return False
    facts = list(zip(hello[::2], hello[1::2], strict=False))
    return (b"role", b"master") in facts and (b"mode", b"standalone") in facts

"""Quick reads of a few keys, without the client library of Redis.

Importing the client library takes several times as long as reading the keys. This module is for
commands that read once and end, and for the simple case: a primary, reached by TCP or a socket,
that answers soon and refuses nothing. In all other cases the caller uses the client library, whose
errors describe the problem. Used by `ops.tasks.job_status`.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

import hiredis

from .redis_url import parse_redis_url
from .url_options import InvalidUrl

QUICK_SECONDS = 1.0
"""The time limit for connecting, and for each reply, before the client library is used."""

_READ_BYTES = 65_536
_PLAIN = {"host", "port", "path", "db", "username", "password"}
"""Options of a URL that are supported here; others need the client library."""


def read_keys(url: str, keys: Sequence[str]) -> list[bytes | None] | None:
    """Return the strings at the keys, or None if the client library has to be used.

    Raises nothing, neither for a URL that is not valid nor for a server that is unavailable.
    """
    found = read_reply(url, "MGET", *keys)
    return found if isinstance(found, list) and len(found) == len(keys) else None


def read_reply(url: str, *command: str) -> object:
    """Return the reply to a command that reads, or None likewise; an error may be the reply."""
    try:
        scheme, options, sentinels, nodes = parse_redis_url(url)
        if sentinels or nodes or scheme == "rediss" or not options.keys() <= _PLAIN:
            return None
        commands = [*_login(options), ("HELLO",), command]
        with _connected(options) as connection:
            *begun, hello, found = _exchange(connection, commands)
    except (InvalidUrl, OSError, hiredis.HiredisError):
        return None
    if any(isinstance(reply, Exception) for reply in begun) or not _is_primary(hello):
        return None
    return found


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
    """Send the commands together and return their replies; for a refused one it is the error."""
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
    """Return True if a reply to HELLO is that of a primary; other replies may be anything."""
    if not isinstance(hello, list):
        return False
    facts = list(zip(hello[::2], hello[1::2], strict=False))
    return (b"role", b"master") in facts and (b"mode", b"standalone") in facts

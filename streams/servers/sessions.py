"""Connections whose sessions must begin within a time of their own, shorter than that of commands.

To begin a session is to connect, and to exchange the first messages: those of TLS, the login and
the name of the client. A stopped process accepts connections and sends none of its own, so that
this would take as long as the longest command. `streams/connection.py` makes the connections to the
nodes of a cluster of these classes, and `streams.silent_nodes` knows the time. Used by
`streams.connection`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis


class _BriefSession:
    """Base of connections with a time limit for the beginning of a session.

    Args:
        session_seconds: returns the limit in seconds; None if only the other timeouts apply.
    """

    def __init__(
        self, *, session_seconds: Callable[[], float] | None = None, **options: Any
    ) -> None:
        self._session_seconds = session_seconds
        super().__init__(**options)

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        """Connect and begin the session, within the limit for each message."""
        if self._session_seconds is None or self.is_connected:  # type: ignore[attr-defined]
            super().connect_check_health(*args, **options)  # type: ignore[misc]
            return
        names = ("socket_timeout", "socket_connect_timeout")
        usual = [getattr(self, name) for name in names]
        seconds = self._session_seconds()
        try:
            for name, limit in zip(names, usual, strict=True):
                setattr(self, name, min(seconds, seconds if limit is None else limit))
            super().connect_check_health(*args, **options)  # type: ignore[misc]
        finally:
            for name, limit in zip(names, usual, strict=True):
                setattr(self, name, limit)
        self.update_current_socket_timeout(-1)  # type: ignore[attr-defined] # to the usual one


class NodeConnection(_BriefSession, redis.Connection):
    """A blocking connection to a node of a cluster."""


class TlsNodeConnection(_BriefSession, redis.SSLConnection):
    """A blocking connection to a node of a cluster by TLS."""

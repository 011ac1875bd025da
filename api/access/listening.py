"""The address to listen on: found, taken, and shown.

The socket is opened here and not by the HTTP server, which would open its own with SO_REUSEPORT: a
second API on the same port would then take half of the requests instead of being told.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

BACKLOG = 2_048

_ADVICE = {
    errno.EADDRINUSE: "the port is taken: stop what listens there, or set JOBTRAIL_API_PORT to "
    "another port (0 takes a free one)",
    errno.EADDRNOTAVAIL: "this machine has no such address: set JOBTRAIL_API_HOST to one that it "
    "has, or to 0.0.0.0",
    errno.EACCES: "the port is not ours to take: set JOBTRAIL_API_PORT to one above 1023",
}


class ListenError(Exception):
    """The API cannot listen where it was told to; the message is one line and says what to do."""


def listen(host: str, port: int) -> socket.socket:
    """Listen on the first address of a host; port 0 takes a free one.

    Raises:
        ListenError: the host has no address, or the port is not to be had.
    """
    family, address = _resolved(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Not SO_REUSEPORT: this only lets a restart follow at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError as error:
        listener.close()
        why = _ADVICE.get(error.errno or 0, str(error))
        raise ListenError(f"cannot listen on {host}:{port}: {why}") from None
    return listener


def address_of(listener: socket.socket) -> tuple[str, int]:
    """Give the host and port to connect to: where it listens, loopback where that is everywhere."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return host, port


def url_of(listener: socket.socket) -> str:
    """Give the URL that reaches a listening socket from this machine."""
    host, port = address_of(listener)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def on_loopback_only(host: str) -> bool:
    """Whether every address of a host is reached from this machine alone."""
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return all(ip_address(address[0]).is_loopback for *_, address in found)
    return False


def _resolved(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a label that is too long is no OSError
        raise ListenError(
            f"cannot listen on {host}:{port}: the host's name has no address: "
            "set JOBTRAIL_API_HOST to a name or address of this machine"
        ) from None
    family, _, _, _, address = found[0]
    return family, address

"""The listening socket of the API, and its address.

The socket is opened here and not by the HTTP server, which would use SO_REUSEPORT: a second API on
the same port would get half of the requests instead of an error. Used by `api.server`, and by
`api.access.auth` to check the address, and also by `ops.outside_errors`.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

BACKLOG = 2_048
"""The most connections that wait to be accepted."""

_ADVICE = {
    errno.EADDRINUSE: "the port is taken: stop what listens there, or set JOBTRAIL_API_PORT to "
    "another port (0 takes a free one)",
    errno.EADDRNOTAVAIL: "this machine has no such address: set JOBTRAIL_API_HOST to an "
    "address of this machine, or to 0.0.0.0",
    errno.EACCES: "this user must not use the port: set JOBTRAIL_API_PORT to a port above 1023",
}


class ListenError(Exception):
    """The API cannot listen on its address; the message is one line with the reason and advice."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the first address of a host; port 0 takes a free port.

    Raises:
        ListenError: the host has no address, or the port is unavailable.
    """
    family, address = _resolved(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # For a restart without delay. Unlike SO_REUSEPORT, it admits one listener only.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError as error:
        listener.close()
        reason = _ADVICE.get(error.errno or 0, str(error))
        raise ListenError(f"cannot listen on {host}:{port}: {reason}") from None
    return listener


def address_of(listener: socket.socket) -> tuple[str, int]:
    """Return the host and port to connect to; loopback for a socket that listens everywhere."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return host, port


def url_of(listener: socket.socket) -> str:
    """Return the URL that reaches a listening socket from this machine."""
    host, port = address_of(listener)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def on_loopback_only(host: str) -> bool:
    """Return whether every address of a host is a loopback address; False if it has none."""
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return all(ip_address(address[0]).is_loopback for *_, address in found)
    return False


def _resolved(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a label is too long
        raise ListenError(
            f"cannot listen on {host}:{port}: the host's name has no address: "
            "set JOBTRAIL_API_HOST to a name or address of this machine"
        ) from None
    family, _, _, _, address = found[0]
    return family, address

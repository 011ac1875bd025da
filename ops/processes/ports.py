"""Ports that this process, or a child of it, is about to listen on.

Used by `ops.tasks.running.consumer_processes` and `ops.tasks.up`.
"""

from __future__ import annotations

import socket


def free_port(host: str, port: int) -> int:
    """Return the port if a server can listen on it; for port 0, return one that is free.

    Raises:
        OSError: the port is taken, or the host is no address of this machine.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        free: int = probe.getsockname()[1]
        return free

"""`python -m benchmarks.peers.django_server`: the Django project on the product's own HTTP server.

It has one serving process, like the product; granian runs WSGI in threads.
"""

from __future__ import annotations

import socket

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

HOST = "127.0.0.1"
THREADS = 4


def main() -> None:
    """Serve until SIGTERM, on a free port."""
    with socket.socket() as reserved:
        # The socket of the server shares the port with this one, which never listens.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((HOST, 0))
        port = reserved.getsockname()[1]
        print(f"api: http://{HOST}:{port}", flush=True)
        Granian(
            "benchmarks.peers.django_project:application",
            HOST,
            port,
            interface=Interfaces.WSGI,
            http=HTTPModes.http1,
            websockets=False,
            workers=1,
            blocking_threads=THREADS,
            log_level=LogLevels.error,
        ).serve()


if __name__ == "__main__":
    main()

"""Consumers of `rows` that die exactly between the commit of a batch and its acknowledgement.

`python -m tests.chaos.kill_at_ack TIMES` forks so many, one after another; each kills itself with
SIGKILL at its first acknowledgement. Exit status 0: each did.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable

from consumers.composition import build, consumer_name
from consumers.delivery.deliveries import Delivery
from streams import logging_setup
from streams.connection import connect
from streams.settings import Settings


def main(times: int) -> int:
    """Fork them and wait for each one's death."""
    settings = Settings.from_environ()
    logging_setup.configure(settings)
    for _ in range(times):
        pid = os.fork()
        if pid == 0:
            _consume(settings)
            os._exit(1)  # it was meant to die before
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            return 1
    return 0


def _consume(settings: Settings) -> None:
    client = connect(settings.require_redis_url())
    consumer = build("rows", settings, client, consumer_name())
    consumer._group.acknowledge = _die  # type: ignore[method-assign, assignment]
    consumer.run(threading.Event())


def _die(_deliveries: Iterable[Delivery]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

"""Several consumers of one group, each in a child process of one supervisor.

The consumers share the work through Redis, as consumers on several machines do. The supervisor
starts one that dies again, and stops all of them together. Used by `ops.commands.consume`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from ops.errors import CommandError
from ops.processes.ports import free_port
from ops.processes.supervisor import Supervisor
from ops.tasks.running.own_commands import own_command, own_environ
from streams import logging_setup
from streams.runtime.interrupts import on_stop
from streams.settings import PREFIX, Settings

LAST_PORT = 65_535


def run_consumers(group: str, settings: Settings, processes: int) -> None:
    """Run so many consumers of the group until SIGTERM or SIGINT; then wait until all have ended.

    Each serves its metrics on a port of its own: those that follow `metrics_port`.
    """
    logging_setup.configure(settings)
    stop = threading.Event()
    on_stop(stop.set)
    supervisor = Supervisor()
    for number, port in enumerate(_ports(settings, processes), start=1):
        of_child = settings.model_copy(update={"metrics_port": port})
        environ = own_environ(of_child, ("redis_url", "database_url", "metrics_port"))
        supervisor.add(f"consume {group} {number}", own_command("consume", group), environ)
    supervisor.run(stop)


def check_metrics_ports(settings: Settings, processes: int) -> None:
    """Raise if the consumers cannot serve their metrics; a supervised one would die endlessly.

    Raises:
        CommandError: a port is taken, or there are not so many ports.
    """
    advice = f"set {PREFIX}METRICS_HOST and {PREFIX}METRICS_PORT (0 takes free ports)"
    for port in _ports(settings, processes):
        if port is None:
            continue
        where = f"the metrics cannot be served on {settings.metrics_host}:{port}"
        if port > LAST_PORT:
            raise CommandError(f"{where}: {processes} consumers take as many ports: {advice}")
        try:
            free_port(settings.metrics_host, port)
        except OSError as error:
            raise CommandError(f"{where} ({error.strerror or error}): {advice}") from None


def _ports(settings: Settings, processes: int) -> Iterator[int | None]:
    """Yield the port of each consumer's metrics; 0 and None are the same for all."""
    first = settings.metrics_port
    for number in range(processes):
        yield first + number if first else first

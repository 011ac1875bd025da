"""SIGINT and SIGTERM in the processes of the service.

Both have an effect even if the parent ignored them: a shell script starts its background commands
with SIGINT ignored, and `kill -INT`, or Ctrl-C in a shared terminal, must still end them. The first
SIGINT stops a command in order. The second one ends the command, and all processes that it started,
at once. Used by `api.server`, `consumers.loop.shutdown`, `ops.cli`,
`ops.tasks.running.consumer_processes` and `ops.tasks.up`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

INTERRUPTED_STATUS = 130
"""Exit status of a command that Ctrl-C ended: 128 plus the number of the signal."""

_SHOW_CURSOR = b"\x1b[?25h\n"


def obey_signals() -> None:
    """Set up both signals for a command that needs no particular way to stop.

    The first SIGINT raises KeyboardInterrupt; SIGTERM has its default effect.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _on_interrupt(_raise)


def on_stop(stop: Callable[[], object]) -> None:
    """Call `stop` at SIGTERM and at the first SIGINT, in the main thread between two statements."""
    signal.signal(signal.SIGTERM, lambda *_: stop())
    _on_interrupt(stop)


def end_now() -> NoReturn:
    """End all processes that this process started, then this process, with status 130."""
    for pid in _descendants(os.getpid()):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    with suppress(OSError):
        if os.isatty(sys.__stderr__.fileno() if sys.__stderr__ else -1):
            os.write(2, _SHOW_CURSOR)
    os._exit(INTERRUPTED_STATUS)


def _raise() -> None:
    raise KeyboardInterrupt


def _on_interrupt(first: Callable[[], object]) -> None:
    interrupted = False

    def handle(*_: object) -> None:
        nonlocal interrupted
        if interrupted:
            # If the key is held down, further signals must not start the same again.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            end_now()
        interrupted = True
        first()

    signal.signal(signal.SIGINT, handle)


def _descendants(pid: int) -> list[int]:
    """Return the ids of all descendants of a process, parents before children."""
    children: dict[int, list[int]] = {}
    for child, parent in _processes():
        children.setdefault(parent, []).append(child)
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found[1:]


def _processes() -> Iterator[tuple[int, int]]:
    """Yield the id and the parent's id of every process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name in parentheses may contain anything.
            yield int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(
            ["/bin/ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False
        )
        for line in listed.stdout.splitlines():
            child, parent = line.split()
            yield int(child), int(parent)

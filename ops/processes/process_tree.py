"""The descendants of a process, and signals to them. Used by `ops.processes.child`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_PS_SECONDS = 5


def descendants(pid: int) -> list[int]:
    """Return the process ids of all descendants of a process; none if the system lists none.

    A server's processes may have sessions of their own, which a signal to its group does not reach.
    """
    children = defaultdict(list)
    for child, parent in _parents():
        children[parent].append(child)
    found = [*children[pid]]
    for each in found:  # the list grows while it is read
        found += children[each]
    return found


def signal_each(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes; those that have ended or belong to others are left out."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _parents() -> Iterator[tuple[int, int]]:
    """Yield the process id of each process on this machine, with its parent's."""
    if _PROC.joinpath("self").exists():
        for folder in _PROC.glob("[0-9]*"):
            with suppress(OSError):
                # pid (name) state ppid …, where the name may hold anything.
                rest = folder.joinpath("stat").read_text(errors="replace").rpartition(")")[2]
                yield int(folder.name), int(rest.split()[1])
        return
    with suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.check_output(
            ["ps", "-A", "-o", "pid=,ppid="],  # noqa: S607 - wherever the system has it
            text=True,
            timeout=_PS_SECONDS,
        )
        for line in listed.splitlines():
            child, parent = line.split()
            yield int(child), int(parent)

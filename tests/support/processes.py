"""Looking at processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil  # type: ignore[import-untyped]


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not collected yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> set[int]:
    """Give the process ids of all that descend from a process and run."""
    return {child.pid for child in psutil.Process(pid).children(recursive=True) if runs(child.pid)}


def signal_all(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and to all that descend from it."""
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(number)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a server and all its processes for a while: it accepts connections and never answers."""
    signal_all(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            signal_all(pid, signal.SIGCONT)


def parent(pid: int) -> int:
    """Give the process id of a process's parent."""
    return int(psutil.Process(pid).ppid())


def listening(pid: int) -> set[tuple[str, int]]:
    """Give the TCP addresses and ports that a process listens on."""
    connections = psutil.Process(pid).net_connections(kind="tcp")
    return {tuple(each.laddr) for each in connections if each.status == psutil.CONN_LISTEN}

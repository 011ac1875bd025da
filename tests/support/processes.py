"""Looking at processes."""

from __future__ import annotations

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


def parent(pid: int) -> int:
    """Give the process id of a process's parent."""
    return int(psutil.Process(pid).ppid())


def listening(pid: int) -> set[tuple[str, int]]:
    """Give the TCP addresses and ports that a process listens on."""
    connections = psutil.Process(pid).net_connections(kind="tcp")
    return {tuple(each.laddr) for each in connections if each.status == psutil.CONN_LISTEN}

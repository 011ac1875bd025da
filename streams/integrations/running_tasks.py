"""Tasks that run on this machine, and those whose processes were killed meanwhile.

Each thread that runs tasks holds the lock of a file of its own, into which it writes the tasks that
it runs: one, or several if a task runs another in place. The system releases the lock once the
process is killed, however that happens, and children that it has forked have ended as well. So the
tasks in a file that is not locked are lost. Any other process with the same folder finds them. Used
by integrations of queues that forget a task whose worker is killed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from ..event_ids import new_event_id

_LOG = logging.getLogger(__name__)
_LARGEST = 1_000_000
"""Bytes of a file that are read."""
_READS, _PAUSE_SECONDS = 5, 0.005
"""The most reads of a file that is being written, and the pause between two of them."""


class RunningTasks:
    """The tasks that processes with the same folder run; safe to share between threads.

    No call raises: what cannot be written is a warning.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = threading.local()

    def record(self, task: Mapping[str, Any]) -> None:
        """Record that this thread runs a task from now on; its `id` is that of no other."""
        try:
            orjson.dumps(task)
        except TypeError as error:
            _LOG.warning("the running task cannot be recorded: %s", error)
            return
        running = self._running()
        running[task["id"]] = task
        self._write(running)

    def clear(self, task_id: str) -> None:
        """Record that this thread does not run a task any more."""
        running = self._running()
        if running.pop(task_id, None) is not None:
            self._write(running)

    def lost(self) -> Iterator[dict[str, Any]]:
        """Yield the tasks whose processes were killed, each one once.

        A task that another process, or another thread, runs again by now is not lost.
        """
        try:
            files = list(self._folder.iterdir()) if _is_private(self._folder) else []
        except OSError as error:
            _LOG.warning("lost tasks cannot be looked for in %s: %s", self._folder, error)
            return
        lost = [task for path in files for task in _tasks(path, _taken)]
        if lost:
            running = {task["id"] for path in files for task in _tasks(path, _content)}
            yield from (task for task in lost if task["id"] not in running)

    def _running(self) -> dict[str, Mapping[str, Any]]:
        """Return the tasks that this thread runs, by id; a forked process has none."""
        own = self._own
        if getattr(own, "runner", None) != os.getpid():
            own.running, own.runner = {}, os.getpid()
        running: dict[str, Mapping[str, Any]] = own.running
        return running

    def _write(self, running: Mapping[str, Mapping[str, Any]]) -> None:
        # The line's end divides it from the rest of a longer text, until that is cut off.
        text = orjson.dumps([*running.values()]) + b"\n" if running else b""
        try:
            file = self._file()
            # In this order, so that a reader never takes a thread with tasks for one without.
            os.pwrite(file, text, 0)
            os.ftruncate(file, len(text))
        except OSError as error:
            _LOG.warning("the running task cannot be written to %s: %s", self._folder, error)

    def _file(self) -> int:
        """Return the file of this thread; a forked process has none of its parent's.

        Raises:
            OSError: it cannot be created.
        """
        own = self._own
        if getattr(own, "process", None) != os.getpid():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_private(self._folder):
                raise PermissionError("not a private directory of this user")
            own.file = _LockedFile(self._folder)
            own.process = os.getpid()
        file: _LockedFile = own.file
        return file.number


class _LockedFile:
    """A new file that is locked, and closed at the end of the thread that has it."""

    def __init__(self, folder: Path) -> None:
        self.number = _created(folder)
        # Frameworks may run each task in a thread of its own, which must not leave a file open.
        # Until a process ends, no other may take its tasks for lost: its end closes the rest.
        weakref.finalize(self, os.close, self.number).atexit = False


def _created(folder: Path) -> int:
    """Return a new file that is locked; another process may remove a file before that."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(folder / new_event_id(), flags, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)


def _taken(path: Path) -> bytes:
    """Remove a file that no process locks, and return its content; of other files nothing."""
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(file).st_nlink:
            return b""
        path.unlink()
        return os.read(file, _LARGEST)
    except BlockingIOError:
        return b""
    finally:
        os.close(file)


def _content(path: Path) -> bytes:
    """Return the content of a file; of one that was removed nothing.

    The file may be written meanwhile, so it is read until it stays the same and is complete.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    text = b""
    try:
        for _ in range(_READS):
            text = os.pread(file, _LARGEST, 0)
            if _is_complete(text) and text == os.pread(file, _LARGEST, 0):
                break
            time.sleep(_PAUSE_SECONDS)
        return text
    finally:
        os.close(file)


def _is_complete(text: bytes) -> bool:
    try:
        _parsed(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _parsed(text: bytes) -> Any:
    """Return the value in the first line of a text; what follows it is left of an earlier one."""
    return orjson.loads(text.partition(b"\n")[0]) if text else []


def _tasks(path: Path, read: Callable[[Path], bytes]) -> list[dict[str, Any]]:
    """Return the tasks in a file; none, with a warning, if it cannot be read."""
    try:
        found = _parsed(read(path))
    except (OSError, orjson.JSONDecodeError) as error:
        _LOG.warning("lost tasks cannot be looked for in %s: %s", path, error)
        return []
    return found if isinstance(found, list) else [found]


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    private = stat.S_IMODE(found.st_mode) & 0o077 == 0
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and private

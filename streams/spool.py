"""Spool: ends that could not be appended, kept in local files until a reporter starts again.

Each event is one file. It is written under another name and then renamed, so that a file with the
suffix `.event` is complete. An event that is sent twice keeps its event id, by which the history
recognizes it.

Only this user may read and write the directory: results may be confidential, and anybody who could
add a file could append events in a worker's name. Used by `streams.integrations.task_reports` and
`streams.reporting.delivery`.
"""

from __future__ import annotations

import base64
import logging
import os
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import orjson

from .appender import EventAppender
from .connection import LogUnavailable, is_unreachable
from .durability import NotDurable
from .event_ids import new_event_id
from .keys import check_tenant
from .payloads import typed_payload

_LOG = logging.getLogger(__name__)

_PRIVATE_DIRECTORY, _PRIVATE_FILE = 0o700, 0o600
_PIECE = 200
"""Files that are read at once; those of one tenant share one wait for the disk."""
_ABANDONED_SECONDS = 3_600.0
"""Age from which an unfinished file is one of a process that has ended; writing takes seconds."""


class UnsafeSpool(ValueError):
    """The spool's directory is a link or belongs to another user, and must not be used."""


class Spool:
    """Directory of events that must still be sent.

    Raises:
        UnsafeSpool: the directory is a link, or belongs to another user.
        OSError: it cannot be created or read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        if not _is_ours(directory, stat.S_ISDIR):
            raise UnsafeSpool(f"spool {directory}: not a directory of this user: name another one")
        directory.chmod(_PRIVATE_DIRECTORY)
        _sync(directory.parent)

    def keep(self, tenant: str, payload: bytes) -> Path:
        """Write one event to the disk and return its path.

        When it returns, the file and its name survive a crash of the machine, if the file system
        can sync directories.

        Raises:
            OSError: the file cannot be written; nothing of it is left.
        """
        name = new_event_id()
        unfinished = self._directory / f"{name}.part"
        text = orjson.dumps({"tenant": tenant, "event": base64.b64encode(payload).decode()})
        try:
            with open(unfinished, "xb", opener=_open_private) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            path = unfinished.rename(self._directory / f"{name}.event")
        except BaseException:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        _sync(self._directory)
        return path

    def send(self, appender: EventAppender, *, durable: bool) -> int:
        """Append the spooled events, oldest first, and return their number.

        An outage ends it, and so does an event that is not durable: it stays here. A file that
        cannot be used, and an event that is refused, is left with an error in the log.
        """
        self._remove_abandoned()
        sent = 0
        paths = sorted(self._directory.glob("*.event"))
        for start in range(0, len(paths), _PIECE):
            found = (_read(path, appender) for path in paths[start : start + _PIECE])
            tenants: dict[str, list[_Spooled]] = {}
            for each in found:
                if each is not None:
                    tenants.setdefault(each.tenant, []).append(each)
            try:
                # One tenant's stream may be at fault, which must stop no other.
                sent += sum(_send(group, appender, durable=durable) for group in tenants.values())
            except LogUnavailable as error:
                _LOG.warning("spooled events stay in %s: %s", self._directory, error)
                break
        return sent

    def _remove_abandoned(self) -> None:
        """Remove unfinished files of processes that were killed while they wrote them."""
        for path in self._directory.glob("*.part"):
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()


class _Spooled(NamedTuple):
    """A file, and what it holds."""

    path: Path
    tenant: str
    event: bytes


def _read(path: Path, appender: EventAppender) -> _Spooled | None:
    """Return the event of a file; None, with an error in the log, if it cannot be used."""
    try:
        if not _is_ours(path, stat.S_ISREG):
            _LOG.error("spooled event %s is not a file of this user, not sent", path)
            return None
        if path.stat().st_size > _longest_file(appender.max_event_bytes):
            _LOG.error("spooled event %s is larger than any event, left as it is", path)
            return None
        kept = orjson.loads(path.read_bytes())
        event = base64.b64decode(kept["event"])
        typed_payload(event, appender.max_event_bytes)
        return _Spooled(path, check_tenant(kept["tenant"]), event)
    except FileNotFoundError:  # another process is sending the same spool
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.error("spooled event %s is unusable, left as it is: %s", path, error)
        return None


def _send(spooled: Sequence[_Spooled], appender: EventAppender, *, durable: bool) -> int:
    """Append events of one tenant and remove their files; return how many were not refused.

    Raises:
        LogUnavailable: the server is away, or they are not durable; all files are left.
    """
    try:
        appender.append_many([(each.tenant, each.event) for each in spooled], durable=durable)
    except LogUnavailable as error:
        if is_unreachable(error) or isinstance(error, NotDurable):
            raise
        path, others = spooled[0].path, len(spooled) - 1
        _LOG.error("spooled event %s was refused, left with %d more: %s", path, others, error)
        return 0
    for each in spooled:
        try:
            each.path.unlink(missing_ok=True)
        except OSError as error:
            _LOG.error("spooled event %s was sent, and cannot be removed: %s", each.path, error)
    return len(spooled)


def _longest_file(max_event_bytes: int) -> int:
    """Return the largest size of a file, which has a tenant and an event in base64."""
    return max_event_bytes * 4 // 3 + 1_024


def _is_ours(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Return True if the path itself, not the target of a link, has this type and owner."""
    found = path.lstat()
    return is_kind(found.st_mode) and found.st_uid == os.geteuid()


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, _PRIVATE_FILE)


def _sync(directory: Path) -> None:
    """Have the names in a directory survive a crash of the machine.

    Not every file system can do that, and the file is there in any case: errors are ignored.
    """
    with suppress(OSError):
        number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)

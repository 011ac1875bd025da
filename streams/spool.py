"""Spool: local files for ends that could not be appended, until the reporter starts again.

Each event is one file, which is written completely or not at all. An event that is sent twice keeps
its event id, so that the history has it once.

Only this user may read and write the directory: results may be confidential, and anybody who could
add a file could append events in a worker's name. Used by `streams.reporting.delivery`.
"""

from __future__ import annotations

import base64
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import orjson

from .appender import EventAppender
from .connection import LogUnavailable
from .event_ids import new_event_id

_LOG = logging.getLogger(__name__)


_PRIVATE_DIRECTORY, _PRIVATE_FILE = 0o700, 0o600


class UnsafeSpool(ValueError):
    """The spool's directory is a link or belongs to another user: another one must be named."""


class Spool:
    """Directory of events that are still to be sent.

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

    def keep(self, tenant: str, payload: bytes) -> Path:
        """Write one event to disk and return its path. Data is synced before the file is renamed.

        Raises:
            OSError: the file cannot be written.
        """
        name = new_event_id()
        unfinished = self._directory / f"{name}.part"
        with open(unfinished, "xb", opener=_open_private) as file:
            file.write(
                orjson.dumps({"tenant": tenant, "event": base64.b64encode(payload).decode()})
            )
            file.flush()
            os.fsync(file.fileno())
        return unfinished.rename(self._directory / f"{name}.event")

    def send(self, appender: EventAppender) -> int:
        """Append the spooled events, oldest first, and return their number; an outage ends it."""
        sent = 0
        for path in sorted(self._directory.glob("*.event")):
            try:
                if not _is_ours(path, stat.S_ISREG):
                    _LOG.error("spooled event %s is not a file of this user, not sent", path)
                    continue
                if path.stat().st_size > _longest_file(appender.max_event_bytes):
                    _LOG.error("spooled event %s is larger than any event, left as it is", path)
                    continue
                kept = orjson.loads(path.read_bytes())
                appender.append(kept["tenant"], base64.b64decode(kept["event"]))
            except LogUnavailable as error:
                _LOG.warning("spooled events stay in %s: %s", self._directory, error)
                break
            except FileNotFoundError:  # another process is sending the same spool
                continue
            except (ValueError, KeyError, TypeError) as error:
                _LOG.error("spooled event %s is unreadable, left as it is: %s", path, error)
                continue
            path.unlink(missing_ok=True)
            sent += 1
        return sent


def _longest_file(max_event_bytes: int) -> int:
    """Return the bytes of a file with the largest event, which is in base64, and its tenant."""
    return max_event_bytes * 4 // 3 + 1_024


def _is_ours(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Return True if the path itself, not the target of a link, has this type and owner."""
    found = path.lstat()
    return is_kind(found.st_mode) and found.st_uid == os.geteuid()


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, _PRIVATE_FILE)

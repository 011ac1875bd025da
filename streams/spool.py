"""The spool: ends that could not be appended wait in local files for the next start.

One file an event, written whole or not at all. Sending one twice is harmless: it keeps its id.

The directory and its files are this user's alone: results may be confidential, and whoever could
add a file could append events in a worker's name.
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
    """The spool's directory is not one that this user alone can write to: name another one."""


class Spool:
    """A directory of events that are still to be sent.

    Raises:
        UnsafeSpool: the directory is a link, or belongs to another user.
        OSError: it cannot be made or read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        if not _is_ours(directory, stat.S_ISDIR):
            raise UnsafeSpool(f"spool {directory}: not a directory of this user: name another one")
        directory.chmod(_PRIVATE_DIRECTORY)

    def keep(self, tenant: str, payload: bytes) -> Path:
        """Write one event to disk (synced before it gets its name)."""
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
        """Append what waits, oldest first, and give how many went; stop at the first outage."""
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
            except FileNotFoundError:  # another process sends the same spool
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
    """Return whether the path itself, not what it may link to, is of a kind and this user's."""
    found = path.lstat()
    return is_kind(found.st_mode) and found.st_uid == os.geteuid()


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, _PRIVATE_FILE)

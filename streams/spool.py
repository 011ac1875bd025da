"""The spool: ends that could not be appended wait in local files for the next start.

One file an event, written whole or not at all. Sending one twice is harmless: it keeps its id.
"""

from __future__ import annotations

import base64
import logging
import os
from pathlib import Path

import orjson

from streams.appender import EventAppender
from streams.connection import LogUnavailable
from streams.event_ids import new_event_id

_LOG = logging.getLogger(__name__)


class Spool:
    """A directory of events that are still to be sent."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def keep(self, tenant: str, payload: bytes) -> Path:
        """Write one event to disk (synced before it gets its name)."""
        name = new_event_id()
        unfinished = self._directory / f"{name}.part"
        with unfinished.open("wb") as file:
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

"""The log: events, kinds, entry ids, keys, connections, appender and the worker SDK.

A worker's application installs this package with redis, pydantic and orjson, and nothing else of
the project needs to be importable there. Its modules lie side by side, more than elsewhere, because
such an application imports them by these names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy_names import importer
from .version import __version__

if TYPE_CHECKING:
    from .appender import AsyncEventAppender, EventAppender
    from .connection import InvalidUrl, LogUnavailable, connect, connect_async
    from .entry_ids import EntryId
    from .events import (
        Cancelled,
        Done,
        Event,
        Failed,
        InvalidEvent,
        Processing,
        Progress,
        Queued,
        parse_event,
    )
    from .job_report import JobReport
    from .keys import InvalidTenant, JobKey, Keys
    from .kinds import KINDS, Kind, State
    from .reporter import Reporter
    from .shedding import SHED

__all__ = [
    "KINDS",
    "SHED",
    "AsyncEventAppender",
    "Cancelled",
    "Done",
    "EntryId",
    "Event",
    "EventAppender",
    "Failed",
    "InvalidEvent",
    "InvalidTenant",
    "InvalidUrl",
    "JobKey",
    "JobReport",
    "Keys",
    "Kind",
    "LogUnavailable",
    "Processing",
    "Progress",
    "Queued",
    "Reporter",
    "State",
    "__version__",
    "connect",
    "connect_async",
    "parse_event",
]

# None of these needs the modules of all others: a command that reads two keys starts fast.
__getattr__ = importer(
    __name__,
    {
        "appender": "AsyncEventAppender EventAppender",
        "connection": "InvalidUrl LogUnavailable connect connect_async",
        "entry_ids": "EntryId",
        "events": "Cancelled Done Event Failed InvalidEvent Processing Progress Queued parse_event",
        "keys": "InvalidTenant JobKey Keys",
        "kinds": "KINDS Kind State",
        "job_report": "JobReport",
        "reporter": "Reporter",
        "shedding": "SHED",
    },
)

"""Streams: events, how workers append them to Redis Streams, and what readers of streams share.

The service imports this folder as `streams`. Workers install the same folder as the distribution
`jobtrail-sdk` and import it as `jobtrail`, so that its modules import each other relatively and
need only redis, pydantic and orjson: no other package of the service is imported here.

Data flows one way: a `reporter` makes `job_report`s, or an `async_reporter` makes
`async_job_report`s, which build `events`; the `appender` validates them (`payloads`) and sends one
`append_plan` a round trip by `wire`. Readers take `entries` and `entry_ids` apart, and `keys` and
`kinds` name what they find. `tokens` is for backends.

- `compat/`: the calls of workers that wrote Redis keys themselves.
- `integrations/`: task queues whose tasks are reported as jobs.
- `reporting/`: what the two reporters share, and what workers use on top of them.
- `runtime/`: environment variables, signals, and text that is safe to print.
- `servers/`: Redis URLs, the check for a primary, and reading without the client library.

There are more modules side by side than elsewhere, because applications import them by these names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy_names import importer
from .version import __version__

if TYPE_CHECKING:
    from .appender import AsyncEventAppender, EventAppender
    from .async_job_report import AsyncJobReport
    from .async_reporter import AsyncReporter
    from .connection import InvalidUrl, LogUnavailable, connect, connect_async
    from .durability import NotDurable
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
    from .kinds import KINDS, InvalidKind, Kind, State
    from .reporter import Reporter
    from .runtime.environment import SettingsError
    from .shedding import SHED
    from .tracking import current_job, track

__all__ = [
    "KINDS",
    "SHED",
    "AsyncEventAppender",
    "AsyncJobReport",
    "AsyncReporter",
    "Cancelled",
    "Done",
    "EntryId",
    "Event",
    "EventAppender",
    "Failed",
    "InvalidEvent",
    "InvalidKind",
    "InvalidTenant",
    "InvalidUrl",
    "JobKey",
    "JobReport",
    "Keys",
    "Kind",
    "LogUnavailable",
    "NotDurable",
    "Processing",
    "Progress",
    "Queued",
    "Reporter",
    "SettingsError",
    "State",
    "__version__",
    "connect",
    "connect_async",
    "current_job",
    "parse_event",
    "track",
]

# None of these needs the modules of all others: a command that reads two keys starts fast.
__getattr__ = importer(
    __name__,
    {
        "appender": "AsyncEventAppender EventAppender",
        "connection": "InvalidUrl LogUnavailable connect connect_async",
        "durability": "NotDurable",
        "entry_ids": "EntryId",
        "events": "Cancelled Done Event Failed InvalidEvent Processing Progress Queued parse_event",
        "keys": "InvalidTenant JobKey Keys",
        "kinds": "KINDS InvalidKind Kind State",
        "job_report": "JobReport",
        "async_job_report": "AsyncJobReport",
        "async_reporter": "AsyncReporter",
        "reporter": "Reporter",
        "tracking": "current_job track",
        "runtime.environment": "SettingsError",
        "shedding": "SHED",
    },
)

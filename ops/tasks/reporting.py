"""The reporter and the handling of SIGTERM of the reference workers' commands and the demo.

Used by `ops.tasks.demo`, `ops.tasks.roster_import` and `ops.tasks.video_encoding`.
"""

from __future__ import annotations

import signal

from streams.reporter import Reporter
from streams.settings import Settings


def job_reporter(settings: Settings) -> Reporter:
    """Return a reporter with the limits of the settings.

    Raises:
        SettingsError: no Redis is configured.
        InvalidUrl: its URL is not valid.
    """
    return Reporter.from_url(
        settings.require_redis_url(),
        max_event_bytes=settings.max_event_bytes,
        max_stream_bytes=settings.stream_max_bytes,
    )


def interrupt_on_sigterm() -> None:
    """Raise KeyboardInterrupt at SIGTERM too, so that the job is reported as cancelled."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)

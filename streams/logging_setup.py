"""Set-up of the service's logging: JSON lines, or coloured text on a terminal, on standard error.

Only processes of the service call `configure`. The worker's package logs through the standard
library and leaves the set-up to the application, so that structlog is imported in the function.
Used by `api.server`, `consumers.composition`, `ops.commands` and `ops.tasks`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

from .runtime.safe_text import visible, visible_json
from .settings import Settings

LONGEST_VALUE = 2_000
"""Most characters of one value in a log line; the rest is cut."""
_CONSOLE_TIME = "%H:%M:%S"
_EVENT_WIDTH = 20
"""Characters of the column of events in a line for people."""


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's logging to standard error in one format.

    With `stream` they are written there, in the format for standard error.
    """
    import structlog  # noqa: PLC0415 - workers do not have it

    console = format_of(settings) == "console"
    clock: dict[str, Any] = {"fmt": _CONSOLE_TIME, "utc": False} if console else {"fmt": "iso"}
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(**clock),
        structlog.processors.format_exc_info,
    ]
    renderers: list[structlog.typing.Processor] = [
        _bounded_values,
        *(
            [_visible_values, structlog.dev.ConsoleRenderer(_EVENT_WIDTH, colors=wants_colour())]
            if console
            else [structlog.processors.JSONRenderer(_json)]
        ),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())


def format_of(settings: Settings) -> str:
    """Return the format of log lines: `console` on a terminal and `json` elsewhere, unless set."""
    return settings.log_format or ("console" if sys.stderr.isatty() else "json")


def wants_colour() -> bool:
    """Return whether log lines for people are coloured: on a terminal, without `NO_COLOR`.

    `FORCE_COLOR` colours them elsewhere too: `jobtrail up` sets it for its processes, whose log
    lines it writes to its terminal.
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()


def _bounded_values(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Cut long text of others: the name of a stream may have megabytes."""
    for name, value in event.items():
        if isinstance(value, str) and len(value) > LONGEST_VALUE and name not in _MULTILINE:
            event[name] = f"{value[:LONGEST_VALUE]}… ({len(value)} characters)"
    return event


def _visible_values(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Escape characters that control a terminal; tracebacks keep their line ends."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value, "\n\t" if name in _MULTILINE else "")
    return event


_MULTILINE = ("exception", "stack")


def _json(event: MutableMapping[str, Any], **options: Any) -> str:
    return visible_json(json.dumps(event, ensure_ascii=False, **options))

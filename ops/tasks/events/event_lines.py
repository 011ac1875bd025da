"""Appending events from lines of JSON. Used by `ops.commands.append`."""

from __future__ import annotations

import codecs
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NamedTuple

from ops.text.plurals import counted
from streams.appender import EventAppender
from streams.events import InvalidEvent, parse_event
from streams.shedding import SHED

READ_BYTES = 1 << 20
SPOOL_BYTES = 16 << 20
"""The bytes of input that are held in memory; a longer input is stored in a temporary file."""


class Line(NamedTuple):
    """One line of the input, counted from 1."""

    number: int
    text: bytes


class Outcome(NamedTuple):
    """The result of appending an input."""

    appended: int
    refused: int
    shed: int | None = None
    """Progress events that were refused because the stream is full; None without a limit."""

    def facts(self) -> dict[str, Any]:
        """Return the counts by name."""
        return {name: count for name, count in self._asdict().items() if count is not None}

    def __str__(self) -> str:
        """Return the counts as a line of text."""
        shed = f"; shed {self.shed} of progress: the stream is full" if self.shed else ""
        return f"appended {counted(self.appended, 'event')}{shed}"


def append_lines(
    source: IO[bytes],
    appender: EventAppender,
    tenant: str,
    *,
    keep_going: bool,
    on_invalid: Callable[[str], None],
) -> Outcome:
    """Append every line; if one is not valid, append nothing, or with `keep_going` the others.

    Without `keep_going` the whole input is read and checked before anything is appended.
    `on_invalid` is called with a line of text for each line that is not valid.

    Raises:
        LogUnavailable: the stream could not be written; earlier lines were appended.
    """
    if keep_going:
        return _append(_arrivals(source, appender.max_event_bytes), appender, tenant, on_invalid)
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        refused = 0
        for lines in _arrivals(source, appender.max_event_bytes):
            for line in lines:
                refused += not _check_line(line, appender, on_invalid)
                spool.write(line.text + b"\n")
        if refused:
            return Outcome(0, refused)
        spool.seek(0)
        lines_again = ([Line(number, text.strip())] for number, text in enumerate(spool, 1))
        return _append(_batches(lines_again), appender, tenant, on_invalid)


def _append(
    batches: Iterator[Sequence[Line]],
    appender: EventAppender,
    tenant: str,
    on_invalid: Callable[[str], None],
) -> Outcome:
    appended = refused = shed = 0
    for lines in batches:
        good = [line for line in lines if _check_line(line, appender, on_invalid)]
        refused += len(lines) - len(good)
        entry_ids = appender.append_many((tenant, line.text) for line in good)
        shed_here = entry_ids.count(SHED)
        appended, shed = appended + len(entry_ids) - shed_here, shed + shed_here
    return Outcome(appended, refused, None if appender.cap is None else shed)


def _check_line(line: Line, appender: EventAppender, on_invalid: Callable[[str], None]) -> bool:
    """Return whether a line is a valid event; call `on_invalid` if it is not."""
    try:
        parse_event(line.text, appender.max_event_bytes)
    except InvalidEvent as error:
        on_invalid(f"line {line.number}: {error}")
        return False
    return True


def _arrivals(source: IO[bytes], longest: int) -> Iterator[list[Line]]:
    """Yield the lines as they arrive, so that a pipe that stays open is appended without delay.

    A byte order mark at the start of any line is removed: `cat` may have joined files that begin
    with one. Blank lines are left out. Of a line that is longer than `longest` bytes, `longest` + 1
    are kept, which is enough for it to be refused.
    """
    number, rest = 0, b""
    while True:
        chunk = os.read(source.fileno(), READ_BYTES)
        first, *others = chunk.split(b"\n")
        rest += first[: max(0, longest + 1 - len(rest))]
        texts = [rest, *others]
        rest = texts.pop() if chunk else b""
        lines = []
        for text in texts:
            number += 1
            event = text.removeprefix(codecs.BOM_UTF8).strip()
            if event:
                lines.append(Line(number, event))
        if lines:
            yield lines
        if not chunk:
            return


def _batches(lines: Iterator[list[Line]], size: int = 1_000) -> Iterator[list[Line]]:
    batch: list[Line] = []
    for some in lines:
        batch += some
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch

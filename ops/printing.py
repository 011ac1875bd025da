"""Output of commands: the only module that writes to standard output and standard error.

Output may contain text that others chose: names of tenants and streams, errors, bytes of events,
answers of servers. It is never read as markup, and characters that act on a terminal are escaped.
Escaped JSON is still valid JSON. Used by `ops.cli`, `ops.commands`, `ops.progress_bar` and
`ops.progress_lines`.
"""

from __future__ import annotations

import errno
import io
import json
import os
import select
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from ops.errors import CommandError
from ops.text.tables import Span, cut, fact_lines, table_lines
from streams.runtime.safe_text import bounded, visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2

CELL_LENGTH = 400
"""Characters of one table cell that are printed; `--json` prints all."""

LINE_LENGTH = 400

_WRITE_ERRORS = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})

_COLOURS = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}


def print_line(text: str, length: int | None = None) -> None:
    """Print one line, cut at `length` characters.

    Raises:
        CommandError: standard output cannot be written, as on a full disk.
        BrokenPipeError: its reader has gone.
    """
    shown = visible(text)
    _write(shown if length is None else bounded(shown, length))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines with one write, so that a reader gets all of them or none."""
    _write("\n".join(map(visible, lines)))


def announce(lines: Iterable[str]) -> None:
    """Print lines of a server process, which continues if standard output cannot be written."""
    try:
        print_lines(lines)
    except BrokenPipeError:
        give_up_output()
    except CommandError as error:
        complain(str(error))


def print_json(value: object) -> None:
    """Print a value as one line of JSON."""
    utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    _write(visible_json(_dumped(value), ascii_only=not utf8))


class Outcome(Protocol):
    """The result of a command: facts for JSON, `str()` for a line of text."""

    def facts(self) -> Mapping[str, object]:
        """Return the facts by name."""
        ...


def print_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """Print the result of a command, as JSON or as one line."""
    print_facts_or_line(outcome.facts(), str(outcome), as_json=as_json)


def print_facts_or_line(facts: Mapping[str, object], text: str, *, as_json: bool) -> None:
    """Print facts as JSON, or else the text that says the same."""
    if as_json:
        print_json(facts)
    else:
        print_line(text)


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, note: str | None = None
) -> None:
    """Print a table; cells are values, or spans in a colour.

    With `note`, the name of the last cell of each row, that cell is printed below the row, where
    the width is limited.
    """
    cells = [[_cell(value, CELL_LENGTH) for value in row] for row in rows]
    _write_spans(table_lines(headers, cells, width(), note))


def print_facts(facts: Mapping[str, object], length: int | None = CELL_LENGTH) -> None:
    """Print names and values, one pair per line; each is cut at `length` characters."""
    pairs = [(_cell(name, length).text, _cell(value, length)) for name, value in facts.items()]
    _write_spans(fact_lines(pairs, width()))


def print_spans(spans: Iterable[Span], *, one_line: bool = False) -> None:
    """Print one line of spans; with `one_line` it is cut where the width ends."""
    shown = [span._replace(text=visible(span.text)) for span in spans]
    limit = width()
    _write_spans([cut(shown, limit if one_line and limit is not None else LINE_LENGTH)])


def width() -> int | None:
    """Return the columns of a line: `COLUMNS`, or those of the terminal; None for no limit."""
    chosen = os.environ.get("COLUMNS", "")
    if chosen.isdecimal() and int(chosen):
        return int(chosen)
    with suppress(OSError, ValueError):
        if sys.stdout.isatty():
            return os.get_terminal_size(STANDARD_OUTPUT).columns or None
    return None


def in_colour() -> bool:
    """Return whether output is coloured: on a terminal, without `NO_COLOR`."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def complain(text: str) -> None:
    """Print one line on standard error; failures to write it are ignored."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"jobtrail: {visible(text)}\n")
        sys.stderr.flush()


def write_log(raw: bytes) -> None:
    """Write log lines of other processes to standard error; failures are ignored."""
    with suppress(OSError):
        while raw:
            raw = raw[os.write(STANDARD_ERROR, raw) :]


def error_is_terminal() -> bool:
    """Return True if standard error is a terminal."""
    return sys.stderr.isatty()


def error_console() -> Console:
    """Return a console on standard error for progress bars.

    It does not escape: never print text there that others chose.
    """
    from rich.console import Console  # noqa: PLC0415 - slow to import, only for bars

    return Console(stderr=True)


def prepare_streams() -> None:
    """Escape characters that the encoding of standard output or error does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def reader_gone() -> bool:
    """Return True if standard output is a pipe whose reader has gone."""
    poll = select.poll()
    poll.register(STANDARD_OUTPUT, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def give_up_output() -> None:
    """Discard buffered output, or Python would report the failure again when it exits."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STANDARD_OUTPUT)
        os.close(nowhere)


@contextmanager
def writing(stream: TextIO) -> Iterator[TextIO]:
    """Write to a standard stream in the block, and flush it at the end.

    Raises:
        CommandError: it cannot be written.
        BrokenPipeError: its reader has gone.
    """
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None or error.errno not in _WRITE_ERRORS:
            raise  # the block does more than to write
        give_up_output()
        raise CommandError(f"standard output cannot be written: {error.strerror}") from None


def _write(text: str) -> None:
    with writing(sys.stdout) as stream:
        stream.write(f"{text}\n")


def _write_spans(lines: Iterable[Sequence[Span]]) -> None:
    coloured = in_colour()
    # Laid out before it is written: an error must not leave half a table.
    texts = ["".join(_painted(span, coloured=coloured) for span in line) for line in lines]
    if texts:
        _write("\n".join(texts))


def _painted(span: Span, *, coloured: bool) -> str:
    if not coloured or span.colour is None:
        return span.text
    return f"\x1b[{_COLOURS[span.colour]}m{span.text}\x1b[0m"


def _cell(value: object, length: int | None) -> Span:
    """Return a value as escaped text, cut at `length` characters."""
    colour = value.colour if isinstance(value, Span) else None
    bare = value.text if isinstance(value, Span) else value
    text = visible(bare if isinstance(bare, str) else "-" if bare is None else _dumped(bare))
    is_number = isinstance(bare, int | float) and not isinstance(bare, bool)
    return Span(text if length is None else bounded(text, length), colour, is_number)


def _dumped(value: object) -> str:
    import orjson  # noqa: PLC0415 - slow to import, not for help

    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))

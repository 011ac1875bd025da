"""Output of commands: the only module that writes to standard output and standard error.

Output may contain text that others chose: names of tenants and streams, errors, bytes of events,
answers of servers. It is never read as markup, and characters that act on a terminal are escaped.
Escaped JSON is still valid JSON.
"""

from __future__ import annotations

import io
import json
import os
import select
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from ops.errors import CommandError
from streams.runtime.safe_text import bounded, visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2

CELL_LENGTH = 400
"""Characters of one table cell that are printed; `--json` prints all."""

LINE_LENGTH = 400


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
    """Print lines of a server process, which continues where standard output cannot be written."""
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
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, unwrapped: Sequence[str] = ()
) -> None:
    """Print a table; columns in `unwrapped` stay on one line each, so that they can be copied."""
    from rich.table import Table  # noqa: PLC0415 - slow to import, only for tables

    table = Table()
    for name in headers:
        table.add_column(name, no_wrap=name in unwrapped, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value, CELL_LENGTH) for value in row))
    _render(table)


def print_facts(facts: Mapping[str, object], length: int = CELL_LENGTH) -> None:
    """Print names and values, one pair a line."""
    from rich.table import Table  # noqa: PLC0415 - as in `print_table`

    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(_cell(name, length), _cell(value, length))
    _render(table)


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
    from rich.console import Console  # noqa: PLC0415 - as in `print_table`

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
        give_up_output()
        raise CommandError(f"standard output cannot be written: {error.strerror}") from None


def _write(text: str) -> None:
    with writing(sys.stdout) as stream:
        stream.write(f"{text}\n")


def _render(table: Table) -> None:
    from rich.console import Console  # noqa: PLC0415 - as in `print_table`

    # Rendered before it is written: an error must not leave half a table.
    console = Console()
    with console.capture() as captured:
        console.print(table)
    with writing(sys.stdout) as stream:
        stream.write(captured.get())


def _cell(value: object, length: int) -> Text:
    """Return a value as escaped text, cut at `length` characters."""
    from rich.text import Text  # noqa: PLC0415 - as in `print_table`

    text = value if isinstance(value, str) else _dumped(value)
    return Text(bounded(visible(text), length))


def _dumped(value: object) -> str:
    import orjson  # noqa: PLC0415 - slow to import, not for help

    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))

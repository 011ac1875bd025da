"""The command `jobtrail append`. Used by `ops.cli`."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, BinaryIO

import typer

from ops.addresses import command_settings
from ops.arguments import check_primary
from ops.command_line.standard_streams import CLOSED_AT_START, STANDARD_INPUT
from ops.commands.shared_options import AsJson, Tenant
from ops.errors import CommandError, WrongArgument
from ops.printing import complain, print_outcome
from ops.tasks.events.event_lines import append_lines
from ops.text.plurals import counted
from streams.appender import EventAppender
from streams.connection import connect
from streams.keys import check_tenant

LISTED_FAULTS = 3
"""The most invalid lines that one error describes; with `--keep-going` all are printed."""


def append(
    tenant: Tenant,
    file: Annotated[
        str | None, typer.Argument(help="A file of events; standard input without one, or for -.")
    ] = None,
    *,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", "-k", help="Append the valid lines even if others are not."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Append events from a file or from standard input, one JSON object per line."""
    settings = command_settings()
    check_tenant(tenant)
    with _opened(file) as source:
        check_primary(settings)  # before the input is read, which may take long to arrive
        appender = EventAppender(
            connect(settings.require_redis_url()),
            max_event_bytes=settings.max_event_bytes,
            max_stream_bytes=settings.stream_max_bytes,
        )
        faults: list[str] = []
        # Without --keep-going the whole input is checked first, and one error lists the faults.
        on_invalid = complain if keep_going else faults.append
        outcome = append_lines(
            source, appender, tenant, keep_going=keep_going, on_invalid=on_invalid
        )
    print_outcome(outcome, as_json=as_json)
    if outcome.refused and keep_going:
        raise CommandError(f"{counted(outcome.refused, 'bad line')}; the rest was appended")
    if outcome.refused:
        raise CommandError(_refusal(faults))


def _refusal(faults: list[str]) -> str:
    """Return one line about all invalid lines of an input of which nothing was appended."""
    more = len(faults) - LISTED_FAULTS
    others = [counted(more, "more bad line")] if more > 0 else []
    return "; ".join([*faults[:LISTED_FAULTS], *others, "nothing was appended"])


def _opened(file: str | None) -> AbstractContextManager[BinaryIO]:
    """Return the open input; standard input is not closed when its block ends.

    Raises:
        CommandError: standard input is closed.
        WrongArgument: the file cannot be read.
    """
    if file is not None and file != "-":
        try:
            return open(file, "rb")  # noqa: PTH123 - the caller closes it
        except (OSError, ValueError) as error:  # ValueError: a name with a null byte
            reason = getattr(error, "strerror", None) or error
            raise WrongArgument(f"{file} cannot be read ({reason})") from None
    if STANDARD_INPUT in CLOSED_AT_START:
        raise CommandError("standard input is closed: append reads events from it, one per line")
    if sys.stdin.isatty():
        complain("reading events from the terminal, one JSON object per line; Ctrl-D ends them")
    return nullcontext(sys.stdin.buffer)

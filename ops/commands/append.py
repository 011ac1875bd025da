"""`jobtrail append`."""

from __future__ import annotations

import sys
from typing import Annotated, BinaryIO

import typer

from ops.addresses import command_settings
from ops.arguments import check_primary
from ops.command_line.standard_streams import CLOSED_AT_START, STANDARD_INPUT
from ops.commands.shared_options import AsJson, Tenant
from ops.errors import CommandError
from ops.printing import complain, print_outcome
from ops.tasks.event_lines import append_lines
from streams.appender import EventAppender
from streams.connection import connect
from streams.keys import check_tenant

LISTED_FAULTS = 3
"""Invalid lines that one error describes; with `--keep-going` each is printed on a line."""


def append(
    tenant: Tenant,
    *,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Append the valid lines where others are not.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Append events from standard input, one JSON object a line."""
    settings = command_settings()
    check_primary(settings)  # before the input is read, which may take long to arrive
    client = connect(settings.require_redis_url())
    faults: list[str] = []
    outcome = append_lines(
        _standard_input(),
        EventAppender(
            client,
            max_event_bytes=settings.max_event_bytes,
            max_stream_bytes=settings.stream_max_bytes,
        ),
        check_tenant(tenant),
        keep_going=keep_going,
        complain=complain if keep_going else faults.append,
    )
    print_outcome(outcome, as_json=as_json)
    if outcome.refused and keep_going:
        raise CommandError(f"{outcome.refused} bad lines; the rest was appended")
    if outcome.refused:
        raise CommandError(_refusal(faults))


def _refusal(faults: list[str]) -> str:
    """Return one line about all invalid lines of an input of which nothing was appended."""
    more = len(faults) - LISTED_FAULTS
    others = [f"{more} more bad line{'' if more == 1 else 's'}"] if more > 0 else []
    return "; ".join([*faults[:LISTED_FAULTS], *others, "nothing was appended"])


def _standard_input() -> BinaryIO:
    if STANDARD_INPUT in CLOSED_AT_START:
        raise CommandError("standard input is closed: append reads events from it, one a line")
    return sys.stdin.buffer

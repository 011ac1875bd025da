"""The command `jobtrail size`. Used by `ops.cli`."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.commands.shared_options import AsJson
from ops.errors import CommandError
from ops.printing import print_json, print_line, print_table
from ops.tasks.sizing.model import DAY, ENDED_KEEP_SECONDS, EVENTS_A_JOB, HISTORY_KEEP_DAYS, Load
from ops.tasks.sizing.model import size as sized
from ops.tasks.sizing.report import as_facts, limit_rows, need_rows, summary
from streams.settings import Settings

MOST = 1_000_000_000


def size(
    *,
    tenants: Annotated[int, typer.Option(min=1, max=MOST, help="Tenants.")],
    events_per_second: Annotated[
        float, typer.Option(min=0, max=MOST, help="Events a second in a busy hour.")
    ],
    viewers: Annotated[
        int, typer.Option(min=0, max=MOST, help="Frontends that follow a job at the same time.")
    ],
    jobs_per_day: Annotated[
        int | None,
        typer.Option(min=0, max=MOST, help="Jobs a day; by default one for every ten events."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute what a load needs from measured costs, and which server's limit comes first."""
    most = events_per_second * DAY
    jobs = most / EVENTS_A_JOB if jobs_per_day is None else jobs_per_day
    if jobs > most:
        raise CommandError(
            f"{jobs:,} jobs a day append at least {jobs / DAY:,.1f} events a second: raise "
            "--events-per-second, or lower --jobs-per-day"
        )
    settings = Settings.from_environ()
    load = Load(
        tenants,
        events_per_second,
        viewers,
        jobs,
        settings.stream_keep_seconds,
        settings.ended_ttl_seconds or ENDED_KEEP_SECONDS,
        settings.history_keep_days or HISTORY_KEEP_DAYS,
    )
    needed = sized(load)
    if as_json:
        print_json(as_facts(needed))
        return
    print_table(["part", "needed", "detail"], need_rows(needed))
    print_table(["server", "limit", "share of one server"], limit_rows(needed))
    print_line(summary(needed))

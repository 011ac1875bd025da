"""`jobtrail old-tables`: the indexes that the old system's own tables lack. Used by `ops.cli`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import psycopg
import typer

from ops.addresses import command_settings
from ops.commands.shared_options import AsJson
from ops.errors import CommandError
from ops.printing import print_json, print_table
from sql import sessions
from sql.old_indexes import NO_COLUMN, Report, build, look, take_back
from sql.sessions import Session

old_tables = typer.Typer(
    help="Indexes of the tables that were there before, in JOBTRAIL_DATABASE_URL.",
    no_args_is_help=True,
)

Reports = Callable[[Session], Iterator[Report]]


@old_tables.command("list")
def show(*, as_json: AsJson = False) -> None:
    """Show the state of each index."""
    _run(look, as_json=as_json)


@old_tables.command("build")
def build_indexes(
    *,
    students: Annotated[str, typer.Option(help="The table of students.")] = "students",
    aijob: Annotated[str, typer.Option(help="The table of jobs.")] = "aijob",
    video: Annotated[str, typer.Option(help="The table of videos.")] = "video",
    as_json: AsJson = False,
) -> None:
    """Build missing indexes without blocking writes; may be stopped and run again."""
    tables = {"students": students, "aijob": aijob, "video": video}
    _run(lambda connection: build(connection, tables), as_json=as_json)


@old_tables.command("drop")
def drop_indexes(*, as_json: AsJson = False) -> None:
    """Drop all of these indexes without blocking writes."""
    _run(take_back, as_json=as_json)


def _run(reports: Reports, *, as_json: bool) -> None:
    with _connected() as connection:
        results = list(reports(connection))
    if as_json:
        print_json([report._asdict() for report in results])
    else:
        print_table(["index", "found", "done"], results)
    lacking = sum(report.done == NO_COLUMN for report in results)
    if lacking:
        raise CommandError(f"{lacking} not built: the table has no such column; do without")


@contextmanager
def _connected() -> Iterator[Session]:
    url = command_settings().require_database_url()
    with sessions.connect(url, "jobtrail-old-tables") as connection:
        try:
            yield connection
        except psycopg.errors.UndefinedTable as error:
            missing = error.diag.message_primary
            raise CommandError(
                f"{missing}: name it with --students, --aijob or --video, and its schema, where"
                " that is not public, in JOBTRAIL_DATABASE_URL: …?options=-csearch_path%3DSCHEMA"
            ) from None

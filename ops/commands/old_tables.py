"""`jobtrail old-tables`: the indexes that the old system's own tables lack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import psycopg
import typer

from ops.addresses import command_settings
from ops.errors import CommandError
from ops.printing import print_json, print_table
from sql import sessions
from sql.old_indexes import NO_COLUMN, Report, build, look, take_back
from sql.sessions import Session

old_tables = typer.Typer(
    help="Indexes of the tables that were there before, in JOBTRAIL_DATABASE_URL.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reports = Callable[[Session], Iterator[Report]]


@old_tables.command("list")
def show(*, as_json: AsJson = False) -> None:
    """Show how each index stands."""
    _run(look, as_json=as_json)


@old_tables.command("build")
def build_indexes(
    *,
    students: Annotated[str, typer.Option(help="The table of students.")] = "students",
    aijob: Annotated[str, typer.Option(help="The table of jobs.")] = "aijob",
    video: Annotated[str, typer.Option(help="The table of videos.")] = "video",
    as_json: AsJson = False,
) -> None:
    """Build what is missing while everything goes on; may be stopped and run again."""
    tables = {"students": students, "aijob": aijob, "video": video}
    _run(lambda connection: build(connection, tables), as_json=as_json)


@old_tables.command("drop")
def drop_indexes(*, as_json: AsJson = False) -> None:
    """Take all of them back while everything goes on."""
    _run(take_back, as_json=as_json)


def _run(reports: Reports, *, as_json: bool) -> None:
    with _connected() as connection:
        made = list(reports(connection))
    if as_json:
        print_json([report._asdict() for report in made])
    else:
        print_table(["index", "found", "done"], made)
    lacking = sum(report.done == NO_COLUMN for report in made)
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

"""`jobtrail roster`: the reference import worker on the command line. Used by `ops.cli`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.addresses import command_settings
from ops.arguments import check_servers, check_source
from ops.commands.shared_options import AsJson
from ops.printing import print_json, print_line, print_table
from ops.text.plurals import counted

PASSWORD_VARIABLE = "JOBTRAIL_ROSTER_PASSWORD"  # noqa: S105 - the variable's name
LISTED_FAILURES = 20
"""The most failed rows that are printed; `--json` prints all that the result contains."""

File = Annotated[Path, typer.Argument(help="The workbook (.xlsx).")]
Tenant = Annotated[str, typer.Option("--tenant", "-t", help="The tenant of the students.")]
JobId = Annotated[
    str | None,
    typer.Option(help="The job's id, new by default; with its id, an interrupted import goes on."),
]
Attempt = Annotated[
    int | None, typer.Option(min=1, help="The number of this run; by default the next one.")
]
PasswordVariable = Annotated[
    str,
    typer.Option(
        metavar="VAR",
        show_default=False,
        help=f"The variable with the accounts' first password, {PASSWORD_VARIABLE} by default.",
    ),
]

roster = typer.Typer(help="The reference import worker.", no_args_is_help=True)


@roster.callback()
def roster_commands() -> None:
    """Import workbooks of students."""


@roster.command("import")
def import_(
    file: File,
    tenant: Tenant,
    *,
    id: JobId = None,  # noqa: A002 - the name of the option
    attempt: Attempt = None,
    initial_password_env: PasswordVariable = PASSWORD_VARIABLE,
    as_json: AsJson = False,
) -> None:
    """Create students, users, memberships and parents from a workbook."""
    from ops.tasks import roster_import  # noqa: PLC0415 - help needs none of it

    settings = command_settings()
    request = roster_import.Request(file, tenant, id, attempt, initial_password_env)
    job = roster_import.job_key(request)
    settings.require_database_url()
    check_servers(settings)  # without Redis, nobody could see the progress of the import
    check_source(file)
    imported = roster_import.import_file(
        settings, request, job, lambda job_id: None if as_json else print_line(f"job {job_id}")
    )
    if as_json:
        print_json(imported._asdict())
    else:
        _print_result(imported.result)


def _print_result(result: Mapping[str, Any]) -> None:
    counts = ", ".join(f"{result[name]} {name}" for name in ("created", "restored", "skipped"))
    failed, omitted = result["failed"], result.get("failed_omitted", 0)
    print_line(f"{counted(result['total'], 'row')}: {counts}, {len(failed) + omitted} failed")
    if failed:
        names = ("row", "name", "error")
        listed = failed[:LISTED_FAILURES]
        print_table(names, [[failure[name] for name in names] for failure in listed])
    if len(failed) > LISTED_FAILURES:
        print_line(f"and {len(failed) - LISTED_FAILURES} more: --json prints them")
    if omitted:
        # The result of a job is limited in bytes (`workers.roster.importer`).
        print_line(f"and {omitted} more: the result lists no more; correct these, import again")

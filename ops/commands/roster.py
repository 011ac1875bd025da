"""`jobtrail roster`: the reference import worker on the command line."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Any

import orjson
import redis
import typer

from ops.addresses import command_settings
from ops.arguments import check_servers
from ops.errors import CommandError
from ops.printing import print_json, print_line, print_table
from streams.connection import connect
from streams.event_ids import new_event_id
from streams.keys import JOB_ID, JobKey, Keys, check_tenant
from streams.kinds import KINDS
from streams.reporter import Reporter

PASSWORD_VARIABLE = "JOBTRAIL_ROSTER_PASSWORD"  # noqa: S105 - the variable's name
SHOWN_FAILURES = 20

roster = typer.Typer(help="The reference import worker.", no_args_is_help=True)


@roster.callback()
def roster_commands() -> None:
    """Import workbooks of students."""


@roster.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The workbook (.xlsx).")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose students they are.")],
    *,
    id: Annotated[  # noqa: A002 - the contract's word
        str | None,
        typer.Option(help="The job's id; a new one by default. An import that stopped goes on."),
    ] = None,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Which run of it this is; found by itself.")
    ] = None,
    initial_password_env: Annotated[
        str,
        typer.Option(metavar="VAR", help="The variable that holds the accounts' first password."),
    ] = PASSWORD_VARIABLE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Create students, users, memberships and parents from a workbook."""
    from workers.roster.errors import RosterError  # noqa: PLC0415 - commands start faster
    from workers.roster.importer import Job, import_roster  # noqa: PLC0415

    settings = command_settings()
    job_id = id or new_event_id()
    job = JobKey(check_tenant(tenant), "job", _checked_id(job_id))
    database_url = settings.require_database_url()
    check_servers(settings)  # an import that nobody could follow is not begun
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same wish as Ctrl-C
    client = connect(settings.require_redis_url())
    reporter = Reporter.from_url(
        settings.require_redis_url(),
        max_event_bytes=settings.max_event_bytes,
        max_stream_bytes=settings.stream_max_bytes,
    )
    attempt = attempt or (_next_attempt(client, job) if id else 1)
    if not as_json:
        print_line(f"job {job_id}")
    try:
        result = import_roster(
            Job(file, tenant, job_id, attempt),
            password=os.environ.get(initial_password_env),
            database_url=database_url,
            reporter=reporter,
            failed_bytes=settings.max_event_bytes * 2 // 3,
        )
    except RosterError as error:
        hint = (
            f" (it is read from {initial_password_env})" if error.code == "initial_password" else ""
        )
        raise CommandError(f"{error}{hint}") from None
    except KeyboardInterrupt:
        raise CommandError(f"job {job_id} was cancelled: --id {job_id} goes on with it") from None
    if as_json:
        print_json({"id": job_id, "attempt": attempt, "result": result})
    else:
        _show(result)


def _checked_id(job_id: str) -> str:
    if not JOB_ID.match(job_id):
        raise CommandError(f"{job_id!r} is no job id")
    return job_id


def _next_attempt(client: redis.Redis, job: JobKey) -> int:
    """Count up where an earlier run ended; one that was killed goes on under its number."""
    keys = Keys()
    found: Any = client.mget([keys.status(job), keys.ended(job)])
    status, mark = found
    if status is None:
        # The mark of an ended job outlives its documents; it begins with the attempt.
        return 1 if mark is None else int(mark.split()[0]) + 1
    document = orjson.loads(status)
    ended = KINDS[job.kind].state_of(document["status"]).ended
    return int(document["attempt"]) + ended


def _show(result: dict[str, Any]) -> None:
    words = ", ".join(f"{result[name]} {name}" for name in ("created", "restored", "skipped"))
    failed = result["failed"]
    count = len(failed) + result.get("failed_omitted", 0)
    print_line(f"{result['total']} rows: {words}, {count} failed")
    if not failed:
        return
    names = ("row", "name", "error")
    shown = failed[:SHOWN_FAILURES]
    print_table(names, [[failure[name] for name in names] for failure in shown])
    if count > SHOWN_FAILURES:
        print_line(f"and {count - SHOWN_FAILURES} more: --json prints them")

"""The command `jobtrail`.

Each command is a few lines that call what does the work; what can go wrong is one plain line on
standard error and exit status 1, or 2 where the words of the command are wrong.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any, BinaryIO

import orjson
import typer

from ops.addresses import command_settings, running
from ops.append import append_lines
from ops.arguments import (
    check_database_url,
    check_known,
    check_primary,
    check_servers,
    is_known,
)
from ops.dead import dead
from ops.errors import USAGE_STATUS, CommandError, UsageError, WrongWord, line_for, usage_line
from ops.limits import check_pool
from ops.old_tables import old_tables
from ops.printing import (
    LINE_LENGTH,
    announce,
    complain,
    give_up_output,
    prepare_streams,
    print_facts,
    print_json,
    print_line,
    print_lines,
    print_table,
    reader_gone,
    writing,
)
from ops.replay import replay, verify
from ops.retention import groups, trim
from ops.roster import roster
from ops.standard_streams import CLOSED_AT_START, STANDARD_INPUT
from ops.tail import check_start, describe, follow
from ops.variables import unknown_variables
from ops.video import video
from streams import logs
from streams.appender import GROUPS, EventAppender
from streams.connection import connect
from streams.interrupts import obey_signals
from streams.keys import JOB_ID, JobKey, Keys, check_tenant
from streams.kinds import KINDS
from streams.settings import Settings

app = typer.Typer(
    name="jobtrail",
    help="Job progress for multi-tenant products.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(video, name="video")
app.add_typer(dead, name="dead")
app.add_typer(groups, name="groups")
app.add_typer(old_tables, name="old-tables")
app.add_typer(roster, name="roster")
app.command("trim")(trim)
app.command("replay")(replay)
app.command("verify")(verify)

DOCUMENT_LENGTH = 2_000
"""Characters of one field that `status` shows; `--json` prints all."""

Tenant = Annotated[str, typer.Option("--tenant", help="Whose log.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line; errors are one line on standard error."""
    obey_signals()
    prepare_streams()
    try:
        with writing(sys.stdout):
            status = app(prog_name="jobtrail", standalone_mode=False)
    except BrokenPipeError:
        # The reader of our output has gone.
        give_up_output()
        status = 1
    except Exception as error:
        status = _failed(error)
    sys.exit(status)


def _failed(error: Exception) -> int:
    """Print the line for an error, and return the exit status."""
    wrong_words = isinstance(error, UsageError | WrongWord)
    line = usage_line(error) if isinstance(error, UsageError) else line_for(error)
    if line is None:
        raise error
    if line:
        complain(line)
    return USAGE_STATUS if wrong_words else 1


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        print_line(f"jobtrail {version('jobtrail')}")
        raise typer.Exit


@app.callback()
def before_every_command(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Job progress for multi-tenant products."""
    for warning in unknown_variables(os.environ, sys.argv):
        complain(f"warning: {warning}")


@app.command()
def up(
    *,
    demo: Annotated[bool, typer.Option("--demo", help="Run real work to look at.")] = False,
) -> None:
    """Run everything on this machine: servers, migrations, consumers, API."""
    from ops.up import run  # noqa: PLC0415 - servers' code, which no other command needs

    settings = Settings.from_environ()
    # The parts that it starts would wait for a server that cannot be used.
    check_servers(settings)
    run(settings, demo=demo)


@app.command()
def env(*, as_json: AsJson = False) -> None:
    """Print the addresses of the running `jobtrail up` as export lines for a shell."""
    data_dir = Settings.from_environ().data_dir
    found = running(data_dir)
    if found is None:
        raise CommandError(f"no jobtrail up runs on {data_dir}: start it, or set JOBTRAIL_DATA_DIR")
    if as_json:
        print_json(found._asdict())
    else:
        print_lines(found.exports())


@app.command(hidden=True)
def demo() -> None:
    """Do the demo's work once, against the servers of `jobtrail up --demo`."""
    from ops.demo import run  # noqa: PLC0415 - as in `up`

    settings = command_settings()
    logs.configure(settings)
    run(settings)


@app.command()
def migrate(*, as_json: AsJson = False) -> None:
    """Apply the migrations that the database lacks."""
    from sql.migrate import apply  # noqa: PLC0415 - commands without PostgreSQL start faster

    settings = command_settings()
    logs.configure(settings)
    applied = apply(settings.require_database_url())
    if as_json:
        print_json({"applied": applied})
    else:
        print_lines([f"applied {name}" for name in applied] or ["nothing to apply"])


@app.command()
def consume(group: Annotated[str, typer.Argument(help="status or rows")]) -> None:
    """Run one consumer of a group until SIGTERM or Ctrl-C."""
    from consumers.__main__ import PROJECTIONS, consume  # noqa: PLC0415 - as in `migrate`

    if group not in PROJECTIONS:
        raise CommandError(f"no group {group!r}: take one of {', '.join(PROJECTIONS)}")
    settings = command_settings()
    if group != "status":
        check_database_url(settings)
    check_primary(settings)
    consume(group, settings)


@app.command()
def api() -> None:
    """Serve the read API until SIGTERM or Ctrl-C."""
    from api.server import ServerFailed, serve  # noqa: PLC0415 - as in `up`
    from ops.desk import RedisDesk  # noqa: PLC0415

    settings = command_settings()
    check_pool(settings)
    check_database_url(settings)
    check_primary(settings)
    try:
        serve(settings, lambda url: announce([f"api: {url}"]), desk=RedisDesk.of(settings))
    except ServerFailed as error:
        raise CommandError(str(error)) from None


@app.command()
def append(
    tenant: Tenant,
    *,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Append the good lines beside bad ones.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Append events from standard input, one JSON object a line."""
    settings = command_settings()
    check_primary(settings)  # before the input is read, which may be long in coming
    client = connect(settings.require_redis_url())
    outcome = append_lines(
        _standard_input(),
        EventAppender(
            client,
            max_event_bytes=settings.max_event_bytes,
            max_stream_bytes=settings.stream_max_bytes,
        ),
        check_tenant(tenant),
        keep_going=keep_going,
        complain=complain,
    )
    if as_json:
        print_json(outcome.facts())
    else:
        print_line(str(outcome))
    if outcome.refused:
        rest = "the rest was appended" if keep_going else "nothing was appended"
        raise CommandError(f"{outcome.refused} bad lines; {rest}")


def _standard_input() -> BinaryIO:
    if STANDARD_INPUT in CLOSED_AT_START:
        raise CommandError("standard input is closed: append reads events from it, one a line")
    return sys.stdin.buffer


@app.command()
def status(
    tenant: Tenant,
    id: Annotated[str, typer.Argument()],  # noqa: A002 - the contract's word
    *,
    kind: Annotated[str, typer.Option(help=", ".join(KINDS))] = "job",
    as_json: AsJson = False,
) -> None:
    """Read one job's projected status."""
    document = _status_document(tenant, kind, id)
    if as_json:
        print_json(document)
        return
    print_facts(document, DOCUMENT_LENGTH)


def _status_document(tenant: str, kind: str, job_id: str) -> dict[str, Any]:
    if kind not in KINDS:
        raise CommandError(f"no kind {kind!r}: take one of {', '.join(KINDS)}")
    if not JOB_ID.match(job_id):
        raise CommandError(f"{job_id!r} is no job id")
    job, keys = JobKey(check_tenant(tenant), kind, job_id), Keys()
    client = connect(command_settings().require_redis_url())
    found, progress = client.mget([keys.status(job), keys.progress(job)])
    if found is None:
        raise CommandError(f"tenant {tenant} has no {kind} {job_id}, or its status has expired")
    document: dict[str, Any] = {"tenant": tenant, "kind": kind, "id": job_id}
    try:
        document |= orjson.loads(found)
        document["progress"] = None if progress is None else orjson.loads(progress)
    except (ValueError, TypeError):
        raise CommandError(
            f"the status of {kind} {job_id} is not a JSON object: jobtrail replay status --reset"
            f" --tenant {tenant} writes it again"
        ) from None
    document.pop("fold", None)
    return document


@app.command()
def tail(
    tenant: Tenant,
    *,
    since: Annotated[
        str, typer.Option("--from", help="An entry id, 0 for all, $ for what comes.")
    ] = "$",
    as_json: AsJson = False,
) -> None:
    """Watch a tenant's events until Ctrl-C."""
    check_start(since)
    client = connect(command_settings().require_redis_url())
    if not is_known(client, check_tenant(tenant)):
        complain(f"nothing was ever appended for tenant {tenant}: waiting for its first event")
    try:
        for seen in follow(client, tenant, since, done=reader_gone):
            if as_json:
                event = seen.raw.decode("utf-8", "replace")
                print_json({"entry_id": str(seen.entry_id), "event": event})
            else:
                print_line(describe(seen), LINE_LENGTH)
    except KeyboardInterrupt:
        return


@app.command()
def lag(
    *,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how far each group is behind, by tenant."""
    from consumers.asking import encodable  # noqa: PLC0415 - as in `migrate`
    from consumers.lag import lag as lags  # noqa: PLC0415 - as in `migrate`

    client = connect(command_settings().require_redis_url())
    if tenant is not None:
        check_known(client, check_tenant(tenant))
    rows = [
        row._replace(tenant=encodable(row.tenant))
        for row in lags(client, GROUPS)
        if tenant in (None, row.tenant)
    ]
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    ordered = sorted(rows, key=lambda row: (row.group, -row.oldest_age_seconds, row.tenant))
    print_table(
        ["group", "tenant", "waiting", "pending", "oldest (s)"],
        [
            (
                row.group,
                row.tenant,
                "?" if row.waiting is None else row.waiting,
                row.pending,
                f"{row.oldest_age_seconds:.1f}",
            )
            for row in ordered
        ],
    )


@app.command()
def doctor(
    *,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Look for old keys that name no tenant, instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a deployment, and say what to do about each thing that is not right."""
    from ops.examining import report  # noqa: PLC0415 - as in `migrate`

    wrong, looked = report(command_settings(), legacy=legacy, as_json=as_json)
    if wrong:
        raise CommandError(f"{wrong} of {looked} checks want attention")

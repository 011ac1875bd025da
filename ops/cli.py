"""The command `jobtrail`.

Each command is a few lines that call what does the work; what can go wrong is one plain line on
standard error and exit status 1, or 2 where the words of the command are wrong.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from ops.append import append_lines
from ops.arguments import check_known, check_primary, check_servers, is_known
from ops.dead import dead
from ops.errors import USAGE_STATUS, CommandError, UsageError, line_for, usage_line
from ops.limits import check_pool
from ops.old_tables import old_tables
from ops.replay import replay, verify
from ops.retention import groups, trim
from ops.roster import roster
from ops.tail import check_start, describe, follow
from streams import logs
from streams.appender import GROUPS, EventAppender
from streams.connection import connect
from streams.event_ids import new_event_id
from streams.keys import JOB_ID, JobKey, Keys, check_tenant
from streams.kinds import KINDS
from streams.reporter import Reporter
from streams.settings import Settings

app = typer.Typer(
    name="jobtrail",
    help="Job progress for multi-tenant products.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
video = typer.Typer(help="The reference video worker.", no_args_is_help=True)
app.add_typer(video, name="video")
app.add_typer(dead, name="dead")
app.add_typer(groups, name="groups")
app.add_typer(old_tables, name="old-tables")
app.add_typer(roster, name="roster")
app.command("trim")(trim)
app.command("replay")(replay)
app.command("verify")(verify)

Tenant = Annotated[str, typer.Option("--tenant", help="Whose log.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line; errors are one line on standard error."""
    try:
        sys.exit(app(prog_name="jobtrail", standalone_mode=False))
    except BrokenPipeError:
        # Whoever read our output has had enough; Python would complain again at exit.
        sys.stdout = None
        sys.exit(1)
    except Exception as error:
        wrong_words = isinstance(error, UsageError)
        line = usage_line(error) if wrong_words else line_for(error)
        if line is None:
            raise
        if line:
            sys.stderr.write(f"jobtrail: {line}\n")
        sys.exit(USAGE_STATUS if wrong_words else 1)


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


@app.command(hidden=True)
def demo() -> None:
    """Do the demo's work once, against the servers of `jobtrail up --demo`."""
    from ops.demo import run  # noqa: PLC0415 - as in `up`

    settings = Settings.from_environ()
    logs.configure(settings)
    run(settings)


@app.command()
def migrate(*, as_json: AsJson = False) -> None:
    """Apply the migrations that the database lacks."""
    from sql.migrate import apply  # noqa: PLC0415 - commands without PostgreSQL start faster

    settings = Settings.from_environ()
    logs.configure(settings)
    applied = apply(settings.require_database_url())
    if as_json:
        _print_json({"applied": applied})
    else:
        _print("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


@app.command()
def consume(group: Annotated[str, typer.Argument(help="status or rows")]) -> None:
    """Run one consumer of a group until SIGTERM or Ctrl-C."""
    from consumers.__main__ import PROJECTIONS, consume  # noqa: PLC0415 - as in `migrate`

    if group not in PROJECTIONS:
        raise CommandError(f"no group {group!r}: take one of {', '.join(PROJECTIONS)}")
    settings = Settings.from_environ()
    check_primary(settings)
    consume(group, settings)


@app.command()
def api() -> None:
    """Serve the read API until SIGTERM or Ctrl-C."""
    from api.server import ServerFailed, serve  # noqa: PLC0415 - as in `up`
    from ops.desk import RedisDesk  # noqa: PLC0415

    settings = Settings.from_environ()
    check_pool(settings)
    check_primary(settings)
    try:
        serve(settings, lambda url: _print(f"api: {url}"), desk=RedisDesk.of(settings))
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
    settings = Settings.from_environ()
    check_primary(settings)  # before the input is read, which may be long in coming
    client = connect(settings.require_redis_url())
    outcome = append_lines(
        sys.stdin.buffer,
        EventAppender(
            client,
            max_event_bytes=settings.max_event_bytes,
            max_stream_bytes=settings.stream_max_bytes,
        ),
        check_tenant(tenant),
        keep_going=keep_going,
        complain=_complain,
    )
    if as_json:
        _print_json(outcome.facts())
    else:
        _print(str(outcome))
    if outcome.refused:
        rest = "the rest was appended" if keep_going else "nothing was appended"
        raise CommandError(f"{outcome.refused} bad lines; {rest}")


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
        _print_json(document)
        return
    table = Table(show_header=False, box=None)
    for name, value in document.items():
        table.add_row(name, value if isinstance(value, str) else orjson.dumps(value).decode())
    Console().print(table)


def _status_document(tenant: str, kind: str, job_id: str) -> dict[str, Any]:
    if kind not in KINDS:
        raise CommandError(f"no kind {kind!r}: take one of {', '.join(KINDS)}")
    if not JOB_ID.match(job_id):
        raise CommandError(f"{job_id!r} is no job id")
    job, keys = JobKey(check_tenant(tenant), kind, job_id), Keys()
    client = connect(Settings.from_environ().require_redis_url())
    found, progress = client.mget([keys.status(job), keys.progress(job)])
    if found is None:
        raise CommandError(f"tenant {tenant} has no {kind} {job_id}, or its status has expired")
    document: dict[str, Any] = {"tenant": tenant, "kind": kind, "id": job_id}
    document |= orjson.loads(found)
    document.pop("fold", None)
    return document | {"progress": None if progress is None else orjson.loads(progress)}


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
    client = connect(Settings.from_environ().require_redis_url())
    if not is_known(client, check_tenant(tenant)):
        _complain(f"nothing was ever appended for tenant {tenant}: waiting for its first event")
    try:
        for seen in follow(client, tenant, since):
            if as_json:
                event = seen.raw.decode("utf-8", "replace")
                _print_json({"entry_id": str(seen.entry_id), "event": event})
            else:
                _print(describe(seen))
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

    client = connect(Settings.from_environ().require_redis_url())
    if tenant is not None:
        check_known(client, check_tenant(tenant))
    rows = [
        row._replace(tenant=encodable(row.tenant))
        for row in lags(client, GROUPS)
        if tenant in (None, row.tenant)
    ]
    if as_json:
        _print_json([row._asdict() for row in rows])
        return
    table = Table("group", "tenant", "waiting", "pending", "oldest (s)")
    for row in sorted(rows, key=lambda row: (row.group, -row.oldest_age_seconds, row.tenant)):
        waiting = "?" if row.waiting is None else str(row.waiting)
        table.add_row(
            row.group, row.tenant, waiting, str(row.pending), f"{row.oldest_age_seconds:.1f}"
        )
    Console().print(table)


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

    wrong, looked = report(Settings.from_environ(), legacy=legacy, as_json=as_json)
    if wrong:
        raise CommandError(f"{wrong} of {looked} checks want attention")


@video.command()
def encode(
    file: Annotated[Path, typer.Argument(help="The source.")],
    tenant: Tenant,
    *,
    id: Annotated[str | None, typer.Option(help="The video's id; a new one by default.")] = None,  # noqa: A002
    attempt: Annotated[int, typer.Option(min=1, help="Which run of it this is.")] = 1,
    output: Annotated[
        Path | None, typer.Option(help="Where HLS goes; media/ in the data folder by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Transcode a video to HLS and report its seven steps."""
    from workers.video import VideoError  # noqa: PLC0415 - as in `up`
    from workers.video import encode as encode_video  # noqa: PLC0415

    settings = Settings.from_environ()
    check_tenant(tenant)
    # Work that is under way goes on without Redis; work that nobody could follow is not begun.
    check_servers(settings)
    video_id = id or new_event_id()
    # A supervisor's SIGTERM is the same wish as Ctrl-C: end ffmpeg and report `cancelled`.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reporter = Reporter.from_url(
        settings.require_redis_url(),
        max_event_bytes=settings.max_event_bytes,
        max_stream_bytes=settings.stream_max_bytes,
    )
    if not as_json:
        _print(f"video {video_id}")
    try:
        encoded = encode_video(
            file,
            tenant=tenant,
            video_id=video_id,
            output_dir=output or settings.data_dir / "media",
            reporter=reporter,
            attempt=attempt,
        )
    except VideoError as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt:
        raise CommandError(f"video {video_id} was cancelled") from None
    if as_json:
        _print_json({"id": video_id, "hls_path": encoded.hls_path, "duration": encoded.duration})
    else:
        _print(f"{encoded.hls_path} ({encoded.duration} s)")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(line: str) -> None:
    sys.stderr.write(f"jobtrail: {line}\n")
    sys.stderr.flush()


def _print_json(value: object) -> None:
    _print(orjson.dumps(value, default=str).decode())

"""`jobtrail replay` and `jobtrail verify`: making projections again, and checking them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, Protocol

import psycopg
import redis
import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from consumers.__main__ import tune_collector
from consumers.groups import group_states
from ops.addresses import command_settings
from ops.errors import CommandError
from ops.printing import complain, error_console, print_json, print_line
from projections.history import has_events
from projections.rebuild import RowsRepair, StatusRepair, Step, repair
from projections.rebuild_checkpoint import Checkpoint
from projections.rebuild_replaced import Busy, KeptDocuments, drop, restore
from projections.rebuild_reset import RowsReset, StatusReset, reset_status
from projections.rebuild_served import NOTHING, Difference, RowsServed, Served, StatusServed
from projections.sources import Range, Sources
from projections.status_cache import StatusCache
from projections.verify import Comparison, Verifier
from sql import sessions
from sql.sessions import Session
from streams import logs
from streams.connection import connect
from streams.entry_ids import FIRST, LAST, EntryId, of_reply
from streams.keys import JobKey, Keys, check_tenant
from streams.settings import Settings
from streams.wire import checked, round_trip

PROJECTIONS = ("status", "rows")
TELL_SECONDS = 5.0
"""Between two lines of progress where there is no terminal."""
_DAY_MS = 86_400_000

Projection = Annotated[str, typer.Argument(help=" or ".join(PROJECTIONS))]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only this one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class _Speed(ProgressColumn):
    """Events a second."""

    def render(self, task: Task) -> Text:
        """Give it as text; nothing before it is known."""
        return Text("events" if task.speed is None else f"events, {task.speed:,.0f} a second")


class Tell(Protocol):
    """Shows how far the work is."""

    def __call__(self, events: int) -> None:
        """So many more events are done."""
        ...


class _Servers(NamedTuple):
    """What both commands work with."""

    settings: Settings
    client: redis.Redis
    sources: Sources
    served: Served
    horizon: EntryId | None

    @property
    def comparison(self) -> Comparison:
        return Comparison(self.sources, self.served, self.horizon)


def replay(
    projection: Projection,
    tenant: Tenant = None,
    *,
    since: Annotated[
        str | None, typer.Option(help="Only jobs with an event from this entry id or time on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only jobs with an event up to this entry id or time.")
    ] = None,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset", help="Put what the events say over whatever stands; readers go on reading."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read, and change nothing.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Do not go on where an earlier run stopped.")
    ] = False,
    drop_old: Annotated[
        bool,
        typer.Option("--drop-old", help="Drop what resets replaced and kept; do nothing else."),
    ] = False,
    restore_old: Annotated[
        bool,
        typer.Option(
            "--restore-old",
            help="Put back the rows that the last reset replaced and nobody wrote since.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fold history and log again into a projection.

    Without --reset this brings back what is gone and adds what is missing. What stands and looks
    newer than the events is left, for a wrong state cannot be told from a late replay: --reset
    overwrites it, and removes jobs of which there is no event. What it replaces is kept in the
    database until --drop-old. A job in the range of --since and --until is folded from all its
    events.
    """
    _check(projection, tenant)
    wanted = Range(_moment(since, FIRST), _moment(until, LAST, last=True))
    if reset and wanted.narrows:
        raise CommandError("--reset rebuilds everything: leave --since and --until away")
    settings = command_settings()
    if drop_old or restore_old:
        if wanted.narrows or sum((drop_old, restore_old, reset, dry_run, restart)) > 1:
            raise CommandError("--drop-old and --restore-old go with --tenant and --json alone")
        summary = (_drop_old if drop_old else _restore_old)(settings, projection, tenant)
        _print(summary, as_json=as_json, text=_told_of_old(summary))
        return
    command = {
        "projection": projection,
        "tenant": tenant,
        "reset": str(reset),
        "since": since,
        "until": until,
    }
    checkpoint = Checkpoint(settings.data_dir, command)
    with _servers(settings, projection, tenant) as servers:
        servers.sources.read_logs()
        unknown = tenant is not None and not servers.sources.events()
        if tenant is not None and unknown and dry_run:
            raise CommandError(_unknown(tenant))
        servers.sources.narrow(wanted)
        if dry_run:
            _say_size(servers, projection, as_json=as_json)
            return
        if restart:
            checkpoint.forget()
        summary = _replay(servers, projection, checkpoint, reset=reset)
    if tenant is not None and unknown and not summary["kept"]:
        raise CommandError(_unknown(tenant))
    _print(summary, as_json=as_json, text=_sentence(summary))


def verify(projection: Projection, tenant: Tenant = None, *, as_json: AsJson = False) -> None:
    """Fold everything again and compare with what is served.

    Exit status 0 and `verified N jobs`, or 1 and every difference. What a consumer has not got to
    yet is waited for.
    """
    _check(projection, tenant)
    settings = command_settings()
    count = 0
    with (
        _servers(settings, projection, tenant) as servers,
        _progress("verify", servers.sources.events) as tell,
    ):
        verifier = Verifier(
            servers.sources,
            servers.served,
            lambda tenants: settled(servers.client, projection, tenants),
            horizon=servers.horizon,
            on_progress=tell,
        )
        for difference in verifier.run():
            count += 1
            _print(_told(difference), as_json=as_json, text=str(difference))
    verified = verifier.verified
    if count:
        raise CommandError(f"{count} differences in {verified} jobs")
    if tenant is not None and not verified:
        raise CommandError(_unknown(tenant))
    _print({"verified": verified}, as_json=as_json, text=f"verified {verified} jobs")


def settled(
    client: redis.Redis, group: str, tenants: Collection[str], keys: Keys | None = None
) -> Mapping[str, EntryId | None]:
    """Give up to where a group has settled each of these logs; None: nothing more will come."""
    keys = keys or Keys()
    names = [keys.stream(tenant) for tenant in tenants]
    # What was delivered first, what is pending next: an entry between the two counts as pending.
    delivered = [
        next((state.last_delivered for state in states if state.name == group), None)
        for states in group_states(client, [name.encode() for name in names])
    ]
    known = [name for name, last in zip(names, delivered, strict=True) if last is not None]
    replies = checked(round_trip(client, [("XPENDING", name, group) for name in known]))
    oldest = {
        name: of_reply(reply[1]) for name, reply in zip(known, replies, strict=True) if reply[1]
    }
    return {
        tenant: _before(oldest[name]) if name in oldest else last
        for tenant, name, last in zip(tenants, names, delivered, strict=True)
    }


def _told(difference: Difference) -> dict[str, Any]:
    job, field, served, folded = difference
    sides = {
        name: None if value is NOTHING else value
        for name, value in (("served", served), ("folded", folded))
    }
    return {**job._asdict(), "field": field, **sides}


def _unknown(tenant: str) -> str:
    return f"no tenant {tenant!r}: there is no event of it, in no log and not in the history"


def _before(entry_id: EntryId) -> EntryId:
    ms, seq = entry_id
    return EntryId(ms, seq - 1) if seq else EntryId(ms - 1, 2**64 - 1)


def _check(projection: str, tenant: str | None) -> None:
    if projection not in PROJECTIONS:
        raise CommandError(f"no projection {projection!r}: take one of {', '.join(PROJECTIONS)}")
    if tenant is not None:
        check_tenant(tenant)


def _moment(text: str | None, default: EntryId, *, last: bool = False) -> EntryId:
    """Read an entry id or a time; a bare millisecond and a time cover all entries in it."""
    if text is None:
        return default
    try:
        entry_id, exact = EntryId.parse(text), "-" in text
    except ValueError:
        entry_id, exact = EntryId(_milliseconds(text), 0), False
    return EntryId(entry_id.ms, LAST.seq) if last and not exact else entry_id


def _milliseconds(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"{text!r} is neither an entry id nor a time: 1767225600000-0 or 2026-01-01T00:00:00Z"
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0, int(at.timestamp() * 1000))


def _drop_old(settings: Settings, projection: str, tenant: str | None) -> dict[str, Any]:
    with _plainly(), _database(settings) as connection:
        dropped = drop(connection, projection, tenant)
        if tenant is not None and not dropped and not has_events(connection, tenant):
            raise CommandError(f"no tenant {tenant!r}: the history has no event of it")
    return {"projection": projection, "dropped": dropped}


def _restore_old(settings: Settings, projection: str, tenant: str | None) -> dict[str, Any]:
    if projection != "rows":
        raise CommandError(
            "only rows are put back: a document is made of its events again; what stood in it is in"
            " the table replaced_states"
        )
    with _plainly(), _database(settings) as connection:
        restored = restore(connection, tenant, _wait_for_writers)
    if restored is None:
        raise CommandError("no replaced rows are kept")
    return {"projection": projection, **restored._asdict()}


def _told_of_old(summary: Mapping[str, Any]) -> str:
    if "dropped" in summary:
        return f"dropped {summary['dropped']} replaced states of {summary['projection']}"
    text = (
        f"put back {summary['restored']} rows that the reset of {summary['replaced_at']:%F %T} UTC"
    )
    text += " replaced"
    if summary["left"]:
        text += f"; {summary['left']} were written since, and were left"
    return text


@contextmanager
def _plainly() -> Iterator[None]:
    """Say in one line that a table is not there, or in use."""
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        lacking = str(error).splitlines()[0]
        raise CommandError(
            f"the database lacks migrations ({lacking}): run jobtrail migrate"
        ) from None
    except Busy as error:
        raise CommandError(str(error)) from None


def _wait_for_writers() -> None:
    complain("waiting for writers to let go of the rows")


@contextmanager
def _servers(settings: Settings, projection: str, tenant: str | None) -> Iterator[_Servers]:
    logs.configure(settings)
    tune_collector()
    client = connect(settings.require_redis_url())
    with client, _plainly(), _database(settings) as connection:
        sources = Sources(
            client, connection, tenant=tenant, max_event_bytes=settings.max_event_bytes
        )
        served: Served = (
            _status_served(client, settings) if projection == "status" else RowsServed(connection)
        )
        yield _Servers(settings, client, sources, served, _horizon(settings))


def _database(settings: Settings) -> Session:
    return sessions.connect(settings.require_database_url(), "jobtrail-replay")


def _status_served(client: redis.Redis, settings: Settings) -> StatusServed:
    return StatusServed(client, **_status_options(settings))


def _status_options(settings: Settings) -> dict[str, Any]:
    return {
        "ttl_seconds": settings.status_ttl_seconds,
        "ended_ttl_seconds": settings.ended_ttl_seconds,
        "result_cache_bytes": settings.result_cache_bytes,
    }


def _horizon(settings: Settings) -> EntryId | None:
    """Give where the history that is kept begins for certain, a partition's week included."""
    days = settings.history_keep_days
    if days is None:
        return None
    return EntryId(max(0, int(time.time() * 1000) - days * _DAY_MS), 0)


def _replay(
    servers: _Servers, projection: str, checkpoint: Checkpoint, *, reset: bool
) -> dict[str, Any]:
    if reset and projection == "rows":
        return _reset_rows(servers)
    after = checkpoint.read()
    if after is not None:
        complain(f"going on after {' '.join(after)} (--restart begins again)")
    started = time.monotonic()
    events = jobs = expired = 0
    with (
        closing(KeptDocuments(lambda: _database(servers.settings))) as kept,
        _progress("replay", servers.sources.events) as tell,
    ):
        for step in _steps(servers, projection, after, kept if reset else None):
            events, jobs = events + step.events, jobs + step.jobs
            expired += step.expired
            if step.last is not None:
                checkpoint.write(step.last)
            tell(step.events)
    checkpoint.forget()
    return {
        "projection": projection,
        "events": events,
        "jobs": jobs,
        "left_expired": expired,
        "kept": kept.states,
        "skipped": servers.sources.skipped,
        "seconds": round(time.monotonic() - started, 3),
    }


def _steps(
    servers: _Servers, projection: str, after: JobKey | None, kept: KeptDocuments | None
) -> Iterator[Step]:
    """Repair; or reset, where something keeps what that replaces."""
    settings, client, sources, _, _ = servers
    if projection == "rows":
        writer = RowsRepair(lambda: _database(settings))
        try:
            yield from repair(sources, writer, after)
        finally:
            writer.close()
        return
    options = _status_options(settings)
    if kept is not None:
        writer_over_all = StatusReset(client, kept, **options)
        yield from reset_status(sources, writer_over_all, servers.comparison, after)
        return
    cache = StatusRepair(StatusCache(client, **options), _status_served(client, settings))
    yield from repair(sources, cache, after)


def _reset_rows(servers: _Servers) -> dict[str, Any]:
    started = time.monotonic()
    events = jobs = 0
    rebuild = RowsReset(servers.sources, servers.comparison)
    with _progress("replay", servers.sources.events) as tell:
        for step in rebuild.prepare():
            events, jobs = events + step.events, jobs + step.jobs
            tell(step.events)
    changed = rebuild.swap(_wait_for_writers)
    return {
        "projection": "rows",
        "events": events,
        "jobs": jobs,
        "changed": changed,
        "kept": changed,
        "skipped": servers.sources.skipped,
        "seconds": round(time.monotonic() - started, 3),
    }


def _say_size(servers: _Servers, projection: str, *, as_json: bool) -> None:
    held, tail, jobs = servers.sources.size()
    facts = {"projection": projection, "jobs": jobs, "history_events": held, "log_events": tail}
    text = (
        f"would read {held + tail} events ({held} in the history, {tail} in the logs alone) of"
        f" {jobs} jobs and write their {projection}; nothing was changed"
    )
    _print(facts, as_json=as_json, text=text)


def _sentence(summary: Mapping[str, Any]) -> str:
    rate = summary["events"] / max(summary["seconds"], 0.001)
    text = (
        f"replayed {summary['events']} events of {summary['jobs']} jobs into"
        f" {summary['projection']} in {summary['seconds']:.1f} s ({rate:,.0f} a second)"
    )
    for name, words in (
        ("changed", "rows changed"),
        ("left_expired", "jobs left expired"),
        ("skipped", "entries skipped that cannot be applied"),
    ):
        if summary.get(name):
            text += f"; {summary[name]} {words}"
    if kept := summary.get("kept"):
        text += f"; {kept} replaced states kept until: jobtrail replay {summary['projection']}"
        text += " --drop-old"
    return text


@contextmanager
def _progress(word: str, total: Callable[[], int]) -> Iterator[Tell]:
    """Show a bar on a terminal, and lines now and then elsewhere, on standard error."""
    console = error_console()
    if not console.is_terminal:
        yield _lines(word)
        return
    bar = Progress(
        TextColumn(word),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task(word, total=total())
        yield lambda events: bar.advance(task, events)


def _lines(word: str) -> Tell:
    done, told = 0, time.monotonic()

    def tell(events: int) -> None:
        nonlocal done, told
        done += events
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            complain(f"{word}: {done} events")

    return tell


def _print(facts: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    if as_json:
        print_json(facts)
    else:
        print_line(text)

"""`jobtrail replay` and `jobtrail verify`: making projections again, and checking them."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, NamedTuple

import psycopg
import redis
import typer

from consumers.composition import tune_collector
from consumers.delivery.groups import group_states
from ops.addresses import command_settings
from ops.errors import CommandError
from ops.printing import complain, print_json, print_line
from ops.progress_bar import EventProgress
from ops.tasks.parallel import Send, run_parts
from projections.history.writer import has_events
from projections.replay.checkpoint import Checkpoint, Standing
from projections.replay.repair import RowsRepair, StatusRepair, Step, repair
from projections.replay.replaced_states import Busy, KeptDocuments, drop, restore
from projections.replay.reset import RowsReset, StatusReset, reset_status
from projections.replay.served import NOTHING, Difference, RowsServed, Served, StatusServed
from projections.replay.sources import Range, Sources
from projections.replay.tenant_shares import ALL, Share, divided, events_by_tenant
from projections.replay.verify import Comparison, Verifier
from projections.status.writer import StatusCache
from sql import sessions
from sql.sessions import Session
from streams import logging_setup
from streams.connection import connect
from streams.entry_ids import FIRST, LAST, EntryId, of_reply
from streams.keys import JobKey, Keys, check_tenant
from streams.settings import Settings
from streams.wire import checked, round_trip

PROJECTIONS = ("status", "rows")
EVENTS_A_PROCESS = 50_000
"""With fewer, another process does not pay."""
MOST_PROCESSES = 4
"""Without --processes: each takes two or three of the database's connections."""
_DAY_MS = 86_400_000

Projection = Annotated[str, typer.Argument(help=" or ".join(PROJECTIONS))]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only this one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        help="Divide the tenants among so many processes; by default as many as pay here.",
    ),
]


class _Work(NamedTuple):
    """The work of one command."""

    settings: Settings
    projection: str
    tenant: str | None
    reset: bool = False
    wanted: Range = Range()
    counted: bool = False
    """True where the events that are expected are counted first."""


class _Expected(NamedTuple):
    """A share of the work will go through so many events."""

    events: int


class _Ended(NamedTuple):
    """A share of the work is done."""

    jobs: int = 0
    kept: int = 0
    skipped: int = 0
    unknown: bool = False
    """True where the tenant that was asked for has no events at all."""


class _Said(NamedTuple):
    """A difference, as it is printed."""

    facts: dict[str, Any]
    text: str


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
    processes: Processes = None,
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
    work = _Work(settings, projection, tenant, reset, wanted)
    if dry_run:
        _say_size(work, as_json=as_json)
        return
    checkpoint = Checkpoint(settings.data_dir, command)
    if restart:
        checkpoint.forget()
    with EventProgress("replay") as progress:
        work = work._replace(counted=progress.shows_total)
        if reset and projection == "rows":
            summary = _reset_rows(work, progress)
        else:
            summary = _replay(work, checkpoint, processes, progress)
    unknown = summary.pop("unknown")
    if tenant is not None and unknown and not summary["kept"]:
        raise CommandError(_unknown(tenant))
    _print(summary, as_json=as_json, text=_sentence(summary))


def verify(
    projection: Projection,
    tenant: Tenant = None,
    *,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Fold everything again and compare with what is served.

    Exit status 0 and `verified N jobs`, or 1 and every difference. What a consumer has not got to
    yet is waited for.
    """
    _check(projection, tenant)
    count = verified = 0

    def receive(_index: int, sent: object) -> None:
        nonlocal count, verified
        if isinstance(sent, _Expected):
            progress.expect(sent.events)
        elif isinstance(sent, _Said):
            count += 1
            _print(sent.facts, as_json=as_json, text=sent.text)
        elif isinstance(sent, _Ended):
            verified += sent.jobs
        elif isinstance(sent, int):
            progress.advance(sent)

    with EventProgress("verify") as progress:
        work = _Work(command_settings(), projection, tenant, counted=progress.shows_total)
        run_parts(_shares(work, processes), partial(_verify_share, work), receive)
    if count:
        raise CommandError(f"{count} differences in {verified} jobs")
    if tenant is not None and not verified:
        raise CommandError(_unknown(tenant))
    _print({"verified": verified}, as_json=as_json, text=f"verified {verified} jobs")


def _verify_share(work: _Work, share: Share, send: Send) -> None:
    """Verify a share; send the differences, and the events that are done."""
    with _servers(work, share) as servers:
        if work.counted:
            send(_Expected(servers.sources.events()))
        verifier = Verifier(
            servers.sources,
            servers.served,
            lambda tenants: settled(servers.client, work.projection, tenants),
            horizon=servers.horizon,
            on_progress=send,
        )
        for difference in verifier.run():
            send(_Said(_told(difference), str(difference)))
        send(_Ended(jobs=verifier.verified))


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
def _servers(work: _Work, share: Share = ALL) -> Iterator[_Servers]:
    settings = work.settings
    logging_setup.configure(settings)
    tune_collector()
    client = connect(settings.require_redis_url())
    with client, _plainly(), _database(settings) as connection:
        sources = Sources(
            client,
            connection,
            tenant=work.tenant,
            share=share,
            max_event_bytes=settings.max_event_bytes,
        )
        served: Served = (
            _status_served(client, settings)
            if work.projection == "status"
            else RowsServed(connection)
        )
        yield _Servers(settings, client, sources, served, _horizon(settings))


def _shares(work: _Work, processes: int | None) -> list[Share]:
    """Divide the tenants, where that was asked for or pays."""
    if work.tenant is not None or processes == 1:
        return [ALL]
    cores = _cores()
    if processes is None and cores == 1:
        return [ALL]
    client = connect(work.settings.require_redis_url())
    with client, _plainly(), _database(work.settings) as connection:
        counts = events_by_tenant(client, connection)
    paying = sum(counts.values()) // EVENTS_A_PROCESS
    return divided(counts, processes or max(1, min(cores, MOST_PROCESSES, paying)))


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


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
    work: _Work, checkpoint: Checkpoint, processes: int | None, progress: EventProgress
) -> dict[str, Any]:
    standings = checkpoint.read()
    for standing in standings:
        if standing.finished is not None and not standing.done:
            complain(f"going on after {' '.join(standing.finished)} (--restart begins again)")
    standings = standings or [Standing(share) for share in _shares(work, processes)]
    open_ = [at for at, standing in enumerate(standings) if not standing.done]
    started, totals, unknown = time.monotonic(), Counter[str](), False

    def receive(index: int, sent: object) -> None:
        nonlocal unknown
        at = open_[index]
        if isinstance(sent, _Expected):
            progress.expect(sent.events)
        elif isinstance(sent, Step):
            totals.update(events=sent.events, jobs=sent.jobs, expired=sent.expired)
            if sent.last is not None:
                standings[at] = standings[at]._replace(finished=sent.last)
                checkpoint.write(standings)
            progress.advance(sent.events)
        elif isinstance(sent, _Ended):
            totals.update(kept=sent.kept, skipped=sent.skipped)
            unknown = sent.unknown
            standings[at] = standings[at]._replace(done=True)
            checkpoint.write(standings)

    run_parts([standings[at] for at in open_], partial(_replay_share, work), receive)
    checkpoint.forget()
    return {
        "projection": work.projection,
        "events": totals["events"],
        "jobs": totals["jobs"],
        "left_expired": totals["expired"],
        "kept": totals["kept"],
        "skipped": totals["skipped"],
        "seconds": round(time.monotonic() - started, 3),
        "unknown": unknown,
    }


def _replay_share(work: _Work, standing: Standing, send: Send) -> None:
    """Replay a share from where it stands; send each step."""
    with _servers(work, standing.share) as servers:
        unknown = _read_logs(work, servers)
        if work.counted:
            send(_Expected(servers.sources.events()))
        with closing(KeptDocuments(lambda: _database(servers.settings))) as kept:
            reset = kept if work.reset else None
            for step in _steps(servers, work.projection, standing.finished, reset):
                send(step)
        send(_Ended(kept=kept.states, skipped=servers.sources.skipped, unknown=unknown))


def _read_logs(work: _Work, servers: _Servers) -> bool:
    """Read the logs and leave the jobs that are wanted; return whether the tenant is unknown."""
    servers.sources.read_logs()
    unknown = work.tenant is not None and not servers.sources.events()
    servers.sources.narrow(work.wanted)
    return unknown


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


def _reset_rows(work: _Work, progress: EventProgress) -> dict[str, Any]:
    """Reset the rows, in one process: one transaction puts all of them in place."""
    started = time.monotonic()
    events = jobs = 0
    with _servers(work) as servers:
        unknown = _read_logs(work, servers)
        if work.counted:
            progress.expect(servers.sources.events())
        rebuild = RowsReset(servers.sources, servers.comparison)
        for step in rebuild.prepare():
            events, jobs = events + step.events, jobs + step.jobs
            progress.advance(step.events)
        changed = rebuild.swap(_wait_for_writers)
    return {
        "projection": "rows",
        "events": events,
        "jobs": jobs,
        "changed": changed,
        "kept": changed,
        "skipped": servers.sources.skipped,
        "seconds": round(time.monotonic() - started, 3),
        "unknown": unknown,
    }


def _say_size(work: _Work, *, as_json: bool) -> None:
    with _servers(work) as servers:
        if _read_logs(work, servers):
            raise CommandError(_unknown(work.tenant or ""))
        held, tail, jobs = servers.sources.size()
    projection = work.projection
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


def _print(facts: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    if as_json:
        print_json(facts)
    else:
        print_line(text)

"""Events, resets, and reads of both projections, for tests of replays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, LiteralString, cast

import psycopg
import redis

from projections.decoding import Entry, decode
from projections.replay.comparison import Comparison
from projections.replay.events.sources import Sources
from projections.replay.reset.documents import StatusReset, reset_documents
from projections.replay.reset.kept_documents import KeptDocuments
from projections.replay.reset.rows import RowsReset
from projections.replay.served.documents import ServedDocuments
from projections.replay.served.rows import ServedRows
from projections.replay.step import ReplayStep
from projections.replay.verify import Verifier
from projections.status.document_writes import DocumentWrites
from sql.sessions import Session
from streams.entry_ids import EntryId
from streams.keys import Keys

Connect = Callable[[], Session]


KEYS = Keys()


def entry(tenant: str, entry_id: str, type_: str, job: str = "a1", **fields: Any) -> Entry:
    raw = json.dumps({"type": type_, "id": job, **fields}).encode()
    return decode(tenant, EntryId.parse(entry_id), [b"event", raw])


def append(client: redis.Redis, *entries: Entry) -> None:
    for each in entries:
        fields: Any = {"event": each.raw}
        client.xadd(KEYS.stream(each.tenant), fields, id=str(each.entry_id))


def statuses(client: redis.Redis) -> dict[bytes, bytes | None]:
    names = sorted(client.scan_iter("tenant:*:status"))
    return {name: cast("bytes | None", client.get(name)) for name in names}


def table(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT jobs::text FROM jobs ORDER BY tenant, kind, id").fetchall()


def one(connection: psycopg.Connection, statement: LiteralString) -> Any:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


def run(steps: Iterator[ReplayStep]) -> list[ReplayStep]:
    return list(steps)


def differences(sources: Sources, served: ServedDocuments | ServedRows) -> list[str]:
    verifier = Verifier(sources, served, dict.fromkeys)
    return [str(difference) for difference in verifier.run()]


def ours() -> list[Entry]:
    """Return events of two tenants, so late that the documents have not expired."""
    now = 4_000_000_000_000
    return [
        entry("1", f"{now}-0", "queued", job_type="excel"),
        entry("1", f"{now + 9}-0", "progress", step="reading", percent=5),
        entry("1", f"{now + 10}-0", "done", result={"rows": 3}),
        entry("1", f"{now + 11}-0", "processing", job="b:status", labels={"class": "3-1"}),
        entry("2", f"{now}-0", "failed", job="a1", error="no"),
    ]


def old_states(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT projection, tenant, id, why, was::text FROM replaced_states"
        " ORDER BY projection, run, tenant, id"
    ).fetchall()


def spoil(db: psycopg.Connection) -> None:
    """Change one row, delete one and add one."""
    db.execute("UPDATE jobs SET attempt = 9, worker = 'nobody' WHERE tenant = '2'")
    db.execute("DELETE FROM jobs WHERE id = 'b:status'")
    db.execute(
        "INSERT INTO jobs SELECT tenant, kind, 'ghost', attempt, state, status, job_type, labels,"
        " worker, progress, result, error, code, created_at, started_at, updated_at, ended_at,"
        " positions FROM jobs WHERE tenant = '1'"
    )


def reset_rows(sources: Sources, served: ServedRows) -> int:
    reset = RowsReset(sources, Comparison(sources, served))
    run(reset.prepare())
    return reset.swap()


def reset_status(client: redis.Redis, sources: Sources) -> int:
    """Reset the documents; return the number of jobs whose documents were kept."""
    info = sources.connection.info
    with closing(
        KeptDocuments(
            lambda: psycopg.connect(info.dsn, password=info.password or None, autocommit=True)
        )
    ) as kept:
        writes = DocumentWrites(
            ttl_seconds=21_600, ended_ttl_seconds=None, result_cache_bytes=10_000
        )
        writer = StatusReset(client, kept, writes)
        run(reset_documents(sources, writer, Comparison(sources, ServedDocuments(client))))
        return kept.states

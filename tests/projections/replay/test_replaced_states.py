"""States that resets replaced: kept, restored and dropped."""

from __future__ import annotations

import base64
import json
from typing import cast

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, given, settings

from projections.decoding import Entry
from projections.replay.comparison import Comparison
from projections.replay.events.sources import Sources
from projections.replay.replaced_states import drop, kept_states, restore_rows
from projections.replay.reset.rows import RowsReset
from projections.replay.served.rows import ServedRows
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from streams.keys import JobKey
from tests.support.job_figures import expect_figures
from tests.support.replays import (
    Connect,
    entry,
    old_states,
    one,
    ours,
    reset_rows,
    reset_status,
    run,
    spoil,
    table,
)
from tests.support.strategies import logs
from tests.support.thorough import examples


def test_reset_rows__what_was_replaced__is_kept_and_can_be_put_back(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    rows.apply(ours())
    db = connect()
    right = table(db)
    spoil(db)
    wrong = table(db)
    was = dict(db.execute("SELECT id, to_json(jobs)::text FROM jobs WHERE id <> 'b:status'"))
    was["a1"] = one(db, "SELECT to_json(jobs)::text FROM jobs WHERE tenant = '2'")
    db.execute("SET timezone = 'Asia/Seoul'")  # of this session only
    assert reset_rows(sources, ServedRows(sources.connection)) == 3
    assert [(each[2], each[3]) for each in old_states(db)] == [
        *(("b:status", "inserted"), ("ghost", "removed")),
        ("a1", "updated"),
    ]
    db.execute("SET timezone = 'UTC'")
    assert {each[2]: json.loads(each[4]) for each in old_states(db) if each[4]} == {
        job: json.loads(text) for job, text in was.items() if job != "b:status"
    }
    (found,) = kept_states(db)
    assert (found.projection, found.states, found.runs) == ("rows", 3, 1)
    assert table(db) == right
    expect_figures(db)
    put_back = restore_rows(connect())
    assert put_back is not None
    assert (put_back.restored, put_back.left) == (3, 0)
    assert table(db) == wrong
    expect_figures(db)
    assert old_states(db) == []
    assert restore_rows(db) is None


def test_restore__rows_that_were_written_since__stay(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    rows.apply(ours())
    db = connect()
    spoil(db)
    reset_rows(sources, ServedRows(sources.connection))
    later = 5_000_000_000_000
    rows.apply(
        [
            entry("2", f"{later}-0", "done"),
            entry("1", f"{later}-1", "done", job="ghost"),
            entry("1", f"{later}-2", "done", job="b:status"),
        ]
    )
    now = table(db)
    put_back = restore_rows(db)
    assert put_back is not None
    assert (put_back.restored, put_back.left) == (0, 3)
    assert table(db) == now
    assert len(old_states(db)) == 3


def reset_again(client: redis.Redis, connect: Connect) -> int:
    """Reset the rows with new sources, which end with the reset."""
    with connect() as connection:  # its transaction lasts until it is closed
        return reset_rows(Sources(client, connection), ServedRows(connection))


def test_restore__two_resets_or_one_tenant__the_last_and_only_it(
    rows: JobRows, connect: Connect, redis_client: redis.Redis
) -> None:
    rows.apply(ours())
    db = connect()
    found = []
    for attempt in (8, 9):
        db.execute("UPDATE jobs SET attempt = %s WHERE id = 'a1'", (attempt,))
        found.append(table(db))
        reset_again(redis_client, connect)
    put_back = restore_rows(db, "2")
    assert put_back is not None
    assert put_back.restored == 1
    attempts = "SELECT tenant, attempt FROM jobs WHERE id = 'a1' ORDER BY tenant"
    assert db.execute(attempts).fetchall() == [("1", 1), ("2", 9)]
    restore_rows(db)
    assert table(db) == found[1]
    reset_again(redis_client, connect)
    assert drop(db, "status") == 0
    assert drop(db, "rows", "2") == 2
    assert {each[1] for each in old_states(db)} == {"1"}
    assert drop(db, "rows") == 2


def test_reset_rows__what_was_cannot_be_kept__nothing_is_replaced(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    rows.apply(ours())
    db = connect()
    spoil(db)
    wrong = table(db)
    db.execute("DROP TABLE replaced_states")
    reset = RowsReset(sources, Comparison(sources, ServedRows(db)))
    run(reset.prepare())
    with pytest.raises(psycopg.errors.UndefinedTable):
        reset.swap()
    assert table(db) == wrong


def test_replaced_states__a_tenants_reader__sees_none(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    """Migrations grant nothing on it, and row-level security refuses what somebody grants."""
    rows.apply(ours())
    db = connect()
    spoil(db)
    reset_rows(sources, ServedRows(sources.connection))
    granted = (
        "SELECT grantee FROM information_schema.role_table_grants"
        " WHERE table_name = 'replaced_states' AND grantee <> current_user"
    )
    assert db.execute(granted).fetchall() == []
    with db.transaction(force_rollback=True):
        db.execute("CREATE ROLE replaced_reader")
        db.execute("GRANT replaced_reader TO CURRENT_USER")
        db.execute("GRANT SELECT ON replaced_states TO replaced_reader")
        db.execute("SET LOCAL ROLE replaced_reader")
        for tenant in ("", "1"):
            db.execute("SELECT set_config('app.tenant_id', %s, true)", (tenant,))
            assert old_states(db) == []


@given(logs(JobKey("1", "job", "a1")))
@settings(
    deadline=None,
    max_examples=examples(25),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_put_back__any_row__is_what_it_was(
    rows: JobRows, connect: Connect, redis_client: redis.Redis, entries: list[Entry]
) -> None:
    db = connect()
    db.execute("TRUNCATE jobs, job_events, replaced_states")
    rows.apply(entries)
    db.execute("UPDATE jobs SET attempt = attempt + 5, code = 'wrong'")
    wrong = table(db)
    assert reset_again(redis_client, connect) == 1
    assert table(db) != wrong
    put_back = restore_rows(db)
    assert put_back is not None
    assert (put_back.restored, table(db)) == (1, wrong)


def test_reset_status__what_was_replaced__is_kept_byte_for_byte(
    redis_client: redis.Redis,
    rows: JobRows,
    cache: StatusCache,
    connect: Connect,
    sources: Sources,
) -> None:
    rows.apply(ours())
    cache.apply(ours())
    cache.apply([entry("3", "5000000000000-0", "progress", job="ghost", percent=3)])
    names = ("status", "progress")
    ghost = [cast("bytes", redis_client.get(f"tenant:3:job:ghost:{name}")) for name in names]
    wrong = b'{"status": "DONE",  "attempt": 1e2, "fold": "\\u00e9 \\u0000"}'
    redis_client.set("tenant:1:job:a1:status", wrong)
    redis_client.set("tenant:1:job:b:status:status", b"written by hand \xff")
    redis_client.delete("tenant:2:job:a1:status")
    assert reset_status(redis_client, sources) == 3
    db = connect()
    assert [each[:4] for each in old_states(db)] == [
        ("status", "1", "a1", "updated"),
        ("status", "1", "b:status", "updated"),
        ("status", "3", "ghost", "removed"),
    ]
    first, second, third = (each[4] for each in old_states(db))
    assert first.startswith(f'{{"status":{wrong.decode()},"progress":{{"step":"reading"')
    assert base64.b64decode(json.loads(second)["status"]["base64"]) == b"written by hand \xff"
    pairs = zip(names, ghost, strict=True)
    documents = ",".join(f'"{name}":{raw.decode()}' for name, raw in pairs)
    assert third == f"{{{documents}}}"
    assert reset_status(redis_client, sources) == 0
    assert (kept_states(db)[0].states, kept_states(db)[0].runs) == (3, 1)
    assert drop(db, "status") == 3

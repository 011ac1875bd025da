"""Replays against real servers: what was gone is back, what was wrong is right."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, given, settings

from projections.decoding import Entry, decode
from projections.fold import fold_all
from projections.replay.checkpoint import Checkpoint, ShareProgress
from projections.replay.comparison import Comparison
from projections.replay.events.sources import EntryRange, Sources
from projections.replay.repair import RowsRepair, StatusRepair, repair
from projections.replay.replaced_states import drop, kept_states, restore_rows
from projections.replay.reset.documents import StatusReset, reset_documents
from projections.replay.reset.kept_documents import KeptDocuments
from projections.replay.reset.rows import RowsReset
from projections.replay.row_lock import Busy
from projections.replay.served.documents import ServedDocuments
from projections.replay.served.rows import ServedRows
from projections.replay.step import Step
from projections.replay.tenant_shares import Share
from projections.replay.verify import Verifier
from projections.rows import writer as rows_writer
from projections.rows.writer import JobRows
from projections.status.document_writes import DocumentWrites
from projections.status.writer import StatusCache
from sql import sessions
from sql.sessions import Session
from streams.entry_ids import EntryId
from streams.keys import JobKey, Keys
from tests.support.strategies import logs
from tests.support.thorough import examples
from tests.support.waiting import eventually

Connect = Callable[[], Session]
KEYS = Keys()


def entry(tenant: str, position: str, type_: str, job: str = "a1", **fields: Any) -> Entry:
    raw = json.dumps({"type": type_, "id": job, **fields}).encode()
    return decode(tenant, EntryId.parse(position), [b"event", raw])


def append(client: redis.Redis, *entries: Entry) -> None:
    for each in entries:
        fields: Any = {"event": each.raw}
        client.xadd(KEYS.stream(each.tenant), fields, id=str(each.entry_id))


@pytest.fixture
def connect(database_url: str) -> Iterator[Connect]:
    """Makes connections; they are closed in the end."""
    made: list[Session] = []

    def make() -> Session:
        made.append(sessions.connect(database_url, "test"))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def rows(connect: Connect) -> JobRows:
    """The consumers' writer of rows and history."""
    return JobRows(connect)


@pytest.fixture
def cache(redis_client: redis.Redis) -> StatusCache:
    """The consumers' writer of documents."""
    return StatusCache(redis_client)


@pytest.fixture
def sources(redis_client: redis.Redis, connect: Connect) -> Sources:
    return Sources(redis_client, connect())


def statuses(client: redis.Redis) -> dict[bytes, bytes | None]:
    names = sorted(client.scan_iter("tenant:*:status"))
    return {name: cast("bytes | None", client.get(name)) for name in names}


def table(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT jobs::text FROM jobs ORDER BY tenant, kind, id").fetchall()


def one(connection: psycopg.Connection, statement: LiteralString) -> Any:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


def run(steps: Iterator[Step]) -> list[Step]:
    return list(steps)


def differences(sources: Sources, served: ServedDocuments | ServedRows) -> list[str]:
    verifier = Verifier(sources, served, dict.fromkeys)
    return [str(difference) for difference in verifier.run()]


def ours() -> list[Entry]:
    """Two tenants' jobs, at times that do not make documents expire by now."""
    now = 4_000_000_000_000
    return [
        entry("1", f"{now}-0", "queued", job_type="excel"),
        entry("1", f"{now + 9}-0", "progress", step="reading", percent=5),
        entry("1", f"{now + 10}-0", "done", result={"rows": 3}),
        entry("1", f"{now + 11}-0", "processing", job="b:status", labels={"class": "3-1"}),
        entry("2", f"{now}-0", "failed", job="a1", error="no"),
    ]


@given(log=logs(JobKey("1", "job", "a1"), max_size=4))
@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_matching__what_writers_wrote__is_found_without_reading_its_facts(
    redis_client: redis.Redis, rows: JobRows, cache: StatusCache, connect: Connect, log: list[Entry]
) -> None:
    """Any event there is; another state of the job is never taken for it."""
    redis_client.flushall()
    job = log[0].job
    connection = connect()
    connection.execute("TRUNCATE jobs, job_events")
    rows.apply(log)
    cache.apply(log)
    state = fold_all(None, [(each.entry_id, each.event) for each in log])
    assert state is not None
    for served in (ServedDocuments(redis_client), ServedRows(connection)):
        assert list(served.matching({job: state})) == [job]
        for other in (
            state._replace(worker="another"),
            state._replace(created=state.created._replace(entry_id=EntryId(0, 1))),
        ):
            assert list(served.matching({job: other})) == []
            assert served.matching({JobKey("1", "job", "a2"): state}) == []


# --- the sources ---


def test_walk__history_and_log__every_event_once_or_more_job_by_job(
    redis_client: redis.Redis, rows: JobRows, sources: Sources
) -> None:
    """Events are read from the stream if the history lacks them, and else from the history."""
    entries = ours()
    append(redis_client, *entries)
    rows.apply(entries[:2])
    redis_client.xtrim(KEYS.stream("1"), minid=str(entries[1].entry_id), approximate=False)
    redis_client.xadd(KEYS.stream("2"), {"event": b"no json"})
    sources.read_streams()
    parts = list(sources.walk())
    assert [part.job for part in parts] == [
        *(JobKey("1", "job", "a1"), JobKey("1", "job", "b:status")),
        JobKey("2", "job", "a1"),
    ]
    assert [each.entry_id for each in parts[0].held] == [each.entry_id for each in entries[:2]]
    assert parts[0].tail == [entries[2]]
    assert (sources.skipped, sources.count_events()) == (1, 5)
    assert tuple(sources.counts()) == (2, 3, 3)


def test_walk__after_a_job_or_of_a_tenant__the_rest(
    redis_client: redis.Redis, connect: Connect, sources: Sources
) -> None:
    append(redis_client, *ours())
    sources.read_streams()
    after = list(sources.walk(JobKey("1", "job", "a1")))
    assert [part.job.id for part in after] == ["b:status", "a1"]
    other = Sources(redis_client, connect(), tenant="2")
    other.read_streams()
    assert [part.job for part in other.walk()] == [JobKey("2", "job", "a1")]


def test_narrow__one_event_in_the_range__all_events_of_its_job(
    redis_client: redis.Redis, rows: JobRows, sources: Sources
) -> None:
    entries = ours()
    append(redis_client, *entries)
    rows.apply(entries[:1])
    sources.read_streams()
    sources.narrow(EntryRange(entries[1].entry_id, entries[1].entry_id))
    (part,) = sources.walk()
    assert part.held + part.tail == entries[:3]
    assert sources.count_events() == 3


def test_refresh__an_entry_appended_meanwhile__is_seen_inside_a_walk(
    redis_client: redis.Redis, sources: Sources
) -> None:
    entries = ours()
    append(redis_client, *entries[:2])
    sources.read_streams()
    for part in sources.walk():
        append(redis_client, entries[2])
        sources.read_on(["1"])
        assert sources.events_of([part.job])[part.job].tail == entries[:3]


# --- repairing ---


def test_repair_status__after_flushall__documents_are_the_same_bytes(
    redis_client: redis.Redis, rows: JobRows, cache: StatusCache, sources: Sources
) -> None:
    rows.apply(ours())
    cache.apply(ours())
    before = statuses(redis_client)
    redis_client.flushall()
    sources.read_streams()
    writer = StatusRepair(cache, ServedDocuments(redis_client))
    steps = run(repair(sources, writer))
    assert statuses(redis_client) == before
    assert len(before) == 3
    assert sum(step.events for step in steps) == 5
    assert steps[-1].last == JobKey("2", "job", "a1")
    run(repair(sources, writer))
    assert statuses(redis_client) == before


def test_repair_status__unended_and_long_ago__stays_expired(
    redis_client: redis.Redis, rows: JobRows, cache: StatusCache, sources: Sources
) -> None:
    rows.apply([entry("1", "5-0", "processing"), entry("1", "5-1", "done", job="b")])
    (step,) = run(repair(sources, StatusRepair(cache, ServedDocuments(redis_client))))
    assert step.expired == 1
    assert list(statuses(redis_client)) == [b"tenant:1:job:b:status"]


def test_repair_rows__rows_and_history_gone__back_from_the_log(
    redis_client: redis.Redis, rows: JobRows, connect: Connect, sources: Sources
) -> None:
    """A restored database lacks what the log still holds; the group acknowledged it long ago."""
    entries = ours()
    append(redis_client, *entries)
    rows.apply(entries)
    db = connect()
    before = table(db)
    db.execute("DELETE FROM jobs")
    db.execute("DELETE FROM job_events WHERE tenant = '1'")
    sources.read_streams()
    writer = RowsRepair(connect)
    run(repair(sources, writer))
    assert table(db) == before
    assert db.execute("SELECT count(*) FROM job_events").fetchone() == (5,)


def test_repair__interrupted__goes_on_after_the_last_finished_job(
    rows: JobRows, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose events were cut into two batches is not finished by the first."""
    monkeypatch.setattr("projections.replay.repair.BATCH_EVENTS", 2)
    rows.apply(ours())

    class Listening:
        applied: list[str]

        def apply(self, parts: Any) -> int:
            self.applied += [each.job.id for part in parts for each in part.held]
            return 0

    writer = Listening()
    writer.applied = []
    monkeypatch.setattr("projections.replay.events.parts.PART_EVENTS", 1)
    monkeypatch.setattr("projections.replay.events.history_walk.READ_AT_ONCE", 1)
    with closing(cast("Generator[Step, None, None]", repair(sources, writer))) as steps:
        assert next(steps).last is None
        assert next(steps).last == JobKey("1", "job", "a1")
    writer.applied = []
    run(repair(sources, writer, JobKey("1", "job", "a1")))
    assert writer.applied == ["b:status", "a1"]


def test_checkpoint__of_another_command__is_not_taken(tmp_path: Any) -> None:
    mine = Checkpoint(tmp_path / "new", {"projection": "rows"})
    assert mine.read() == []
    standings = [
        ShareProgress(Share(None, "5"), JobKey("1", "job", "a")),
        ShareProgress(Share("5", None), None, done=True),
    ]
    mine.write(standings)
    assert Checkpoint(tmp_path / "new", {"projection": "rows"}).read() == standings
    assert Checkpoint(tmp_path / "new", {"projection": "status"}).read() == []
    mine.forget()
    assert mine.read() == []


def test_checkpoint__of_a_version_without_shares__is_gone_on_from(tmp_path: Path) -> None:
    command = {"projection": "rows"}
    Checkpoint(tmp_path, command).write([])
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({"command": command, "finished": ["1", "job", "a"]}))
    assert Checkpoint(tmp_path, command).read() == [ShareProgress(finished=JobKey("1", "job", "a"))]


# --- resetting ---


def reset(client: redis.Redis, sources: Sources) -> int:
    """Reset the documents, and give how many of them are kept."""
    info = sources.connection.info
    with closing(
        KeptDocuments(
            lambda: psycopg.connect(info.dsn, password=info.password or None, autocommit=True)
        )
    ) as old:
        writes = DocumentWrites(
            ttl_seconds=21_600, ended_ttl_seconds=None, result_cache_bytes=10_000
        )
        writer = StatusReset(client, old, writes)
        run(reset_documents(sources, writer, Comparison(sources, ServedDocuments(client))))
        return old.states


def test_reset_status__wrong_newer_surplus_and_foreign__what_the_events_say(
    redis_client: redis.Redis, rows: JobRows, cache: StatusCache, sources: Sources
) -> None:
    rows.apply(ours())
    cache.apply(ours())
    right = statuses(redis_client)
    cache.apply([entry("1", "5000000000000-0", "done", attempt=9, result={"rows": 99})])
    cache.apply([entry("3", "5000000000000-0", "progress", job="ghost", percent=3)])
    redis_client.set("tenant:1:job:b:status:status", b"mended by hand")
    run(repair(sources, StatusRepair(cache, ServedDocuments(redis_client))))
    assert statuses(redis_client) != right
    reset(redis_client, sources)
    assert statuses(redis_client) == right
    assert not redis_client.exists("tenant:3:job:ghost:progress")


def test_reset_status__consumer_writes_between_reading_and_writing__its_event_stays(
    redis_client: redis.Redis,
    rows: JobRows,
    cache: StatusCache,
    sources: Sources,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = ours()
    rows.apply(entries[:2])
    cache.apply([entry("1", "5000000000000-0", "processing", attempt=9)])
    last = entries[2]
    written = StatusReset._write
    moves = [last]

    def meanwhile(self: Any, *arguments: Any) -> Any:
        while moves:
            append(redis_client, moves[0])
            cache.apply([moves.pop()])
        return written(self, *arguments)

    monkeypatch.setattr(StatusReset, "_write", meanwhile)
    assert reset(redis_client, sources) == 1
    monkeypatch.undo()
    assert differences(sources, ServedDocuments(redis_client)) == []
    assert b'"rows":3' in (redis_client.get("tenant:1:job:a1:status") or b"")


def wrong_fold(known: Any, events: Any) -> Any:
    """A fold with a bug: failures are taken for successes of a later attempt."""
    state = fold_all(known, events)
    if state is None or state.state.value != "failed":
        return state
    return state._replace(state=type(state.state)("done"), attempt=7, error=None, result={})


def reset_rows(sources: Sources, served: ServedRows) -> int:
    rebuild = RowsReset(sources, Comparison(sources, served))
    run(rebuild.prepare())
    return rebuild.swap()


def test_reset_rows__left_by_a_wrong_fold__found_exactly_and_mended(
    rows: JobRows, connect: Connect, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.apply([entry("9", "1-0", "done")])
    monkeypatch.setattr(rows_writer, "fold_all", wrong_fold)
    rows.apply(ours())
    monkeypatch.undo()
    db = connect()
    served = ServedRows(db)
    wrong = differences(sources, served)
    assert {line.split(":")[0].rpartition(" ")[0] for line in wrong} == {"2 job a1"}
    assert "2 job a1 error: served null, folded no" in wrong
    run(repair(sources, RowsRepair(connect)))
    assert differences(sources, served) == wrong
    db.execute(
        "INSERT INTO jobs SELECT tenant, kind, 'ghost', attempt, state, status, job_type,"
        " labels, worker, progress, result, error, code, created_at, started_at,"
        " updated_at, ended_at, positions FROM jobs WHERE tenant = '9'"
    )
    db.execute("DELETE FROM jobs WHERE id = 'b:status'")
    assert reset_rows(sources, served) == 3
    assert differences(sources, served) == []
    assert db.execute("SELECT count(*) FROM jobs").fetchone() == (4,)


def test_reset_rows__event_committed_after_the_copy__is_in_the_swap(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    db = connect()
    rows.apply([entry("1", "1-0", "processing")])
    db.execute("UPDATE jobs SET attempt = 9")
    rebuild = RowsReset(sources, Comparison(sources, ServedRows(db)))
    run(rebuild.prepare())
    rows.apply([entry("1", "2-0", "done"), entry("1", "3-0", "queued", job="new")])
    assert rebuild.swap() == 1
    assert differences(sources, ServedRows(db)) == []
    found = db.execute("SELECT id, attempt, state FROM jobs ORDER BY id").fetchall()
    assert found == [("a1", 1, "done"), ("new", 1, "queued")]


def test_reset_rows__lock_not_to_be_had__nothing_changed(
    rows: JobRows, connect: Connect, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.replay.row_lock.LOCK_TRIES", 2)
    rows.apply([entry("1", "1-0", "processing")])
    db, holder = connect(), connect()
    db.execute("UPDATE jobs SET attempt = 9")
    rebuild = RowsReset(sources, Comparison(sources, ServedRows(db)), lock_seconds=0.05)
    run(rebuild.prepare())
    with holder.transaction():
        holder.execute("SELECT FROM jobs FOR UPDATE")
        with pytest.raises(Busy):
            rebuild.swap()
    assert db.execute("SELECT attempt FROM jobs").fetchone() == (9,)
    assert rebuild.swap() == 1


def test_reset_rows__horizon__what_the_history_no_longer_reaches_is_left(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    """Old history is dropped by partition; its jobs' rows are all that is left of them."""
    rows.apply([entry("1", "1-0", "done"), entry("1", "100-0", "done", job="b")])
    db = connect()
    db.execute("DELETE FROM job_events WHERE id = 'a1'")
    served = ServedRows(db)
    comparison = Comparison(sources, served, EntryId(50, 0))
    rebuild = RowsReset(sources, comparison)
    run(rebuild.prepare())
    assert rebuild.swap() == 0
    assert differences(sources, served) == ["1 job a1 status: served DONE, folded nothing"]


# --- what was replaced ---


def old_states(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT projection, tenant, id, why, was::text FROM replaced_states"
        " ORDER BY projection, run, tenant, id"
    ).fetchall()


def spoil(db: psycopg.Connection) -> None:
    """Leave one row wrong, one missing and one too many."""
    db.execute("UPDATE jobs SET attempt = 9, worker = 'nobody' WHERE tenant = '2'")
    db.execute("DELETE FROM jobs WHERE id = 'b:status'")
    db.execute(
        "INSERT INTO jobs SELECT tenant, kind, 'ghost', attempt, state, status, job_type, labels,"
        " worker, progress, result, error, code, created_at, started_at, updated_at, ended_at,"
        " positions FROM jobs WHERE tenant = '1'"
    )


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
    db.execute("SET timezone = 'Asia/Seoul'")  # whoever looks on
    assert reset_rows(sources, ServedRows(sources.connection)) == 3
    assert [(each[2], each[3]) for each in old_states(db)] == [
        *(("b:status", "inserted"), ("ghost", "removed")),
        ("a1", "updated"),
    ]
    db.execute("SET timezone = 'UTC'")
    assert {each[2]: json.loads(each[4]) for each in old_states(db) if each[4]} == {
        job: json.loads(text) for job, text in was.items() if job != "b:status"
    }
    (told,) = kept_states(db)
    assert (told.projection, told.states, told.runs) == ("rows", 3, 1)
    assert table(db) == right
    put_back = restore_rows(connect())
    assert put_back is not None
    assert (put_back.restored, put_back.left) == (3, 0)
    assert table(db) == wrong
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
    """Reset the rows with sources of its own, which end with it."""
    with connect() as connection:  # what it has read stays locked until it is closed
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
    rebuild = RowsReset(sources, Comparison(sources, ServedRows(db)))
    run(rebuild.prepare())
    with pytest.raises(psycopg.errors.UndefinedTable):
        rebuild.swap()
    assert table(db) == wrong


def test_replaced_states__a_tenants_reader__sees_none(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    """Not by what migrations grant, and not even where somebody grants it everything."""
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
    rows: JobRows, connect: Connect, redis_client: redis.Redis, said: list[Entry]
) -> None:
    db = connect()
    db.execute("TRUNCATE jobs, job_events, replaced_states")
    rows.apply(said)
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
    redis_client.set("tenant:1:job:b:status:status", b"mended by hand \xff")
    redis_client.delete("tenant:2:job:a1:status")
    assert reset(redis_client, sources) == 3
    db = connect()
    assert [each[:4] for each in old_states(db)] == [
        ("status", "1", "a1", "updated"),
        ("status", "1", "b:status", "updated"),
        ("status", "3", "ghost", "removed"),
    ]
    first, second, third = (each[4] for each in old_states(db))
    assert first.startswith(f'{{"status":{wrong.decode()},"progress":{{"step":"reading"')
    assert base64.b64decode(json.loads(second)["status"]["base64"]) == b"mended by hand \xff"
    pairs = zip(names, ghost, strict=True)
    told = ",".join(f'"{name}":{raw.decode()}' for name, raw in pairs)
    assert third == f"{{{told}}}"
    assert reset(redis_client, sources) == 0
    assert (kept_states(db)[0].states, kept_states(db)[0].runs) == (3, 1)
    assert drop(db, "status") == 3


JOBS = 2_000
EVENTS = 10


@contextmanager
def polling(connection: psycopg.Connection) -> Iterator[list[str]]:
    """Poll all jobs; give what was seen that must never be: absence, or an older state."""
    stop, seen, known = threading.Event(), list[str](), dict[str, tuple[int, int]]()
    rounds = 0

    def poll() -> None:
        nonlocal rounds
        while not stop.is_set():
            found = {
                id_: tuple(map(int, position.split("-")))
                for id_, position in connection.execute(
                    "SELECT id, positions->>'entry_id' FROM jobs WHERE tenant <> 'wrong'"
                )
            }
            seen.extend(f"{id_} is gone" for id_ in known.keys() - found.keys())
            seen.extend(
                f"{id_} went back to {found[id_]} from {position}"
                for id_, position in known.items()
                if found.get(id_, position) < position
            )
            known.update(found)
            rounds += 1

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        eventually(lambda: rounds)
        yield seen
        settled = rounds
        eventually(lambda: rounds > settled + 1)
    finally:
        stop.set()
        thread.join()


def progress(tenant: str, job: int, at: int) -> Entry:
    return entry(tenant, f"{1_000 + at}-{job}", "progress", f"j{job}", percent=at)


def test_reset_rows__under_load__no_reader_sees_absence_or_an_older_state(
    rows: JobRows, connect: Connect, sources: Sources
) -> None:
    """Twenty thousand events, a tenth of the rows wrong, events coming in all the time."""
    for at in range(EVENTS):
        rows.apply([progress("1", job, at) for job in range(JOBS)])
    rows.apply([entry("wrong", f"1-{job}", "queued", f"w{job}") for job in range(JOBS // 10)])
    db = connect()
    db.execute("UPDATE jobs SET attempt = 9, worker = 'nobody' WHERE tenant = 'wrong'")
    live, stop, sent = JobRows(connect), threading.Event(), [EVENTS]

    def consume() -> None:
        while not stop.is_set():
            live.apply([progress("1", job, sent[0]) for job in range(0, JOBS, 20)])
            sent[0] += 1

    consumer = threading.Thread(target=consume)
    with polling(connect()) as seen:
        consumer.start()
        try:
            eventually(lambda: sent[0] > EVENTS + 1)
            before = sent[0]
            assert reset_rows(sources, ServedRows(sources.connection)) >= JOBS // 10
            eventually(lambda: sent[0] > before + 1)
        finally:
            stop.set()
            consumer.join()
    assert seen == []
    assert differences(sources, ServedRows(db)) == []


def test_reset_status__under_load__no_reader_sees_absence_or_an_older_state(
    redis_client: redis.Redis, rows: JobRows, cache: StatusCache, sources: Sources
) -> None:
    first = 4_000_000_000_000
    names = [KEYS.status(JobKey("1", "job", f"j{job}")) for job in range(200)]

    def batch(at: int) -> list[Entry]:
        return [
            entry("1", f"{first + at}-{job}", "progress", f"j{job}", percent=at % 100)
            for job in range(200)
        ]

    append(redis_client, *batch(0))
    cache.apply(batch(0))
    cache.apply([entry("wrong", f"1-{job}", "queued", f"w{job}") for job in range(200)])
    stop, failures, sent = threading.Event(), list[str](), [0]

    def consume() -> None:
        while not stop.is_set():
            sent[0] += 1
            append(redis_client, *batch(sent[0]))
            cache.apply(batch(sent[0]))

    def poll() -> None:
        known = [EntryId(0, 0)] * len(names)
        while not stop.is_set():
            for at, raw in enumerate(redis_client.mget(names)):
                position = EntryId.parse(
                    json.loads(raw or b'{"fold":{"entry_id":"0"}}')["fold"]["entry_id"]
                )
                if position < known[at]:
                    failures.append(f"{names[at]}: {position} after {known[at]}")
                known[at] = position

    threads = [threading.Thread(target=work) for work in (consume, poll)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            eventually(lambda: sent[0] > 1)
            reset(redis_client, sources)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert not redis_client.exists("tenant:wrong:job:w1:status")
    sources.read_on(["1"])
    assert differences(sources, ServedDocuments(redis_client)) == []


@pytest.mark.parametrize("batches", [1, 3], ids=["in one batch", "one by one"])
@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "backwards"])
def test_repair__an_event_that_was_appended_again_later__counts_at_both_its_entries(
    batches: int,
    *,
    backwards: bool,
    redis_client: redis.Redis,
    connect: Connect,
    rows: JobRows,
    cache: StatusCache,
) -> None:
    """The history holds it once, and still what is replayed is what consumers served."""
    again: dict[str, Any] = {"event_id": "e1", "percent": 10, "at": "2026-11-23T00:00:00Z"}
    now = time.time_ns() // 1_000_000  # older documents are not brought back
    said = [
        entry("42", f"{now}-1", "progress", **again),
        entry("42", f"{now}-2", "progress", event_id="e2", percent=50),
        entry("42", f"{now}-3", "progress", **again),
    ]
    said = said[::-1] if backwards else said
    size = len(said) // batches
    for at in range(0, len(said), size):
        cache.apply(said[at : at + size])
        rows.apply(said[at : at + size])
    served, stored = statuses(redis_client), table(connect())
    assert f'"entry_id":"{now}-3"'.encode() in b"".join(filter(None, served.values()))

    redis_client.flushall()
    connect().execute("TRUNCATE jobs")
    sources = Sources(redis_client, connect())
    sources.read_streams()
    run(repair(sources, StatusRepair(cache, ServedDocuments(redis_client))))
    writer = RowsRepair(connect)
    run(repair(sources, writer))

    assert statuses(redis_client) == served
    assert table(connect()) == stored
    count = "SELECT count(*), sum(landings) FROM job_events WHERE event_id = 'e1'"
    assert connect().execute(count).fetchone() == (1, 2)

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import count

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Identifier
from structlog.testing import capture_logs

from consumers.faults import is_outage
from projections.decoding import Entry
from projections.history import writer as history_writer
from projections.history.days import monday_of, partition_name
from projections.history.partitions import MOVE_AGAIN_SECONDS, Partitions
from projections.rows.writer import JobRows
from sql import retries
from streams.entry_ids import EntryId
from streams.event_ids import new_event_id, time_of
from streams.keys import JobKey
from streams.kinds import KINDS
from tests.support.job_tables import (
    ONE,
    Writer,
    check,
    event,
    history,
    partitions_of,
    states,
    uuid7_at,
    waiting_for_a_lock,
)
from tests.support.strategies import deliveries, entry_ids, logs
from tests.support.thorough import examples
from tests.support.waiting import ENDING, eventually

MIDNIGHT = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1_000)

fresh = count()

real_server = settings(
    max_examples=examples(40),
    # The database outlives an example; each example has a tenant of its own instead.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)


def entry_ids_since(ms: int) -> st.SearchStrategy[EntryId]:
    return st.builds(lambda each: EntryId(ms + each.ms, each.seq), entry_ids)


@given(st.data())
@real_server
def test_apply__any_batches__rows_and_history_equal_the_fold(
    rows: JobRows, db: psycopg.Connection, data: st.DataObject
) -> None:
    tenant = f"t{next(fresh)}"
    jobs = [JobKey(tenant, kind, id_) for kind in KINDS for id_ in ("a1", "a2")]
    ids = data.draw(st.sampled_from([entry_ids, entry_ids_since(MIDNIGHT - 50)]))
    entries = [entry for job in jobs for entry in data.draw(logs(job, max_size=4, ids=ids))]
    for batch in data.draw(deliveries(entries)):
        rows.apply(batch)
    check(db, entries)


def test_apply__nothing__stores_nothing(rows: JobRows, db: psycopg.Connection) -> None:
    rows.apply([])
    assert history(db) == []


def test_apply__meanwhile__called_once_while_the_batch_is_not_yet_visible(
    rows: JobRows, db: psycopg.Connection
) -> None:
    seen: list[int] = []
    rows.meanwhile = lambda: seen.append(len(history(db)))
    for _ in range(2):
        rows.apply([event("1-0", "processing"), event("2-0", "done")])
    assert seen == [0, 2]


def overlapping(tenant: str) -> tuple[list[list[Entry]], list[list[Entry]]]:
    """Batches of two writers: the same jobs in opposite orders, old and new, with duplicates."""

    def job_events(number: int) -> list[Entry]:
        job = JobKey(tenant, "job", f"a{number:03}")
        return [
            event(f"{number + 1}-0", "processing", job=job, event_id=f"p{number}"),
            event(f"{number + 2}-0", "progress", job=job, percent=number),
            event(f"{number + 3}-0", "done", job=job, result={"n": number}),
        ]

    jobs = [job_events(number) for number in range(60)]
    first = [
        [each for job in jobs[start : start + 20] for each in job] for start in range(0, 60, 5)
    ]
    second = [list(reversed(batch)) for batch in reversed(first)]
    return first, second


def test_apply__two_writers_on_the_same_jobs_in_opposite_orders__exact_and_no_deadlock(
    writer: Writer, db: psycopg.Connection
) -> None:
    both = overlapping("42")
    start = threading.Barrier(2)

    def work(writer_: JobRows, batches: list[list[Entry]]) -> None:
        start.wait()
        for batch in batches:
            writer_.apply(batch)

    with ThreadPoolExecutor(2) as pool:
        work_done = [pool.submit(work, writer(), batches) for batches in both]
        for each in work_done:
            each.result(timeout=ENDING)
    check(db, [entry for batches in both for batch in batches for entry in batch])
    deadlocks = db.execute(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    ).fetchone()
    assert deadlocks == (0,)


def test_apply__row_made_by_another_between_reading_and_inserting__folded_together(
    writer: Writer, rows: JobRows, db: psycopg.Connection, database_url: str
) -> None:
    """The loser of a race for a new job waits for the winner's commit and folds again."""
    rows.apply([event("1-0", "queued", job=JobKey("42", "job", "other"))])
    with psycopg.connect(database_url) as holder, ThreadPoolExecutor(1) as pool:
        with holder.transaction():
            holder.execute("LOCK TABLE jobs IN SHARE MODE")
            slow = pool.submit(rows.apply, [event("2-0", "progress", percent=7)])
            eventually(lambda: waiting_for_a_lock(db), what="the writer at the lock")
            # Reading does not stop at this lock, inserting does: the row appears in between.
            holder.execute(
                "INSERT INTO jobs SELECT tenant, kind, 'a1', attempt, state, status, 'excel',"
                " labels, worker, progress, result, error, code, created_at, started_at,"
                " updated_at, ended_at, "
                " jsonb_set(positions::jsonb, '{job_type}', '\"1/1-0\"')::json"
                " FROM jobs WHERE id = 'other'"
            )
        slow.result(timeout=30)
    state = states(db)[ONE]
    assert state.job_type is not None
    assert state.job_type.value == "excel"
    assert state.progress is not None


def test_apply__row_changed_by_another_meanwhile__waits_and_folds_on_from_the_change(
    rows: JobRows, db: psycopg.Connection, database_url: str
) -> None:
    """A writer that read without locking would put its older reading over the other's words."""
    rows.apply([event("2-0", "processing")])
    with psycopg.connect(database_url) as holder, ThreadPoolExecutor(1) as pool:
        with holder.transaction():
            holder.execute("SELECT 1 FROM jobs FOR UPDATE")
            slow = pool.submit(rows.apply, [event("3-0", "progress", percent=7)])
            eventually(lambda: waiting_for_a_lock(db), what="the writer at the lock")
            holder.execute(
                "UPDATE jobs SET job_type = 'excel',"
                " positions = jsonb_set(positions::jsonb, '{job_type}', '\"1/1-0\"')::json"
            )
        slow.result(timeout=30)
    state = states(db)[ONE]
    assert state.job_type is not None
    assert (state.job_type.value, state.entry_id) == ("excel", EntryId(3, 0))


def test_history__event_under_two_entry_ids__one_row(rows: JobRows, db: psycopg.Connection) -> None:
    for event_id in ("own", new_event_id()):
        for position in ("1000-0", "1001-0"):
            rows.apply([event(position, "done", event_id=event_id)])
    assert len(history(db)) == 2


def test_history__same_event_id_in_another_job__a_row_each(
    rows: JobRows, db: psycopg.Connection
) -> None:
    jobs = [ONE, JobKey("42", "video", "a1"), JobKey("42", "job", "a2"), JobKey("43", "job", "a1")]
    rows.apply([event("1-0", "done", job=job, event_id="own") for job in jobs])
    assert (len(history(db, "42")), len(history(db, "43"))) == (3, 1)


@pytest.fixture(params=[-3_000, 3])
def clock_near_midnight(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer's clock; it may be behind that of Redis, which gives entries their times."""
    now = datetime.fromtimestamp(MIDNIGHT / 1_000 + request.param, UTC)
    monkeypatch.setattr(history_writer, "_now", lambda: now)


@pytest.mark.parametrize("event_id", ["own", uuid7_at(MIDNIGHT - 500)], ids=["own", "uuid7"])
@pytest.mark.parametrize("batches", ["one batch", "two batches"])
@pytest.mark.parametrize("order", ["in order", "reversed"])
@pytest.mark.usefixtures("clock_near_midnight")
def test_history__event_appended_again_after_midnight__one_row(
    rows: JobRows, db: psycopg.Connection, event_id: str, batches: str, order: str
) -> None:
    assert time_of(uuid7_at(5)) == 5
    entries = [event(f"{MIDNIGHT + offset}-0", "done", event_id=event_id) for offset in (-1, 1_000)]
    ordered = entries if order == "in order" else entries[::-1]
    for batch in [ordered] if batches == "one batch" else [[entry] for entry in ordered]:
        rows.apply(batch)
    assert len(history(db)) == 1


@pytest.mark.parametrize("days", [2, 40])
@pytest.mark.parametrize("order", ["in order", "reversed"])
def test_history__own_event_id_appended_again_after_days__one_row_that_knows_both(
    rows: JobRows, db: psycopg.Connection, days: int, order: str
) -> None:
    log = [
        event(f"{MIDNIGHT}-0", "queued", event_id="first"),
        event(f"{MIDNIGHT + 5}-0", "progress", event_id="own", percent=10),
        event(f"{MIDNIGHT + days * 86_400_000}-0", "progress", event_id="own", percent=10),
    ]
    for entry in log if order == "in order" else log[::-1]:
        rows.apply([entry])
        rows.apply([entry])
    check(db, log)
    found = db.execute(
        "SELECT entry_ms, last_ms, landings FROM job_events WHERE event_id = 'own'"
    ).fetchall()
    assert found == [(MIDNIGHT + 5, MIDNIGHT + days * 86_400_000, 2)]


def test_history__entry_outside_every_partition__kept_in_the_default(
    rows: JobRows, db: psycopg.Connection
) -> None:
    year_2300 = int(datetime(2300, 1, 1, tzinfo=UTC).timestamp() * 1_000)
    year_12000 = 316_516_032_000_000
    log = [event(f"{ms}-1", "progress") for ms in (1, year_2300)]
    rows.apply(log)
    check(db, log)
    rows.apply([event(f"{ms}-1", "progress") for ms in (year_12000, 2**63 - 1)])
    assert partitions_of(db) == {"job_events_default": 4}
    assert states(db)[ONE].updated_at.year == 9999


def test_history__present_entry__in_its_weeks_partition(
    rows: JobRows, db: psycopg.Connection
) -> None:
    today = datetime.now(UTC).date()
    monday = today - timedelta(days=today.weekday())
    rows.apply([event(f"{milliseconds(today)}-0", "done")])
    assert partitions_of(db) == {f"job_events_{monday:%Y%m%d}": 1}


def milliseconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1_000)


ADD_TO_DEFAULT = (
    "INSERT INTO job_events_default SELECT '42', 'job', 'old', 'e' || n, %s::date, n, 0,"
    " 'done', 1, now(), '{}' FROM generate_series(1, %s) AS n"
)


@pytest.mark.parametrize("held", [0, 50], ids=["empty default", "events in the default"])
def test_partitions__writers_starting_together__made_once(
    writer: Writer, db: psycopg.Connection, held: int
) -> None:
    today = datetime.now(UTC).date()
    db.execute(ADD_TO_DEFAULT, (today, held))
    weeks = [today + timedelta(weeks=offset) for offset in (-4, -3, -2, -1, 0, 1)]
    start = threading.Barrier(4)

    def work(number: int) -> None:
        each = writer()
        job = JobKey("42", "job", f"a{number}")
        start.wait()
        each.apply([event(f"{milliseconds(day)}-0", "progress", job=job) for day in weeks])

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, number) for number in range(4)]:
            future.result(timeout=ENDING)
    assert sorted(partitions_of(db).values()) == [4, 4, 4, 4, 4, 4 + held]
    assert "job_events_default" not in partitions_of(db)


def test_partitions__week_that_the_default_one_already_holds__events_move_into_it(
    rows: JobRows, db: psycopg.Connection
) -> None:
    today = datetime.now(UTC).date()
    db.execute(ADD_TO_DEFAULT, (today, 3))
    db.execute(ADD_TO_DEFAULT, (today + timedelta(weeks=30), 1))
    before = history(db)
    rows.apply([event(f"{milliseconds(today)}-0", "done")])
    assert partitions_of(db) == {"job_events_default": 1, partition_name(monday_of(today)): 4}
    assert [row for row in history(db) if row[1] == "old"] == before


def test_partitions__week_with_too_many_events_in_the_default__left_and_tried_again_later(
    rows: JobRows, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weeks after it are made, and it is made once the default partition was cleared."""
    monkeypatch.setattr("projections.history.partitions.MOVE_ROWS", 3)
    now = [0.0]
    rows._ready_connection()
    rows._partitions = Partitions(clock=lambda: now[0])
    today = datetime.now(UTC).date()
    days = today, today + timedelta(weeks=1)
    db.execute(ADD_TO_DEFAULT, (today, 4))
    with capture_logs() as logs:
        for n in range(2):
            rows.apply([event(f"{milliseconds(day) + n}-0", "done") for day in days])
    last = partition_name(monday_of(days[1]))
    assert partitions_of(db) == {"job_events_default": 6, last: 2}
    warned = [(each["event"], each["log_level"]) for each in logs]
    assert warned == [("partition_not_made", "warning")]
    db.execute("DELETE FROM job_events_default WHERE id = 'old' AND event_id <> 'e1'")
    now[0] += MOVE_AGAIN_SECONDS
    rows.apply([event(f"{milliseconds(today) + 5}-0", "done")])
    assert partitions_of(db) == {partition_name(monday_of(today)): 4, last: 2}


def test_partitions__week_that_was_far_ahead__made_when_it_is_near(
    rows: JobRows, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer's clock that is ahead takes the partition from nobody."""
    day = datetime.now(UTC).date() + timedelta(weeks=4)
    log = [event(f"{milliseconds(day) + n}-0", "progress") for n in range(2)]
    rows.apply(log[:1])
    assert partitions_of(db) == {"job_events_default": 1}
    monkeypatch.setattr("projections.history.partitions.AHEAD", 5)  # weeks later, the same process
    rows.apply(log[1:])
    assert partitions_of(db) == {partition_name(monday_of(day)): 2}


@pytest.mark.parametrize("days", [15, 25, 1_000_000])
@pytest.mark.parametrize("form", ["uuid7", "entry id"])
def test_history__event_id_of_a_time_far_ahead__goes_by_its_entry_and_stays_one_row(
    rows: JobRows, db: psycopg.Connection, days: int, form: str
) -> None:
    now = milliseconds(datetime.now(UTC).date())
    ahead = now + days * 86_400_000
    event_id = uuid7_at(ahead) if form == "uuid7" else f"{ahead}-0"
    log = [event(f"{now + n}-0", "done", event_id=event_id) for n in range(3)]
    for entry in [*log, log[0]]:
        rows.apply([entry])
    check(db, log)
    assert "job_events_default" not in partitions_of(db)


def test_history__event_that_is_held_under_the_day_its_id_tells__found_there(
    rows: JobRows, db: psycopg.Connection
) -> None:
    today = datetime.now(UTC).date()
    now, ahead = milliseconds(today), milliseconds(today + timedelta(days=20))
    log = [event(f"{now + n}-0", "done", event_id=uuid7_at(ahead)) for n in range(2)]
    rows.apply(log[:1])
    db.execute("UPDATE job_events SET day = %s", (today + timedelta(days=20),))
    rows.apply(log[1:])
    check(db, log)


@pytest.mark.parametrize("form", ["uuid7", "entry id"])
def test_history__event_id_of_a_time_long_before__goes_by_its_entry_and_stays_one_row(
    rows: JobRows, db: psycopg.Connection, form: str
) -> None:
    """The first append may be near to the time in the event id, and the second one not."""
    today = datetime.now(UTC).date()
    now, made, near = (milliseconds(today - timedelta(days=days)) for days in (0, 60, 40))
    event_id = uuid7_at(made) if form == "uuid7" else f"{made}-0"
    log = [event(f"{now + n}-0", "done", event_id=event_id) for n in range(3)]
    for entry in [*log, log[0]]:
        rows.apply([entry])
    check(db, log)
    assert db.execute("SELECT day, landings FROM job_events").fetchall() == [(today, 3)]
    job = ONE._replace(id="near")
    both = [event(f"{ms}-0", "done", job=job, event_id=event_id) for ms in (near, now)]
    for entry in [*both, *both]:
        rows.apply([entry])
    held = db.execute("SELECT day, landings FROM job_events WHERE id = 'near'").fetchall()
    assert held == [(today - timedelta(days=60), 2)]


@given(st.data())
@real_server
def test_landings__any_batches_and_redeliveries__number_of_distinct_entries(
    rows: JobRows, db: psycopg.Connection, data: st.DataObject
) -> None:
    """Up to three appends in any order, or any number whose first deliveries are in order."""
    job, now = JobKey(f"l{next(fresh)}", "job", "a1"), milliseconds(datetime.now(UTC).date())
    event_id = data.draw(st.sampled_from(["own", uuid7_at(now)]))
    start = data.draw(st.sampled_from([now, MIDNIGHT - 2]))
    number = data.draw(st.integers(1, 6))
    log = [event(f"{start + n}-0", "done", job=job, event_id=event_id) for n in range(number)]
    batches = data.draw(deliveries(log) if number <= 3 else redeliveries(log))
    for batch in batches:
        rows.apply(batch)
    found = db.execute(
        "SELECT entry_ms, coalesce(last_ms, entry_ms), landings FROM job_events WHERE tenant = %s",
        (job.tenant,),
    ).fetchall()
    assert found == [(start, start + number - 1, number)]


@st.composite
def redeliveries(draw: st.DrawFn, entries: list[Entry]) -> list[list[Entry]]:
    """Batches in the stream's order, with deliveries again of what was delivered before."""
    batches: list[list[Entry]] = []
    done = 0
    while done < len(entries):
        end = draw(st.integers(done + 1, len(entries)))
        again = draw(st.lists(st.sampled_from(entries[:end]), max_size=3))
        batches += [[*entries[done:end], *again], again] if again else [entries[done:end]]
        done = end
    return batches


def test_apply__conflicting_row_that_cannot_be_read__an_outage_after_some_tries(
    rows: JobRows, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.01)
    rows.apply([event("1-0", "processing")])
    db.execute(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    db.execute("CREATE TRIGGER hides BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION nothing()")
    with pytest.raises(psycopg.OperationalError, match="row-level security or a trigger") as found:
        rows.apply([event("1-0", "queued", job=JobKey("42", "job", "b"))])
    assert is_outage(found.value)
    db.execute("DROP TRIGGER hides ON jobs")
    rows.apply([event("1-0", "queued", job=JobKey("42", "job", "b"))])
    assert len(states(db)) == 2


def test_apply__text_that_postgresql_cannot_hold__projected_and_kept(
    rows: JobRows, db: psycopg.Connection
) -> None:
    """NUL becomes U+FFFD in rows; the history has the bytes as they came."""
    nul = "a\0b\\u0000\\"
    log = [
        event("1-0", "progress", step=nul, extra={nul: [nul]}, job_type=nul, labels={nul: nul}),
        event("2-0", "done", result={nul: nul}, worker=nul, event_id=nul),
    ]
    rows.apply(log)
    check(db, log)
    state = states(db)[ONE]
    assert state.result == {"a�b\\u0000\\": "a�b\\u0000\\"}
    assert history(db)[-1][5] == log[1].raw.decode()


def test_apply__result_of_five_megabytes__stored_whole(
    rows: JobRows, db: psycopg.Connection
) -> None:
    result = {"rows": ["가나다라" * 1_000] * 420}
    log = [event("1-0", "processing"), event("2-0", "done", result=result)]
    for entry in log:
        rows.apply([entry])
    assert len(json.dumps(result, ensure_ascii=False).encode()) > 5_000_000
    check(db, log)


def test_apply__whole_numbers_of_any_size__stored_exactly(
    rows: JobRows, db: psycopg.Connection
) -> None:
    log = [
        event("1-0", "progress", extra={"n": 10**40}, attempt=2**53, step_index=2**53),
        event("2-0", "done", result={"n": -(10**40), "f": 1e300}, attempt=2**53),
    ]
    rows.apply(log)
    check(db, log)


def test_apply__times_at_the_ends_of_the_calendar__read_back(
    rows: JobRows, db: psycopg.Connection
) -> None:
    log = [
        event("1-0", "processing", at="0001-01-01T00:00:00Z"),
        event("2-0", "done", at="9999-12-31T23:59:59.999999Z"),
    ]
    for entry in log:
        rows.apply([entry])
    check(db, log)


@pytest.mark.parametrize("zone", ["Asia/Seoul", "America/New_York"])
def test_apply__server_in_another_time_zone__same_documents(
    writer: Writer, database_url: str, zone: str
) -> None:
    """Rows do not depend on the time zone of the database server."""
    log = [
        event("1-0", "processing", at="0001-01-01T00:00:00Z"),
        event("2-0", "progress", at="9999-12-31T23:59:59Z"),
        event("3-0", "done", at="2026-01-01T09:00:00+09:00"),
    ]
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(
            SQL("ALTER DATABASE {} SET timezone = {}").format(Identifier(name), zone)
        )
    rows = writer()
    for entry in log:
        rows.apply([entry])
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as db:
        check(db, log)


def test_apply__connection_lost__made_again(rows: JobRows, db: psycopg.Connection) -> None:
    rows.apply([event("1-0", "processing")])
    db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(psycopg.OperationalError):
        rows.apply([event("2-0", "done")])
    rows.apply([event("2-0", "done")])
    check(db, [event("1-0", "processing"), event("2-0", "done")])


def test_apply__database_that_is_read_only_by_default__written_to(
    rows: JobRows, db: psycopg.Connection
) -> None:
    """Only a server that takes no writes at all is waited for."""
    name = Identifier(db.info.dbname)
    db.execute(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    rows.apply([event("1-0", "processing")])
    db.execute("SET default_transaction_read_only = off")
    check(db, [event("1-0", "processing")])


def test_apply__session_that_became_read_only__left_for_a_new_one(
    rows: JobRows, db: psycopg.Connection
) -> None:
    rows.apply([event("1-0", "processing")])
    assert rows._connection is not None
    rows._connection.read_only = True
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        rows.apply([event("2-0", "done")])
    rows.apply([event("2-0", "done")])
    check(db, [event("1-0", "processing"), event("2-0", "done")])


def test_apply__batch_that_fails__stores_nothing_of_it(
    rows: JobRows, db: psycopg.Connection
) -> None:
    """Rows and history stand or fall together."""
    db.execute("ALTER TABLE job_events ADD CONSTRAINT none CHECK (type <> 'failed')")
    rows.apply([event("1-0", "processing")])
    with pytest.raises(psycopg.errors.CheckViolation):
        rows.apply([event("2-0", "failed"), event("2-1", "queued", job=JobKey("42", "job", "b"))])
    check(db, [event("1-0", "processing")])


@pytest.fixture
def plain_role(db: psycopg.Connection) -> Iterator[str]:
    """A role that may read the two tables and nothing more."""
    role = f"reader_{new_event_id().replace('-', '')}"
    db.execute(SQL("CREATE ROLE {}").format(Identifier(role)))
    db.execute(SQL("GRANT {} TO CURRENT_USER").format(Identifier(role)))
    db.execute(SQL("GRANT SELECT ON jobs, job_events TO {}").format(Identifier(role)))
    yield role
    db.execute("RESET ROLE")
    db.execute(SQL("DROP OWNED BY {}").format(Identifier(role)))
    db.execute(SQL("DROP ROLE {}").format(Identifier(role)))


def seen_tenants(connection: psycopg.Connection) -> tuple[set[str], set[str]]:
    jobs = connection.execute("SELECT tenant FROM jobs").fetchall()
    events = connection.execute("SELECT tenant FROM job_events").fetchall()
    return {tenant for (tenant,) in jobs}, {tenant for (tenant,) in events}


def of_three_tenants() -> list[Entry]:
    return [event("1-0", "done", job=JobKey(tenant, "job", "a1")) for tenant in ("1", "2", "3")]


def test_row_security__plain_role__sees_its_tenant_only_and_nothing_while_unset(
    rows: JobRows, db: psycopg.Connection, plain_role: str
) -> None:
    rows.apply(of_three_tenants())
    db.execute(SQL("SET ROLE {}").format(Identifier(plain_role)))
    assert seen_tenants(db) == (set(), set())
    db.execute("SELECT set_config('app.tenant_id', '2', false)")
    assert seen_tenants(db) == ({"2"}, {"2"})
    db.execute("SELECT set_config('app.tenant_id', '', false)")
    assert seen_tenants(db) == (set(), set())
    db.execute("RESET app.tenant_id")
    assert seen_tenants(db) == (set(), set())


def test_row_security__owner__sees_one_tenant_while_set_and_all_while_unset(
    rows: JobRows, db: psycopg.Connection
) -> None:
    rows.apply(of_three_tenants())
    assert seen_tenants(db) == ({"1", "2", "3"}, {"1", "2", "3"})
    db.execute("SELECT set_config('app.tenant_id', '2', false)")
    assert seen_tenants(db) == ({"2"}, {"2"})
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(
            "INSERT INTO jobs SELECT '3', kind, 'b', attempt, state, status, job_type, labels,"
            " worker, progress, result, error, code, created_at, started_at, updated_at, ended_at,"
            " positions FROM jobs"
        )


def test_row_security__role_that_may_read_every_table__sees_nothing_past_the_partitions(
    rows: JobRows, db: psycopg.Connection, plain_role: str
) -> None:
    """Partitions are tables too: `GRANT SELECT ON ALL TABLES` must not go round the policy."""
    now = milliseconds(datetime.now(UTC).date())
    rows.apply([*of_three_tenants(), event(f"{now}-0", "done")])
    db.execute(
        SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(Identifier(plain_role))
    )
    names = partitions_of(db).keys()
    assert len(names) == 2
    db.execute(SQL("SET ROLE {}").format(Identifier(plain_role)))
    for name in names:
        assert db.execute(SQL("SELECT * FROM {}").format(Identifier(name))).fetchall() == []


def test_facets__left_behind_by_a_deletion_past_the_triggers__are_there_once(
    rows: JobRows, db: psycopg.Connection
) -> None:
    new = [event("1-0", "queued", job_type="excel", labels={"source": "upload"})]
    other = [event("1-0", "queued", job=JobKey("42", "job", "b"), job_type="excel")]
    rows.apply(new)
    facets = db.execute("SELECT * FROM job_facets ORDER BY name").fetchall()
    assert len(facets) == 2
    db.execute("ALTER TABLE jobs DISABLE TRIGGER USER; DELETE FROM jobs")
    db.execute("ALTER TABLE jobs ENABLE TRIGGER USER")
    rows.apply([*new, *other])
    check(db, [*new, *other])
    held = db.execute("SELECT * FROM job_facets WHERE id = 'a1' ORDER BY name").fetchall()
    assert held == facets
    assert db.execute("SELECT name FROM job_facets WHERE id = 'b'").fetchall() == [("job_type",)]

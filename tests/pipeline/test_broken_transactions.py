"""Transactions that are ended in the middle: whoever writes runs them again, and nothing is twice.

The server itself ends them, as it does for a deadlock, a concurrent update, an administrator or a
network that breaks before or after the commit took place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg.sql import SQL, Identifier, Literal

from consumers.chores.promotions import Promotions
from consumers.composition import build
from projections.history.partitions import partition_statements
from projections.history.retention import drop_old
from projections.registry.rows import ROWS
from projections.rows.writer import JobRows
from sql import sessions
from streams.appender import EventAppender
from streams.connection import connect
from streams.settings import Settings
from tests.pipeline.conftest import environ
from tests.support.battery import run_here
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tests.support.workbooks import KOREAN, student, with_openpyxl

TIMES = 2
"""The number of times that each fault strikes."""

FAULTS = {
    "deadlock": "RAISE EXCEPTION 'injected' USING ERRCODE = '40P01'",
    "concurrent update": "RAISE EXCEPTION 'injected' USING ERRCODE = '40001'",
    "session ended": "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(30)",
}
WHEN = {"in the middle": "NOT DEFERRABLE", "at commit": "DEFERRABLE INITIALLY DEFERRED"}
BREAKS = [f"{fault} {when}" for fault in FAULTS for when in WHEN] + ["reply lost at commit"]

JOBS = 6


class Server:
    """The database, with a proxy before it, as a test breaks its transactions."""

    def __init__(self, direct: str, proxy: Proxy) -> None:
        self.direct = direct
        self.url = direct.replace(f":{urlsplit(direct).port}/", f":{proxy.port}/")
        self._proxy = proxy
        self._connection = psycopg.connect(direct, autocommit=True)
        self._broken = False

    def close(self) -> None:
        self._connection.close()

    def shatter(self, how: str, table: str) -> None:
        """Let a fault strike the next transactions that change rows of a table."""
        fault = next((each for each in FAULTS if how.startswith(each)), None)
        if fault is None:
            # The roster's statements commit by themselves.
            saved = b"INSERT INTO roster.students"
            self._proxy.sever_reply_to(saved if "roster" in table else b"COMMIT")
            return
        self._broken = True
        self._connection.execute("CREATE SEQUENCE strikes")
        self._connection.execute(
            SQL(
                "CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS {}"
            ).format(
                Literal(
                    f"BEGIN IF nextval('public.strikes') <= {TIMES} THEN {FAULTS[fault]}; END IF;"
                    " RETURN NULL; END"
                )
            )
        )
        self._connection.execute(
            SQL(
                "CREATE CONSTRAINT TRIGGER strike AFTER INSERT OR UPDATE OR DELETE ON {}"
                f" {WHEN[how.removeprefix(fault).strip()]} FOR EACH ROW EXECUTE FUNCTION strike()"
            ).format(Identifier(*table.split(".")))
        )

    def has_struck(self) -> bool:
        """Return whether the fault struck as often as it was to."""
        if not self._broken:
            return self._proxy.has_severed()
        return bool(self.one("SELECT last_value > %s FROM strikes", TIMES))

    def one(self, statement: Any, *arguments: object) -> Any:
        row = self._connection.execute(statement, arguments).fetchone()
        assert row is not None
        return row[0]

    def check(self) -> None:
        """Assert that each job and each event is there once."""
        assert self.one("SELECT count(*) FROM jobs WHERE state = 'done'") == JOBS
        assert self.one("SELECT count(*) FROM job_events") == 2 * JOBS
        assert self.one("SELECT max(landings) FROM job_events") == 1


@pytest.fixture
def server(database_url: str) -> Iterator[Server]:
    with (
        Proxy(urlsplit(database_url).port or 0) as proxy,
        closing(Server(database_url, proxy)) as server,
    ):
        yield server


@pytest.fixture
def rows(server: Server) -> Iterator[JobRows]:
    with closing(JobRows(lambda: sessions.connect(server.url, "test"))) as rows:
        yield rows


def append(client: redis.Redis) -> None:
    appender = EventAppender(client)
    for number in range(JOBS):
        job = {"id": f"j{number}", "labels": {"team": "a"}}
        appender.append(f"t{number % 2}", {"type": "queued", **job})
        appender.append(f"t{number % 2}", {"type": "done", **job})


def consume(client: redis.Redis, rows: JobRows) -> None:
    """Consume until everything is settled."""
    settings, stop = Settings(redis_url="redis://unused", database_url="unused"), Event()
    with pytest.MonkeyPatch.context() as patch:
        registered = replace(ROWS, writer=lambda _client, _settings: rows)
        patch.setattr("consumers.composition.find_projection", lambda _group: registered)
        patch.setattr("consumers.composition._chores", lambda *_: ())
        consumer = build("rows", settings, client, "c1")
    settled = 0

    def done() -> bool:
        nonlocal settled
        settled += consumer.turn(stop)
        return settled >= 2 * JOBS

    eventually(done, 30, "the rows")


def run(server: Server, redis_url: str, folder: Path, *words: str) -> tuple[int, str]:
    """Run a command, and return its status and its complaint."""
    settings = {"redis_url": redis_url, "database_url": server.url, "data_dir": str(folder)}
    status, _, complaint = run_here(environ({**settings, "roster_password": "0000"}), words)
    return status, complaint


@pytest.mark.parametrize(
    ("how", "table"),
    [
        *((how, "job_events") for how in BREAKS),
        *((BREAKS[1], one) for one in ("jobs", "job_facets")),
    ],
)
def test_consumer__each_event_is_stored_once_and_none_is_a_dead_letter(
    server: Server, rows: JobRows, redis_client: redis.Redis, table: str, how: str
) -> None:
    append(redis_client)
    rows._partitions.ensure(rows._ready_connection(), ())
    server.shatter(how, table)
    consume(redis_client, rows)
    server.check()
    assert server.has_struck()
    assert not list(redis_client.scan_iter("*:dead"))
    assert [redis_client.xpending(f"tenant:t{n}:events", "rows")["pending"] for n in (0, 1)] == [
        0,
        0,
    ]


@pytest.mark.parametrize("how", BREAKS)
def test_comparison_after_a_failover__restores_all(
    server: Server, rows: JobRows, redis_client: redis.Redis, how: str
) -> None:
    append(redis_client)
    consume(redis_client, rows)
    server.one("WITH gone AS (DELETE FROM job_events RETURNING 1) SELECT count(*) FROM gone")
    server.one("WITH gone AS (DELETE FROM jobs RETURNING 1) SELECT count(*) FROM gone")
    server.shatter(how, "job_events")
    chore = Promotions(redis_client, rows, "rows", interval_seconds=0.0)

    def compared() -> bool:
        try:
            chore.run()
        except psycopg.OperationalError:  # an outage, for which the consumer puts it off
            return False
        return redis_client.exists("jobtrail:database:rows") == 1

    eventually(compared, 30, "the comparison")
    server.check()
    assert server.has_struck()


@pytest.mark.parametrize("command", ["replay rows", "replay rows --reset", "replay status --reset"])
@pytest.mark.parametrize("how", ["deadlock in the middle", "session ended at commit"])
def test_replay__goes_on_or_ends_in_one_line_and_is_right_when_it_is_run_again(
    server: Server, redis_url: str, tmp_path: Path, command: str, how: str
) -> None:
    words = command.split()
    with (
        connect(redis_url) as client,
        closing(JobRows(lambda: sessions.connect(server.url, "test"))) as rows,
    ):
        append(client)
        consume(client, rows)
        server.one("WITH gone AS (DELETE FROM jobs WHERE id = 'j1' RETURNING 1) SELECT 1 FROM gone")
        if "--reset" in words:  # the one that puts right what only looks newer
            server.one(
                "WITH w AS (UPDATE jobs SET worker = 'x' RETURNING 1) SELECT count(*) FROM w"
            )
            for number in range(JOBS):
                client.set(f"tenant:t{number % 2}:job:j{number}:status", b'{"status":"wrong"}')
        server.shatter(how, "jobs" if words[1] == "rows" else "replaced_states")
        for _ in range(2 * TIMES + 2):
            status, complaint = run(server, redis_url, tmp_path, *words)
            if status == 0:
                break
            assert "deadlock" not in how
            assert len(complaint.strip().splitlines()) == 1
            assert "PostgreSQL is away or refuses" in complaint
        assert status == 0
        assert server.has_struck()
        assert run(server, redis_url, tmp_path, "verify", words[1])[0] == 0


@pytest.mark.parametrize("how", BREAKS)
def test_retention__drops_what_is_old_at_the_next_try_at_the_latest(
    server: Server, how: str
) -> None:
    monday = datetime.now(UTC).date() - timedelta(weeks=20)
    monday -= timedelta(days=monday.weekday())
    with psycopg.connect(server.direct, autocommit=True) as connection:
        for statement in partition_statements(f"job_events_{monday:%Y%m%d}", monday):
            connection.execute(statement)
        for day in (monday, date(2020, 1, 1), datetime.now(UTC).date()):
            connection.execute(
                "INSERT INTO job_events (tenant, kind, id, event_id, day, entry_ms, entry_seq,"
                " type, attempt, at, event) VALUES"
                " ('t', 'job', 'a', %s, %s, 1, 0, 'done', 1, now(), '{}')",
                (str(day), day),
            )
    server.shatter(how, "job_events_default")

    def dropped() -> bool:
        try:
            drop_old(lambda: sessions.connect(server.url, "test"), 30)
        except psycopg.OperationalError:
            assert how.startswith(("session ended", "reply lost"))
            return False
        return server.has_struck()

    eventually(dropped, 30, "the drop")
    assert server.one("SELECT count(*) FROM job_events") == 1


@pytest.mark.parametrize("how", BREAKS)
def test_roster__each_student_is_saved_and_counted_once(
    server: Server, redis_url: str, tmp_path: Path, how: str
) -> None:
    workbook = with_openpyxl(tmp_path / "a.xlsx", [KOREAN, *(student(n) for n in range(5))])
    server.shatter(how, "roster.students")
    status, complaint = run(
        server, redis_url, tmp_path, "roster", "import", str(workbook), "--tenant", "42", "--json"
    )
    assert status == 0, complaint
    assert server.one("SELECT count(*) FROM roster.students") == 5
    assert server.has_struck()

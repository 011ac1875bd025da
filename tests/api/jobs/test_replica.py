"""Lists, rows and history from a streaming replica, with the age of its data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from api.jobs.database import Database, Read
from api.jobs.job_reads import JobReads
from ops.devstack import EmbeddedPostgres
from ops.doctor.checks import CHECKS
from ops.doctor.examination import examine
from ops.doctor.finding import Finding
from projections.decoding import decode
from projections.rows.writer import JobRows
from sql import sessions
from streams.entry_ids import EntryId
from streams.events import dump_json
from streams.settings import Settings
from tests.api.conftest import Asker
from tests.support.postgres_replicas import PrimaryPostgres, execute
from tests.support.processes import frozen
from tests.support.servers import copy_folder, database_url, server_folder
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio

AGE = "jobtrail-replica-age"
PATHS = ("/api/v1/jobs/", "/api/v1/jobs/{}/", "/api/v1/jobs/{}/history/")


class Pair(NamedTuple):
    """A primary and its replica."""

    primary: PrimaryPostgres
    replica: EmbeddedPostgres

    @property
    def urls(self) -> dict[str, str]:
        """The settings of an API that reads from the replica."""
        return {"database_url": self.primary.url, "database_read_url": self.replica.url}

    def store(self, job_id: str) -> None:
        """Store a job on the primary."""
        rows = JobRows(lambda: sessions.connect(self.primary.url, "test"))
        entry_id = EntryId(time.time_ns() // 1_000_000, 0)
        event = dump_json({"type": "done", "id": job_id})
        rows.apply([decode("t", entry_id, [b"event", event])])
        rows.close()

    def follow(self) -> None:
        """Wait until the replica has applied everything."""
        position = execute(self.primary.url, "SELECT pg_current_wal_lsn()")
        applied = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
        eventually(lambda: execute(self.replica.url, applied), 30, "the replica")

    def replay(self, word: str) -> None:
        """Pause or resume the replica's replay."""
        execute(database_url(self.replica, "postgres"), f"SELECT pg_wal_replay_{word}()")


def examined(pair: Pair, read_url: str) -> Finding:
    """Return what the doctor finds of a replica."""
    settings = Settings(
        redis_url="redis://127.0.0.1:1/0",
        database_url=pair.primary.url,
        database_read_url=read_url,
    )
    (found,) = examine(settings, [each for each in CHECKS if each.name == "postgres replica"])
    return found


@pytest.fixture(scope="module")
def pair(postgres_folder: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        folders = [stack.enter_context(server_folder()) for _ in range(2)]
        copy_folder(postgres_folder, folders[0])
        primary = stack.enter_context(PrimaryPostgres(folders[0], fast=True))
        primary.copy_to(folders[1])
        yield Pair(primary, stack.enter_context(EmbeddedPostgres(folders[1], fast=True)))


async def test_answers_of_the_replica_tell_its_age(pair: Pair, ask: Asker) -> None:
    pair.store("a1")
    pair.follow()
    async with ask(**pair.urls) as client:
        for path in PATHS:
            answer = await client.get(path.format("a1"))
            assert (answer.status_code, answer.headers[AGE]) == (200, "0")
            for query in ("fresh", "fresh=", "fresh=1", "fresh=true"):
                answer = await client.get(f"{path.format('a1')}?{query}")
                assert answer.status_code == 200
                assert AGE not in answer.headers
            for query in ("fresh=0", "fresh=false"):
                assert AGE in (await client.get(f"{path.format('a1')}?{query}")).headers
            for query in ("fresh=yes", "fresh=2", "fresh&fresh"):
                answer = await client.get(f"{path.format('a1')}?{query}")
                assert (answer.status_code, answer.json()["parameter"]) == (400, "fresh")
        assert (await client.get("/readyz")).json()["replica"] == "ok"


async def test_replica_that_lags__answers_are_older_and_fresh_ones_are_not(
    pair: Pair, ask: Asker
) -> None:
    pair.store("before")
    pair.follow()
    pair.replay("pause")
    try:
        pair.store("late")
        async with ask(**pair.urls) as client:
            async with asyncio.timeout(60):
                while int((await client.get(PATHS[0])).headers[AGE]) < 1:
                    await asyncio.sleep(0.05)
            for path in PATHS[1:]:
                late = await client.get(path.format("late"))
                assert late.status_code == 404
                assert int(late.headers[AGE]) >= 1
                assert (await client.get(f"{path.format('late')}?fresh=1")).status_code == 200
            pair.replay("resume")
            pair.follow()
            assert (await client.get(PATHS[1].format("late"))).status_code == 200
    finally:
        pair.replay("resume")


async def test_replica_that_is_away__the_primary_answers_until_it_is_back(
    pair: Pair, ask: Asker
) -> None:
    pair.store("a1")
    pair.follow()
    async with ask(**pair.urls) as client:
        assert AGE in (await client.get(PATHS[0])).headers
        pair.replica.stop()
        try:
            for path in (*PATHS, *PATHS):
                answer = await client.get(path.format("a1"))
                assert answer.status_code == 200
                assert AGE not in answer.headers
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["replica"]) == (200, "away")
        finally:
            pair.replica.start()
        async with asyncio.timeout(60):
            while AGE not in (await client.get(PATHS[0])).headers:
                await asyncio.sleep(0.05)
        assert (await client.get("/readyz")).json()["replica"] == "ok"


async def test_replica_that_is_frozen__the_primary_answers(pair: Pair, ask: Asker) -> None:
    pair.store("a1")
    pair.follow()
    async with ask(**pair.urls, api_statement_timeout_seconds=0.5) as client:
        assert AGE in (await client.get(PATHS[0])).headers
        with frozen(pair.replica.pid):
            paths = [path.format("a1") for path in PATHS]
            answers = await asyncio.gather(*map(client.get, paths * 4))
            answers += [await client.get(path) for path in paths]
            for answer in answers:
                assert answer.status_code == 200
                assert AGE not in answer.headers
            assert (await client.get("/readyz")).json()["replica"] == "away"
        async with asyncio.timeout(60):
            while AGE not in (await client.get(PATHS[0])).headers:
                await asyncio.sleep(0.05)


async def test_replica_without_the_tables__the_primary_answers(pair: Pair, ask: Asker) -> None:
    pair.store("a1")
    empty = database_url(pair.replica, "postgres")
    async with ask(database_url=pair.primary.url, database_read_url=empty) as client:
        for path in PATHS:
            answer = await client.get(path.format("a1"))
            assert answer.status_code == 200
            assert AGE not in answer.headers
    finding = examined(pair, empty)
    assert not finding.ok
    assert "missing 0001_jobs" in finding.found


@pytest.mark.parametrize(("conflicts", "served_by"), [(2, "replica"), (99, "primary")])
async def test_read_that_the_replica_cancels_is_repeated(
    pair: Pair, conflicts: int, served_by: str
) -> None:
    tried = list[bool]()

    async def work(connection: Any) -> Callable[[], Any]:
        tried.append(True)
        cursor = await connection.execute("SELECT pg_is_in_recovery()")
        if len(tried) <= conflicts:
            # As a conflict with recovery; the primary is never in recovery.
            await connection.execute(
                "DO $$ BEGIN IF pg_is_in_recovery() THEN"
                " RAISE EXCEPTION 'conflict with recovery' USING ERRCODE = '40001';"
                " END IF; END $$"
            )
        return cursor.fetchone  # type: ignore[no-any-return]

    options: dict[str, Any] = {"pool_size": 2, "statement_seconds": 20.0}
    reads = JobReads(
        Database(pair.primary.url, **options), Database(pair.replica.url, replica=True, **options)
    )
    try:
        found: Read[Any] = await reads.read("t", work)
        assert found.value == (served_by == "replica",)
        assert (found.replica_age is None) == (served_by == "primary")
        assert (await reads.states())["replica"] == "ok"
    finally:
        await reads.close()


def test_doctor_tells_of_the_replica(pair: Pair) -> None:
    pair.follow()
    assert examined(pair, pair.replica.url).ok
    assert examined(pair, pair.primary.url).found == "not a replica"
    away = examined(pair, "postgresql://me:secret@127.0.0.1:1/x")
    assert not away.ok
    assert "secret" not in away.found
    wrong = examined(pair, "mysql://me:secret@127.0.0.1/x")
    assert "JOBTRAIL_DATABASE_READ_URL" in wrong.found
    assert "secret" not in wrong.found


async def test_no_replica__fresh_is_accepted(pair: Pair, ask: Asker) -> None:
    pair.store("a1")
    async with ask(database_url=pair.primary.url) as client:
        answer: httpx.Response = await client.get("/api/v1/jobs/a1/?fresh=1")
        assert answer.status_code == 200
        assert AGE not in answer.headers
        assert "replica" not in (await client.get("/readyz")).json()

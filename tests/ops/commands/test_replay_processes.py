"""Replay and verify in several processes: the same results as with one, and a common end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from projections.decoding import decode
from projections.replay.checkpoint import Checkpoint
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql import sessions
from streams.entry_ids import EntryId
from tests.support import forked
from tests.support.processes import descendants, runs, signal_all
from tests.support.waiting import ENDING, eventually

TENANTS, JOBS, EVENTS = 6, 180, 5
NOW = 4_000_000_000_000
TYPES = ("queued", "processing", "progress", "progress", "done")


class Command:
    """The command with one set of settings."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops", *words],
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if runs(process.pid):
                signal_all(process.pid, signal.SIGKILL)
            process.communicate(timeout=ENDING)

    def run(self, *words: str, status: int = 0) -> tuple[str, str]:
        done = forked.run(words, self._environ)
        assert done.returncode == status, done.stderr
        assert b"Traceback" not in done.stderr
        return done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def command(redis_url: str, database_url: str, tmp_path: Path) -> Command:
    ours = {"REDIS_URL": redis_url, "DATABASE_URL": database_url, "DATA_DIR": str(tmp_path)}
    others = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
    return Command(others | {f"JOBTRAIL_{name}": text for name, text in ours.items()})


@pytest.fixture
def projected(redis_client: redis.Redis, database_url: str) -> None:
    """Jobs of several tenants in both projections and the history, but in no stream."""
    entries = [
        decode(
            f"t{job % TENANTS}",
            EntryId(NOW + step, job),
            [b"event", json.dumps({"type": type_, "id": f"j{job}"}).encode()],
        )
        for job in range(JOBS)
        for step, type_ in enumerate(TYPES)
    ]
    rows = JobRows(lambda: sessions.connect(database_url, "test"))
    rows.apply(entries)
    rows.close()
    StatusCache(redis_client).apply(entries)


@contextmanager
def held_rows(database_url: str) -> Iterator[None]:
    """Lock all rows, so that a replay of the rows waits in its first batch."""
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM jobs FOR UPDATE")
        yield


def working(process: subprocess.Popen[str], count: int = 3) -> list[int]:
    """Wait until the command has `count` processes, and return their ids."""
    eventually(lambda: len(descendants(process.pid)) == count)
    return sorted(descendants(process.pid))


def all_waiting(database_url: str, count: int) -> list[int]:
    """Wait until `count` sessions of replays wait for a lock; return their process ids."""
    with psycopg.connect(database_url, autocommit=True) as connection:

        def found() -> list[int]:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'jobtrail-replay'"
                " AND datname = current_database() AND wait_event_type = 'Lock'"
            )
            return [pid for (pid,) in rows]

        eventually(lambda: len(found()) == count)
        return found()


@pytest.mark.parametrize("projection", ["status", "rows"])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.usefixtures("projected")
def test_replay__by_several_processes__is_as_by_one(
    command: Command, redis_client: redis.Redis, database_url: str, projection: str, *, reset: bool
) -> None:
    told = []
    for count in ("1", "4"):
        redis_client.flushall()
        with psycopg.connect(database_url) as connection:
            connection.execute("TRUNCATE jobs, replaced_states")
        words = ["replay", projection, "--processes", count, "--json", *["--reset"] * reset]
        told.append(json.loads(command.run(*words)[0]) | {"seconds": 0})
    assert told[0] == told[1]
    assert (told[1]["jobs"], told[1]["events"]) == (JOBS, JOBS * EVENTS)
    printed, _ = command.run("verify", projection, "--processes", "4")
    assert printed == f"verified {JOBS} jobs\n"


@pytest.mark.usefixtures("projected")
def test_verify__by_several_processes__finds_what_one_finds(
    command: Command, redis_client: redis.Redis, database_url: str
) -> None:
    """Wrong and missing rows, and one without events, of several tenants."""
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE jobs SET job_type = 'wrong' WHERE id LIKE '%7'")
        connection.execute("DELETE FROM jobs WHERE id LIKE '%8'")
        connection.execute("UPDATE jobs SET id = 'other' WHERE id IN ('j1', 'j2')")
    outputs = [command.run("verify", "rows", "--processes", n, status=1) for n in ("1", "4")]
    alone, together = (sorted(printed.splitlines()) for printed, _ in outputs)
    assert alone == together
    assert len(alone) == 18 + 18 + 2 + 2
    assert outputs[0][1] == outputs[1][1] == f"jobtrail: {40} differences in {JOBS} jobs\n"


@pytest.mark.usefixtures("projected")
def test_ctrl_c__ends_all_processes__and_the_next_run_goes_on(
    command: Command, database_url: str, tmp_path: Path
) -> None:
    """Two of three shares are done when the failure occurs: only the third is read again."""
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM jobs WHERE tenant = 't5' FOR UPDATE")
        with command.running("replay", "rows", "--processes", "3", "--json") as process:
            workers = working(process)
            all_waiting(database_url, 1)
            eventually(lambda: _done(tmp_path) == 2)
            process.send_signal(signal.SIGINT)
            printed, said = process.communicate(timeout=ENDING)
    assert (process.returncode, printed) == (130, "")
    assert "Traceback" not in said
    eventually(lambda: not any(map(runs, workers)))
    again = json.loads(command.run("replay", "rows", "--json")[0])
    assert again["jobs"] == JOBS // 3
    assert _checkpoints(tmp_path) == []
    assert command.run("verify", "rows")[0] == f"verified {JOBS} jobs\n"


def _checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob("replay-*.json"))


def _done(folder: Path) -> int:
    for file in _checkpoints(folder):
        told = json.loads(file.read_bytes())
        return sum(standing.done for standing in Checkpoint(folder, told["command"]).read())
    return 0


@pytest.mark.usefixtures("projected")
def test_one_process_is_killed__one_line__and_none_is_left(
    command: Command, database_url: str
) -> None:
    with (
        held_rows(database_url),
        command.running("replay", "rows", "--processes", "3") as process,
    ):
        workers = working(process)
        all_waiting(database_url, 3)
        os.kill(workers[1], signal.SIGKILL)
        printed, said = process.communicate(timeout=ENDING)
    assert (process.returncode, printed) == (1, "")
    (line,) = said.splitlines()
    assert "ended before its work was done" in line
    assert "--processes" in line
    eventually(lambda: not any(map(runs, workers)))


@pytest.mark.usefixtures("projected")
def test_outage_in_one_process__one_line__and_none_is_left(
    command: Command, database_url: str
) -> None:
    with (
        held_rows(database_url),
        command.running("replay", "rows", "--processes", "3") as process,
        psycopg.connect(database_url, autocommit=True) as admin,
    ):
        workers = working(process)
        sessions_ = all_waiting(database_url, 3)
        admin.execute("SELECT pg_terminate_backend(%s)", (sessions_[0],))
        printed, said = process.communicate(timeout=ENDING)
    assert (process.returncode, printed) == (1, "")
    (line,) = said.splitlines()
    assert "PostgreSQL is away or refuses" in line
    eventually(lambda: not any(map(runs, workers)))


@pytest.mark.usefixtures("projected")
def test_command_is_killed__its_processes_end_by_themselves(
    command: Command, database_url: str
) -> None:
    with ExitStack() as stack:
        with held_rows(database_url):
            process = stack.enter_context(command.running("replay", "rows", "--processes", "3"))
            workers = working(process)
            all_waiting(database_url, 3)
            process.kill()
            process.wait(ENDING)
        # The rows are free again, and nobody hears of what is done.
        eventually(lambda: not any(runs(each) for each in workers), ENDING)


@pytest.mark.usefixtures("projected")
def test_more_processes_than_tenants__are_not_made(command: Command, database_url: str) -> None:
    with (
        held_rows(database_url),
        command.running("replay", "rows", "--processes", "50") as process,
    ):
        all_waiting(database_url, TENANTS)
        assert len(descendants(process.pid)) == TENANTS
    with command.running("replay", "rows", "--processes", "0") as process:
        _, said = process.communicate(timeout=ENDING)
    assert (process.returncode, len(said.splitlines())) == (2, 1)

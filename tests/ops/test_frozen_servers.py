"""Commands against servers that accept connections and never answer.

Each ends in bounded time with one line on standard error and a status that is not 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from projections.decoding import decode
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql import sessions
from streams.connection import connect
from streams.entry_ids import EntryId
from tests.support.commands import Outcome, Request, run_all
from tests.support.processes import frozen
from tests.support.servers import copy_folder, server_folder
from tests.support.waiting import eventually
from tests.support.workbooks import roster

BOUND_SECONDS = 90.0
"""The time limit for all of them together on a busy machine; a command that hangs never ends."""

SHORT = {
    "sql.deadlines:LIVENESS_SECONDS": 0.5,
    "workers.roster.importer:OUTAGE_SECONDS": 1.0,
    "streams.reporter:Reporter.__init__.__kwdefaults__.end_retry_seconds": 1.0,
}

TENANT = ("--tenant", "1")
OF_REDIS: Mapping[str, Sequence[str]] = {
    "status": ("status", "a1", *TENANT),
    "tail": ("tail", *TENANT),
    "lag": ("lag",),
    "lag of one": ("lag", *TENANT),
    "dead list": ("dead", "list"),
    "dead show": ("dead", "show", "5-1", *TENANT),
    "dead requeue": ("dead", "requeue", "--all", *TENANT),
    "dead discard": ("dead", "discard", "--all", *TENANT),
    "trim": ("trim",),
    "groups list": ("groups", "list"),
    "groups deregister": ("groups", "deregister", "audit"),
    "append": ("append", *TENANT),
    "append --keep-going": ("append", "--keep-going", *TENANT),
    "doctor --legacy": ("doctor", "--legacy"),
    "video encode": ("video", "encode", "ROSTER", *TENANT),
}
OF_POSTGRES: Mapping[str, Sequence[str]] = {
    "migrate": ("migrate",),
    "old-tables list": ("old-tables", "list"),
    "old-tables build": ("old-tables", "build"),
    "replay --drop-old": ("replay", "status", "--drop-old"),
}
OF_BOTH: Mapping[str, Sequence[str]] = {
    "replay status": ("replay", "status"),
    "replay rows --reset": ("replay", "rows", "--reset"),
    "verify status": ("verify", "status"),
    "verify rows": ("verify", "rows"),
    "doctor": ("doctor",),
    "roster import": ("roster", "import", "ROSTER", *TENANT),
}
NAMES = {"redis": ("Redis",), "postgres": ("PostgreSQL", "the database stayed away")}
"""Texts, one of which each error line has."""
EVENT = b'{"type":"queued","id":"a1"}\n'
DONE_BEFORE = {("doctor", "redis")}
"""The commands that use a server only before they wait for the test's locks."""
REPORTS = ("doctor",)
"""Commands whose findings are on standard output."""


class Rig(NamedTuple):
    """Both servers, and files that commands read."""

    redis: EmbeddedRedis
    postgres: EmbeddedPostgres
    events: Path
    roster: Path
    settings: Mapping[str, str]

    def pid(self, server: str) -> int:
        return self.redis.pid if server == "redis" else self.postgres.pid


@pytest.fixture(scope="module")
def rig(postgres_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    files = tmp_path_factory.mktemp("files")
    events = files / "events.jsonl"
    events.write_bytes(EVENT)
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        copy_folder(postgres_folder, folder)
        postgres = stack.enter_context(EmbeddedPostgres(folder, fast=True))
        redis_folder = stack.enter_context(server_folder())
        redis = stack.enter_context(EmbeddedRedis(redis_folder, persist=False))
        settings = {
            "redis_url": redis.url,
            "database_url": postgres.url,
            "data_dir": str(files),
            "roster_password": "first-password-1",
        }
        yield Rig(redis, postgres, events, roster(files / "roster.xlsx", 5), settings)


def check(name: str, outcome: Outcome, server: str) -> None:
    assert outcome.status == 1, (name, outcome)
    *logged, line = outcome.err.splitlines()
    assert line.startswith("jobtrail: "), (name, outcome)
    assert all(each.startswith("progress of job") for each in logged), (name, outcome)
    told = outcome.out if name in REPORTS else line
    assert any(word in told for word in NAMES[server]), (name, outcome)


def of_rig(rig: Rig, commands: Mapping[str, Sequence[str]], stdin: Path) -> Request:
    words = {
        name: [str(rig.roster) if word == "ROSTER" else word for word in command]
        for name, command in commands.items()
    }
    return Request(words, str(stdin), SHORT, BOUND_SECONDS)


@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_frozen_server__every_command_ends_with_one_line(rig: Rig, server: str) -> None:
    commands = {**(OF_REDIS if server == "redis" else OF_POSTGRES), **OF_BOTH}
    with frozen(rig.pid(server)):
        outcomes = run_all(of_rig(rig, commands, rig.events), rig.settings)
    assert outcomes.keys() == commands.keys()
    for name, outcome in outcomes.items():
        check(name, outcome, server)


@pytest.mark.thorough
@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_server_freezes_half_way__long_commands_end_with_one_line(rig: Rig, server: str) -> None:
    store(rig)
    halted = {name: words for name, words in OF_BOTH.items() if (name, server) not in DONE_BEFORE}
    appending = {"append": ("append", "--keep-going", *TENANT)} if server == "redis" else {}
    pipe = rig.events.with_name(f"{server}.pipe")
    os.mkfifo(pipe)
    with (
        connect(rig.redis.url) as client,
        ThreadPoolExecutor(1) as aside,
        psycopg.connect(rig.postgres.url) as holder,
    ):
        holder.execute("LOCK TABLE jobs, job_events, roster.students IN ACCESS EXCLUSIVE MODE")
        before = client.xlen("tenant:1:events")
        request = of_rig(rig, {**halted, **appending}, pipe)
        running = aside.submit(run_all, request, rig.settings)
        with pipe.open("wb", buffering=0) as lines:
            lines.write(EVENT)
            eventually(lambda: waiting(rig.postgres.url) == len(halted), BOUND_SECONDS)
            if appending:
                eventually(lambda: client.xlen("tenant:1:events") > before, BOUND_SECONDS)
            with frozen(rig.pid(server)):
                if appending:
                    lines.write(EVENT)
                    holder.rollback()
                outcomes = running.result()
    assert outcomes.keys() == request.commands.keys()
    for name, outcome in outcomes.items():
        check(name, outcome, server)


def store(rig: Rig) -> None:
    """Store a few jobs, so that there is something to replay and to verify."""
    entries = [
        decode("1", EntryId(1_000 + number, 0), [b"event", b'{"type":"done","id":"%d"}' % number])
        for number in range(5)
    ]
    rows = JobRows(lambda: sessions.connect(rig.postgres.url, "test"))
    rows.apply(entries)
    rows.close()
    with connect(rig.redis.url) as client:
        StatusCache(client).apply(entries)


def waiting(url: str) -> int:
    """Count the sessions that wait for a lock."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        ).fetchall()
    return len(found)

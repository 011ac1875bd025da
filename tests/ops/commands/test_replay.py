"""`replay` and `verify` as processes, beside consumers that are processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg.sql import SQL, Identifier

from ops.tasks.audit import user_name
from ops.tasks.replay.settled import settled
from projections.history.retention import drop_before
from projections.replay.checkpoint import Checkpoint, ShareProgress
from streams.appender import EventAppender
from streams.entry_ids import EntryId
from streams.keys import JobKey
from tests.support import forked
from tests.support.groups import settled as all_settled
from tests.support.waiting import ENDING, eventually

TENANTS, JOBS, EVENTS = 5, 400, 10


class Tools:
    """The two commands and the consumers, with one set of settings."""

    def __init__(self, stack: ExitStack, settings: dict[str, str]) -> None:
        self._stack = stack
        inherited = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
        self._environ = inherited | {f"JOBTRAIL_{name}": text for name, text in settings.items()}

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command."""
        process = forked.begin(words, self._environ)
        self._stack.callback(_end, process)
        return process

    def run(self, *words: str, expect: int = 0) -> str:
        """Run a command to its end, and return what it printed."""
        done = forked.run(words, self._environ)
        assert done.returncode == expect, done.stderr.decode()
        assert b"Traceback" not in done.stderr
        return (done.stdout + (done.stderr if expect else b"")).decode()

    def jobtrail(self, *words: str, stdin: bytes = b"", **settings: str) -> str:
        """Run a command with more settings, and return what it printed, whatever its status."""
        more = {f"JOBTRAIL_{name}": text for name, text in settings.items()}
        done = forked.run(words, self._environ | more, stdin)
        assert b"Traceback" not in done.stderr
        return done.stdout.decode()

    def consume(self, group: str) -> None:
        """Run a consumer until the end of the test."""
        process = forked.begin(["consume", group], self._environ, stderr=subprocess.DEVNULL)
        self._stack.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


@pytest.fixture
def tools(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Tools]:
    with ExitStack() as stack:
        yield Tools(
            stack,
            {"REDIS_URL": redis_url, "DATABASE_URL": database_url, "DATA_DIR": str(tmp_path)},
        )


def append(client: redis.Redis, round_: int) -> None:
    """One event for each job of each tenant."""
    type_ = "queued" if round_ == 0 else "done" if round_ == EVENTS - 1 else "progress"
    EventAppender(client).append_many(
        (f"t{job % TENANTS}", {"type": type_, "id": f"j{job}", "worker": f"w{round_}"})
        for job in range(JOBS)
        if type_ != "done" or job % 2
    )


def wait_for_consumers(client: redis.Redis) -> None:
    eventually(
        lambda: all(all_settled(client, f"t{n}", "status", "rows") for n in range(TENANTS)), 60
    )


def test_flushall_under_load_then_replay_and_verify(
    tools: Tools, redis_client: redis.Redis
) -> None:
    for group in ("status", "rows"):
        tools.consume(group)
    for round_ in range(EVENTS - 1):
        append(redis_client, round_)
    wait_for_consumers(redis_client)
    # On jobs of its own: what is flushed before it was stored anywhere is nowhere.
    stop = threading.Event()

    def more() -> None:
        number = 0
        while not stop.is_set():
            EventAppender(redis_client).append(
                "t1", {"type": "progress", "id": f"live{number % 50}", "percent": number % 100}
            )
            number += 1

    load = threading.Thread(target=more)
    load.start()
    try:
        eventually(lambda: redis_client.exists("tenant:t1:job:live49:status"), 60)
        redis_client.flushall()
        told = json.loads(tools.run("replay", "status", "--json"))
        assert told["jobs"] >= JOBS
    finally:
        stop.set()
        load.join()
    append(redis_client, EVENTS - 1)
    wait_for_consumers(redis_client)
    for projection in ("status", "rows"):
        assert tools.run("verify", projection, "--tenant", "t0") == "verified 80 jobs\n"
    assert tools.run("verify", "rows").startswith("verified ")
    # Reset: the consumer of status may have read events before the flush and written documents
    # after it. These documents reflect events that are in no stream and no history.
    tools.run("replay", "status", "--reset")
    assert tools.run("verify", "status").startswith("verified ")


def test_verify_while_events_come__no_false_alarm(tools: Tools, redis_client: redis.Redis) -> None:
    for group in ("status", "rows"):
        tools.consume(group)
    stop = threading.Event()

    def more() -> None:
        round_ = 0
        while not stop.is_set():
            append(redis_client, round_ % (EVENTS - 1))
            round_ += 1
            stop.wait(JOBS / 500)

    load = threading.Thread(target=more)
    load.start()
    try:
        eventually(lambda: redis_client.exists("tenant:t4:job:j399:status"), 60)
        for projection in ("status", "rows"):
            assert tools.run("verify", projection) == f"verified {JOBS} jobs\n"
    finally:
        stop.set()
        load.join()


def test_wrong_rows__verify_names_them__replay_leaves_them__reset_mends_them(
    tools: Tools, redis_client: redis.Redis, database_url: str
) -> None:
    append(redis_client, 0)
    append(redis_client, 3)
    dry = tools.run("replay", "rows", "--dry-run")
    assert "would read 800 events (0 in the history, 800 in the streams alone) of 400 jobs" in dry
    assert tools.run("replay", "rows").startswith("replayed 800 events of 400 jobs into rows")
    assert tools.run("verify", "rows") == "verified 400 jobs\n"
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("UPDATE jobs SET attempt = 9, worker = 'nobody' WHERE id = 'j7'")
    found = tools.run("verify", "rows", expect=1).splitlines()
    assert found[:2] == [
        "t2 job j7 attempt: served 9, folded 1",
        "t2 job j7 worker: served nobody, folded w3",
    ]
    assert found[2:] == ["jobtrail: 2 differences in 400 jobs"]
    tools.run("replay", "rows")
    as_json = tools.run("verify", "rows", "--tenant", "t2", "--json", expect=1).splitlines()
    assert json.loads(as_json[0]) == {
        "tenant": "t2",
        "kind": "job",
        "id": "j7",
        "field": "attempt",
        "served": 9,
        "folded": 1,
    }
    assert json.loads(tools.run("replay", "rows", "--reset", "--json"))["changed"] == 1
    assert tools.run("verify", "rows") == "verified 400 jobs\n"
    # What it replaced is kept, can be put back, and goes when it is told to.
    put_back = tools.run("replay", "rows", "--restore-old")
    assert put_back.startswith("put back 1 row that the reset of 2")
    assert tools.run("verify", "rows", expect=1).splitlines() == found
    told = tools.run("replay", "rows", "--reset")
    assert "1 replaced state kept until: jobtrail replay rows --drop-old" in told
    assert tools.run("replay", "rows", "--drop-old", "--tenant", "t3") == (
        "dropped 0 replaced states of rows\n"
    )
    dropped = json.loads(tools.run("replay", "rows", "--drop-old", "--json"))
    assert dropped == {"projection": "rows", "dropped": 1}
    assert "no replaced rows are kept" in tools.run("replay", "rows", "--restore-old", expect=1)
    assert tools.run("verify", "rows") == "verified 400 jobs\n"


def test_wrong_documents__reset_keeps_them__until_they_are_dropped(
    tools: Tools, redis_client: redis.Redis, database_url: str
) -> None:
    append(redis_client, 0)
    tools.run("replay", "status")
    name = "tenant:t2:job:j7:status"
    wrong = b'{"status": "DONE", "attempt": 9}'
    redis_client.set(name, wrong)
    redis_client.set("tenant:t2:job:ghost:status", wrong)
    told = json.loads(tools.run("replay", "status", "--reset", "--json"))
    assert (told["jobs"], told["kept"]) == (JOBS, 2)
    assert json.loads(redis_client.get(name) or b"")["status"] == "PENDING"
    with psycopg.connect(database_url, autocommit=True) as db:
        kept = db.execute(
            "SELECT id, why, was->>'status' FROM replaced_states WHERE projection = 'status'"
            " ORDER BY id"
        ).fetchall()
    assert kept == [("ghost", "removed", wrong.decode()), ("j7", "updated", wrong.decode())]
    assert "only rows are put back" in tools.run("replay", "status", "--restore-old", expect=1)
    assert tools.run("replay", "status", "--drop-old") == "dropped 2 replaced states of status\n"


RECORDED = """
SELECT action, actor, tenant, target, outcome, details->'counts' FROM operator_actions AS a
JOIN operator_outcomes ON action_id = a.id ORDER BY a.id
"""


def test_what_replay_changes_is_in_the_audit_log(
    tools: Tools, redis_client: redis.Redis, database_url: str
) -> None:
    EventAppender(redis_client).append("t1", {"type": "done", "id": "a1"})
    tools.run("replay", "rows", "--tenant", "t1", "--dry-run")
    tools.run("replay", "rows", "--tenant", "t1", "--since", "0-1")
    tools.run("replay", "rows", "--reset")
    tools.run("replay", "rows", "--drop-old")
    tools.run("replay", "rows", "--restore-old", expect=1)
    with psycopg.connect(database_url, autocommit=True) as db:
        found = db.execute(RECORDED).fetchall()
    assert [(action, tenant, outcome) for action, _, tenant, _, outcome, _ in found] == [
        ("replay", "t1", "done"),
        ("replay", None, "done"),
        ("replay drop-old", None, "done"),
        ("replay restore-old", None, "failed"),
    ]
    assert {actor for _, actor, *_ in found} == {user_name()}
    assert found[0][3] == {"projection": "rows", "reset": False, "from": "0-1", "to": None}
    assert (found[0][5]["jobs"], found[1][3]["reset"]) == (1, True)
    assert (found[2][3], found[2][5]) == ({"projection": "rows"}, {"dropped": 0})


def test_restore_old_beside_consumers__what_they_wrote_since_stays(
    tools: Tools, redis_client: redis.Redis, database_url: str
) -> None:
    append(redis_client, 0)
    tools.consume("rows")
    tools.consume("status")
    wait_for_consumers(redis_client)
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("UPDATE jobs SET attempt = 9 WHERE id IN ('j7', 'j8')")
        assert json.loads(tools.run("replay", "rows", "--reset", "--json"))["kept"] == 2
        EventAppender(redis_client).append("t3", {"type": "done", "id": "j8"})
        wait_for_consumers(redis_client)
        told = json.loads(tools.run("replay", "rows", "--restore-old", "--json"))
        assert (told["restored"], told["left"]) == (1, 1)
        found = "SELECT id, attempt, state FROM jobs WHERE id IN ('j7', 'j8') ORDER BY id"
        assert db.execute(found).fetchall() == [("j7", 9, "queued"), ("j8", 1, "done")]


def test_doctor_reminds_of_what_is_kept_and_of_what_was_shed(
    tools: Tools, redis_client: redis.Redis
) -> None:
    append(redis_client, 0)
    tools.run("replay", "status")
    redis_client.set("tenant:t2:job:j7:status", b"wrong")
    tools.run("replay", "status", "--reset")
    lines = b"".join(b'{"type":"progress","id":"a%d"}\n' % number for number in range(3))
    told = tools.jobtrail("append", "--tenant", "t9", "--json", stdin=lines, STREAM_MAX_BYTES="9")
    assert json.loads(told) == {"appended": 0, "refused": 0, "shed": 3}
    said = tools.jobtrail("append", "--tenant", "t9", stdin=lines, STREAM_MAX_BYTES="9")
    assert said == "appended 0 events; shed 3 of progress: the stream is full\n"
    found = {each["check"]: each for each in json.loads(tools.jobtrail("doctor", "--json"))}
    assert found["shed progress"]["found"] == "6 events of tenant t9 (6)"
    assert "DEL jobtrail:shed" in found["shed progress"]["advice"]
    assert found["replaced states"]["found"].startswith("kept: 1 of status since 2")
    assert "jobtrail replay status --drop-old" in found["replaced states"]["advice"]
    redis_client.delete("jobtrail:shed")
    tools.run("replay", "status", "--drop-old")
    found = {each["check"]: each for each in json.loads(tools.jobtrail("doctor", "--json"))}
    assert found["shed progress"]["ok"]
    assert found["replaced states"]["ok"]


def test_since_and_until__jobs_with_an_event_between_are_rebuilt(
    tools: Tools, redis_client: redis.Redis
) -> None:
    for at, job in ((1, "a"), (2, "b"), (3, "a"), (4, "c")):
        event = json.dumps({"type": "done", "id": job, "worker": f"w{at}"})
        redis_client.xadd("tenant:1:events", {"event": event}, id=f"{at}000-1")
    told = json.loads(tools.run("replay", "rows", "--since", "3000-0", "--until", "3000", "--json"))
    assert (told["jobs"], told["events"]) == (1, 2)
    told = json.loads(tools.run("replay", "rows", "--since", "1970-01-01T00:00:04Z", "--json"))
    assert (told["jobs"], told["events"]) == (1, 1)


def test_interrupted__says_that_it_goes_on__and_forgets_once_it_is_done(
    tools: Tools, redis_client: redis.Redis, database_url: str, tmp_path: Path
) -> None:
    """A locked row stops the replay in its second batch."""
    for _ in range(13):
        append(redis_client, 1)
    tools.run("replay", "rows", "--tenant", "t4")
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM jobs FOR UPDATE")
        process = tools.start("replay", "rows")
        eventually(lambda: list(tmp_path.glob("replay-*.json")), timeout=30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=ENDING)
    assert process.returncode != 0
    assert b"Traceback" not in said
    again = tools.start("replay", "rows", "--json")
    printed, said = again.communicate(timeout=ENDING)
    assert b"going on after t" in said
    assert 0 < json.loads(printed)["jobs"] < JOBS
    assert list(tmp_path.glob("replay-*.json")) == []
    assert tools.run("verify", "rows") == f"verified {JOBS} jobs\n"


def test_restart__begins_again(tools: Tools, redis_client: redis.Redis, tmp_path: Path) -> None:
    append(redis_client, 0)
    command = {"projection": "rows", "tenant": None, "reset": "False", "since": None, "until": None}
    Checkpoint(tmp_path, command).write([ShareProgress(finished=JobKey("t3", "job", "j398"))])
    told = json.loads(tools.run("replay", "rows", "--restart", "--json"))
    assert told["jobs"] == JOBS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["replay", "rowz"], "take one of status, rows"),
        (["verify", "rowz"], "take one of status, rows"),
        (["replay", "rows", "--tenant", "a b"], "is no tenant"),
        (["replay", "rows", "--since", "soon"], "neither an entry id nor a time"),
        (["replay", "rows", "--reset", "--since", "5"], "omit --since and --until"),
        (["replay", "rows", "--drop-old", "--reset"], "go with --tenant and --json only"),
        (["replay", "rows", "--drop-old", "--restore-old"], "go with --tenant and --json only"),
        (["replay", "rows", "--drop-old", "--processes", "2"], "go with --tenant and --json only"),
        (["replay", "rows", "--restore-old", "--until", "5"], "go with --tenant and --json only"),
        (["replay", "rows", "--restore-old", "--tenant", "a b"], "is no tenant"),
        (["replay", "rows", "--tenant", "nobody"], "no tenant 'nobody': there is no event"),
        (["replay", "rows", "--tenant", "nobody", "--dry-run"], "no tenant 'nobody'"),
        (["replay", "rows", "--tenant", "nobody", "--drop-old"], "no tenant 'nobody'"),
        (["replay", "status", "--reset", "--tenant", "nobody"], "there is no event"),
        (["verify", "status", "--tenant", "nobody"], "no tenant 'nobody': there is no event"),
    ],
)
def test_bad_words_are_one_line(tools: Tools, words: list[str], said: str) -> None:
    printed = tools.run(*words, expect=1)
    assert said in printed
    assert len(printed.splitlines()) == 1


NEWEST = (
    ["replay", "rows", "--drop-old"],
    ["replay", "rows", "--restore-old"],
    ["replay", "rows", "--reset"],
)


@pytest.mark.parametrize("words", NEWEST, ids=" ".join)
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@127.0.0.1:1/x", "is away"),
        ("postgresql://me:sec/secret@127.0.0.1/x", "JOBTRAIL_DATABASE_URL is of no known form"),
    ],
)
def test_servers_away_or_wrong_urls_are_one_line(
    words: list[str], url: str, said: str, redis_url: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        settings = {"REDIS_URL": redis_url, "DATABASE_URL": url, "DATA_DIR": str(tmp_path)}
        printed = Tools(stack, settings).run(*words, expect=1)
    assert said in printed
    assert "secret" not in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize("words", NEWEST, ids=" ".join)
def test_no_permission_or_no_migration_is_one_line(
    words: list[str],
    *,
    tools: Tools,
    redis_client: redis.Redis,
    redis_url: str,
    database_url: str,
    tmp_path: Path,
) -> None:
    append(redis_client, 0)
    with psycopg.connect(database_url, autocommit=True) as db, ExitStack() as stack:
        role = f"weak_{os.getpid()}"
        db.execute(SQL("CREATE ROLE {}").format(Identifier(role)))
        stack.callback(db.execute, SQL("DROP ROLE {}").format(Identifier(role)))
        db.execute(SQL("GRANT {} TO CURRENT_USER").format(Identifier(role)))
        weak = f"{database_url}?options=-c%20role%3D{role}"
        settings = {"REDIS_URL": redis_url, "DATABASE_URL": weak, "DATA_DIR": str(tmp_path)}
        printed = Tools(stack, settings).run(*words, expect=1)
        assert "permission denied" in printed
        assert len(printed.splitlines()) == 1
        db.execute("DROP TABLE replaced_states, job_events CASCADE")
    printed = tools.run(*words, expect=1)
    assert "run jobtrail migrate" in printed
    assert len(printed.splitlines()) == 1


def test_settled__pending_delivered_and_no_group(redis_client: redis.Redis) -> None:
    """A group has settled all entries before its oldest pending one."""
    log: Any = "tenant:1:events"
    for at in (1, 2, 3):
        redis_client.xadd(log, {"event": "{}"}, id=f"{at}-0")
    assert settled(redis_client, "rows", ["1", "none"]) == {"1": None, "none": None}
    redis_client.xgroup_create(log, "rows", "0")
    redis_client.xreadgroup("rows", "me", {log: ">"}, count=2)
    assert settled(redis_client, "rows", ["1"]) == {"1": EntryId(0, 2**64 - 1)}
    redis_client.xack(log, "rows", "1-0", "2-0")
    assert settled(redis_client, "rows", ["1"]) == {"1": EntryId(2, 0)}


@pytest.mark.parametrize("applied", [False, True])
def test_dead_letter_requeued_after_months__in_the_history_and_in_the_range_of_a_replay(
    tools: Tools, redis_client: redis.Redis, database_url: str, *, applied: bool
) -> None:
    """The rows may have had its first entry, or not."""
    first = EntryId((redis_client.time()[0] - 60 * 86_400) * 1_000, 0)
    fields: dict[Any, Any] = {"event": b'{"type":"done","id":"a1"}'}
    facts = {"entry_id": str(first), "group": "status", "reason": "not_json", "detail": "bad"}
    redis_client.xadd("tenant:t0:dead", fields | facts, id=str(first))
    tools.consume("rows")
    if applied:
        redis_client.xadd("tenant:t0:events", fields, id=str(first))
        eventually(lambda: all_settled(redis_client, "t0", "rows"), 60)
    tools.run("dead", "requeue", "--tenant", "t0", "--all")
    eventually(lambda: all_settled(redis_client, "t0", "rows"), 60)
    again = redis_client.xinfo_stream("tenant:t0:events")["last-generated-id"].decode()
    redis_client.delete("tenant:t0:events")
    with psycopg.connect(database_url, autocommit=True) as db:
        drop_before(db, datetime.now(UTC).date() - timedelta(days=90 if applied else 30))
        held = db.execute(
            "SELECT concat(entry_ms, '-', entry_seq), last_ms, landings FROM job_events"
        )
        last = int(again.partition("-")[0])
        assert held.fetchall() == [(str(first), last, 2) if applied else (again, None, 1)]
        db.execute("DELETE FROM jobs")
    bounds = ("--since", again, "--until", again)
    assert json.loads(tools.run("replay", "rows", *bounds, "--json"))["jobs"] == 1
    assert tools.run("verify", "rows") == "verified 1 jobs\n"

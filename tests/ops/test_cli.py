"""The command line: output, errors and exit status of each command."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from ops.cli import main
from ops.devstack import EmbeddedPostgres
from projections.decoding import decode
from projections.status.writer import StatusCache
from streams.entry_ids import EntryId
from tests.support import forked
from tests.support.groups import entries
from tests.support.servers import login
from tests.support.waiting import ENDING, eventually


def jobtrail(
    *words: str, stdin: bytes = b"", timeout: float = ENDING, **settings: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `jobtrail WORDS…` with these settings only."""
    environ = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
    environ |= {f"JOBTRAIL_{name.upper()}": text for name, text in settings.items()}
    return forked.run(words, environ, stdin, timeout)


def plain_failure(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return the only line on standard error of a command that failed."""
    assert result.returncode != 0
    lines = result.stderr.decode().strip().splitlines()
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]


class Printed(NamedTuple):
    """The output and exit status of a command that was run in this process."""

    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The only line of a command that failed; nothing else may be printed."""
        assert self.status != 0
        assert self.out == ""
        assert re.fullmatch(r"jobtrail: .+\n", self.err), self.err
        return self.err


Here = Callable[..., Printed]


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Here:
    """Run `jobtrail WORDS…` in this process, which is ten times faster."""
    for name in os.environ:
        if "JOBTRAIL" in name:
            monkeypatch.delenv(name)
    source = tmp_path / "events"
    source.write_bytes(b'{"type":"done","id":"a1"}')

    def run(*words: str, **settings: str) -> Printed:
        for name, text in settings.items():
            monkeypatch.setenv(f"JOBTRAIL_{name.upper()}", text)
        monkeypatch.setattr(sys, "argv", ["jobtrail", *words])
        with source.open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            with pytest.raises(SystemExit) as ended:
                main()
        return Printed(int(ended.value.code or 0), *capfd.readouterr())

    return run


def test_append_takes_lines_of_json(redis_url: str, redis_client: redis.Redis) -> None:
    lines = b'{"type":"queued","id":"a1"}\n\n  {"type":"done","id":"a1","mine":1}  '
    result = jobtrail("append", "--tenant", "42", stdin=lines, redis_url=redis_url)
    assert (result.returncode, result.stdout) == (0, b"appended 2 events\n")
    events = [json.loads(entry["event"]) for entry in entries(redis_client, "tenant:42:events")]
    assert [event["type"] for event in events] == ["queued", "done"]
    assert events[1]["mine"] == 1
    assert all(event["event_id"] for event in events)
    assert redis_client.zscore("jobtrail:ready:status", "42")
    assert redis_client.zscore("jobtrail:ready:rows", "42")


@pytest.mark.parametrize("bad", [1, 2, 3, 4, 50])
def test_append_with_bad_lines__one_line_says_which_and_nothing_is_appended(
    bad: int, here: Here, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    lines = [b'{"type":"queued","id":"a1"}', b'{"type":"paused","id":"a1"}', *[b"not json"] * 49]
    (tmp_path / "events").write_bytes(b"\n".join(lines[: bad + 1]))
    printed = here("append", "--tenant", "42", redis_url=redis_url)
    assert printed.status == 1
    assert re.fullmatch(r"jobtrail: line 2: unknown_type: .+; nothing was appended\n", printed.err)
    assert re.findall(r"line \d+: ", printed.err) == [
        f"line {at + 2}: " for at in range(min(bad, 3))
    ]
    assert ("more bad line" in printed.err) == (bad > 3)
    assert redis_client.xlen("tenant:42:events") == 0


@pytest.mark.parametrize("at", ["start", "middle", "alone", "after a space"])
def test_append__byte_order_mark_before_a_line__is_left_out(
    at: str, here: Here, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    mark, event = b"\xef\xbb\xbf", b'{"type":"done","id":"a1"}'
    text = {
        "start": mark + event,
        "middle": event + b"\n" + mark + event,  # as `cat` joins two files
        "alone": event + b"\n" + mark + b"\n",
        "after a space": b" " + mark + event,
    }[at]
    (tmp_path / "events").write_bytes(text)
    printed = here("append", "--tenant", "42", redis_url=redis_url)
    if at == "after a space":
        assert "line 1: not_json" in printed.err
        return
    assert (printed.status, printed.err) == (0, "")
    assert redis_client.xlen("tenant:42:events") == text.count(b"done")
    for entry in entries(redis_client, "tenant:42:events"):
        assert entry["event"].startswith(b"{")


def test_append_keep_going_appends_the_rest(redis_url: str, redis_client: redis.Redis) -> None:
    lines = b'{"type":"queued","id":"a1"}\nnot json\n{"type":"done","id":"a1"}\n'
    result = jobtrail(
        "append", "--tenant", "42", "--keep-going", "--json", stdin=lines, redis_url=redis_url
    )
    assert result.returncode == 1
    first, last = result.stderr.decode().splitlines()
    assert first.startswith("jobtrail: line 2: not_json")
    assert last == "jobtrail: 1 bad line; the rest was appended"
    assert json.loads(result.stdout) == {"appended": 2, "refused": 1}
    assert redis_client.xlen("tenant:42:events") == 2


def test_append_follows_a_pipe_that_stays_open(redis_url: str, redis_client: redis.Redis) -> None:
    process = forked.begin(
        ["append", "--tenant", "42", "--keep-going"],
        {**os.environ, "JOBTRAIL_REDIS_URL": redis_url},
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(b'{"type":"queued","id":"a1"}\n')
        process.stdin.flush()
        eventually(lambda: redis_client.xlen("tenant:42:events") == 1)
    finally:
        process.stdin.close()
        assert process.wait(ENDING) == 0
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("tenant", ["", "a b", "x" * 65, "a:b"])
def test_append_to_a_bad_tenant_is_refused(tenant: str, redis_url: str) -> None:
    result = jobtrail("append", "--tenant", tenant, redis_url=redis_url)
    assert "is no tenant" in plain_failure(result)


@pytest.mark.parametrize(
    "event", [{"type": "queued", "attempt": 2}, {"type": "failed", "error": "Try again."}]
)
def test_status_shows_operators_why_an_attempt_failed(
    redis_url: str, redis_client: redis.Redis, event: dict[str, object]
) -> None:
    lone = {"id": "a1", "operator_detail": "OSError: /srv/app", "mine": "\ud800"}
    raw = json.dumps(lone | event).encode()
    redis_client.xadd("tenant:42:events", {"event": raw}, id="5-1")
    StatusCache(redis_client).apply([decode("42", EntryId(5, 1), [b"event", raw])])
    result = jobtrail("status", "--tenant", "42", "a1", "--json", redis_url=redis_url)
    assert json.loads(result.stdout)["operator_detail"] == "OSError: /srv/app"
    shown = jobtrail("status", "--tenant", "42", "a1", redis_url=redis_url)
    assert b"OSError: /srv/app" in shown.stdout
    redis_client.delete("tenant:42:events")
    trimmed = jobtrail("status", "--tenant", "42", "a1", "--json", redis_url=redis_url)
    assert "operator_detail" not in json.loads(trimmed.stdout)


@pytest.mark.parametrize(
    "found", ["{}", "[]", '{"status":"FAILED"}', '{"status":"FAILED","fold":7}']
)
def test_status_of_an_incomplete_document_is_shown(
    found: str, here: Here, redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set("tenant:42:job:a1:status", found)
    shown = here("status", "-t", "42", "a1", "--json", redis_url=redis_url)
    assert (shown.status, json.loads(shown.out)["id"]) == (0, "a1")


def test_status_is_shown_where_the_stream_cannot_be_read(
    here: Here, redis_url: str, redis_client: redis.Redis
) -> None:
    raw = b'{"type":"failed","id":"a1","error":"Try again."}'
    StatusCache(redis_client).apply([decode("42", EntryId(5, 1), [b"event", raw])])
    redis_client.set("tenant:42:events", "no stream")
    shown = here("status", "-t", "42", "a1", "--json", redis_url=redis_url)
    assert (shown.status, json.loads(shown.out)["status"]) == (0, "FAILED")


def test_status_shows_the_projected_document(redis_url: str, redis_client: redis.Redis) -> None:
    raw = b'{"type":"progress","id":"a1","job_type":"omr","step":"reading","percent":12}'
    StatusCache(redis_client).apply([decode("42", EntryId(5, 1), [b"event", raw])])
    result = jobtrail("status", "--tenant", "42", "a1", "--json", redis_url=redis_url)
    assert result.returncode == 0
    shown = json.loads(result.stdout)
    assert (shown["status"], shown["job_type"], shown["progress"]["percent"]) == (
        *("PROCESSING", "omr"),
        12,
    )
    assert "fold" not in shown
    assert b"PROCESSING" in jobtrail("status", "--tenant", "42", "a1", redis_url=redis_url).stdout


def test_status_of_a_job_that_is_not_there(redis_url: str) -> None:
    result = jobtrail("status", "--tenant", "42", "--kind", "video", "7", redis_url=redis_url)
    assert "has no video 7" in plain_failure(result)
    result = jobtrail("status", "--tenant", "42", "--kind", "film", "7", redis_url=redis_url)
    assert "no kind 'film'" in plain_failure(result)


def test_status_of_another_kind_is_said(
    here: Here, redis_url: str, redis_client: redis.Redis
) -> None:
    raw = b'{"type":"progress","kind":"video","id":"777","step":"transcoding","percent":50}'
    StatusCache(redis_client).apply([decode("42", EntryId(5, 1), [b"event", raw])])
    line = here("status", "--tenant", "42", "777", redis_url=redis_url).line
    assert "tenant 42 has no job 777, but a video 777: add --kind video" in line
    shown = here("status", "-t", "42", "777", "-k", "video", redis_url=redis_url).out
    assert f"[{'#' * 15}{'-' * 15}] 50 %  transcoding" in shown


def test_status_prints_every_field_whole(
    here: Here, redis_url: str, redis_client: redis.Redis
) -> None:
    error = "no paper in the tray " * 200
    event = {"type": "failed", "id": "a1", "error": error, "labels": {"team": "x" * 200}}
    fields = [b"event", json.dumps(event).encode()]
    StatusCache(redis_client).apply([decode("42", EntryId(5, 1), fields)])
    facts = json.loads(here("status", "-t", "42", "a1", "--json", redis_url=redis_url).out)
    shown = here("status", "-t", "42", "a1", redis_url=redis_url).out
    assert set(facts) <= set(re.findall(r"^(\w+)", shown, re.MULTILINE))
    assert facts["error_message"] in shown
    assert len(facts["error_message"]) > 1_000
    assert "x" * 200 in shown


def test_append_takes_a_file(
    here: Here, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    file = tmp_path / "ends.jsonl"
    file.write_text('{"type":"done","id":"a1"}')
    assert here("append", "-t", "42", str(file), redis_url=redis_url).out == "appended 1 event\n"
    assert here("append", "-t", "42", "-", redis_url=redis_url).out == "appended 1 event\n"
    for missing in ("none.jsonl", str(tmp_path), "\0"):
        assert "cannot be read" in here("append", "-t", "42", missing, redis_url=redis_url).line
    assert redis_client.xlen("tenant:42:events") == 2


def test_tail_shows_events_as_they_come(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.xadd("tenant:42:events", {"event": b'{"type":"done","id":"a1"}'}, id="5-1")
    process = forked.begin(
        ["tail", "--tenant", "42", "--from", "0", "--json"],
        {**os.environ, "JOBTRAIL_REDIS_URL": redis_url},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        redis_client.xadd("tenant:42:events", {"event": b"\xff"})
        second = json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(ENDING)
        assert process.stdout is not None
        process.stdout.close()
    assert first == {"entry_id": "5-1", "event": {"type": "done", "id": "a1"}}
    assert second["event"] == "\ufffd"


def test_lag_counts_what_each_group_has_not_had(redis_url: str, redis_client: redis.Redis) -> None:
    for number in range(3):
        redis_client.xadd("tenant:42:events", {"event": b'{"type":"done","id":"a%d"}' % number})
    redis_client.xgroup_create("tenant:42:events", "status", "0")
    redis_client.xreadgroup("status", "me", {"tenant:42:events": ">"}, count=1)
    result = jobtrail("lag", "--json", redis_url=redis_url)
    rows = {row["group"]: row for row in json.loads(result.stdout)}
    assert {name: rows["status"][name] for name in ("tenant", "waiting", "pending")} == {
        "tenant": "42",
        "waiting": 2,
        "pending": 1,
    }
    assert (rows["rows"]["waiting"], rows["rows"]["pending"]) == (3, 0)
    assert rows["rows"]["oldest_age_seconds"] > 0
    assert b"status" in jobtrail("lag", redis_url=redis_url).stdout


def test_deregister_prints_json_and_logs_elsewhere(
    redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.sadd("jobtrail:groups", "audit")
    result = jobtrail("groups", "deregister", "audit", "--json", redis_url=redis_url)
    assert json.loads(result.stdout) == {"group": "audit", "streams": 0}
    assert b"group_deregistered" in result.stderr


def test_migrate_twice(postgres_server: EmbeddedPostgres, database_url: str) -> None:
    result = jobtrail("migrate", "--json", database_url=database_url)
    assert json.loads(result.stdout) == {"applied": []}
    assert jobtrail("migrate", database_url=database_url).stdout == b"nothing to apply\n"


OF_REDIS = [
    ["append", "--tenant", "1"],
    ["status", "--tenant", "1", "a1"],
    ["tail", "--tenant", "1"],
    ["lag"],
    ["dead", "list"],
    ["dead", "show", "--tenant", "1", "5-1"],
    ["dead", "requeue", "--tenant", "1", "5-1"],
    ["dead", "discard", "--tenant", "1", "5-1"],
    ["trim"],
    ["groups", "list"],
    ["groups", "deregister", "audit"],
]
OF_BOTH = [
    [command, projection] for command in ("replay", "verify") for projection in ("status", "rows")
]


@pytest.mark.parametrize("words", OF_REDIS, ids=" ".join)
def test_redis_away_or_unnamed_is_one_line(words: list[str]) -> None:
    away = jobtrail(*words, stdin=b'{"type":"done","id":"a"}', redis_url="redis://127.0.0.1:1/0")
    assert "Redis" in plain_failure(away)
    wrong = jobtrail(*words, redis_url="http://me:secret@127.0.0.1")
    assert "HOST:PORT/DB" in plain_failure(wrong)
    assert b"secret" not in wrong.stderr
    assert "JOBTRAIL_REDIS_URL is not set" in plain_failure(jobtrail(*words))


@pytest.mark.parametrize("words", OF_BOTH, ids=" ".join)
def test_either_server_away_is_one_line(
    words: list[str], redis_url: str, database_url: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"redis_url": redis_url, "database_url": database_url}
    settings["data_dir"] = str(tmp_path)
    for name, away in (
        ("redis_url", "redis://127.0.0.1:1/0"),
        ("database_url", "postgresql://me:secret@127.0.0.1:1/x"),
    ):
        result = jobtrail(*words, **{**settings, name: away})
        assert "JOBTRAIL_" + name.upper() in plain_failure(result)
        assert b"secret" not in result.stderr


OF_A_TENANT = [
    ["lag"],
    ["trim"],
    ["dead", "list"],
    ["dead", "show", "5-1"],
    ["dead", "requeue", "5-1"],
    ["dead", "requeue", "--all"],
    ["dead", "discard", "5-1"],
    ["dead", "discard", "--all"],
    ["dead", "discard", "--all", "--yes"],
]
OF_ANY_TENANT = [["append"], ["status", "a1"], ["tail"], ["video", "encode", "missing.mp4"]]


@pytest.mark.parametrize("words", OF_A_TENANT, ids=" ".join)
def test_unknown_tenant_is_one_line(words: list[str], here: Here, redis_url: str) -> None:
    said = "jobtrail: no tenant 'nobody': nothing was ever appended for it; jobtrail lag lists"
    for more in ([], ["--json"]):
        printed = here(*words, "--tenant", "nobody", *more, redis_url=redis_url)
        assert printed.line.startswith(said)
        assert printed.status == 1


@pytest.mark.parametrize("words", [*OF_A_TENANT, *OF_ANY_TENANT, *OF_BOTH], ids=" ".join)
def test_no_tenant_of_that_form_is_one_line(words: list[str], here: Here, redis_url: str) -> None:
    for tenant in ("", "a/b", "x" * 65):
        line = here(*words, "--tenant", tenant, redis_url=redis_url, database_url="host=x").line
        assert f"jobtrail: {tenant!r} is no tenant: 1 to 64 letters" in line


def test_tail_of_an_unknown_tenant_says_that_it_waits(
    redis_url: str, redis_client: redis.Redis
) -> None:
    words = ("tail", "--tenant", "nobody", "--from", "0")
    with forked.begin(words, {**os.environ, "JOBTRAIL_REDIS_URL": redis_url}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"nothing was ever appended for tenant nobody" in process.stderr.readline()
        redis_client.xadd("tenant:nobody:events", {"event": b'{"type":"done","id":"a1"}'})
        assert b"job:a1" in process.stdout.readline()
        process.terminate()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["append"], "Missing option '--tenant' / '-t': see jobtrail append --help"),
        (["append", "--tenant"], "Option '--tenant' requires an argument"),
        (["dead", "show", "--tenant", "1"], "Missing argument 'id': see jobtrail dead show --help"),
        (["dead", "list", "--limit", "0"], "Invalid value for '--limit'"),
        (["lag", "--jason"], "No such option"),
        (["lagg"], "No such command 'lagg'"),
        (["consume"], "Missing argument 'group'"),
        *(
            (["consume", "status", "--processes", number], "Invalid value for '--processes'")
            for number in ("0", "-1", "257", "1.5", "two", "")
        ),
    ],
)
def test_wrong_words_are_one_line(words: list[str], said: str, here: Here) -> None:
    printed = here(*words)
    assert said in printed.line
    assert printed.status == 2


@pytest.mark.parametrize("words", [[], ["dead"]], ids=" ".join)
def test_a_command_without_its_verb_shows_help(words: list[str], here: Here) -> None:
    printed = here(*words)
    assert "Usage: jobtrail" in printed.out
    assert (printed.status, printed.err) == (2, "")


def test_tail_from_no_place_in_a_log(here: Here, redis_url: str) -> None:
    printed = here("tail", "--tenant", "1", "--from", "now", redis_url=redis_url)
    assert "'now' is not an entry id" in printed.line


@pytest.mark.parametrize("words", OF_REDIS, ids=" ".join)
def test_wrong_password_or_no_permission_is_one_line(
    words: list[str], here: Here, redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.acl_setuser("weak", enabled=True, passwords=["+weakword"], commands=["+ping"])
    try:
        for password, said in (("weakword", "no permissions"), ("badword", "invalid username")):
            url = login(redis_url, "weak", password)
            line = here(*words, redis_url=url).line
            assert said in line
            assert password not in line
    finally:
        redis_client.acl_deluser("weak")


@pytest.mark.parametrize(
    "words", [["up"], ["video", "encode", "missing.mp4", "--tenant", "1"]], ids=" ".join
)
def test_what_would_wait_for_redis_is_not_begun(words: list[str], here: Here) -> None:
    assert "check JOBTRAIL_REDIS_URL" in here(*words, redis_url="redis://127.0.0.1:1/0").line
    assert "the Redis URL must be" in here(*words, redis_url="http://x").line


@pytest.mark.parametrize("command", ["replay", "verify"])
def test_unknown_projection_is_one_line(command: str, redis_url: str, database_url: str) -> None:
    result = jobtrail(command, "keys", redis_url=redis_url, database_url=database_url)
    assert "status" in plain_failure(result)


def test_postgres_away_or_unnamed_is_one_line() -> None:
    url = "postgresql://me:secret@127.0.0.1:1/x"
    away = jobtrail("migrate", database_url=url)
    assert "PostgreSQL" in plain_failure(away)
    assert b"secret" not in away.stderr
    assert "JOBTRAIL_DATABASE_URL is not set" in plain_failure(jobtrail("migrate"))


def test_wrong_settings_name_their_variable(redis_url: str) -> None:
    result = jobtrail("lag", redis_url=redis_url, reclaim_idle_seconds="soon")
    assert "JOBTRAIL_RECLAIM_IDLE_SECONDS" in plain_failure(result)


def test_api_on_a_taken_port_or_without_a_way_to_know_who_asks(redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = jobtrail("api", redis_url=redis_url, auth="dev", api_port=port)
    assert port in plain_failure(result)
    assert "JOBTRAIL_" in plain_failure(jobtrail("api", redis_url=redis_url))


@pytest.mark.parametrize("words", [("api",), ("consume", "rows"), ("migrate",)], ids=" ".join)
@pytest.mark.parametrize("form", ["postgresql://me:secret@127.0.0.1:1/x?ssl={}", "host=x pgssl={}"])
def test_unknown_option_of_the_database_url__is_one_line_before_any_wait(
    words: tuple[str, ...], form: str, redis_url: str
) -> None:
    result = jobtrail(
        *words, redis_url=redis_url, database_url=form.format("secret"), auth="dev", api_port="0"
    )
    said = plain_failure(result)
    assert "JOBTRAIL_DATABASE_URL" in said
    assert re.search(r"\b(pg)?ssl\b", said)
    assert "secret" not in said


@pytest.mark.parametrize("words", [("api",), ("consume", "rows"), ("up",)], ids=" ".join)
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@127.0.0.1:1/x?sslmode=zzz", 'invalid sslmode value: "zzz"'),
        ("postgresql://me:secret@127.0.0.1:99999/x", 'invalid port number: "99999"'),
        ("postgresql://me:secret@h/x?sslrootcert=/nowhere.crt", "sslrootcert: /nowhere.crt: No"),
    ],
)
def test_database_url_that_no_wait_makes_right__is_one_line_before_any_wait(
    words: tuple[str, ...], url: str, said: str, here: Here, redis_url: str
) -> None:
    line = here(*words, redis_url=redis_url, database_url=url, auth="dev", api_port="0").line
    assert line.startswith("jobtrail: JOBTRAIL_DATABASE_URL: ")
    assert said in line
    assert "secret" not in line


def test_unknown_group_is_refused(redis_url: str) -> None:
    assert "status, rows" in plain_failure(jobtrail("consume", "rowz", redis_url=redis_url))


def test_video_encode_of_a_file_that_is_not_there_reports_no_job(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing.mp4")
    result = jobtrail(
        "video", "encode", missing, "--tenant", "42", "--id", "7", redis_url=redis_url
    )
    assert "missing.mp4" in plain_failure(result)
    assert result.returncode == 2
    assert redis_client.keys() == []

"""Dead letters on the command line."""

from __future__ import annotations

import base64
import json
import os
import pwd
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import redis
from click.testing import Result
from typer.testing import CliRunner

from ops.commands.dead import dead
from ops.errors import line_for
from tests.support.groups import entries

Run = Callable[..., Result]


@pytest.fixture
def run(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("JOBTRAIL_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*words: str) -> Any:
        return CliRunner().invoke(dead, words)

    return invoke


def said(result: Result) -> str:
    """Return the line that `jobtrail` prints when the command fails."""
    assert result.exit_code == 1
    assert result.exception is not None
    line = line_for(result.exception)
    assert line is not None
    assert "\n" not in line
    return line


def write_letter(client: redis.Redis, letter_id: str, tenant: str = "42", **facts: Any) -> None:
    letter: dict[Any, Any] = {
        "event": b'{"type":"done","id":"a1"}',
        "entry_id": letter_id,
        "group": "status",
        "reason": "not_json",
        "detail": "bad",
        "deliveries": 2,
    }
    client.xadd(f"tenant:{tenant}:dead", letter | facts, id=letter_id)


def found(name: str, value: bytes) -> dict[str, Any]:
    return {f"found:{name}": value}


def listed(result: Result) -> list[tuple[str, str]]:
    assert result.exit_code == 0
    return [(letter["tenant"], letter["id"]) for letter in json.loads(result.stdout)]


def test_list__all_tenants_and_filters(run: Run, redis_client: redis.Redis) -> None:
    write_letter(redis_client, "9-0")
    write_letter(redis_client, "10-0", reason="too_large")
    write_letter(redis_client, "5-0", tenant="7", group="rows")
    assert sorted(listed(run("list", "--json"))) == [("42", "10-0"), ("42", "9-0"), ("7", "5-0")]
    assert listed(run("list", "--tenant", "42", "--json")) == [("42", "10-0"), ("42", "9-0")]
    assert listed(run("list", "--reason", "too_large", "--json")) == [("42", "10-0")]
    assert listed(run("list", "--group", "rows", "--json")) == [("7", "5-0")]
    assert listed(run("list", "--tenant", "42", "--limit", "1", "--json")) == [("42", "10-0")]
    (letter,) = json.loads(run("list", "--tenant", "7", "--json").stdout)
    assert letter == {
        "tenant": "7",
        "id": "5-0",
        "entry_id": "5-0",
        "group": "rows",
        "groups": ["rows"],
        "reason": "not_json",
        "detail": "bad",
        "deliveries": 2,
        "rejected_at": "1970-01-01T00:00:00.005Z",
        "bytes": 25,
        "sha256": None,
    }


def test_kind__of_the_event__chooses_letters_in_each_command(
    run: Run, redis_client: redis.Redis
) -> None:
    """An event without a kind is a job's; the kind need not be known, and JSON may be missing."""
    events = {
        "1-0": b'{"type":"done","id":"a1"}',
        "2-0": b'{"type":"done","id":"7","kind":"video"}',
        "3-0": b'{"type":"done","id":"a1","kind":"unknown"}',
        "4-0": b"not JSON",
    }
    for letter_id, event in events.items():
        write_letter(redis_client, letter_id, event=event)

    def of(kind: str) -> list[str]:
        return [letter_id for _, letter_id in listed(run("list", "--kind", kind, "--json"))]

    assert (of("job"), of("video"), of("unknown"), of("other")) == (["1-0"], ["2-0"], ["3-0"], [])
    assert "no dead letters" in run("list", "--kind", "other").stdout
    every = ("--tenant", "42", "--all", "--kind")
    assert "discarded 1 dead letter" in run("discard", *every, "unknown", "--yes").stdout
    assert "requeued 1 dead letter" in run("requeue", *every, "video").stdout
    assert [letter_id for _, letter_id in listed(run("list", "--json"))] == ["4-0", "1-0"]
    (requeued,) = entries(redis_client, "tenant:42:events")
    assert json.loads(requeued["event"])["kind"] == "video"


def test_list__for_people__says_that_there_are_more(run: Run, redis_client: redis.Redis) -> None:
    write_letter(redis_client, "9-0", detail="[bold]\x1b[31mred[/bold]")
    shown = run("list").stdout
    assert "9-0" in shown
    assert "\x1b" not in shown
    assert r"[bold]\x1b[31mred[/bold]" in shown
    assert "--limit" not in shown
    write_letter(redis_client, "10-0")
    assert "there are more: --limit" in run("list", "--limit", "1").stdout


def test_list__terminal_of_80_columns__breaks_no_word(
    run: Run, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    detail = "type must be one of queued, processing, progress, done, failed, cancelled"
    write_letter(redis_client, "1795732580226-2", reason="unknown_type", detail=detail)
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    words = ["1795732580226-2", "unknown_type", *detail.split()]
    assert set(words) <= set(" ".join(lines).split())


def test_list__nothing_and_a_name_that_is_no_text(run: Run, redis_client: redis.Redis) -> None:
    assert json.loads(run("list", "--json").stdout) == []
    redis_client.xadd(b"tenant:\xff:dead", {"event": b"x"})
    assert [name for name, _ in listed(run("list", "--json"))] == [r"\xff"]
    assert run("list").exit_code == 0


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ("한글".encode(), {"event": "한글"}),
        (b"\xff\x00", {"event_base64": base64.b64encode(b"\xff\x00").decode()}),
    ],
)
def test_show__json(
    run: Run, redis_client: redis.Redis, event: bytes, shown: dict[str, str]
) -> None:
    write_letter(redis_client, "9-0", event=event, **found("x", b"\xfe"))
    letter = json.loads(run("show", "--tenant", "42", "9-0", "--json").stdout)
    assert shown.items() <= letter.items()
    assert letter["entry_id"] == "9-0"
    rejection = {"group": "status", "reason": "not_json", "detail": "bad", "deliveries": 2}
    assert letter["rejections"] == [rejection]
    assert letter["other_fields"] == [{"name": "x", "value_base64": "/g=="}]


def test_show__for_people__no_byte_reaches_the_terminal_raw(
    run: Run, redis_client: redis.Redis
) -> None:
    write_letter(redis_client, "9-0", event=b"\x1b[2J\xff\r\nok", **found("x\x07", b"y"))
    shown = run("show", "--tenant", "42", "9-0").stdout
    assert r"\x1b[2J\xff\r\nok" in shown
    assert r"x\x07: y" in shown
    assert all(each.isprintable() or each == "\n" for each in shown)


def test_requeue__by_id__appends_and_deletes(run: Run, redis_client: redis.Redis) -> None:
    write_letter(redis_client, "9-0")
    write_letter(redis_client, "10-0", event=b"x")
    result = run("requeue", "--tenant", "42", "9-0")
    assert (result.exit_code, result.stdout) == (0, "requeued 1 dead letter\n")
    (entry,) = entries(redis_client, "tenant:42:events")
    assert json.loads(entry["event"]) == {"type": "done", "id": "a1", "event_id": "9-0"}
    assert redis_client.xlen("tenant:42:dead") == 1


def test_requeue__all__oldest_first_and_only_of_the_filter(
    run: Run, redis_client: redis.Redis
) -> None:
    for number in (9, 10, 11):
        write_letter(redis_client, f"{number}-0", event=b"%d" % number)
    write_letter(redis_client, "12-0", reason="too_large")
    words = ("requeue", "--tenant", "42", "--all", "--reason", "not_json", "--json")
    assert json.loads(run(*words).stdout) == {"requeued": 3}
    events = [entry["event"] for entry in entries(redis_client, "tenant:42:events")]
    assert events == [b"9", b"10", b"11"]
    assert redis_client.xlen("tenant:42:dead") == 1


def test_discard__by_id_and_all_with_yes(run: Run, redis_client: redis.Redis) -> None:
    for number in (9, 10, 11):
        write_letter(redis_client, f"{number}-0", tenant="not a tenant")
    words = ("discard", "--tenant", "not a tenant")
    assert run(*words, "9-0").stdout == "discarded 1 dead letter\n"
    assert "2 dead letters" in (line := said(run(*words, "--all")))
    assert "--yes" in line
    assert redis_client.xlen("tenant:not a tenant:dead") == 2
    assert run(*words, "--all", "--yes").stdout == "discarded 2 dead letters\n"
    assert redis_client.xlen("tenant:not a tenant:dead") == 0
    assert redis_client.exists("tenant:not a tenant:events") == 0


@pytest.mark.parametrize("command", ["requeue", "discard"])
def test_some_unknown__the_others_are_done_and_the_unknown_named(
    run: Run, redis_client: redis.Redis, command: str
) -> None:
    write_letter(redis_client, "9-0")
    result = run(command, "--tenant", "42", "8-0", "9-0", "7-5")
    assert said(result) == "tenant 42 has no dead letter 7-5, 8-0"
    assert "1 dead letter" in result.stdout
    assert redis_client.xlen("tenant:42:dead") == 0


def test_requeue_of_letters_that_are_not_whole__the_others_are_done_and_these_named(
    run: Run, redis_client: redis.Redis
) -> None:
    for number in (7, 8, 11, 12):
        write_letter(redis_client, f"{number}-0", sha256=b"0" * 64)
    write_letter(redis_client, "13-0")
    result = run("requeue", "--tenant", "42", "--all")
    assert result.stdout == "requeued 1 dead letter\n"
    line = said(result)
    assert line.startswith("4 dead letters not requeued: 7-0: entry 7-0 was too large")
    assert line.endswith("; and 1 more")
    redis_client.set("tenant:41:events", "no stream")
    write_letter(redis_client, "9-0", tenant="41")
    line = said(run("requeue", "--tenant", "41", "9-0"))
    assert line.startswith("1 dead letter not requeued: 9-0: Redis refuses to append to tenant:41:")


def test_requeue_of_unknown_ids_and_of_letters_that_are_not_whole__both_reasons_and_counts(
    run: Run, redis_client: redis.Redis
) -> None:
    write_letter(redis_client, "9-0", sha256=b"0" * 64)
    words = ("requeue", "--tenant", "42", "8-0", "9-0")
    line = "tenant 42 has no dead letter 8-0; 1 dead letter not requeued: 9-0:"
    result = run(*words)
    assert said(result).startswith(line)
    assert result.stdout == ""
    result = run(*words, "--json")
    assert said(result).startswith(line)
    assert json.loads(result.stdout) == {"requeued": 0, "failed": 1, "missing": 1}
    write_letter(redis_client, "10-0")
    result = run(*words, "10-0", "--json")
    assert json.loads(result.stdout) == {"requeued": 1, "failed": 1, "missing": 1}
    assert said(result).startswith(line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["show", "--tenant", "42", "9-0"], "tenant 42 has no dead letter 9-0"),
        (["show", "--tenant", "42", "nine"], "'nine' is not the id of a dead letter"),
        (["requeue", "--tenant", "42"], "pass the ids of dead letters, or --all"),
        (["discard", "--tenant", "42", "9-0", "--all"], "pass the ids of dead letters, or --all"),
        (["requeue", "--tenant", "42", "9-0", "--group", "rows"], "go with --all"),
        (["requeue", "--tenant", "a b", "9-0"], "is no tenant"),
        (["discard", "--tenant", "42", "--all"], "delete 0 dead letters of tenant 42"),
    ],
)
def test_what_cannot_be_done__is_one_line(
    run: Run, redis_client: redis.Redis, words: list[str], line: str
) -> None:
    redis_client.xadd("tenant:42:events", {"event": b"{}"})
    assert line in said(run(*words))


def test_filters__detail_without_its_numbers_type_and_job_type(
    run: Run, redis_client: redis.Redis
) -> None:
    write_letter(redis_client, "9-0", detail="line 1 column 7", event=b'{"type":"done"}')
    write_letter(redis_client, "10-0", detail="line 2 column 30", event=b'{"job_type":"excel"}')
    write_letter(redis_client, "11-0", detail="other")
    tenant = ("--tenant", "42")
    assert listed(run("list", "--detail", "line 3 column 1", "--json")) == [
        ("42", "10-0"),
        ("42", "9-0"),
    ]
    assert listed(run("list", "--job-type", "excel", "--json")) == [("42", "10-0")]
    both = ("--type", "done", "--detail", "line 0 column 0")
    assert json.loads(run("requeue", *tenant, "--all", *both, "--json").stdout) == {"requeued": 1}
    discard = ("discard", *tenant, "--all", "--detail", "other", "--yes", "--json")
    assert json.loads(run(*discard).stdout) == {"discarded": 1}
    assert redis_client.xlen("tenant:42:dead") == 1
    assert "go with --all" in said(run("requeue", *tenant, "10-0", "--type", "done"))


def test_requeue_and_discard__are_recorded_with_the_user_of_the_system(
    run: Run, redis_client: redis.Redis, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBTRAIL_DATABASE_URL", database_url)
    monkeypatch.setenv("LOGNAME", "somebody else")
    for number in (9, 10, 11):
        write_letter(redis_client, f"{number}-0")
    assert run("requeue", "--tenant", "42", "9-0").exit_code == 0
    assert run("discard", "--tenant", "42", "--all", "--reason", "not_json", "--yes").exit_code == 0
    assert run("requeue", "--tenant", "42", "8-0").exit_code == 1
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT via, actor, action, tenant, target::text, outcome, tenants, details::text"
            " FROM operator_actions AS a JOIN operator_outcomes AS o ON o.action_id = a.id"
            " ORDER BY a.id"
        ).fetchall()
    me = pwd.getpwuid(os.getuid()).pw_name
    assert {row[:2] for row in rows} == {("command", me)}
    assert [(*row[2:4], json.loads(row[4]), *row[5:7], json.loads(row[7])) for row in rows] == [
        ("requeue", "42", {"letters": ["9-0"]}, "done", ["42"], {"counts": {"requeued": 1}}),
        (
            "discard",
            "42",
            {"filters": {"reason": "not_json"}},
            "done",
            ["42"],
            {"counts": {"discarded": 2}},
        ),
        ("requeue", "42", {"letters": ["8-0"]}, "done", [], {"counts": {"requeued": 0}}),
    ]


def test_requeue__database_away__is_done_and_says_that_it_is_not_recorded(
    run: Run, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBTRAIL_DATABASE_URL", "postgresql://u:a-password@127.0.0.1:1/none")
    write_letter(redis_client, "9-0")
    result = run("requeue", "--tenant", "42", "9-0")
    assert (result.exit_code, result.stdout) == (0, "requeued 1 dead letter\n")
    (line,) = result.stderr.splitlines()
    assert "not recorded in the audit log" in line
    assert "a-password" not in line


def test_tenant_without_letters__an_empty_list(run: Run, redis_client: redis.Redis) -> None:
    redis_client.xadd("tenant:42:events", {"event": b"{}"})
    assert listed(run("list", "--tenant", "42", "--json")) == []
    words = ("--tenant", "42", "--all", "--json")
    assert json.loads(run("requeue", *words).stdout) == {"requeued": 0}
    assert json.loads(run("discard", *words, "--yes").stdout) == {"discarded": 0}


@pytest.mark.parametrize("name", [b"\xb0\xa1", b"\xff\xfe\x1b[2J"])
def test_letters_of_a_stream_named_in_another_encoding__are_shown_and_discarded(
    run: Run, redis_client: redis.Redis, name: bytes
) -> None:
    """The shell passes the bytes of the name, which Python decodes as surrogates."""
    write_letter(redis_client, "5-1", event=b"\xb0\xa1{", **found("odd", b"\xff"))
    redis_client.rename("tenant:42:dead", b"tenant:" + name + b":dead")
    tenant = ("--tenant", name.decode(errors="surrogateescape"))
    shown = run("show", "5-1", *tenant)
    assert shown.exit_code == 0
    assert "\\xb0\\xa1{" in shown.stdout
    assert "\x1b" not in shown.stdout
    facts = json.loads(run("show", "5-1", *tenant, "--json").stdout)
    assert base64.b64decode(facts["event_base64"]) == b"\xb0\xa1{"
    assert "is no tenant" in said(run("requeue", "5-1", *tenant))
    assert run("discard", "5-1", *tenant).exit_code == 0
    assert "no dead letter" in said(run("show", "5-1", *tenant))

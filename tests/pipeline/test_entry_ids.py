"""Entry ids of all 64 bits: one rule for every reader of entries."""

from __future__ import annotations

import json

import psycopg
import pytest
import redis
from typer.testing import CliRunner

from consumers.dead_letters.store import DeadLetterStore
from ops.cli import app
from tests.pipeline.conftest import Start
from tests.support.groups import settled
from tests.support.waiting import eventually

LAST = 2**63 - 1
STREAM = "tenant:42:events"


@pytest.mark.parametrize("large", [f"{2**63}-0", f"{2**64 - 1}-5", f"{LAST}-{2**63}"])
def test_id_that_no_row_can_hold__is_a_dead_letter_of_both_groups(
    start: Start,
    servers: dict[str, str],
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    large: str,
) -> None:
    for entry_id, job in (("5-1", "a1"), (f"{LAST}-{LAST}", "a2"), (large, "a3")):
        redis_client.xadd(STREAM, {"event": json.dumps({"type": "done", "id": job})}, id=entry_id)
    redis_client.xadd(STREAM, {"event": '{"type":"done","id":"a1","attempt":2}'})
    redis_client.xadd("tenant:43:events", {"event": '{"type":"done","id":"a1"}'})
    for group in ("status", "rows"):
        start("consume", group, **servers)
    eventually(lambda: settled(redis_client, "42", "status", "rows"), 60)
    eventually(lambda: settled(redis_client, "43", "status", "rows"), 60)

    letters = list(DeadLetterStore(redis_client).letters("42"))
    assert letters[-1].name == large
    assert [letter.reason for letter in letters] == ["invalid_entry_id"] * 2
    assert [sorted(letter.groups) for letter in letters] == [["rows", "status"]] * 2
    documents = [redis_client.get(f"tenant:42:job:a{number}:status") for number in (1, 2, 3)]
    assert [document is None for document in documents] == [False, False, True]
    with psycopg.connect(servers["database_url"]) as connection:
        rows = connection.execute("SELECT id, attempt FROM jobs WHERE tenant = '42' ORDER BY id")
        assert rows.fetchall() == [("a1", 1), ("a2", 1)]

    for name, value in servers.items():
        monkeypatch.setenv(f"JOBTRAIL_{name.upper()}", value)
    for words in (
        *(("verify", projection) for projection in ("status", "rows")),
        *(("replay", projection) for projection in ("status", "rows")),
        *(("verify", projection, "--tenant", "42") for projection in ("status", "rows")),
        ("trim",),
        ("lag", "--json"),
        ("status", "--tenant", "42", "a1"),
        ("dead", "show", "--tenant", "42", large),
    ):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (words, result.output, result.exception)


def test_stream_begun_anew__what_had_too_large_an_id_is_requeued_and_applied(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    redis_client.xadd(STREAM, {"event": '{"type":"done","id":"a1"}'}, id="5-1")
    redis_client.xadd(STREAM, {"event": '{"type":"done","id":"a2"}'}, id=f"{2**63}-0")
    for group in ("status", "rows"):
        start("consume", group, **servers)
    eventually(lambda: settled(redis_client, "42", "status", "rows"), 60)
    redis_client.delete(STREAM)  # settled: the history and the dead letters have all of it
    dead_letters = DeadLetterStore(redis_client)
    (letter,) = dead_letters.letters("42")
    assert dead_letters.requeue(letter)
    eventually(lambda: redis_client.get("tenant:42:job:a2:status"), 90)
    eventually(lambda: settled(redis_client, "42", "status", "rows"), 90)
    assert redis_client.xlen("tenant:42:dead") == 0

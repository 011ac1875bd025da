from __future__ import annotations

import json

import pytest
import redis
import typer
from typer.testing import CliRunner

from consumers.delivery.groups import ConsumerGroup
from ops.commands import retention
from ops.errors import CommandError

app = typer.Typer()
app.command("trim")(retention.trim)
app.add_typer(retention.groups, name="groups")


@pytest.fixture(autouse=True)
def log(redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Append ten old entries, which `rows` has acknowledged and `status` has not."""
    monkeypatch.setenv("JOBTRAIL_REDIS_URL", redis_url)
    # It would take the place of pytest's own handlers.
    monkeypatch.setattr("streams.logging_setup.configure", lambda _: None)
    for n in range(1, 11):
        redis_client.xadd("tenant:42:events", {"event": b"{}"}, id=f"{n}-0")
    rows = ConsumerGroup(redis_client, "rows", "me")
    rows.register()
    rows.acknowledge(rows.read(["42"], 100))
    redis_client.sadd("jobtrail:groups", "status")


def run(*words: str) -> str:
    return CliRunner().invoke(app, words, catch_exceptions=False).stdout


def test_trim_says_what_holds_back() -> None:
    assert json.loads(run("trim", "--json")) == [
        {"tenant": "42", "trimmed": 0, "left": 10, "held_by": ["status"]}
    ]
    assert "status" in run("trim", "--tenant", "42")


def test_trim_of_a_tenant_without_a_log_is_an_error() -> None:
    with pytest.raises(CommandError, match="no tenant '43'"):
        run("trim", "--tenant", "43")


def test_groups_are_listed_and_nothing_is_trimmed(redis_client: redis.Redis) -> None:
    had = ConsumerGroup(redis_client, "status", "me")
    had.acknowledge(had.read(["42"], 5))
    found = {row["group"]: row for row in json.loads(run("groups", "list", "--json"))}
    assert redis_client.xlen("tenant:42:events") == 10
    assert found["rows"]["consumers_alive"] == 1
    assert found["status"]["holds_back"] == 1
    assert "consumers alive" in run("groups", "list")


def test_deregistered_group_holds_nothing_back() -> None:
    assert "on 0 streams" in run("groups", "deregister", "status")
    assert json.loads(run("trim", "--json"))[0]["left"] == 1


def test_group_that_is_consumed_is_refused_without_force() -> None:
    with pytest.raises(CommandError, match="--force"):
        run("groups", "deregister", "rows")
    assert "on 1 stream" in run("groups", "deregister", "rows", "--force")


def test_unknown_group_is_refused() -> None:
    with pytest.raises(CommandError, match="rows, status"):
        run("groups", "deregister", "nobody")

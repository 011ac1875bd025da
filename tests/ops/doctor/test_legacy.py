"""`jobtrail doctor --legacy`: the count of old keys, and whether they can be switched off."""

from __future__ import annotations

import redis
from typer.testing import CliRunner

from ops.cli import app
from ops.doctor.legacy import count_old_keys, examine_legacy
from streams.compat import RedisProgressAdapter
from streams.compat.bridge import Bridge
from streams.settings import Settings


def test_none_left_may_be_switched_off(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.set("tenant:7:job:a1:progress", "{}")
    redis_client.set("job:a1:status", "{}")
    found = examine_legacy(Settings(redis_url=redis_url, legacy_keys="on"))
    assert found.ok
    assert found.warns
    assert "unset JOBTRAIL_LEGACY_KEYS" in found.advice
    assert not examine_legacy(Settings(redis_url=redis_url)).warns


def test_a_worker_that_still_writes_is_seen(redis_url: str, redis_client: redis.Redis) -> None:
    RedisProgressAdapter(through=Bridge(redis_client)).record_progress("a1", "parsing")
    redis_client.set("job:video:17:progress", "{}", ex=20_000)
    found = examine_legacy(Settings(redis_url=redis_url, legacy_keys="on"))
    assert not found.ok
    assert found.found.startswith("2 left (1 of jobs, 1 of videos), the latest written about 0 s")
    assert "keep JOBTRAIL_LEGACY_KEYS=on" in found.advice


def test_keys_without_an_end_are_to_be_deleted(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.set("job:a1:progress", "{}")
    assert count_old_keys(redis_client) == (1, 0, 1, None)
    assert "delete them" in examine_legacy(Settings(redis_url=redis_url)).advice


def test_advice_covers_keys_that_expire_and_keys_that_do_not(
    redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set("job:a1:progress", "{}")
    redis_client.set("job:a2:progress", "{}", ex=20_000)
    advice = examine_legacy(Settings(redis_url=redis_url, legacy_keys="on")).advice
    assert "in the last 6 hours" in advice
    assert "keep JOBTRAIL_LEGACY_KEYS=on until" in advice
    assert "delete the 1 without a time to live" in advice


def test_thousands_are_counted_each_once(redis_client: redis.Redis) -> None:
    redis_client.mset({f"job:{n}:progress": "{}" for n in range(5_000)})
    assert count_old_keys(redis_client).total == 5_000


def test_the_command_says_it_and_exits_non_zero(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.set("job:a1:progress", "{}")
    environ = {"JOBTRAIL_REDIS_URL": redis_url, "COLUMNS": "200"}
    done = CliRunner().invoke(app, ["doctor", "--legacy"], env=environ)
    assert done.exit_code == 1
    assert "1 left" in done.stdout
    redis_client.delete("job:a1:progress")
    assert CliRunner().invoke(app, ["doctor", "--legacy"], env=environ).exit_code == 0

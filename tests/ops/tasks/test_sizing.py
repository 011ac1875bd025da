"""Sums of the needs of a load, and the page that quotes them."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from api.server import MAX_CONNECTIONS
from benchmarks.waiting import wait_until_drained
from benchmarks.workload import fill, lives, tenants
from ops.tasks.sizing import model
from ops.tasks.sizing.costs import COSTS, cost
from ops.tasks.sizing.model import DAY, Load, first_limit, size
from ops.tasks.sizing.report import as_facts, bytes_shown, cores_shown, summary
from tests.ops.tasks import sizing_page
from tests.pipeline.conftest import starting
from tests.support.commands import Request, run_all
from tests.support.waiting import ENDING

STORED = """
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
WHERE relkind = 'r' AND relname ~ '^job(s|_facets|_events.*)$' AND pg_relation_size(oid) > 0
"""
DEMO = Load(tenants=3, events_per_second=5, viewers=3, jobs_per_day=43_200)
HUNDRED_MILLION = Load(
    tenants=10_000, events_per_second=11_574, viewers=100_000, jobs_per_day=100_000_000
)


def load(events: float, viewers: int = 0, tenants: int = 1) -> Load:
    return Load(tenants, events, viewers, events * DAY / model.EVENTS_A_JOB)


def test_a_small_load_needs_two_of_each_process_and_one_of_each_server() -> None:
    found = size(DEMO)
    assert {part.processes for part in (*found.consumers.values(), found.api)} == {2}
    assert found.redis_primaries == 1
    assert all(limit.share < 0.1 for limit in found.limits)


def test_a_hundred_million_jobs_a_day_need_several_redis_for_their_memory() -> None:
    found = size(HUNDRED_MILLION)
    assert found.redis_primaries > 1
    first = found.limits[0]
    assert first.share > 1
    assert found.postgres_bytes_a_day == pytest.approx(
        11_574 * DAY * cost("postgres_bytes_event") + 1e8 * cost("postgres_bytes_job"), rel=0.01
    )


@given(
    events=st.floats(0, 1e6),
    viewers=st.integers(0, 10**6),
    tenants=st.integers(1, 10**6),
    factor=st.floats(1, 10),
)
def test_more_load_never_needs_less(
    events: float, viewers: int, tenants: int, factor: float
) -> None:
    less = size(load(events, viewers, tenants))
    more = size(load(events * factor, round(viewers * factor), round(tenants * factor)))
    for few, many in zip(_numbers(as_facts(less)), _numbers(as_facts(more)), strict=True):
        assert few <= many * (1 + 1e-9)


def _numbers(facts: dict[str, Any]) -> list[float]:
    redis, postgres = facts["redis"], facts["postgres"]
    parts = [*facts["consumers"].values(), facts["api"], redis, postgres]
    limits = sorted(facts["limits"], key=lambda each: (each["engine"], each["what"]))
    return [
        *(number for part in parts for number in part.values()),
        *(limit["share"] for limit in limits),
    ]


@given(events=st.floats(0, 1e6), viewers=st.integers(0, 10**6))
def test_the_first_limit_is_reached_at_its_multiple_of_the_load(
    events: float, viewers: int
) -> None:
    given_load = load(events, viewers, tenants=1_000)
    shares = [limit.share for limit in size(given_load).limits]
    assert shares == sorted(shares, reverse=True)
    first = model.first_limit(given_load)
    below = size(model._grown(given_load, first.growth * 0.99))
    assert below.limits[0].share <= 1
    above = size(model._grown(given_load, first.growth * 1.01))
    assert max(each.share for each in above.limits if each[:2] == first[:2]) > 1


def test_memory_follows_from_what_is_kept() -> None:
    day, hour = load(1_000), load(1_000)._replace(stream_keep_seconds=3_600)
    saved = size(day).redis_bytes - size(hour).redis_bytes
    assert saved == pytest.approx(1_000 * (DAY - 3_600) * cost("redis_bytes_event"))


def test_an_api_process_can_have_the_viewers_that_are_counted_for_it() -> None:
    assert model.VIEWERS_A_PROCESS <= MAX_CONNECTIONS
    assert all(each.value > 0 and each.meaning and each.source for each in COSTS.values())


def test_the_command_prints_tables_or_json_and_refuses_what_cannot_be() -> None:
    words = ["--tenants", "10", "--events-per-second", "100", "--viewers", "50"]
    commands = {
        "table": ["size", *words],
        "json": ["size", *words, "--json"],
        "jobs": ["size", *words, "--jobs-per-day", "100000", "--json"],
        "too many": ["size", *words, "--jobs-per-day", "100000000"],
        "negative": ["size", "--tenants", "-1", *words[2:]],
        "not a number": ["size", "--tenants", "1", "--events-per-second", "nan", *words[4:]],
        "nothing": ["size"],
    }
    done = run_all(Request(commands, "/dev/null", {}, 60), {})
    assert {name for name, each in done.items() if each.status == 0} == {"table", "json", "jobs"}
    for name in ("too many", "negative", "not a number", "nothing"):
        assert len(done[name].err.splitlines()) == 1, done[name]
    assert "PostgreSQL" in done["table"].out
    found = json.loads(done["json"].out)
    assert found["load"]["jobs_per_day"] == 100 * DAY / model.EVENTS_A_JOB
    assert json.loads(done["jobs"].out)["load"]["jobs_per_day"] == 100_000
    assert found["first_limit"]["engine"] in ("Redis", "PostgreSQL")


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    """If they differ, `python -m tests.ops.tasks.sizing_page` writes them."""
    text = sizing_page.DOCUMENT.read_text()
    assert sizing_page.filled(text) == text


@pytest.mark.parametrize("users", sizing_page.USERS)
def test_the_thresholds_of_users_are_far_from_every_limit(users: int) -> None:
    found = size(sizing_page.load_of_users(users))
    assert found.redis_primaries == 1
    assert found.limits[0].share < 0.2
    assert found.connections < 40


def test_bytes_of_a_real_load_are_predicted_within_half_as_much_again(
    redis_client: redis.Redis, redis_url: str, database_url: str
) -> None:
    names, jobs = tenants(5), 100
    count = fill(redis_client, lives(names, jobs))
    with starting() as start:
        for group in model.GROUPS:
            start("consume", group, redis_url=redis_url, database_url=database_url)
        for group in model.GROUPS:
            wait_until_drained(redis_client, group, names, ENDING)
    predicted = size(Load(len(names), count / DAY, 0, jobs * len(names)))
    keys = list(redis_client.scan_iter("tenant:*", count=10_000))
    held = sum(redis_client.memory_usage(key, samples=0) or 0 for key in keys)
    assert 1 / 1.5 < predicted.redis_bytes / held < 1.5
    with psycopg.connect(database_url) as connection:
        stored = connection.execute(STORED).fetchone()
    assert stored is not None
    assert 1 / 1.5 < predicted.postgres_bytes_a_day / int(stored[0]) < 1.5


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (cores_shown(0.996), "100 % of a core"),
        (cores_shown(0.0123), "1.2 % of a core"),
        (cores_shown(0), "0 % of a core"),
        (cores_shown(1.23e-7), "0.000012 % of a core"),
        (bytes_shown(999.7 * 2**30), "1,000 GiB"),
        (bytes_shown(12.345 * 2**30), "12.3 GiB"),
    ],
)
def test_rounded_numbers_have_no_exponent(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_limit_that_is_nearly_reached_is_shown_without_an_exponent() -> None:
    load = Load(tenants=1, events_per_second=1_000, viewers=100_000, jobs_per_day=1_000)
    grown = first_limit(load).growth
    reached = load._replace(
        events_per_second=load.events_per_second * grown,
        viewers=round(load.viewers * grown),
        jobs_per_day=load.jobs_per_day * grown,
    )
    assert summary(size(reached)).endswith("it is reached at 100 % of this load.")

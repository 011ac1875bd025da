"""The metrics of consumers."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from consumers import metrics
from consumers.chores.sweep.chore import Sweep
from consumers.chores.sweep.stream_figures import MAX_TENANT_LABELS
from consumers.collectors import EventHistogram, FleetingCounter, FleetingGauge
from consumers.composition import build
from consumers.delivery.groups import ConsumerGroup
from streams.appender import EventAppender
from streams.settings import Settings
from tests.support.scraping import Samples, parsed, value
from tests.support.waiting import eventually


def scraped() -> Samples:
    return parsed(generate_latest().decode())


def append(client: redis.Redis, *ids: str, tenant: str = "42") -> None:
    EventAppender(client).append_many((tenant, {"type": "done", "id": id_}) for id_ in ids)


def sweep(client: redis.Redis, consumer: str = "me", *, tenants: bool = False) -> Sweep:
    return Sweep(client, "status", consumer, tenants_in_metrics=tenants)


@pytest.fixture(autouse=True)
def nothing_published() -> None:
    """Withdraw what an earlier test published."""
    for gauge in vars(metrics).values():
        if isinstance(gauge, FleetingGauge):
            gauge.withdraw()


@given(
    st.lists(st.lists(st.integers(0, 100_000), min_size=1, max_size=30), max_size=5),
    st.integers(0, 100_000),
)
def test_histogram_of_batches_is_that_of_their_events(batches: list[list[int]], now: int) -> None:
    buckets = (0.01, 0.5, 1, 30)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    together = EventHistogram("age", "Ages.", "group", buckets=buckets, registry=ours)
    each = Histogram("age", "Ages.", ["group"], buckets=buckets, registry=theirs)
    for times in batches:
        together.observe_ages("a", now, [now - ms for ms in times])
        for ms in times:
            each.labels("a").observe(ms / 1000)
    got, wanted = (parsed(generate_latest(one).decode()) for one in (ours, theirs))
    wanted.pop("age_created", None)
    assert got.keys() == wanted.keys()
    for name, samples in wanted.items():
        assert got[name] == pytest.approx(samples)


def test_entry_of_the_future_counts_as_projected_at_once() -> None:
    registry = CollectorRegistry()
    ages = EventHistogram("age", "Ages.", "group", buckets=(1.0,), registry=registry)
    ages.observe_ages("a", 1_000, [5_000])
    said = parsed(generate_latest(registry).decode())
    assert value(said, "age_bucket", group="a", le="1.0") == 1
    assert value(said, "age_sum", group="a") == 0


@pytest.mark.parametrize("kind", [FleetingGauge, FleetingCounter])
def test_fleeting_figure_stands_for_its_time_only(kind: type[FleetingGauge]) -> None:
    registry, now = CollectorRegistry(), [0.0]
    figure = kind("x_total", "X.", ["group"], registry=registry, clock=lambda: now[0])
    figure.publish({("a",): 3}, 10)
    now[0] = 9.9
    assert value(parsed(generate_latest(registry).decode()), "x_total", group="a") == 3
    now[0] = 10
    assert "x_total" not in parsed(generate_latest(registry).decode())


def test_sweep_says_what_is_waiting_and_pending_and_how_old_it_is(
    redis_client: redis.Redis,
) -> None:
    append(redis_client, "a1", "a2", "a3")
    redis_client.xadd("tenant:old:events", {"event": b'{"type":"done","id":"b"}'}, id="1000-0")
    ConsumerGroup(redis_client, "status", "me").read(["42"], 2)
    sweep(redis_client).run()
    said = scraped()
    for group, waiting, pending in (("status", 2, 2), ("rows", 4, 0)):
        assert value(said, "jobtrail_entries_waiting", group=group) == waiting
        assert value(said, "jobtrail_entries_pending", group=group) == pending
        assert value(said, "jobtrail_streams_behind", group=group) == 2
        age = value(said, "jobtrail_oldest_unprocessed_age_seconds", group=group)
        assert age is not None
        assert age > 1_000_000_000
    assert value(said, "jobtrail_sweeper") == 1
    assert value(said, "jobtrail_streams") == 2


def test_settled_streams_count_no_more(redis_client: redis.Redis) -> None:
    append(redis_client, "a1")
    one = sweep(redis_client)
    one.run()
    for name in ("status", "rows"):
        group = ConsumerGroup(redis_client, name, "me")
        group.acknowledge(group.read(["42"], 10))
    one.run()
    said = scraped()
    for group_name in ("status", "rows"):
        assert value(said, "jobtrail_entries_waiting", group=group_name) == 0
        age = value(said, "jobtrail_oldest_unprocessed_age_seconds", group=group_name)
        assert age == pytest.approx(0)


def test_only_the_elected_sweeper_speaks_for_all(redis_client: redis.Redis) -> None:
    append(redis_client, "a1")
    first, second = sweep(redis_client, "first"), sweep(redis_client, "second")
    first.run()
    assert value(scraped(), "jobtrail_sweeper") == 1
    second.run()  # in this one process it withdraws what the first said
    said = scraped()
    assert "jobtrail_sweeper" not in said
    assert "jobtrail_entries_waiting" not in said


def test_dead_letters_of_all_tenants_are_counted_and_gone_when_they_are(
    redis_client: redis.Redis,
) -> None:
    for tenant, count in (("1", 2), ("2", 3)):
        for _ in range(count):
            redis_client.xadd(f"tenant:{tenant}:dead", {"reason": "not_json"})
    one = sweep(redis_client)
    one.run()
    assert value(scraped(), "jobtrail_dead_letters") == 5
    redis_client.delete("tenant:1:dead")
    one.run()
    assert value(scraped(), "jobtrail_dead_letters") == 3


def test_progress_that_appenders_shed_is_shown(redis_client: redis.Redis) -> None:
    appender = EventAppender(redis_client, max_stream_bytes=1)
    appender.append_many(("42", {"type": "progress", "id": "a1"}) for _ in range(3))
    sweep(redis_client).run()
    assert value(scraped(), "jobtrail_progress_shed_total") == 3


def test_tenants_are_labels_only_where_it_is_switched_on_and_then_of_a_bounded_number(
    redis_client: redis.Redis,
) -> None:
    names = [f"tenant-{number}" for number in range(MAX_TENANT_LABELS + 20)]
    EventAppender(redis_client).append_many(
        (tenant, {"type": "done", "id": "a1"}) for tenant in names
    )
    sweep(redis_client).run()
    assert "tenant-" not in generate_latest().decode()
    redis_client.delete("jobtrail:sweeper")
    sweep(redis_client, tenants=True).run()
    said = scraped()["jobtrail_tenant_entries_unsettled"]
    assert len(said) == 2 * MAX_TENANT_LABELS
    assert set(said.values()) == {1.0}


@pytest.mark.parametrize(
    "name",
    [
        b"\xff\xfe",
        b'a"} 1\nforged{x="',
        b"${__from}",
        b"{{tenant}}",
        b"<img src=x onerror=alert(1)>",
        b"\x1b[2J",
        "\u202ekcatta".encode(),
        b"a" * 200,
    ],
)
def test_stream_of_another_name_makes_no_label(redis_client: redis.Redis, name: bytes) -> None:
    """Any client that may XADD chooses it: dashboards and alerts would show it."""
    for tenant in (name, b"good"):
        redis_client.xadd(b"tenant:" + tenant + b":events", {"event": '{"type":"done","id":"a"}'})
    sweep(redis_client, tenants=True).run()
    labelled = [line for line in generate_latest().decode().splitlines() if 'tenant="' in line]
    assert len(labelled) == 4
    assert all('tenant="good"' in line for line in labelled)


def test_idle_stream_costs_the_sweep_no_command_of_its_own(redis_client: redis.Redis) -> None:
    """Streams that no group is behind with are not read, however many there are."""
    names = [f"t{number}" for number in range(300)]
    EventAppender(redis_client).append_many((name, {"type": "done", "id": "a"}) for name in names)
    for name in ("status", "rows"):
        group = ConsumerGroup(redis_client, name, "me")
        group.acknowledge(group.read(names, 10))
    one = sweep(redis_client)
    one.run()
    one.run()
    redis_client.config_resetstat()
    one.run()
    stats = redis_client.info("commandstats")
    calls = sum(facts["calls"] for name, facts in stats.items() if "config" not in name)
    assert calls < 30


def test_consumer_counts_what_it_did(redis_client: redis.Redis, redis_url: str) -> None:
    def count(name: str, **labels: str) -> float:
        return value(scraped(), name, **labels) or 0

    watched: list[Callable[[], float]] = [
        lambda: count("jobtrail_events_applied_total", group="status"),
        lambda: count("jobtrail_entries_acknowledged_total", group="status"),
        lambda: count("jobtrail_projection_delay_seconds_count", group="status"),
        lambda: count("jobtrail_batch_entries_sum", group="status"),
        lambda: count(
            "jobtrail_entries_dead_lettered_total", group="status", reason="unknown_type"
        ),
        lambda: count("jobtrail_groups_created_total", group="status", reason="new"),
        lambda: count("jobtrail_groups_created_total", group="status", reason="lost"),
        lambda: count("jobtrail_entries_reclaimed_total", group="status"),
        lambda: count("jobtrail_entries_redelivered_total", group="status"),
    ]
    before = [each() for each in watched]
    settings = Settings(redis_url=redis_url, reclaim_idle_seconds=0.05)
    consumer, stop = build("status", settings, redis_client, "me"), threading.Event()
    append(redis_client, "a1", "a2", "a3")
    redis_client.xadd("tenant:42:events", {"event": b'{"type":"no such","id":"a"}'})
    consumer.turn(stop)
    redis_client.xgroup_destroy("tenant:42:events", "status")
    append(redis_client, "b1")
    consumer.turn(stop)
    append(redis_client, "c1")
    ConsumerGroup(redis_client, "status", "dead").read(["42"], 10)

    def differences() -> list[float]:
        consumer.turn(stop)
        return [each() - old for each, old in zip(watched, before, strict=True)]

    # 3 and 1 dead; again with one more after the group was lost; and one taken over.
    wanted = [8, 10, 8, 10, 2, 1, 1, 1, 1]
    eventually(lambda: differences() == wanted)


def test_outage_is_counted_by_the_server_that_is_away(
    redis_client: redis.Redis, redis_url: str
) -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"
    settings = Settings(redis_url=redis_url, database_url=away)
    consumer, stop = build("rows", settings, redis_client, "me"), threading.Event()
    append(redis_client, "a1")

    def waits() -> float:
        return value(scraped(), "jobtrail_outages_total", group="rows", server="postgres") or 0

    before = waits()
    running = threading.Thread(target=consumer.run, args=(stop,))
    running.start()
    eventually(lambda: waits() > before)
    stop.set()
    running.join(10)
    assert not running.is_alive()
    waited = value(scraped(), "jobtrail_outage_wait_seconds_total", group="rows", server="postgres")
    assert waited

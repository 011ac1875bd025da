"""Random interleavings of appends, turns, deaths, cuts, outages and stops of several consumers.

Whatever happens between asking for a batch, receiving, storing and acknowledging it: what was
acknowledged was stored before, and in the end all that was appended is stored and acknowledged.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.chores.sweep.chore import Sweep
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.deliveries import Delivery
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.ready import ReadyQueue
from consumers.loop import read_ahead
from consumers.loop.outages import Stopped
from consumers.loop.runner import Consumer
from projections.decoding import Entry
from streams.appender import EventAppender
from streams.connection import connect
from streams.wire import ask
from tests.support.groups import settled
from tests.support.thorough import examples
from tests.support.waiting import eventually

TENANTS = ("a", "b", "c")
CONSUMERS = 3

ACTIONS = st.one_of(
    st.tuples(st.just("append"), st.sampled_from(TENANTS), st.integers(1, 12)),
    st.tuples(
        st.just("turn"),
        st.integers(0, CONSUMERS - 1),
        st.sampled_from(
            [
                *["well"] * 4,
                "look ahead",
                "dies before storing",
                "dies after storing",
                "dies after looking ahead",
                "meets an outage",
                "is stopped in an outage",
            ]
        ),
    ),
    st.tuples(st.just("recover"), st.integers(0, CONSUMERS - 1), st.none()),
    st.tuples(st.just("claim"), st.integers(0, CONSUMERS - 1), st.sampled_from(TENANTS)),
    st.tuples(st.just("cut"), st.integers(0, CONSUMERS - 1), st.none()),
    st.tuples(st.just("stop"), st.integers(0, CONSUMERS - 1), st.none()),
)


class Died(BaseException):
    """Raised where the process would be killed."""


class Store:
    """The entries that all consumers stored and acknowledged."""

    def __init__(self) -> None:
        self.applied: set[tuple[str, str]] = set()
        self.acknowledged: set[tuple[str, str]] = set()


class Process:
    """One consumer, and the fault in its next batch."""

    def __init__(self, url: str, store: Store, name: str) -> None:
        self.client = connect(url)
        self.store = store
        self.fate = "well"
        self.stop = threading.Event()
        group = _Watched(self.client, "status", name)
        group.store = store
        self.consumer = Consumer(
            group=group,
            projection=self,
            ready=ReadyQueue(self.client, "status", lease_seconds=0.05),
            dead_letters=DeadLetterWriter(self.client, "status"),
            sweep=Sweep(self.client, "status", name, reclaim_idle_seconds=60),
            reclaim_idle_seconds=0,
        )

    def apply(self, entries: Sequence[Entry]) -> None:
        fate, self.fate = self.fate, "well"
        if fate in ("look ahead", "dies after looking ahead"):
            self.consumer.look_ahead()
        if fate in ("dies before storing", "dies after looking ahead"):
            raise Died
        if fate == "is stopped in an outage":
            self.stop.set()
        if fate.endswith("an outage"):
            raise psycopg.OperationalError("away")
        self.store.applied |= {(entry.tenant, str(entry.entry_id)) for entry in entries}
        if fate == "dies after storing":
            raise Died

    def close(self) -> None:
        self.client.connection_pool.disconnect()


class _Watched(ConsumerGroup):
    """A group whose acknowledgements are compared with what is stored."""

    store: Store

    def acknowledge(self, deliveries: Iterable[Delivery]) -> list[str]:
        these = [(each.tenant, each.id.decode()) for each in deliveries]
        assert self.store.applied.issuperset(these)
        self.store.acknowledged.update(these)
        return super().acknowledge(deliveries)


class Deployment:
    """Some consumers; one that dies is replaced."""

    def __init__(self, url: str, client: redis.Redis) -> None:
        self.url = url
        self.client = client
        self.store = Store()
        self.started = 0
        self.processes = [self._start() for _ in range(CONSUMERS)]

    def do(self, action: str, which: Any, what: Any) -> None:
        if action == "append":
            EventAppender(self.client).append_many(
                (which, {"type": "processing", "id": f"j{number}"}) for number in range(what)
            )
            return
        process: Process = self.processes[which]
        try:
            with suppress(redis.ConnectionError):
                self._act(process, action, what)
        except (Died, Stopped):
            self._replace(which)

    def _act(self, process: Process, action: str, what: Any) -> None:
        me = process.consumer
        if action == "turn":
            process.fate = what
            me.turn(process.stop)
        elif action == "recover":
            me.recover(process.stop)
        elif action == "claim":
            me.take_over(what, process.stop)
        elif action == "cut":
            process.client.connection_pool.disconnect()
        else:
            process.stop.set()
            me.run(process.stop)
            raise Stopped

    def settle(self) -> None:
        """Let a last consumer take over what the others left."""
        for process in self.processes:
            process.close()
        last = self._start()

        def done() -> bool:
            for tenant in TENANTS:
                last.consumer.take_over(tenant, last.stop)
            for name in TENANTS:
                self.client.zadd("jobtrail:ready:status", {name: 0})
            last.consumer.turn(last.stop)
            exists = [name for name in TENANTS if self.client.exists(f"tenant:{name}:events")]
            return all(settled(self.client, name, "status") for name in exists)

        eventually(done)
        last.close()

    def _start(self) -> Process:
        self.started += 1
        return Process(self.url, self.store, f"c{self.started}")

    def _replace(self, which: int) -> None:
        self.processes[which].close()
        self.processes[which] = self._start()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "QUANTUM", 3)
    monkeypatch.setattr("consumers.loop.runner.BLOCK_SECONDS", 0.0)
    monkeypatch.setattr("consumers.loop.outages.FIRST_PAUSE", 0.0)


@pytest.mark.usefixtures("small")
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, min_size=5, max_size=40))
def test_what_is_acknowledged_was_stored_and_nothing_is_lost(
    redis_url: str, redis_client: redis.Redis, actions: Sequence[tuple[str, Any, Any]]
) -> None:
    redis_client.flushall()
    deployment = Deployment(redis_url, redis_client)
    for action in actions:
        deployment.do(*action)
    deployment.settle()
    appended = {
        (tenant, entry_id.decode())
        for tenant in TENANTS
        for entry_id, _ in ask(redis_client, "XRANGE", f"tenant:{tenant}:events", "-", "+")
    }
    assert deployment.store.applied == deployment.store.acknowledged == appended
    assert not any(redis_client.exists(f"tenant:{tenant}:dead") for tenant in TENANTS)

"""Entries that end their consumer's process, and outages that look similar."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from consumers.chores.sweep.chore import Sweep
from consumers.dead_letters.trials import MAX_TRIALS, SHARED_DELIVERIES, TRIAL_STEP, Trials
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.ready import ReadyQueue
from consumers.loop.outages import Stopped
from consumers.loop.runner import Consumer
from projections.decoding import Entry
from streams.appender import EventAppender
from streams.wire import ask
from tests.support.groups import entries, pending, settled
from tests.support.waiting import eventually

STREAM = "tenant:42:events"

CONSUMER = """
import os, sys, threading
from consumers.dead_letters.writer import DeadLetterWriter
from consumers.delivery.groups import ConsumerGroup
from consumers.delivery.ready import ReadyQueue
from consumers.loop.runner import Consumer
from consumers.chores.sweep.chore import Sweep
from streams.connection import connect

url, name = sys.argv[1:]
client = connect(url)

class Mortal:
    def apply(self, entries):
        if any(entry.event.id.startswith("poison") for entry in entries):
            os._exit(9)
        client.sadd("applied", *(entry.event.id for entry in entries))

Consumer(
    group=ConsumerGroup(client, "status", name),
    projection=Mortal(),
    ready=ReadyQueue(client, "status", lease_seconds=0.1),
    dead_letters=DeadLetterWriter(client, "status"),
    sweep=Sweep(client, "status", name, reclaim_idle_seconds=0.1, interval_seconds=0.1),
    reclaim_idle_seconds=0.1,
).run(threading.Event())
"""


class _Loop:
    """Several consumer processes; each that dies is started again."""

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._started = 0
        self.processes = [self._start() for _ in range(size)]

    def _start(self) -> subprocess.Popen[bytes]:
        self._started += 1
        words = [sys.executable, "-c", CONSUMER, self._url, f"c{self._started}"]
        root = Path(__file__).parents[3]
        return subprocess.Popen(words, cwd=root, stdout=subprocess.DEVNULL)

    @property
    def deaths(self) -> int:
        return self._started - len(self.processes)

    def tend(self) -> None:
        for place, process in enumerate(self.processes):
            code = process.poll()
            if code is not None:
                assert code == 9
                self.processes[place] = self._start()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def test_poison_that_kills__is_dead_lettered_and_all_the_good_ones_are_applied(
    redis_url: str, redis_client: redis.Redis
) -> None:
    good = [f"a{number}" for number in range(60)]
    ids = [*good[:20], "poison1", *good[20:40], "poison2", *good[40:]]
    EventAppender(redis_client).append_many(("42", {"type": "done", "id": each}) for each in ids)
    loop = _Loop(redis_url, 2)

    def done() -> bool:
        loop.tend()
        return redis_client.xlen("tenant:42:dead") == 2 and settled(redis_client, "42", "status")

    try:
        eventually(done, timeout=90)
    finally:
        loop.end()
    assert redis_client.smembers("applied") == {each.encode() for each in good}
    letters = entries(redis_client, "tenant:42:dead")
    assert {letter["reason"] for letter in letters} == {b"kills_consumer"}
    assert sorted(b'"poison1"' in letter["event"] for letter in letters) == [False, True]
    for letter in letters:
        assert int(letter["deliveries"]) > SHARED_DELIVERIES + MAX_TRIALS, Trials
    assert loop.deaths >= SHARED_DELIVERIES + MAX_TRIALS, Trials


class Recording:
    """A projection that records its batches and can raise errors."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.batches: list[list[str]] = []
        self.counters: list[int] = []
        self.client: redis.Redis | None = None

    def apply(self, entries: Sequence[Entry]) -> None:
        if self.client is not None:
            self.counters.append(counter(self.client))
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append([entry.event.id for entry in entries])


class Waits:
    """A stop that records the counters instead of waiting, and is set after some waits."""

    def __init__(self, client: redis.Redis, patience: int) -> None:
        self.client = client
        self.patience = patience
        self.counters: list[int] = []

    def is_set(self) -> bool:
        return self.patience <= 0

    def wait(self, timeout: float) -> bool:
        self.patience -= 1
        self.counters.append(counter(self.client))
        return self.is_set()


def counter(client: redis.Redis) -> int:
    (row,) = client.xpending_range(STREAM, "status", "-", "+", 1)
    return int(row["times_delivered"])


def consumer(client: redis.Redis, projection: Recording) -> Consumer:
    return Consumer(
        group=ConsumerGroup(client, "status", "me"),
        projection=projection,
        ready=ReadyQueue(client, "status"),
        dead_letters=DeadLetterWriter(client, "status"),
        sweep=Sweep(client, "status", "me", reclaim_idle_seconds=0),
        reclaim_idle_seconds=0,
    )


def delivered(client: redis.Redis, counters: dict[str, int]) -> None:
    """Make entries pending for a dead consumer, with these delivery counters."""
    EventAppender(client).append_many(("42", {"type": "done", "id": each}) for each in counters)
    for delivery, count in zip(
        ConsumerGroup(client, "status", "dead").read(["42"], 100), counters.values(), strict=True
    ):
        who = ("XCLAIM", STREAM, "status", "dead", 0, delivery.id)
        ask(client, *who, "RETRYCOUNT", count, "JUSTID")


def claim(client: redis.Redis, projection: Recording, stop: Any = None) -> int:
    return consumer(client, projection).take_over("42", stop or threading.Event())


def test_delivered_often__is_tried_alone_after_the_others(redis_client: redis.Redis) -> None:
    delivered(redis_client, {"a": 5, "b": 1, "c": TRIAL_STEP + 7, "d": 900, "e": 4})
    projection = Recording()
    assert claim(redis_client, projection) == 5
    assert projection.batches == [["b", "e"], ["a"], ["d"], ["c"]]
    assert settled(redis_client, "42", "status")
    assert redis_client.exists("tenant:42:dead") == 0


def test_no_consumer_survived_it__is_dead_lettered_untried(redis_client: redis.Redis) -> None:
    delivered(redis_client, {"a": MAX_TRIALS * TRIAL_STEP + 8, "b": 1})
    projection = Recording()
    claim(redis_client, projection)
    assert projection.batches == [["b"]]
    (letter,) = entries(redis_client, "tenant:42:dead")
    assert (letter["reason"], letter["deliveries"]) == (b"kills_consumer", b"9")
    assert pending(redis_client, "42", "status") == 0


def test_trial__stands_while_the_entry_is_applied(redis_client: redis.Redis) -> None:
    delivered(redis_client, {"a": 6})
    projection = Recording()
    projection.client = redis_client
    claim(redis_client, projection)
    assert projection.counters == [TRIAL_STEP + 7]


@pytest.mark.parametrize(
    "outage", [psycopg.OperationalError("away"), redis.ConnectionError("away")], ids=str
)
def test_outage__counts_as_no_trial(redis_client: redis.Redis, outage: Exception) -> None:
    """No trial is recorded during an outage, nor after it."""
    delivered(redis_client, {"a": 6})
    waits = Waits(redis_client, 20)
    projection = Recording(*[outage] * 10)
    claim(redis_client, projection, waits)
    assert projection.batches == [["a"]]
    assert waits.counters == [7] * 10
    assert settled(redis_client, "42", "status")


def test_stopped_in_outages__however_often__is_not_dead_lettered(redis_client: redis.Redis) -> None:
    delivered(redis_client, {"a": 6})
    for _ in range(3 * MAX_TRIALS):
        stop = Waits(redis_client, 1)
        with pytest.raises(Stopped):
            claim(redis_client, Recording(psycopg.OperationalError("away")), stop)
    projection = Recording()
    claim(redis_client, projection)
    assert projection.batches == [["a"]]
    assert redis_client.exists("tenant:42:dead") == 0


def test_tried_alone_and_refused__is_dead_lettered_for_its_reason(
    redis_client: redis.Redis,
) -> None:
    delivered(redis_client, {"a": 6})
    claim(redis_client, Recording(ValueError("no such thing")))
    (letter,) = entries(redis_client, "tenant:42:dead")
    assert (letter["reason"], letter["deliveries"]) == (b"cannot_be_applied", b"7")


def test_settled_by_another_meanwhile__is_no_suspect(redis_client: redis.Redis) -> None:
    delivered(redis_client, {"a": 9})
    (delivery,) = ConsumerGroup(redis_client, "status", "me").claim("42", 0).deliveries
    redis_client.xack(STREAM, "status", delivery.id)
    trials = Trials(ConsumerGroup(redis_client, "status", "me"))
    assert trials.suspects("42", [delivery]) == []
    redis_client.delete(STREAM)
    assert trials.suspects("42", [delivery]) == []


class _Killed(BaseException):
    """Raised where the process would be killed."""


def test_killed_between_storing_and_acknowledging__however_often__is_not_dead_lettered(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry whose effect is stored did not end the process."""
    delivered(redis_client, {"a": 1})

    def killed(*_: object) -> None:
        raise _Killed

    with monkeypatch.context() as dying:
        dying.setattr(ConsumerGroup, "acknowledge", killed)
        for _ in range(SHARED_DELIVERIES + 3 * MAX_TRIALS):
            with pytest.raises(_Killed):
                claim(redis_client, Recording())
    projection = Recording()
    claim(redis_client, projection)
    assert projection.batches == [["a"]]
    assert settled(redis_client, "42", "status")
    assert redis_client.exists("tenant:42:dead") == 0


def test_killed_with_it_read_ahead_or_among_suspects__however_often__is_not_dead_lettered(
    redis_client: redis.Redis,
) -> None:
    """Only trials of an entry make it a dead letter, not deliveries alone."""
    delivered(redis_client, {"a": 1, "b": 1})
    for _ in range(
        SHARED_DELIVERIES + 3 * MAX_TRIALS
    ):  # read or taken over, and killed before it is applied
        ConsumerGroup(redis_client, "status", "dead").claim("42", 0)

    def killed(_: Sequence[Entry]) -> None:
        raise _Killed

    projection = Recording()
    projection.apply = killed  # type: ignore[method-assign, assignment]
    with pytest.raises(_Killed):
        claim(redis_client, projection)
    rows = redis_client.xpending_range(STREAM, "status", "-", "+", 10)
    assert [int(row["times_delivered"]) // TRIAL_STEP for row in rows] == [1, 0]
    assert claim(redis_client, survivor := Recording()) == 2
    assert sorted(survivor.batches) == [["a"], ["b"]]
    assert redis_client.exists("tenant:42:dead") == 0


def test_refused_in_its_trial__an_outage_of_its_dead_letter_counts_as_no_trial(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_client.xadd(STREAM, {"event": b"no JSON"})
    (delivery,) = ConsumerGroup(redis_client, "status", "dead").read(["42"], 1)
    who = ("XCLAIM", STREAM, "status", "dead", 0, delivery.id)
    ask(redis_client, *who, "RETRYCOUNT", 6, "JUSTID")
    failures = iter([redis.ResponseError("OOM command not allowed")] * 2)
    write = DeadLetterWriter.write

    def refuse(letters: DeadLetterWriter, *words: Any) -> None:
        for failure in failures:
            raise failure
        write(letters, *words)

    monkeypatch.setattr(DeadLetterWriter, "write", refuse)
    waits = Waits(redis_client, 20)
    claim(redis_client, Recording(), waits)
    assert waits.counters == [7, 7]
    (letter,) = entries(redis_client, "tenant:42:dead")
    assert (letter["reason"], letter["deliveries"]) == (b"not_json", b"7")


@pytest.mark.parametrize("lost", ["begin", "end"])
def test_trial_whose_record_is_uncertain__is_ended_later(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """A reply that is lost, or an end that Redis does not take, is no death of the process."""
    delivered(redis_client, {"a": 6})
    set_counter, away = ConsumerGroup.set_delivery_counter, [True]

    def unreliable(group: ConsumerGroup, delivery: Any, count: int) -> None:
        begins = count >= TRIAL_STEP
        if begins or not away:
            set_counter(group, delivery, count)
        if away and (not begins or lost == "begin"):
            raise redis.ConnectionError("away")

    monkeypatch.setattr(ConsumerGroup, "set_delivery_counter", unreliable)
    me = consumer(redis_client, Recording(*[ValueError("no such thing")] * 2))
    monkeypatch.setattr(DeadLetterWriter, "write", lambda *_: False)  # it stays pending
    if lost == "begin":
        with pytest.raises(redis.ConnectionError):
            me.take_over("42", threading.Event())
    else:
        me.take_over("42", threading.Event())
    assert counter(redis_client) == TRIAL_STEP + 7
    away.clear()
    me.recover(threading.Event())
    assert counter(redis_client) < TRIAL_STEP


def test_stopped_while_it_waits_for_a_server__its_end_is_no_death(
    redis_client: redis.Redis,
) -> None:
    """A process that must stop exits while a server hangs; the entry has not ended it."""
    delivered(redis_client, {"a": 6})
    stop, projection = threading.Event(), Recording()
    me = consumer(redis_client, projection)
    counters: list[int] = []

    def wait(_: Sequence[Entry]) -> None:
        me.keep()  # as writers do while they wait
        counters.append(counter(redis_client))
        stop.set()
        me.keep()
        raise _Killed

    projection.apply = wait  # type: ignore[method-assign, assignment]
    with pytest.raises(_Killed):
        me.take_over("42", stop)
    assert counters == [TRIAL_STEP + 7]
    assert counter(redis_client) == 7

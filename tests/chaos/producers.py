"""Producers: threads that append, retry the same event while the log is away, and keep account.

What was acknowledged is recorded with its entry id; what was sent without an answer may be there or
not, and is recorded as such.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import redis

from streams.appender import EventAppender
from streams.cluster import keys_of
from streams.connection import LogUnavailable, connect
from tests.chaos.workload import Item, Workload

TRICKLE = 0.1
"""Seconds between batches once a producer's share is sent: faults still need something to hit."""


class Acked(NamedTuple):
    """An append that the log has acknowledged."""

    tenant: str
    raw: bytes
    entry_id: str


class Sent(NamedTuple):
    """What producers know of what they sent."""

    acked: list[Acked]
    maybe: set[tuple[str, bytes]]
    poison: set[bytes]
    retries: int


class Producer(threading.Thread):
    """Sends its share of the load at an even pace, then a trickle, until told to stop.

    Args:
        share: events to send.
        rate: events a second.
        durable: True to have each append confirmed by replicas. Raw entries are not, so that
            nobody knows whether they are there.
    """

    def __init__(
        self,
        url: str,
        workload: Workload,
        seed: str,
        share: int,
        rate: float,
        *,
        durable: bool = False,
    ) -> None:
        super().__init__(daemon=True)
        self._client = connect(url, timeout=2, connect_timeout=2)
        self._appender = EventAppender(self._client, durable_seconds=1)
        self._durable = durable
        self._items = workload.items()
        self._chance = random.Random(seed)
        self._share, self._rate = share, rate
        self._halt = threading.Event()
        self.shared_out = threading.Event()
        self.sent = Sent([], set(), set(), 0)
        self.retries = 0
        self.failure: Exception | None = None

    def stop(self) -> None:
        """Send no more; what is being retried is given up."""
        self._halt.set()

    def run(self) -> None:
        """Send until stopped."""
        try:
            with self._client:
                for batch in self._paced():
                    self._send(batch)
        except Exception as error:
            self.failure = error
        finally:
            self.shared_out.set()

    def _paced(self) -> Iterator[Sequence[Item]]:
        started, sent = time.monotonic(), 0
        while not self._halt.is_set():
            size = self._chance.choice([1, 1, 2, 5, 20, 60])
            if sent >= self._share:
                self.shared_out.set()
                self._halt.wait(TRICKLE)
                size = 1
            else:
                self._halt.wait(max(0.0, started + sent / self._rate - time.monotonic()))
                sent += size
            yield list(islice(self._items, size))

    def _send(self, batch: Sequence[Item]) -> None:
        ours = [item for item in batch if item.how == "sdk"]
        if ours:
            self._append(ours)
        for item in batch:
            if item.how != "sdk":
                self._send_raw(item)

    def _append(self, items: Sequence[Item]) -> None:
        """Append through the SDK; the same events again until the log has acknowledged them."""
        while True:
            try:
                if len(items) == 1:
                    item, durable = items[0], self._durable
                    ids = [self._appender.append(item.tenant, item.fields, durable=durable)]
                else:
                    events = [(item.tenant, item.raw) for item in items]
                    ids = self._appender.append_many(events, durable=self._durable)
            except LogUnavailable:
                self.retries += 1
                if self._halt.wait(self._chance.uniform(0.02, 0.3)):
                    self.sent.maybe.update((item.tenant, item.raw) for item in items)
                    return
            else:
                for item, entry_id in zip(items, ids, strict=True):
                    self.sent.acked.append(Acked(item.tenant, item.raw, str(entry_id)))
                return

    def _send_raw(self, item: Item) -> None:
        """Add an entry as anything does that can XADD: once, unannounced."""
        if item.how == "poison":
            self.sent.poison.add(item.raw)
        stream = keys_of(self._client).stream(item.tenant)
        try:
            entry_id: Any = self._client.xadd(stream, {item.field: item.raw})
        except redis.RedisError:
            self.sent.maybe.add((item.tenant, item.raw))
            return
        if self._durable:
            self.sent.maybe.add((item.tenant, item.raw))
        else:
            self.sent.acked.append(Acked(item.tenant, item.raw, entry_id.decode()))


def account(producers: Sequence[Producer]) -> Sent:
    """Add up what producers sent."""
    return Sent(
        [each for producer in producers for each in producer.sent.acked],
        {each for producer in producers for each in producer.sent.maybe},
        {each for producer in producers for each in producer.sent.poison},
        sum(producer.retries for producer in producers),
    )

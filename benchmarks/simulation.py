"""A simulation of a hundred nodes from the measured costs: `python -m benchmarks.simulation`.

It checks the claims of docs/scaling.md that no machine here can measure: with the processes and
servers that `jobtrail size` computes, events are projected and polls are answered in time; with far
fewer they are not. Each event, batch and poll is simulated; servers and processes work on one thing
at a time, in the order of arrival.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.measure import quantile
from ops.tasks.sizing.costs import cost
from ops.tasks.sizing.model import GROUPS, SECONDS_BETWEEN_LOOKS, Load, Size, size

BATCH = 1_000
"""The most events of one batch."""
LOAD = Load(tenants=30_000, events_per_second=100_000, viewers=320_000, jobs_per_day=300_000_000)
SECONDS = 2.0


class Node:
    """A server or process with one or more cores, each of which does one thing at a time."""

    def __init__(self, cores: int = 1) -> None:
        self._free = [0.0] * cores
        self.busy = 0.0

    def work(self, now: float, microseconds: float) -> float:
        """Do some work after all that arrived before; return when it is done."""
        seconds = microseconds / 1e6
        done = max(now, heapq.heappop(self._free)) + seconds
        heapq.heappush(self._free, done)
        self.busy += seconds
        return done


class Nodes(NamedTuple):
    """The numbers of nodes."""

    redis: int
    consumers: dict[str, int]
    api: int
    postgres_cores: int

    @property
    def total(self) -> int:
        """All servers and processes."""
        return self.redis + sum(self.consumers.values()) + self.api + 1

    @classmethod
    def of(cls, needed: Size) -> Nodes:
        """Return the nodes that a size computes."""
        consumers = {group: part.processes for group, part in needed.consumers.items()}
        return cls(needed.redis_primaries, consumers, needed.api.processes, 16)


class Outcome(NamedTuple):
    """Results of the simulation; delays in seconds."""

    delays: dict[str, list[float]]
    """From the append to the projection, by group."""
    polls: list[float]
    waiting: dict[str, int]
    """Events that were not projected at the end, by group."""
    busy: dict[str, float]
    """The share of the time that the nodes of a kind worked."""


class Simulation:
    """The nodes, and the events that are to happen, in the order of their time."""

    def __init__(self, load: Load, nodes: Nodes, seed: int = 1) -> None:
        self._load, self._chance = load, random.Random(seed)  # repeatable, not secret
        self.redis = [Node() for _ in range(nodes.redis)]
        self.api = [Node() for _ in range(nodes.api)]
        self.postgres = Node(nodes.postgres_cores)
        self.consumers = {
            group: [Node() for _ in range(count)] for group, count in nodes.consumers.items()
        }
        self._idle = {group: deque(each) for group, each in self.consumers.items()}
        # Of each group: the primaries that have entries, and the times of the entries' appends.
        self._ready: dict[str, deque[int]] = {group: deque() for group in GROUPS}
        self._entries = {group: [deque[float]() for _ in self.redis] for group in GROUPS}
        self._coming: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self.delays: dict[str, list[float]] = {group: [] for group in GROUPS}
        self.polls: list[float] = []

    def run(self, seconds: float) -> Outcome:
        """Simulate so many seconds."""
        for rate, happen in self._sources():
            self._repeat(rate, happen)
        while self._coming and self._coming[0][0] < seconds:
            now, _, happen = heapq.heappop(self._coming)
            happen(now)
        kinds = {"redis": self.redis, "api": self.api, **self.consumers}
        return Outcome(
            self.delays,
            self.polls,
            {group: sum(map(len, each)) for group, each in self._entries.items()},
            {
                kind: sum(node.busy for node in nodes) / len(nodes) / seconds
                for kind, nodes in kinds.items()
            },
        )

    def _sources(self) -> Iterator[tuple[float, Callable[[float], None]]]:
        yield self._load.events_per_second, self._append
        yield self._load.viewers / SECONDS_BETWEEN_LOOKS, self._poll

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        self._number += 1
        heapq.heappush(self._coming, (when, self._number, happen))

    def _repeat(self, rate: float, happen: Callable[[float], None]) -> None:
        """Let something happen at random times, so many times a second."""
        if rate <= 0:
            return

        def once(now: float) -> None:
            self._at(now + self._chance.expovariate(rate), once)
            happen(now)

        self._at(self._chance.expovariate(rate), once)

    def _append(self, now: float) -> None:
        primary = self._chance.randrange(len(self.redis))
        done = self.redis[primary].work(now, cost("append_redis"))
        self._at(done, lambda when: self._appended(when, primary))

    def _appended(self, now: float, primary: int) -> None:
        for group in GROUPS:
            entries = self._entries[group][primary]
            if not entries:
                self._ready[group].append(primary)
            entries.append(now)
            if self._idle[group]:
                self._turn(now, group, self._idle[group].popleft())

    def _turn(self, now: float, group: str, consumer: Node) -> None:
        """Project one batch of one primary, or wait for work."""
        if not self._ready[group]:
            self._idle[group].append(consumer)
            return
        primary = self._ready[group].popleft()
        entries = self._entries[group][primary]
        batch = [entries.popleft() for _ in range(min(BATCH, len(entries)))]
        if entries:
            self._ready[group].append(primary)
        read = self.redis[primary].work(now, _of_batch(f"{group}_{{}}_redis", len(batch)))
        done = consumer.work(read, _of_batch(f"{group}_{{}}", len(batch)))
        if group == "rows":
            done = self.postgres.work(done, _of_batch("rows_{}_postgres", len(batch)))
        self.delays[group] += [done - appended for appended in batch]
        self._at(done, lambda when: self._turn(when, group, consumer))

    def _poll(self, now: float) -> None:
        api, redis = self._chance.choice(self.api), self._chance.choice(self.redis)
        # The cost of a change delivered, which is more than that of a poll.
        asked = api.work(now, cost("delivery_api"))
        self.polls.append(redis.work(asked, cost("poll_redis")) - now)


def _of_batch(names: str, events: int) -> float:
    """Return the cost of a batch of so many events."""
    return cost(names.format("batch")) + events * cost(names.format("event"))


def main() -> None:
    """Print what the computed size achieves."""
    needed = size(LOAD)
    nodes = Nodes.of(needed)
    found = Simulation(LOAD, nodes).run(SECONDS)
    print(f"{nodes.total} nodes: {nodes}")
    for group, delays in found.delays.items():
        p50, p99 = (1e3 * quantile(delays, share) for share in (0.5, 0.99))
        waiting = found.waiting[group]
        print(f"{group}: append to projected p50 {p50:.1f} ms, p99 {p99:.1f} ms; {waiting} wait")
    print(f"looks: p99 {1e3 * quantile(found.polls, 0.99):.1f} ms")
    print("busy:", ", ".join(f"{kind} {share:.0%}" for kind, share in found.busy.items()))


if __name__ == "__main__":
    main()

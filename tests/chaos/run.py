"""One run of chaos: load, faults one after another, peace, and the judge."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import redis

from tests.chaos.amnesia import forget_and_replay
from tests.chaos.checker import Verdict, check
from tests.chaos.faults import FAULTS, Planned, kill_at_ack
from tests.chaos.producers import Producer, Sent, account
from tests.chaos.rig import Rig, ends, settled
from tests.chaos.workload import Workload

TENANTS = [f"t{number}" for number in range(12)]
SKEWS = (0.0, 90.0, -7_200.0, 40 * 86_400.0)
"""Seconds that the producers' clocks are ahead; the last is too far off to be believed."""
HEAL_TIMEOUT = 120.0
LOOK_SECONDS = 0.05

Say = Callable[[str], None]


class Options(NamedTuple):
    """How long and how much; times are in seconds."""

    seed: int
    events: int
    seconds: float
    planned: Sequence[Planned]
    consumers: int = 2
    servers: str = "standalone"
    """One of `FAULTS`."""
    whole: bool = False
    """True to have the whole schedule happen, however long it takes."""
    kill_at_ack: int = 0
    """Consumers to kill between commit and acknowledgement before the schedule."""


class Report(NamedTuple):
    """What happened."""

    sent: Sent
    heal_seconds: dict[str, list[float]]
    verdict: Verdict
    violations: list[str]

    def lines(self) -> list[str]:
        """Give the closing figures."""
        found = self.verdict
        healed = [
            f"  {kind:30} {len(times):3} ×   healed in {median(times):5.2f} s, "
            f"at most {max(times):5.2f} s"
            for kind, times in sorted(self.heal_seconds.items())
        ]
        return [
            f"{found.acknowledged} events acknowledged, {len(self.sent.maybe)} unanswered, "
            f"{self.sent.retries} appends sent again; {found.entries} entries, {found.jobs} jobs",
            *healed,
            f"{len(found.lost)} lost, {len(found.twice)} twice, {len(found.differing)} states "
            f"differing, {found.pending} pending,"
            f" {len(found.wrong_dead_letters)} wrong dead letters",
            f"{found.replay_differs} jobs would be shown otherwise by the history alone",
            *(f"VIOLATION {line[:600]}" for line in self.violations[:20]),
            f"{len(self.violations)} violations",
        ]


def run(options: Options, say: Say) -> Report:
    """Run it; `say` is told what happens."""
    with Rig(TENANTS, options.consumers, options.servers) as rig:
        producers = [_producer(rig, options, number) for number in range(len(SKEWS))]
        for producer in producers:
            producer.start()
        deadline = time.monotonic() + options.seconds
        healed: dict[str, list[float]] = defaultdict(list)
        if options.kill_at_ack:
            kill_at_ack(rig, options.kill_at_ack, 30 + 5 * options.kill_at_ack)
            healed["kill_at_ack"].append(_heal(rig, "kill_at_ack"))
        for planned in options.planned:
            if time.monotonic() > deadline and not options.whole:
                break
            healed[planned.kind].append(_suffer(rig, planned, options.servers, say))
        for producer in producers:
            producer.shared_out.wait(max(0.0, deadline - time.monotonic()))
            producer.stop()
        for producer in producers:
            producer.join()
        _heal(rig, "the load's end")
        rig.stop_consumers()
        sent = account(producers)
        verdict = check(rig.client, rig.postgres.url, sent, rig.destroyed)
        failures = [f"a producer failed: {each.failure!r}" for each in producers if each.failure]
        forgotten = list(forget_and_replay(rig.client, rig.environ()))
        violations = [*rig.complaints, *failures, *verdict.violations(), *forgotten]
        return Report(sent, dict(healed), verdict, violations)


def _producer(rig: Rig, options: Options, number: int) -> Producer:
    seed = f"{options.seed}-{number}"
    workload = Workload(seed, f"p{number}", TENANTS, SKEWS[number])
    share = options.events // len(SKEWS)
    rate = 1.2 * share / options.seconds
    durable = rig.logs.durable
    return Producer(rig.logs.producers_url, workload, seed, share, rate, durable=durable)


def _suffer(rig: Rig, planned: Planned, servers: str, say: Say) -> float:
    """Let one fault happen, and give the seconds that it took to heal once it was over."""
    rig.pause(planned.pause)
    FAULTS[servers][planned.kind](rig, random.Random(planned.seed), planned.seconds)
    seconds = _heal(rig, planned.kind)
    say(f"{planned.kind} ({planned.seconds:.1f} s) healed in {seconds:.2f} s")
    return seconds


def _heal(rig: Rig, what: str) -> float:
    """Wait until all that had been appended when the fault ended is settled by both groups."""
    started = time.monotonic()
    until = None
    while True:
        try:
            until = ends(rig.client, rig.tenants) if until is None else until
            if settled(rig.client, until):
                return time.monotonic() - started
        except redis.RedisError:
            pass  # our own connection was lost with the server, or the group is not made again yet
        if time.monotonic() - started > HEAL_TIMEOUT:
            rig.complaints.append(f"{what}: not healed in {HEAL_TIMEOUT:.0f} s")
            return HEAL_TIMEOUT
        rig.pause(LOOK_SECONDS)

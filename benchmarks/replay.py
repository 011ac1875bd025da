"""Replay of lost projections, and verification, compared with the speed of live consumers."""

from __future__ import annotations

import time

import orjson
import psycopg

from benchmarks.delivery import EVENTS_A_JOB, NAMES, drain
from benchmarks.measure import Sample, compare
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import fill, lives
from consumers.composition import build

ROUNDS = 3
REPLAY_AIMS = {"status": 1.2, "rows": 2.0}
VERIFY_AIM = 1.5
SECONDS = 600.0

Samples = dict[tuple[str, str], list[Sample]]
"""The results of each command and projection, round by round."""


def replay(bench: Bench) -> list[Figure]:
    """Project live, verify, delete Redis and the rows, and restore them with the command."""
    found: Samples = {}
    jobs = bench.scaled(100_000, least=4_000) // (EVENTS_A_JOB * len(NAMES))
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        for _ in range(bench.rounds(ROUNDS)):
            _round(bench, connection, jobs, found)
    return [
        Figure(
            f"{command} {group}, events / live",
            aim=REPLAY_AIMS[group] if command == "replay" else VERIFY_AIM,
            key=f"{command}_{group}",
            **compare(bench.rounds(ROUNDS), iter(found[command, group]).__next__, live).fields(),
            details={"limit": "one consumer, the same events; a command's start is its own"},
        )
        for command in ("replay", "verify")
        for group in REPLAY_AIMS
        for live in [iter(found["live", group]).__next__]
    ]


def _round(bench: Bench, connection: psycopg.Connection, jobs: int, found: Samples) -> None:
    bench.empty()
    connection.execute("TRUNCATE jobs, job_events")
    count = fill(bench.client, lives(NAMES, jobs))
    for group in REPLAY_AIMS:
        found.setdefault(("live", group), []).append(_live(bench, group, count))
    for group in REPLAY_AIMS:
        found.setdefault(("verify", group), []).append(_verified(bench, group, count))
    bench.empty()
    connection.execute("TRUNCATE jobs")
    for group in REPLAY_AIMS:
        found.setdefault(("replay", group), []).append(_replayed(bench, group, count))


def _live(bench: Bench, group: str, count: int) -> Sample:
    consumer = build(group, bench.settings(), bench.client, "bench")
    return bench.measured(count, lambda: drain(consumer, count))


def _verified(bench: Bench, group: str, count: int) -> Sample:
    sample, answer = _run(bench, ("verify", group), count)
    if answer.get("verified") != count // EVENTS_A_JOB:
        raise RuntimeError(f"verify {group} found: {answer}")
    return sample


def _replayed(bench: Bench, group: str, count: int) -> Sample:
    sample, answer = _run(bench, ("replay", group), count)
    if answer["events"] != count:
        raise RuntimeError(f"replay read {answer['events']} of {count} events")
    return sample


def _run(bench: Bench, words: tuple[str, ...], count: int) -> tuple[Sample, dict[str, object]]:
    """Run the command, including its start; return its CPU time and its first line of JSON."""
    before, started = bench.spent(), time.perf_counter()
    with bench.jobtrail(*words, "--json") as command:
        answer = orjson.loads(command.wait_for_output("{", SECONDS))
        elapsed = time.perf_counter() - started
    return Sample(count / elapsed, bench.spent().since(before).each(count)), answer

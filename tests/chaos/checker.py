"""The judge: what the log holds, against what producers know and what the projections show.

It reads streams, documents and tables by itself and asks the independent oracle what a job's state
must be; none of the code that it judges is used for judging.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
import redis

from projections.decoding import Entry, from_model
from projections.state import JobState
from streams.cluster import keys_of
from streams.entry_ids import EntryId
from streams.events import parse_event
from streams.keys import JobKey
from streams.wire import Command, ask, round_trip
from tests.chaos.producers import Sent
from tests.support.oracle import expected_state

GROUPS = ("status", "rows")
WORDS = {
    "job": {
        "queued": "PENDING",
        "processing": "PROCESSING",
        "done": "DONE",
        "failed": "FAILED",
        "cancelled": "CANCELLED",
    },
    "video": {
        "queued": "UPLOADED",
        "processing": "PROCESSING",
        "done": "READY",
        "failed": "FAILED",
        "cancelled": "CANCELLED",
    },
}
ENDS = ("done", "failed", "cancelled")
LARGE_RESULT = 10_000
AT_ONCE = 500
PAGE = 5_000

Job = tuple[str, str, str]
"""Tenant, kind, id."""


class Verdict(NamedTuple):
    """What was found; all but the first three must be nothing."""

    acknowledged: int
    entries: int
    jobs: int
    lost: list[str]
    twice: list[str]
    differing: list[str]
    pending: int
    wrong_dead_letters: list[str]
    replay_differs: int
    """Jobs whose history alone adds up to something else than the log."""

    def violations(self) -> list[str]:
        """Give every violation as a line."""
        pending = [f"{self.pending} deliveries are pending"] if self.pending else []
        other = (
            [f"{self.replay_differs} jobs would be shown otherwise by the history alone"]
            if self.replay_differs
            else []
        )
        return [
            *self.lost,
            *self.twice,
            *self.differing,
            *self.wrong_dead_letters,
            *pending,
            *other,
        ]


class Log(NamedTuple):
    """One tenant's log as it stands."""

    entries: dict[str, bytes]
    """Entry id to the bytes of its only field."""


def check(
    client: redis.Redis, database_url: str, sent: Sent, redelivered: Iterable[tuple[str, str]]
) -> Verdict:
    """Judge; nothing may be writing any more.

    `redelivered` is tenant and group wherever a group was made again, so that poison came again.
    """
    tenants = sorted({each.tenant for each in sent.acked} | {tenant for tenant, _ in sent.maybe})
    logs = {tenant: _read_log(client, tenant) for tenant in tenants}
    jobs, event_ids = _events(logs, sent.poison)
    with psycopg.connect(database_url, autocommit=True) as connection:
        rows = {tuple(row[:3]): row[3:] for row in connection.execute(_ROWS)}
        history = connection.execute(_HISTORY).fetchall()
    twice, missing = _compare_history(history, event_ids)
    expected = {job: expected_state(entries) for job, entries in jobs.items()}
    return Verdict(
        acknowledged=len(sent.acked),
        entries=sum(len(log.entries) for log in logs.values()),
        jobs=len(jobs),
        lost=[*_lost(logs, sent), *missing],
        twice=twice,
        differing=[*_differing_documents(client, expected), *_differing_rows(rows, expected)],
        pending=sum(_pending(client, tenant) for tenant in tenants),
        wrong_dead_letters=_wrong_dead_letters(client, logs, sent.poison, set(redelivered)),
        replay_differs=_replay_differs(history, expected),
    )


def _read_log(client: redis.Redis, tenant: str) -> Log:
    found, after = dict[str, bytes](), "-"
    while True:
        page: Any = client.xrange(keys_of(client).stream(tenant), after, "+", count=PAGE)
        for entry_id, fields in page:
            (found[entry_id.decode()],) = fields.values()
        if len(page) < PAGE:
            return Log(found)
        after = f"({page[-1][0].decode()}"


def _lost(logs: Mapping[str, Log], sent: Sent) -> Iterator[str]:
    """Every acknowledged append is in the log, where and as it was acknowledged."""
    for tenant, raw, entry_id in sent.acked:
        if logs[tenant].entries.get(entry_id) != raw:
            yield f"lost: {tenant} {entry_id} is not in the log as it was acknowledged"


def _events(
    logs: Mapping[str, Log], poison: set[bytes]
) -> tuple[dict[Job, list[Entry]], dict[tuple[str, ...], set[tuple[EntryId, str]]]]:
    """Sort the logs' good entries out by job and by event."""
    jobs: dict[Job, list[Entry]] = defaultdict(list)
    event_ids: dict[tuple[str, ...], set[tuple[EntryId, str]]] = defaultdict(set)
    for tenant, log in logs.items():
        for text, raw in log.entries.items():
            if raw in poison:
                continue
            entry_id, fields = EntryId.parse(text), json.loads(raw)
            job = (tenant, fields["kind"], fields["id"])
            jobs[job].append(Entry(tenant, entry_id, from_model(parse_event(raw)), raw))
            event_ids[(*job, fields.get("event_id", text))].add((entry_id, raw.decode()))
    return jobs, event_ids


_HISTORY = """
SELECT tenant, kind, id, event_id, entry_ms, entry_seq, event, last_ms, last_seq FROM job_events
"""


def _compare_history(
    history: Sequence[Any], events: Mapping[tuple[str, ...], set[tuple[EntryId, str]]]
) -> tuple[list[str], list[str]]:
    """Every event of the log is in the history once, as it came, and nothing else is."""
    held = Counter(row[:4] for row in history)
    twice = [
        f"twice: {key} is {count} × in the history" for key, count in held.items() if count > 1
    ]
    twice += [
        f"not as it came: {row[:4]}"
        for row in history
        if (EntryId(row[4], row[5]), row[6]) not in events.get(row[:4], ())
    ]
    return twice, [f"lost: {key} is not in the history" for key in events.keys() - held.keys()]


_ROWS = """
SELECT tenant, kind, id, attempt, state, status, job_type, labels, worker, progress, result, error,
       code, created_at, started_at, updated_at, ended_at
FROM jobs
"""


def _differing_rows(
    rows: Mapping[tuple[Any, ...], Any], expected: Mapping[Job, JobState]
) -> Iterator[str]:
    yield from (f"row of no event: {job}" for job in rows.keys() - expected.keys())
    for job, state in expected.items():
        wanted = _row(job[1], state)
        if rows.get(job) != wanted:
            yield f"row differs: {job} is {rows.get(job)} and must be {wanted}"


def _row(kind: str, state: JobState) -> tuple[Any, ...]:
    return (
        state.attempt,
        state.state.value,
        WORDS[kind][state.state.value],
        state.job_type and state.job_type.value,
        {name: told.value for name, told in state.labels.items()},
        state.worker,
        state.progress and state.progress.fields,
        state.result,
        state.error,
        state.code,
        state.created.at,
        state.started and state.started.at,
        state.updated_at,
        state.updated_at if state.state.value in ENDS else None,
    )


def _differing_documents(client: redis.Redis, expected: Mapping[Job, JobState]) -> Iterator[str]:
    jobs = list(expected)
    for at in range(0, len(jobs), AT_ONCE):
        some = jobs[at : at + AT_ONCE]
        names = [keys_of(client).documents(JobKey(*job)) for job in some]
        commands: list[Command] = [("GET", name) for pair in names for name in pair]
        found = round_trip(client, commands)
        times = round_trip(client, [("TTL", status) for status, _ in names])
        for number, (job, ttl) in enumerate(zip(some, times, strict=True)):
            state = expected[job]
            shown = _shown(found[2 * number], found[2 * number + 1])
            wanted = _status(job[1], state), state.progress and state.progress.fields
            if shown != wanted or (ttl == -1) != (state.state.value in ENDS):
                yield f"document differs: {job} shows {shown}, TTL {ttl}, and must show {wanted}"


def _shown(status: bytes | None, progress: bytes | None) -> tuple[Any, ...]:
    """Read what people see of the documents; times as times."""
    if status is None:
        return None, None
    visible = json.loads(status)
    del visible["fold"]
    for name in ("updated_at", "created_at", "started_at"):
        visible[name] = visible[name] and datetime.fromisoformat(visible[name])
    return visible, progress and json.loads(progress)


def _status(kind: str, state: JobState) -> dict[str, Any]:
    shown: dict[str, Any] = {"result": state.result}
    if kind == "video":
        result: Any = state.result or {}
        shown = {name: result.get(name) for name in ("hls_path", "duration")}
    size = len(json.dumps(state.result, ensure_ascii=False, separators=(",", ":")).encode())
    if state.result and size >= LARGE_RESULT:
        shown = {"result": None, "result_omitted": True, "result_bytes": size}
    return {
        "status": WORDS[kind][state.state.value],
        "job_type": state.job_type and state.job_type.value,
        "error_message" if kind == "job" else "error_reason": state.error,
        **shown,
        "attempt": state.attempt,
        "updated_at": state.updated_at,
        "created_at": state.created.at,
        "started_at": state.started and state.started.at,
        "code": state.code,
        "worker": state.worker,
        "labels": {name: told.value for name, told in state.labels.items()},
    }


def _pending(client: redis.Redis, tenant: str) -> int:
    groups: Any = client.xinfo_groups(keys_of(client).stream(tenant))
    return sum(int(row["pending"]) for row in groups if row["name"].decode() in GROUPS)


def _wrong_dead_letters(
    client: redis.Redis,
    logs: Mapping[str, Log],
    poison: set[bytes],
    redelivered: set[tuple[str, str]],
) -> list[str]:
    """Dead letters are the poison entries, once a group."""
    found = Counter(_dead(client, logs))
    wanted = {
        (tenant, group, entry_id)
        for tenant, log in logs.items()
        for entry_id, raw in log.entries.items()
        if raw in poison
        for group in GROUPS
    }
    return [
        *(f"not a dead letter: {key}" for key in wanted - found.keys()),
        *(f"a dead letter that is no poison: {key}" for key in found.keys() - wanted),
        *(
            f"a dead letter {count} ×: {key}"
            for key, count in found.items()
            if count > 1 and key[:2] not in redelivered
        ),
    ]


def _dead(client: redis.Redis, tenants: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    for tenant in tenants:
        for _, fields in ask(client, "XRANGE", keys_of(client).dead(tenant), "-", "+"):
            pairs = list(zip(fields[::2], fields[1::2], strict=True))
            entry_id = dict(pairs)[b"entry_id"].decode()
            # One letter an entry: its groups stand one behind the other.
            for name, value in pairs:
                if name == b"group":
                    yield tenant, value.decode(), entry_id


def _replay_differs(history: Sequence[Any], expected: Mapping[Job, JobState]) -> int:
    """Count the jobs that the history alone would show otherwise."""
    jobs: dict[Job, list[Entry]] = defaultdict(list)
    for tenant, kind, job_id, _, *first, event, last_ms, last_seq in history:
        raw = event.encode()
        for ms, seq in (first, (last_ms, last_seq)):
            if ms is not None:
                entry = Entry(tenant, EntryId(ms, seq), from_model(parse_event(raw)), raw)
                jobs[tenant, kind, job_id].append(entry)
    return sum(
        _row(job[1], expected_state(entries)) != _row(job[1], expected[job])
        for job, entries in jobs.items()
        if job in expected
    )

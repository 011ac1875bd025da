"""Registration of the projection `rows`: the tables `jobs` and `job_events` in PostgreSQL.

Used by `consumers.composition`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import redis

from projections.registry.definition import Checked, RegisteredProjection, Replay
from projections.registry.lookup import HISTORY_GROUP
from projections.replay.repair import RowsRepair, repair
from projections.replay.replaced_states import restore_rows
from projections.replay.reset.rows import RowsReset
from projections.replay.served.facts import Difference
from projections.replay.served.rows import ServedRows
from projections.replay.step import ReplayStep
from projections.rows.writer import JobRows
from sql import sessions
from streams.keys import JobKey
from streams.settings import Settings

ANSWER_SECONDS = 60.0
"""The time limit for one statement of a batch, which usually takes milliseconds."""

BATCH = 8_000
"""Entries in one batch. Each transaction has a fixed cost: with batches of 4,000, an event takes
11 % more CPU time."""


def connector(settings: Settings) -> Callable[[], sessions.Session]:
    """Return a callable that opens a connection for a consumer of rows."""
    return partial(
        sessions.connect,
        settings.require_database_url(),
        "jobtrail-rows",
        answer_seconds=ANSWER_SECONDS,
    )


def _writer(_client: redis.Redis, settings: Settings) -> JobRows:
    return JobRows(connector(settings))


def _served(replay: Replay) -> ServedRows:
    return ServedRows(replay.sources.connection)


def _repair(replay: Replay, after: JobKey | None) -> Iterator[ReplayStep]:
    with closing(RowsRepair(replay.connect)) as writer:
        yield from repair(replay.sources, writer, after)


def _reset(replay: Replay, _after: JobKey | None) -> Iterator[ReplayStep]:
    """Prepare the rows that differ, then replace all of them in one transaction."""
    reset = RowsReset(replay.sources, replay.comparison(_served(replay)))
    for step in reset.prepare():
        # No row is replaced yet: an interrupted reset begins again.
        yield step._replace(last=None)
    changed = reset.swap(replay.on_wait)
    yield ReplayStep(None, 0, 0, kept=changed, changed=changed)


def _verify(replay: Replay) -> Iterator[Difference | Checked]:
    return replay.verify_fold(_served(replay))


ROWS = RegisteredProjection(
    group=HISTORY_GROUP,
    serves="a row of each job, and the history of all events",
    writer=_writer,
    needs_database=True,
    batch_entries=BATCH,
    repair=_repair,
    reset=_reset,
    verify=_verify,
    restore=restore_rows,
    parallel=True,
)

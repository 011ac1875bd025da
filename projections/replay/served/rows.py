"""The rows of the table `jobs` as facts: the values of their columns by name.

Verification and repair compare them with the states that the events result in. The registered
projection `rows` (`projections.registry.rows`) has a `ServedRows` for that. Used by
`projections.registry.rows`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import psycopg

from projections.replay.job_arrays import job_arrays
from projections.replay.served.facts import Facts, provenance_facts
from projections.replay.tenant_shares import ALL, Share
from projections.rows.columns import JOB_LISTS, facts_of_row, stored_values
from projections.state import JobState
from sql import queries
from streams.entry_ids import EntryId
from streams.keys import JobKey

_QUERIES, _ROWS = queries("rebuild", JOB_LISTS), queries("rows")
PAGE_ROWS = 1_000
"""The number of keys in a page."""
_PREFIX = "positions."
"""The prefix of the facts from the column `positions`, which has the provenances of the values."""


class ServedRows:
    """The rows of the projection `rows`; a `ServedProjection`.

    Args:
        connection: a connection that sees the rows of all tenants. It must be in a transaction:
            reads set options of the planner, which last until the transaction ends.
    """

    group = "rows"
    provenance_prefix = _PREFIX

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def read(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Facts]:
        """Return the columns of the rows of these jobs, without jobs that have none."""
        return {JobKey(*row[:3]): _facts(row) for row in self._rows(jobs)}

    def matching(self, states: Mapping[JobKey, JobState]) -> Collection[JobKey]:
        """Return the jobs whose rows have exactly the values of their states."""
        rows = self._rows(states)
        jobs = [JobKey(*row[:3]) for row in rows]
        return [
            job
            for job, row in zip(jobs, rows, strict=True)
            if row == stored_values(job, states[job])
        ]

    def facts(self, job: JobKey, state: JobState) -> Facts:
        """Return the columns that the row of a job in a state must have."""
        return _facts(stored_values(job, state))

    def may_be_absent(self, state: JobState, newest: EntryId) -> bool:
        """Return False: rows do not expire."""
        del state, newest
        return False

    def pages(self, tenant: str | None, share: Share = ALL) -> Iterator[list[JobKey]]:
        """Yield the jobs of all rows in pages, in the order of the primary key.

        They are those of a share of the tenants, or only of `tenant` if it is not None.
        """
        after = JobKey("", "", "")
        while True:
            found = self._connection.execute(
                _QUERIES["all_rows"],
                {
                    "after_tenant": after.tenant,
                    "after_kind": after.kind,
                    "after_id": after.id,
                    "tenant": tenant,
                    "limit": PAGE_ROWS,
                    **share._asdict(),
                },
            ).fetchall()
            if not found:
                return
            jobs = [JobKey(*row) for row in found]
            yield jobs
            after = jobs[-1]

    def _rows(self, jobs: Collection[JobKey]) -> Sequence[tuple[Any, ...]]:
        """Return the values of the rows of these jobs, in the order of `columns`, the key first."""
        if not jobs:
            return []
        # Statistics of the table may be old: without this the planner may read all of it.
        self._connection.execute(_ROWS["plan_by_keys"])
        found = self._connection.execute(_QUERIES["rows_of"], job_arrays(jobs))
        self._connection.execute(_QUERIES["plan_as_usual"])
        return found.fetchall()


def _facts(row: tuple[Any, ...]) -> Facts:
    facts = facts_of_row(row)
    provenances = facts.pop("positions")
    return facts | provenance_facts(_PREFIX, provenances)

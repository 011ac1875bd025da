"""Keys of jobs as arrays, the form in which queries of `sql/queries/rebuild.sql` take many jobs.

Used by `projections.replay.events.sources`, `projections.replay.reset.kept_documents`,
`projections.replay.reset.rows` and `projections.replay.served.rows`.
"""

from __future__ import annotations

from collections.abc import Iterable

from streams.keys import JobKey

_NAMES = ("tenants", "kinds", "ids")


def job_arrays(jobs: Iterable[JobKey]) -> dict[str, list[str]]:
    """Return the parameters `tenants`, `kinds` and `ids` for jobs, in their order."""
    listed = list(jobs)
    return {name: [job[index] for job in listed] for index, name in enumerate(_NAMES)}

"""The data that projections serve, compared with states without reading facts."""

from __future__ import annotations

import redis
from hypothesis import HealthCheck, given, settings

from projections.decoding import Entry
from projections.fold import fold_all
from projections.replay.served.documents import ServedDocuments
from projections.replay.served.rows import ServedRows
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from streams.entry_ids import EntryId
from streams.keys import JobKey
from tests.support.replays import (
    Connect,
)
from tests.support.strategies import logs
from tests.support.thorough import examples


@given(entries=logs(JobKey("1", "job", "a1"), max_size=4))
@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_matching__documents_and_rows_that_writers_wrote__match_their_states(
    redis_client: redis.Redis,
    rows: JobRows,
    cache: StatusCache,
    connect: Connect,
    entries: list[Entry],
) -> None:
    """It holds for any events, and never for another state of the job."""
    redis_client.flushall()
    job = entries[0].job
    connection = connect()
    connection.execute("TRUNCATE jobs, job_events")
    rows.apply(entries)
    cache.apply(entries)
    state = fold_all(None, [(each.entry_id, each.event) for each in entries])
    assert state is not None
    for served in (ServedDocuments(redis_client), ServedRows(connection)):
        assert list(served.matching({job: state})) == [job]
        for other in (
            state._replace(worker="another"),
            state._replace(created=state.created._replace(entry_id=EntryId(0, 1))),
        ):
            assert list(served.matching({job: other})) == []
            assert served.matching({JobKey("1", "job", "a2"): state}) == []

from __future__ import annotations

import pytest

from projections.decoding import Entry, decode
from projections.documents import Documents, write_documents
from projections.fold import fold
from projections.state import JobState
from projections.status.recent_states import RecentStates
from streams.entry_ids import EntryId
from streams.keys import JobKey
from streams.kinds import JOB


def entry(number: int) -> Entry:
    return decode("42", EntryId(number, 0), [b"event", b'{"type":"progress","id":"a1"}'])


def written(number: int) -> tuple[Documents, JobState]:
    state = fold(None, entry(number).event, entry(number).entry_id)
    return write_documents(JOB, state), state


def job(number: int) -> JobKey:
    return JobKey("42", "job", f"a{number}")


def test_state__of_exactly_the_documents_that_were_written__is_returned_once() -> None:
    recent, (documents, state) = RecentStates(), written(1)
    recent.remember(job(1), documents, state)
    assert recent.take(job(1), written(1)[0]) is state
    assert recent.take(job(1), documents) is None


@pytest.mark.parametrize(
    "stored",
    [
        written(2)[0],
        written(1)[0]._replace(progress=None),
        written(1)[0]._replace(status=b""),
        written(1)[0]._replace(progress=b"{}"),
    ],
)
def test_state__of_any_other_documents__is_not_returned(stored: Documents) -> None:
    recent = RecentStates()
    recent.remember(job(1), *written(1))
    assert recent.take(job(1), stored) is None
    assert (len(recent), recent.bytes) == (0, 0)


def test_state__of_another_job_with_equal_documents__is_not_returned() -> None:
    recent, (documents, state) = RecentStates(), written(1)
    recent.remember(job(1), documents, state)
    for other in (JobKey("43", "job", "a1"), JobKey("42", "video", "a1"), job(2)):
        assert recent.take(other, documents) is None


def test_states__more_than_the_most__the_oldest_are_forgotten() -> None:
    recent, (documents, state) = RecentStates(most=3), written(1)
    for number in range(5):
        recent.remember(job(number), documents, state)
    recent.remember(job(2), documents, state)
    recent.remember(job(9), documents, state)
    kept = [number for number in range(10) if recent.take(job(number), documents)]
    assert kept == [2, 4, 9]


def test_states__of_more_bytes_than_the_most__the_oldest_are_forgotten() -> None:
    documents, state = written(1)
    size = len(documents.status) + len(documents.progress or b"")
    recent = RecentStates(most_bytes=3 * size)
    for number in range(1_000):
        recent.remember(job(number), documents, state)
        assert recent.bytes <= 3 * size
    assert (len(recent), recent.bytes) == (3, 3 * size)
    recent.remember(job(1), Documents(b"x" * 4 * size, None), state)
    assert (len(recent), recent.bytes) == (0, 0)

"""The optimized paths of a poll return the same as the plain ones."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from http import HTTPStatus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from api.answers import rendered as remembering
from api.answers.rendered import render, rendered
from api.http.responses import json_bytes
from api.progress.paths import match_path
from api.progress.query import _members
from api.request_histogram import RequestSeconds
from projections.documents import Documents
from streams.keys import JOB_ID, JobKey
from streams.kinds import KINDS
from tests.support.scraping import parsed

BUCKETS = (0.001, 0.003, 0.01, 1, 30)

_observations = st.lists(
    st.tuples(
        st.sampled_from(["/a/{id}/", "none", 'qu"ote\\']),
        st.sampled_from([status.value for status in HTTPStatus]),
        st.sampled_from(BUCKETS) | st.floats(0, 100),
    )
)


@given(_observations)
def test_requests_are_counted_as_the_client_library_counts(
    observations: Sequence[tuple[str, int, float]],
) -> None:
    name, meaning = "request_seconds", "Seconds\nof a request."
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counted = RequestSeconds(name, meaning, buckets=BUCKETS, registry=ours)
    plain = Histogram(name, meaning, ["route", "status"], buckets=BUCKETS, registry=theirs)
    for route, status, seconds in observations:
        counted.observe(route, status, seconds)
        plain.labels(route, f"{status // 100}xx").observe(seconds)
    assert _without_times(ours) == _without_times(theirs)


def _without_times(registry: CollectorRegistry) -> list[str]:
    """Return an exposition without the values of `_created`, which are times."""
    text = generate_latest(registry).decode()
    assert parsed(text) is not None
    return [re.sub(r"(_created\{.*\}) .*", r"\1", line) for line in text.splitlines()]


def test_name_of_a_histogram_is_taken_once() -> None:
    registry = CollectorRegistry()
    RequestSeconds("seconds", "Seconds.", buckets=BUCKETS, registry=registry)
    for suffix in ("", "_bucket", "_count", "_sum"):
        with pytest.raises(ValueError, match="Duplicated"):
            Histogram(f"seconds{suffix}", "Others.", registry=registry)


_URLS = "|".join(re.escape(kind.url) for kind in KINDS.values())
_PLAIN_PATH = re.compile(rf"({_URLS})/(.*)/progress(/events)?/?\Z", re.DOTALL)
_parts = st.sampled_from(
    [
        *(kind.url for kind in KINDS.values()),
        *"/ // /progress progress /events events /progress/ /progress/events a1 \n".split(" "),
    ]
)


@given(st.lists(_parts, max_size=8).map("".join) | st.text(max_size=8))
@example("/api/v1/jobs//progress")
@example("/api/v1/jobs/progress")
@example("/api/v1/jobs/a/progress/events/progress")
@example("/api/v1/jobs/a/progress/events/events")
@example("/api/v1/jobs/a/progress//")
def test_path_is_read_as_its_pattern_says(path: str) -> None:
    plain, found = _PLAIN_PATH.match(path), match_path(path)
    if plain is None:
        assert found is None
    else:
        assert found is not None
        assert (found.kind.url, found.job_id, found.events) == (
            plain[1],
            plain[2],
            plain[3] is not None,
        )
        assert found.route == f"{plain[1]}/{{id}}/progress/{'events' if plain[3] else ''}"


_jobs = st.builds(
    JobKey, st.sampled_from("tu"), st.sampled_from(sorted(KINDS)), st.sampled_from(["7", "a"])
)
_documents = st.builds(
    Documents,
    st.sampled_from(
        [
            b'{"status":"PROCESSING"}',
            b'{"status":"processing","attempt":1}',
            b'{"status":"DONE","result":{"rows":12}}',
            b'{"status":"x"}',
            b"[]",
            b'{"status":"DONE","result":"%b"}' % (b"x" * remembering.CACHED_BYTES),
        ]
    ),
    st.none() | st.sampled_from([b'{"percent":1}', b'{"remaining_seconds":90}', b""]),
)


@given(st.lists(st.tuples(_jobs, _documents), max_size=30))
def test_remembered_answer_is_the_one_that_would_be_rendered(
    asked: Sequence[tuple[JobKey, Documents]],
) -> None:
    for job, documents in asked:
        assert rendered(job, documents) == render(job, documents)


def test_answers_remembered_are_bounded_in_number_and_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remembering, "CACHED_ANSWERS", 10)
    monkeypatch.setattr(remembering, "_cache", type(remembering._cache)())
    for number in range(25):
        rendered(JobKey("t", "job", f"a{number}"), Documents(b'{"status":"DONE"}', None))
    assert len(remembering._cache) == 10
    large = Documents(b'{"status":"DONE","error":"%b"}' % (b"x" * 3_000), None)
    before = list(remembering._cache)
    assert rendered(JobKey("t", "job", "large"), large) is not None
    assert list(remembering._cache) == before


@given(st.lists(st.from_regex(JOB_ID) | st.text(), unique=True), st.randoms())
def test_ids_in_the_answer_of_a_query_are_json(ids: Sequence[str], chance: random.Random) -> None:
    found = {each: b"{}" for each in ids if JOB_ID.match(each) and chance.random() < 0.8}
    plain = [b"%b:%b" % (json_bytes(each), found.get(each, b"null")) for each in ids]
    assert _members(ids, found) == plain

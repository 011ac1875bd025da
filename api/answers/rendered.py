"""Progress answers as bytes with their headers, cached for all callers of the same documents.

Used by `api.live` and `api.progress`. The cache belongs to the process; the event loop's thread is
the only one that uses it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from api.answers.progress_answer import progress_answer
from api.http.etags import etag_of
from api.http.responses import JSON, REVALIDATED, Headers, json_bytes
from projections.documents import Documents
from streams.keys import JobKey
from streams.kinds import KINDS, Kind

CACHED_ANSWERS = 16_384
"""The most jobs whose last answer is cached: most polls find the same documents as the poll before.
With typical documents the cache takes about 30 MB."""

CACHED_BYTES = 2_048
"""The most bytes of a job's documents whose answer is cached."""

POLL_SECONDS = 2
"""Seconds until the next poll of a job without an estimate of its remaining time."""

MAX_POLL_SECONDS = 10
"""The most seconds until the next poll."""

POLLS = 20
"""The number of polls, at the suggested interval, during the estimated remaining time of a job."""

_HEADERS: Headers = (*JSON, *REVALIDATED)


class Rendered(NamedTuple):
    """A rendered answer."""

    body: bytes
    etag: bytes
    poll_after: bytes
    """Seconds until the next poll, as digits; empty once the job has ended."""
    headers: Headers
    """The headers of the response, whether its status is 200 or 304."""

    @property
    def ended(self) -> bool:
        """True once the job has ended."""
        return not self.poll_after

    @property
    def version(self) -> bytes:
        """The id of this state in live streams."""
        return self.etag[1:-1]


_cache: OrderedDict[tuple[str, ...], tuple[tuple[object, ...], Rendered | None]] = OrderedDict()
"""Documents and answers by job. The keys and values are plain tuples, because the garbage collector
stops tracking tuples that contain only bytes and strings."""


def rendered(job: JobKey, documents: Documents) -> Rendered | None:
    """Return the answer, from the cache if possible; None without a valid status document."""
    found = _cache.get(job)
    # Comparing bytes takes a tenth of the time of hashing them for a cache by documents.
    if found is not None and found[0] == documents:
        return found[1]
    answer = render(job, documents)
    status, progress = documents
    if len(status) + len(progress or b"") <= CACHED_BYTES:
        _cache[tuple(job)] = tuple(documents), answer
        if len(_cache) > CACHED_ANSWERS:
            _cache.popitem(last=False)
    return answer


def render(job: JobKey, documents: Documents) -> Rendered | None:
    """Return the answer, always rendered anew; None without a valid status document."""
    kind = KINDS[job.kind]
    answer = progress_answer(kind, job.id, documents)
    if answer is None:
        return None
    body = json_bytes(answer)
    etag, poll_after = etag_of(body), _poll_after(kind, answer)
    headers = (*_HEADERS, (b"etag", etag))
    if poll_after:
        headers = (*headers, (b"retry-after", poll_after))
    return Rendered(body, etag, poll_after, headers)


def _poll_after(kind: Kind, answer: Mapping[str, Any]) -> bytes:
    """Return the seconds until the next poll as digits; empty if the job has ended."""
    try:
        if kind.state_of(answer["status"]).ended:
            return b""
    except (ValueError, TypeError):  # not one of the kind's words
        return b"%d" % POLL_SECONDS
    progress = answer if kind.progress_prefix else answer.get("progress") or {}
    remaining = progress.get(f"{kind.progress_prefix or ''}remaining_seconds")
    if not isinstance(remaining, int | float) or not remaining > 0:
        return b"%d" % POLL_SECONDS
    return b"%d" % max(1, min(MAX_POLL_SECONDS, remaining / POLLS))

"""Answers as bytes, with what goes along: rendered once for all who ask for the same documents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from api.answers.progress_answer import answer
from api.http.etags import etag_of
from api.http.responses import JSON, REVALIDATED, Headers, json_bytes
from projections.documents import Documents
from streams.keys import JobKey
from streams.kinds import KINDS, Kind

REMEMBERED_ANSWERS = 16_384
REMEMBERED_BYTES = 2_048
"""Who polls mostly finds the documents as they were, and the same documents give the same answer.
Of so many jobs the last answer is remembered, with its documents where these have up to so many
bytes: some 30 MB in all as documents go."""

POLL_SECONDS = 2
"""When to poll again a job of which nothing better is known."""
MAX_POLL_SECONDS = 10
_SHOWN: Headers = (*JSON, *REVALIDATED)

LOOKS = 20
"""How often somebody who does as told looks at a job whose worker says how long it will take."""


class Rendered(NamedTuple):
    """One answer."""

    body: bytes
    etag: bytes
    poll_after: bytes
    """Whole seconds until the next poll; empty once the job has ended."""
    headers: Headers
    """Of the response with this answer, whether it is sent or the reader has it."""

    @property
    def ended(self) -> bool:
        """Whether it is the job's last state, as far as anybody knows."""
        return not self.poll_after

    @property
    def version(self) -> bytes:
        """Name the state in an event stream."""
        return self.etag[1:-1]


_remembered: OrderedDict[tuple[str, ...], tuple[tuple[object, ...], Rendered | None]] = (
    OrderedDict()
)
"""By job, in plain tuples: the garbage collector does not visit those of bytes and texts again."""


def rendered(job: JobKey, documents: Documents) -> Rendered | None:
    """Return the answer; None where the status document is not one."""
    found = _remembered.get(job)
    # Comparing bytes costs a tenth of hashing them, as a cache by documents would.
    if found is not None and found[0] == documents:
        return found[1]
    state = render(job, documents)
    status, progress = documents
    if len(status) + len(progress or b"") <= REMEMBERED_BYTES:
        _remembered[tuple(job)] = tuple(documents), state
        if len(_remembered) > REMEMBERED_ANSWERS:
            _remembered.popitem(last=False)
    return state


def render(job: JobKey, documents: Documents) -> Rendered | None:
    """Return the answer, put together anew."""
    kind = KINDS[job.kind]
    shown = answer(kind, job.id, documents)
    if shown is None:
        return None
    body = json_bytes(shown)
    etag, poll_after = etag_of(body), _poll_after(kind, shown)
    headers = (*_SHOWN, (b"etag", etag))
    if poll_after:
        headers = (*headers, (b"retry-after", poll_after))
    return Rendered(body, etag, poll_after, headers)


def _poll_after(kind: Kind, shown: Mapping[str, Any]) -> bytes:
    try:
        if kind.state_of(shown["status"]).ended:
            return b""
    except (ValueError, TypeError):  # a word of another make: neither work nor an end
        return b"%d" % POLL_SECONDS
    progress = shown if kind.progress_prefix else shown.get("progress") or {}
    left = progress.get(f"{kind.progress_prefix or ''}remaining_seconds")
    if not isinstance(left, int | float) or not left > 0:
        return b"%d" % POLL_SECONDS
    return b"%d" % max(1, min(MAX_POLL_SECONDS, left / LOOKS))

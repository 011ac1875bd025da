"""Answers as bytes, with what goes along: rendered once for all who ask for the same documents."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from api.answers import answer
from api.etags import etag_of
from api.responses import json_bytes
from projections.documents import Documents
from streams.keys import JobKey
from streams.kinds import KINDS, Kind

REMEMBERED_ANSWERS = 16_384
REMEMBERED_BYTES = 2_048
"""Who polls mostly finds the documents as they were, and the same documents give the same answer.
Those of up to so many bytes are remembered with it, some 30 MB in all as documents go."""

POLL_SECONDS = 2
"""When to poll again a job of which nothing better is known."""
MAX_POLL_SECONDS = 10
LOOKS = 20
"""How often somebody who does as told looks at a job whose worker says how long it will take."""


class Rendered(NamedTuple):
    """One answer. Bytes go in and out, so that the garbage collector has nothing to follow."""

    body: bytes
    etag: bytes
    poll_after: bytes
    """Whole seconds until the next poll; empty once the job has ended."""

    @property
    def ended(self) -> bool:
        """Whether it is the job's last state, as far as anybody knows."""
        return not self.poll_after

    @property
    def version(self) -> bytes:
        """Name the state in an event stream."""
        return self.etag[1:-1]


def rendered(job: JobKey, documents: Documents) -> Rendered | None:
    """Give the answer; None where the status document is not one."""
    _, kind, job_id = job
    status, progress = documents
    if len(status) + (len(progress) if progress else 0) <= REMEMBERED_BYTES:
        return _remembered(kind, job_id, status, progress)
    return _render(kind, job_id, status, progress)


def _render(kind: str, job_id: str, status: bytes, progress: bytes | None) -> Rendered | None:
    shown = answer(KINDS[kind], job_id, Documents(status, progress))
    if shown is None:
        return None
    body = json_bytes(shown)
    return Rendered(body, etag_of(body), _poll_after(KINDS[kind], shown))


_remembered = lru_cache(REMEMBERED_ANSWERS)(_render)


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

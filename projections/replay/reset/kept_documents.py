"""Documents that a reset replaces, kept in the table `replaced_states`.

Used by `projections.registry.status` and `projections.replay.reset.documents`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import orjson
import psycopg

from projections.replay.job_arrays import job_arrays
from projections.replay.replaced_states import new_run
from sql import queries
from streams.keys import JobKey

_QUERIES = queries("rebuild")


class ReplacedDocuments(NamedTuple):
    """The documents of a job as they were found; empty bytes for a missing document."""

    status: bytes
    progress: bytes
    removed: bool
    """True if nothing replaces them."""


class KeptDocuments:
    """The documents that one reset replaces.

    Args:
        connect: opens a connection in autocommit mode; called when there is something to keep.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self.states = 0
        """The number of jobs whose documents are kept."""
        self._connect = connect
        self._connection: psycopg.Connection | None = None
        self._run = 0

    def keep(self, found: Mapping[JobKey, ReplacedDocuments]) -> None:
        """Keep the documents of jobs that have some.

        Raises:
            psycopg.Error: they are not kept, and must not be replaced.
        """
        kept = {job: each for job, each in found.items() if each.status or each.progress}
        if not kept:
            return
        reasons = ["removed" if each.removed else "updated" for each in kept.values()]
        texts = [_json_text(each) for each in kept.values()]
        arguments = {**job_arrays(kept), "whys": reasons, "was": texts}
        self.states += self._execute("keep_documents", arguments)

    def forget(self, jobs: Collection[JobKey]) -> None:
        """Delete the kept documents of jobs, because they were not replaced.

        Raises:
            psycopg.Error: some documents are kept that were not replaced.
        """
        if jobs and self._connection is not None:
            self.states -= self._execute("forget_documents", job_arrays(jobs))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _execute(self, name: str, arguments: Mapping[str, list[str]]) -> int:
        if self._connection is None:
            self._connection = self._connect()
            self._run, _ = new_run(self._connection)
        return self._connection.execute(_QUERIES[name], {**arguments, "run": self._run}).rowcount


def _json_text(found: ReplacedDocuments) -> str:
    """Return both documents as one JSON object; a document that is JSON is kept byte for byte."""
    parts = [
        b'"%b":%b' % (name, _json(raw))
        for name, raw in ((b"status", found.status), (b"progress", found.progress))
        if raw
    ]
    return (b"{%b}" % b",".join(parts)).decode()


def _json(raw: bytes) -> bytes:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return orjson.dumps({"base64": base64.b64encode(raw).decode()})
    return raw

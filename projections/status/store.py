"""Reading the documents of many jobs in Redis, and writing them if nobody else has since.

    StatusStore.read -> Reading.stored -> Stored        what was read of each job
    Write -> StatusStore.write -> Writing.lost          jobs that another writer has written

Commands are sent without waiting for the reply, so that the server works while the caller folds
other jobs. Used by `projections.replay.reset.documents`, `projections.status.document_writes` and
`projections.status.writer`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import chain, groupby
from typing import Any, NamedTuple

import redis

from projections.reading.feed import feed_name
from streams.keys import JobKey, Keys
from streams.scripts import PendingRuns, Run, Script
from streams.wire import Command, PendingReplies, checked

# The script gets all values in one flat list, in which a word stands for a missing value. Neither a
# document (JSON in braces) nor a tombstone (two numbers) is equal to such a word, or empty.
NOT_READ = b"*"
"""In place of a tombstone: it was not read, and is not compared."""
REMOVE = b"-"
"""In place of a document: it is removed."""

_new = tuple.__new__  # builds a named tuple without the cost of its own constructor


class Stored(NamedTuple):
    """The values in Redis of a job when it was read; empty where there was none."""

    status: bytes
    progress: bytes
    tombstone: bytes


class Write(NamedTuple):
    """A write of the documents of a job, carried out if they are still what was read."""

    job: JobKey
    stored: Stored
    status: bytes
    """The new document; empty to leave it, REMOVE to remove all of the job's keys."""
    progress: bytes
    """The new document; empty to leave it, REMOVE to remove it."""
    seconds: int
    """The time to live; 0 for no end."""
    tombstone: bytes = b""
    """The new tombstone of an ended job; empty to leave it."""
    in_feed: bool = True
    """True if answers change, so that the tenant's feed reports it."""


Failed = dict[str, redis.RedisError]
"""By tenant, an error of the node of a cluster that has its keys."""


class Reading:
    """Documents whose values were requested.

    Args:
        parts: the jobs of each command, in its order.
    """

    def __init__(
        self, parts: Sequence[Sequence[JobKey]], replies: PendingReplies, *, tombstones: bool
    ) -> None:
        self._parts = parts
        self._replies = replies
        self._tombstones = tombstones

    def stored(self, failed: Failed | None = None) -> Mapping[JobKey, Stored]:
        """Return the values of each job, once the server has replied.

        Args:
            failed: on a cluster, gets the tenants that could not be read; they are left out.

        Raises:
            redis.RedisError: the server is away, or refuses.
        """
        served = _served(self._parts, self._replies.replies(), failed)
        jobs = chain.from_iterable(part for part, _ in served)
        values: Iterator[bytes | None] = chain.from_iterable(reply for _, reply in served)
        if self._tombstones:
            return {
                job: Stored(status or b"", progress or b"", tombstone or b"")
                for job, status, progress, tombstone in zip(
                    jobs, values, values, values, strict=True
                )
            }
        return {
            job: _new(Stored, (status or b"", progress or b"", NOT_READ))
            for job, status, progress in zip(jobs, values, values, strict=True)
        }

    def give_up(self) -> None:
        """Close the connection if the reply was not read, so that nobody else reads it."""
        self._replies.give_up()


class Writing:
    """Writes that were sent.

    Args:
        runs: the runs of the script that write.
        jobs: the jobs of each run, in its order.
    """

    def __init__(self, runs: PendingRuns, jobs: Sequence[Sequence[JobKey]]) -> None:
        self._runs = runs
        self._jobs = jobs

    def lost(self, failed: Failed | None = None) -> list[JobKey]:
        """Return the jobs that another writer has written since, once the server has replied.

        They are left unchanged.

        Args:
            failed: on a cluster, gets the tenants whose node failed; some of their documents may
                have been written.

        Raises:
            redis.RedisError: some documents may have been written.
        """
        served = _served(self._jobs, self._runs.replies(), failed)
        return [jobs[index - 1] for jobs, reply in served for index in reply]

    def give_up(self) -> None:
        """Close the connection if the reply was not read, so that nobody else reads it."""
        self._runs.give_up()


class StatusStore:
    """Documents of jobs in Redis.

    Args:
        tombstones: True if the tombstones of ended jobs are read, written and removed as well.
    """

    def __init__(self, client: redis.Redis, keys: Keys, *, tombstones: bool) -> None:
        self._client = client
        self._keys = keys
        self._tombstones = tombstones
        script = (
            files("projections.status").joinpath("status_cache.lua").read_text(encoding="utf-8")
        )
        self._compare_and_set = Script(script)

    def read(self, jobs: Collection[JobKey]) -> Reading:
        """Request the documents of at least one job.

        Raises:
            redis.RedisError: the server is away.
        """
        parts = self._keys.by_slot(jobs, _tenant_of_job)
        commands: list[Command] = [("MGET", *self._names(part)) for part in parts]
        replies = PendingReplies(self._client, commands, partial=True)
        return Reading(parts, replies, tombstones=self._tombstones)

    def load(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Stored]:
        """Return the values of each job; raises the errors of `read`."""
        return self.read(jobs).stored() if jobs else {}

    def write(self, writes: Iterable[Write]) -> Writing:
        """Send writes, which the script carries out; those of one slot in one run.

        Raises:
            redis.RedisError: the server is away; the writes may have been carried out.
        """
        parts = self._keys.by_slot(writes, _tenant)
        runs = self._compare_and_set.send(self._client, map(self._run, parts), partial=True)
        return Writing(runs, [[write.job for write in part] for part in parts])

    def _names(self, jobs: Iterable[JobKey]) -> list[str]:
        """Return the names of the keys that are read of jobs."""
        names: list[str] = []
        for job in jobs:
            names += self._keys.documents(job)
            if self._tombstones:
                names.append(self._keys.ended(job))
        return names

    def _run(self, writes: Sequence[Write]) -> Run:
        """Return the keys and arguments of the script for writes.

        Without tombstones, jobs have neither their keys nor their values: each costs CPU time in
        the server, and by default ended jobs are kept.
        """
        names: list[str] = []
        arguments: list[bytes | int | str] = [
            "tombstones" if self._tombstones else "",
            self._keys.publish,
        ]
        for tenant, group in groupby(writes, _tenant):
            names.append(self._keys.feed(tenant))
            of_tenant = list(group)
            arguments.append(len(of_tenant))
            for job, stored, status, progress, seconds, tombstone, in_feed in of_tenant:
                names += self._keys.documents(job)
                name = feed_name(job) if in_feed else ""
                arguments += (stored.status, status, progress, seconds, name)
                if self._tombstones:
                    names.append(self._keys.ended(job))
                    arguments += (stored.tombstone, tombstone)
        return names, arguments


def _served(
    parts: Sequence[Sequence[JobKey]], replies: Sequence[Any], failed: Failed | None
) -> Sequence[tuple[Sequence[JobKey], Any]]:
    """Return the parts with their replies; those whose node failed are left out, if they may be."""
    if failed is None:
        return list(zip(parts, checked(replies), strict=True))
    served = []
    for part, reply in zip(parts, replies, strict=True):
        if isinstance(reply, redis.RedisError):
            failed[part[0].tenant] = reply
        else:
            served.append((part, reply))
    return served


def _tenant_of_job(job: JobKey) -> str:
    return job.tenant


def _tenant(write: Write) -> str:
    return write.job.tenant

"""Reading the documents of many jobs in Redis, and writing them if nobody else has since.

    StatusStore.read -> Reading.stored -> Stored        what was read of each job
    Write -> StatusStore.write -> Writing.lost          jobs that another writer has written

Commands are sent without waiting for the reply, so that the server works while the caller folds
other jobs. The writer of the projection and the reset of a replay use this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from importlib.resources import files
from itertools import groupby
from typing import NamedTuple, cast

import redis

from projections.reading.feed import feed_name
from streams.keys import JobKey, Keys
from streams.wire import PendingReplies, checked

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


class Reading:
    """Documents whose values were requested."""

    def __init__(
        self, jobs: Collection[JobKey], replies: PendingReplies, *, tombstones: bool
    ) -> None:
        self._jobs = jobs
        self._replies = replies
        self._tombstones = tombstones

    def stored(self) -> Mapping[JobKey, Stored]:
        """Return the values of each job, once the server has replied.

        Raises:
            redis.RedisError: the server is away, or refuses.
        """
        values = iter(cast("list[bytes | None]", checked(self._replies.replies())[0]))
        if self._tombstones:
            return {
                job: Stored(status or b"", progress or b"", tombstone or b"")
                for job, status, progress, tombstone in zip(
                    self._jobs, values, values, values, strict=True
                )
            }
        return {
            job: _new(Stored, (status or b"", progress or b"", NOT_READ))
            for job, status, progress in zip(self._jobs, values, values, strict=True)
        }

    def give_up(self) -> None:
        """Read or discard the reply, so that others can use the connection."""
        self._replies.give_up()


class Writing:
    """Writes that were sent."""

    def __init__(
        self,
        script: redis.commands.core.Script,
        client: redis.Redis,
        names: list[str],
        arguments: list[bytes | int | str],
        jobs: list[JobKey],
    ) -> None:
        self._script = script
        self._names = names
        self._arguments = arguments
        self._jobs = jobs
        self._replies = PendingReplies(
            client, [("EVALSHA", script.sha, len(names), *names, *arguments)]
        )

    def lost(self) -> list[JobKey]:
        """Return the jobs that another writer has written since, once the server has replied.

        They are left unchanged.

        Raises:
            redis.RedisError: some documents may have been written.
        """
        (reply,) = self._replies.replies()
        if isinstance(reply, redis.exceptions.NoScriptError):
            reply = self._script(keys=self._names, args=self._arguments)
        return [self._jobs[index - 1] for index in checked([reply])[0]]

    def give_up(self) -> None:
        """Read or discard the reply, so that others can use the connection."""
        self._replies.give_up()


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
        self._compare_and_set = client.register_script(script)

    def read(self, jobs: Collection[JobKey]) -> Reading:
        """Request the documents of at least one job.

        Raises:
            redis.RedisError: the server is away.
        """
        names: list[str] = []
        for job in jobs:
            names += self._keys.documents(job)
            if self._tombstones:
                names.append(self._keys.ended(job))
        replies = PendingReplies(self._client, [("MGET", *names)])
        return Reading(jobs, replies, tombstones=self._tombstones)

    def load(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Stored]:
        """Return the values of each job; raises the errors of `read`."""
        return self.read(jobs).stored() if jobs else {}

    def write(self, writes: Iterable[Write]) -> Writing:
        """Send writes, all of which are carried out by one call of the script.

        Raises:
            redis.RedisError: the server is away; the writes may have been carried out.
        """
        names: list[str] = []
        arguments: list[bytes | int | str] = ["tombstones" if self._tombstones else ""]
        jobs: list[JobKey] = []
        for tenant, group in groupby(writes, _tenant):
            names.append(self._keys.feed(tenant))
            of_tenant = list(group)
            arguments.append(len(of_tenant))
            for job, stored, status, progress, seconds, tombstone, in_feed in of_tenant:
                jobs.append(job)
                names += self._keys.documents(job)
                name = feed_name(job) if in_feed else ""
                arguments += (stored.status, status, progress, seconds, name)
                if self._tombstones:
                    names.append(self._keys.ended(job))
                    arguments += (stored.tombstone, tombstone)
        return Writing(self._compare_and_set, self._client, names, arguments, jobs)


def _tenant(write: Write) -> str:
    return write.job.tenant

"""The documents of jobs in Redis: read together, and written where they are still what was read.

Questions and writes are sent without waiting for the reply, so that the server works at them while
the caller folds other jobs. `Stored` is what was read of a job, `Write` what to write over it.
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

UNMARKED = b"*"
"""In place of an ended job's mark: it was not read."""
REMOVE = b"-"
"""In place of a document: it is to be removed."""

_new = tuple.__new__  # builds a named tuple without the cost of its own constructor


class Stored(NamedTuple):
    """The values in Redis of a job when it was read; empty where they are none of ours."""

    status: bytes
    progress: bytes
    mark: bytes


class Write(NamedTuple):
    """A write over the documents of a job, if they are still what was read."""

    job: JobKey
    stored: Stored
    status: bytes
    """The new document; empty to leave it, REMOVE to remove all of the job's keys."""
    progress: bytes
    """The new document; empty to leave it, REMOVE to remove it."""
    seconds: int
    """To live; 0 is for ever."""
    mark: bytes = b""
    """The new mark of an ended job; empty to leave it."""
    told: bool = True
    """True where answers show the difference, so that the tenant's feed reports it."""


class Reading:
    """Documents that were asked for."""

    def __init__(self, jobs: Collection[JobKey], asked: PendingReplies, *, marked: bool) -> None:
        self._jobs = jobs
        self._asked = asked
        self._marked = marked

    def stored(self) -> Mapping[JobKey, Stored]:
        """Wait for the documents.

        Raises:
            redis.RedisError: the server is away, or refuses.
        """
        values = iter(cast("list[bytes | None]", checked(self._asked.replies())[0]))
        if self._marked:
            return {
                job: Stored(status or b"", progress or b"", mark or b"")
                for job, status, progress, mark in zip(
                    self._jobs, values, values, values, strict=True
                )
            }
        return {
            job: _new(Stored, (status or b"", progress or b"", UNMARKED))
            for job, status, progress in zip(self._jobs, values, values, strict=True)
        }

    def give_up(self) -> None:
        """Leave no reply unread on a connection that others use."""
        self._asked.give_up()


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
        self._asked = PendingReplies(
            client, [("EVALSHA", script.sha, len(names), *names, *arguments)]
        )

    def lost(self) -> list[JobKey]:
        """Wait for the server, and return the jobs that somebody else wrote since the reading.

        They are untouched.

        Raises:
            redis.RedisError: some documents may have been written.
        """
        (reply,) = self._asked.replies()
        if isinstance(reply, redis.exceptions.NoScriptError):
            reply = self._script(keys=self._names, args=self._arguments)
        return [self._jobs[index - 1] for index in checked([reply])[0]]

    def give_up(self) -> None:
        """Leave no reply unread on a connection that others use."""
        self._asked.give_up()


class StatusStore:
    """Reads and writes documents.

    Args:
        marked: whether ended jobs' marks, which guard what expired, are read, written and removed.
    """

    def __init__(self, client: redis.Redis, keys: Keys, *, marked: bool) -> None:
        self._client = client
        self._keys = keys
        self._marked = marked
        script = (
            files("projections.status").joinpath("status_cache.lua").read_text(encoding="utf-8")
        )
        self._compare_and_set = client.register_script(script)

    def ask(self, jobs: Collection[JobKey]) -> Reading:
        """Ask for the documents of at least one job.

        Raises:
            redis.RedisError: the server is away.
        """
        names: list[str] = []
        for job in jobs:
            names += self._keys.documents(job)
            if self._marked:
                names.append(self._keys.ended(job))
        return Reading(jobs, PendingReplies(self._client, [("MGET", *names)]), marked=self._marked)

    def load(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Stored]:
        """Return what Redis holds of these jobs; raises as `ask`."""
        return self.ask(jobs).stored() if jobs else {}

    def write(self, writes: Iterable[Write]) -> Writing:
        """Send writes, all of which are carried out in one step.

        Raises:
            redis.RedisError: the server is away; they may have been carried out.
        """
        names: list[str] = []
        arguments: list[bytes | int | str] = ["marks" if self._marked else ""]
        jobs: list[JobKey] = []
        for tenant, group in groupby(writes, _tenant):
            names.append(self._keys.feed(tenant))
            of_tenant = list(group)
            arguments.append(len(of_tenant))
            for job, stored, status, progress, seconds, mark, told in of_tenant:
                jobs.append(job)
                names += self._keys.documents(job)
                name = feed_name(job) if told else ""
                arguments += (stored.status, status, progress, seconds, name)
                if self._marked:
                    names.append(self._keys.ended(job))
                    arguments += (stored.mark, mark)
        return Writing(self._compare_and_set, self._client, names, arguments, jobs)


def _tenant(write: Write) -> str:
    return write.job.tenant

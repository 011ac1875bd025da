"""A tenant's feed: the jobs that changed last, in the order of their changes.

The feed is a sorted set of the names of jobs. The score of each is the *offset* of its latest
change: microseconds of the server's clock, which rise with every change of the tenant. The set
holds the newest ten thousand jobs and expires an hour after the last change. Each change is also
published on the channel of the same name. The projection `status` writes both; live streams and
long polls read them with this module. Used by `api.app`, `api.live`, `api.progress.long_polls` and
`projections.status.store`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import redis.asyncio

from projections.documents import Documents
from projections.reading.documents import READ_SECONDS, DocumentReader
from streams.cluster import keys_of
from streams.keys import JOB_ID, JobKey, Keys
from streams.kinds import KINDS
from streams.wire import AsyncRouter

AT_ONCE = 200
"""The most changes that one read returns."""


class Change(NamedTuple):
    """A job that changed, with its documents when it was read."""

    offset: int
    job: JobKey
    documents: Documents | None
    """None if the documents have expired."""


class Changes(NamedTuple):
    """Changes after an offset, oldest first."""

    offset: int
    """All changes up to this offset have been read."""
    changes: Sequence[Change]


def feed_name(job: JobKey) -> str:
    """Return the name of a job in its tenant's feed."""
    return f"{job.kind}:{job.id}"


def changed_names(message: bytes) -> Iterator[str]:
    """Return the names of the jobs in a message of the channel, `OFFSET NAME OFFSET NAME …`."""
    return iter(message.decode(errors="replace").split()[1::2])


class FeedReader:
    """Reader of feeds, for the event loop of the document reader that it uses.

    All methods raise redis.RedisError where Redis is away or refuses.
    """

    def __init__(
        self, client: redis.asyncio.Redis, documents: DocumentReader, keys: Keys | None = None
    ) -> None:
        self._client = client
        self._documents = documents
        self._keys = keys or keys_of(client)

    async def newest(self, tenant: str, nth: int = 1) -> int:
        """Return the offset of the nth newest change; 0 if there are fewer changes."""
        command = ("ZREVRANGE", self._keys.feed(tenant), nth - 1, nth - 1, "WITHSCORES")
        (reply,) = await self._transaction([command])
        return _offset(reply[1]) if reply else 0

    async def changes(self, tenant: str, after: int, limit: int = AT_ONCE) -> Changes:
        """Return the changes after an offset, at most `limit`.

        Offsets and documents are read in one transaction, so that the documents of a job are those
        of its offset; a later change has a greater one. The names of the jobs must be known before
        that, so a read takes two round trips, and more if other jobs change in between.
        """
        jobs_by_name: dict[bytes, JobKey | None] = {}
        while True:
            found, held = await self._read(tenant, after, limit, jobs_by_name)
            if not found:
                return Changes(after, [])
            read = _up_to_unknown(found, jobs_by_name, held)
            if read is not None:
                return read
            jobs_by_name |= {name: _job(tenant, name) for name, _ in found}

    async def _read(
        self, tenant: str, after: int, limit: int, jobs_by_name: Mapping[bytes, JobKey | None]
    ) -> tuple[list[tuple[bytes, int]], Mapping[JobKey, Documents | None]]:
        """Return names and offsets of changes, and the documents of the jobs that are known."""
        feed = self._keys.feed(tenant)
        jobs = [job for job in jobs_by_name.values() if job is not None]
        commands: list[tuple[Any, ...]] = [
            ("ZRANGEBYSCORE", feed, f"({after}", "+inf", "WITHSCORES", "LIMIT", 0, limit)
        ]
        if jobs:
            commands.append(("MGET", *self._documents.names(jobs)))
        found, *values = await self._transaction(commands)
        offsets = map(_offset, found[1::2])
        documents = self._documents.documents(jobs, values[0]) if jobs else []
        return (
            list(zip(found[::2], offsets, strict=True)),
            dict(zip(jobs, documents, strict=True)),
        )

    async def _transaction(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run commands as one transaction, and return their replies as the server sent them."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                if isinstance(self._client, AsyncRouter):
                    return await self._client.run_transaction(commands)
                pipeline = self._client.pipeline(transaction=len(commands) > 1)
                async with pipeline:
                    for command in commands:
                        # With no option that would parse the reply.
                        pipeline.execute_command(*command)
                    replies = await pipeline.execute()
        except TimeoutError:
            raise redis.TimeoutError(f"no reply within {READ_SECONDS} s") from None
        return replies


def _up_to_unknown(
    found: Sequence[tuple[bytes, int]],
    jobs_by_name: Mapping[bytes, JobKey | None],
    held: Mapping[JobKey, Documents | None],
) -> Changes | None:
    """Return the changes before the first job that was not known; None if that is the first."""
    changes, read_to = list[Change](), None
    for name, offset in found:
        if name not in jobs_by_name:
            break
        job, read_to = jobs_by_name[name], offset
        if job is not None:
            changes.append(Change(offset, job, held[job]))
    return None if read_to is None else Changes(read_to, changes)


def _job(tenant: str, name: bytes) -> JobKey | None:
    """Return the job of a name; None for a name of a newer version, which is skipped."""
    kind, _, job_id = name.decode(errors="replace").partition(":")
    return JobKey(tenant, kind, job_id) if kind in KINDS and JOB_ID.match(job_id) else None


def _offset(score: Any) -> int:
    return int(float(score))

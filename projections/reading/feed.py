"""A tenant's feed: which of its jobs changed last, and in which order.

The *feed* is a sorted set of job names, each under the *position* of its latest change:
microseconds of the server's clock, strictly rising within the tenant. It holds the newest ten
thousand jobs, for an hour after the last change. The channel of the same name tells of each change
as it is made. The projection `status` writes both; this module reads them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import redis.asyncio

from projections.documents import Documents
from projections.reading.documents import READ_SECONDS, DocumentReader
from streams.keys import JOB_ID, JobKey, Keys
from streams.kinds import KINDS

AT_ONCE = 200
"""Changes that one read gives at most."""


class Change(NamedTuple):
    """A job that changed, as it stood when it was read."""

    position: int
    job: JobKey
    documents: Documents | None
    """None: its documents are gone."""


class Changes(NamedTuple):
    """Changes after a position, oldest first."""

    upto: int
    """Everything up to here has been read."""
    changes: Sequence[Change]


def feed_name(job: JobKey) -> str:
    """Name a job within its tenant's feed."""
    return f"{job.kind}:{job.id}"


def named_in(message: bytes) -> Iterator[str]:
    """Give the names of the jobs of which a message of the channel tells."""
    return iter(message.decode(errors="replace").split()[1::2])


class FeedReader:
    """Reads feeds; use it from one event loop, as the reader of documents that it is given.

    All methods raise redis.RedisError where Redis is away or refuses.
    """

    def __init__(
        self, client: redis.asyncio.Redis, documents: DocumentReader, keys: Keys | None = None
    ) -> None:
        self._client = client
        self._documents = documents
        self._keys = keys or Keys()

    async def newest(self, tenant: str, nth: int = 1) -> int:
        """Give the position of the nth newest change; 0 where there are not so many."""
        reply = await self._run(
            [("ZREVRANGE", self._keys.feed(tenant), nth - 1, nth - 1, "WITHSCORES")]
        )
        return _position(reply[0][1]) if reply[0] else 0

    async def changes(self, tenant: str, after: int, limit: int = AT_ONCE) -> Changes:
        """Give what changed after a position.

        Positions and documents are read in one transaction, so that a job's documents are exactly
        those of its position: what changes later has a later one.
        """
        feed, known = self._keys.feed(tenant), dict[bytes, JobKey | None]()
        search = ("ZRANGEBYSCORE", feed, f"({after}", "+inf", "WITHSCORES", "LIMIT", 0, limit)
        while True:
            jobs = [job for job in known.values() if job is not None]
            commands: list[tuple[Any, ...]] = [search]
            if jobs:
                commands.append(("MGET", *self._documents.names(jobs)))
            found, *values = await self._run(commands)
            listed = [
                (name, _position(score))
                for name, score in zip(found[::2], found[1::2], strict=True)
            ]
            if not listed:
                return Changes(after, [])
            held = dict(
                zip(jobs, self._documents.documents(jobs, values[0]), strict=True) if jobs else ()
            )
            changes = []
            upto = after
            for name, position in listed:
                if name not in known:
                    break
                job, upto = known[name], position
                if job is not None:
                    changes.append(Change(position, job, held[job]))
            if upto > after:
                return Changes(upto, changes)
            known |= {name: _job(tenant, name) for name, _ in listed}

    async def _run(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run commands as one transaction."""
        try:
            async with (
                asyncio.timeout(READ_SECONDS),
                self._client.pipeline(transaction=len(commands) > 1) as pipeline,
            ):
                for command in commands:
                    # With no option that would parse the reply.
                    pipeline.execute_command(*command)
                replies = await pipeline.execute()
        except TimeoutError:
            raise redis.TimeoutError(f"no reply within {READ_SECONDS} s") from None
        return replies


def _job(tenant: str, name: bytes) -> JobKey | None:
    """Give whose name it is; None for one of a newer make, which is passed over."""
    kind, _, job_id = name.decode(errors="replace").partition(":")
    return JobKey(tenant, kind, job_id) if kind in KINDS and JOB_ID.match(job_id) else None


def _position(score: Any) -> int:
    return int(float(score))

"""The documents of jobs, read for many requests together.

The reads of one turn of the event loop share one MGET. While `MGETS_AT_ONCE` commands are running,
further reads are collected for the next one. This saves time because Redis and its client need much
more time for a command than for one more key in it. Progress answers, long polls and the console
read documents with this module. Used by `api.app`, `api.live.endpoint`, `api.operators.jobs`,
`api.progress` and `projections.reading`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

import hiredis
import redis.asyncio

from projections.documents import Documents
from streams.cluster import keys_of
from streams.events import load_json
from streams.keys import JobKey, Keys
from streams.kinds import KINDS, State
from streams.wire import AsyncRouter, Command, async_round_trip

KEYS_PER_MGET = 500
"""The most keys in one MGET of collected reads; it occupies the server for less than 1 ms."""

MGETS_AT_ONCE = 4
"""The most MGETs, and so connections, that run at a time: one slow reply delays few other reads."""

READ_SECONDS = 2.0
"""The time limit for one MGET."""

PendingRead = asyncio.Future[Documents | None]
"""One call of `DocumentReader.read` that waits for its documents."""
Batch = Mapping[JobKey, Sequence[PendingRead]]


def _ignore(_jobs: int) -> None:
    """Do nothing with the size of a batch."""


class DocumentReader:
    """Reader of documents, for one event loop.

    Args:
        client: the connection pool to Redis.
        keys: the names of keys.
        legacy: True to use, for a processing job without a progress document, the document under
            the key without a tenant that old workers wrote.
        on_batch: called with the number of jobs of each MGET.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        keys: Keys | None = None,
        legacy: bool = False,  # noqa: FBT001, FBT002 - reads well by name, and is one of few
        *,
        on_batch: Callable[[int], None] = _ignore,
    ) -> None:
        self._client = client
        self._keys = keys or keys_of(client)
        self._legacy = legacy
        self._on_batch = on_batch
        self._jobs_per_mget = KEYS_PER_MGET // (3 if legacy else 2)
        self._waiting: dict[JobKey, list[PendingRead]] = {}
        self._flush_is_due = False
        self._running: set[asyncio.Task[None]] = set()

    def read(self, job: JobKey) -> PendingRead:
        """Return a future of a job's documents; its result is None without a status document.

        Raises:
            redis.RedisError: when awaited, Redis is away or refuses; try again later.
        """
        loop = asyncio.get_running_loop()
        pending: PendingRead = loop.create_future()
        self._waiting.setdefault(job, []).append(pending)
        if not self._flush_is_due and len(self._running) < MGETS_AT_ONCE:
            self._flush_is_due = True
            loop.call_soon(self._flush)
        return pending

    async def read_many(self, jobs: Sequence[JobKey]) -> list[Documents | None]:
        """Return the documents of many jobs in the same order, read by one MGET.

        Raises:
            redis.RedisError: Redis is away or refuses; try again later.
        """
        if not jobs:
            return []
        self._on_batch(len(jobs))
        found = await self._read(jobs)
        for each in found:
            if isinstance(each, redis.RedisError):
                raise each
        return cast("list[Documents | None]", found)

    async def _read(self, jobs: Sequence[JobKey]) -> Sequence[Documents | redis.RedisError | None]:
        """Return the documents of jobs, or the error of a lost node of a cluster; raises others."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                if isinstance(self._client, AsyncRouter):
                    return await self._read_by_slot(jobs)
                values = await self._mget(self.names(jobs))
        except TimeoutError:
            raise redis.TimeoutError(f"no reply within {READ_SECONDS} s") from None
        return self.documents(jobs, values)

    async def _read_by_slot(
        self, jobs: Sequence[JobKey]
    ) -> list[Documents | redis.RedisError | None]:
        """Return what `_read` does, from a cluster: one MGET for each tenant, in one round trip."""
        parts = self._keys.by_slot(jobs, _tenant)
        commands: list[Command] = [("MGET", *self.names(part)) for part in parts]
        replies = await async_round_trip(self._client, commands, partial=True)
        found: dict[JobKey, Documents | redis.RedisError | None] = {}
        for part, reply in zip(parts, replies, strict=True):
            if isinstance(reply, redis.RedisError):
                found |= dict.fromkeys(part, reply)
            else:
                found |= zip(part, self.documents(part, reply), strict=True)
        return [found[job] for job in jobs]

    def names(self, jobs: Iterable[JobKey]) -> list[str]:
        """Return the names of the keys of these jobs' documents, two or three for each job."""
        names: list[str] = []
        name = self._keys.documents
        for job in jobs:
            names += name(job)
            if self._legacy:
                names.append(self._keys.legacy_progress(job))
        return names

    def documents(
        self, jobs: Iterable[JobKey], values: Iterable[bytes | None]
    ) -> list[Documents | None]:
        """Return the documents of jobs in the same order, from the values of the keys `names`."""
        if self._legacy:
            return list(_with_legacy_progress(jobs, iter(values)))
        pairs = iter(values)
        return [
            None if status is None else Documents(status, progress)
            for status, progress in zip(pairs, pairs, strict=True)
        ]

    async def _mget(self, names: Sequence[str]) -> list[bytes | None]:
        """Send the packed command and return the parsed reply, in half of the client's CPU time.

        An interruption closes the connection, so that no reply is left in it.
        """
        pool: Any = self._client.connection_pool  # in part without type hints
        command: Any = ("MGET", *names)  # hinted as a tuple of one
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(hiredis.pack_command(command))
            reply = await connection.read_response(disable_decoding=True)
        finally:
            await pool.release(connection)
        return cast("list[bytes | None]", reply)

    def _flush(self) -> None:
        """Start reading what is collected, as far as further MGETs may run."""
        self._flush_is_due = False
        while self._waiting and len(self._running) < MGETS_AT_ONCE:
            task = asyncio.create_task(self._read_batch(self._next_batch()))
            self._running.add(task)
            task.add_done_callback(self._finished)

    def _next_batch(self) -> Batch:
        if len(self._waiting) <= self._jobs_per_mget:
            batch, self._waiting = self._waiting, {}
            return batch
        jobs = list(islice(self._waiting, self._jobs_per_mget))
        return {job: self._waiting.pop(job) for job in jobs}

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._waiting:
            self._flush()

    async def _read_batch(self, batch: Batch) -> None:
        """Read a batch, in its own task: a cancelled read does not cancel the others."""
        try:
            self._on_batch(len(batch))
            found = await self._read(list(batch))
        except Exception as error:  # any error is passed to the reads of this batch
            for pending in _unfinished(batch):
                pending.set_exception(error)
        except asyncio.CancelledError:  # the event loop is being shut down
            for pending in _unfinished(batch):
                pending.cancel()
            raise
        else:
            for reads, documents in zip(batch.values(), found, strict=True):
                for pending in reads:
                    if pending.done():
                        continue
                    if isinstance(documents, redis.RedisError):
                        pending.set_exception(documents)
                    else:
                        pending.set_result(documents)


def _tenant(job: JobKey) -> str:
    return job.tenant


def _with_legacy_progress(
    jobs: Iterable[JobKey], values: Iterator[bytes | None]
) -> Iterator[Documents | None]:
    for job in jobs:
        status, progress, legacy = next(values), next(values), next(values)
        if status is None:
            yield None
        elif progress is None and legacy is not None and _is_processing(job, status):
            yield Documents(status, legacy)
        else:
            yield Documents(status, progress)


def _unfinished(batch: Batch) -> Iterator[PendingRead]:
    return (pending for reads in batch.values() for pending in reads if not pending.done())


def _is_processing(job: JobKey, status: bytes) -> bool:
    try:
        document = load_json(status)
    except ValueError:
        return False
    word = KINDS[job.kind].words[State.PROCESSING]
    return isinstance(document, dict) and document.get("status") == word

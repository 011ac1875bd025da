"""Reading the documents of jobs, many waiters at a time.

A *waiter* is one call that waits for one job. The waiters of one turn of the event loop share one
MGET, and while `MGETS_AT_ONCE` are under way the next waiters gather for the one after. Redis and
its client cost by the command much more than by the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

import hiredis
import redis.asyncio

from projections.documents import Documents
from streams.events import load_json
from streams.keys import JobKey, Keys
from streams.kinds import KINDS, State

KEYS_PER_MGET = 500
"""Keys in one MGET of gathered waiters: the server is held for well under a millisecond."""

MGETS_AT_ONCE = 4
"""Also the connections that gathered reads take: enough that one slow reply delays few others."""

READ_SECONDS = 2.0
"""How long a batch may take before its waiters are told that Redis is away."""

Waiter = asyncio.Future[Documents | None]
Waiters = Mapping[JobKey, Sequence[Waiter]]


def _uncounted(_jobs: int) -> None:
    """Nobody wants to know how large the batches are."""


class DocumentReader:
    """Reads documents; use it from one event loop.

    Args:
        legacy: a processing job without a progress document answers with the one that workers
            wrote before keys named tenants.
        on_batch: told of the jobs in each MGET.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        keys: Keys | None = None,
        legacy: bool = False,  # noqa: FBT001, FBT002 - reads well by name, and is one of few
        *,
        on_batch: Callable[[int], None] = _uncounted,
    ) -> None:
        self._client = client
        self._keys = keys or Keys()
        self._legacy = legacy
        self._on_batch = on_batch
        self._jobs_per_mget = KEYS_PER_MGET // (3 if legacy else 2)
        self._waiting: dict[JobKey, list[Waiter]] = {}
        self._flush_is_due = False
        self._under_way: set[asyncio.Task[None]] = set()

    def read(self, job: JobKey) -> Waiter:
        """Give a job's documents, when awaited; None where it has no status document.

        Raises:
            redis.RedisError: Redis is away or refuses; try again later.
        """
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._waiting.setdefault(job, []).append(waiter)
        if not self._flush_is_due and len(self._under_way) < MGETS_AT_ONCE:
            self._flush_is_due = True
            loop.call_soon(self._flush)
        return waiter

    async def read_many(self, jobs: Sequence[JobKey]) -> list[Documents | None]:
        """Give the documents of many jobs by one MGET, in the order asked for; raises as `read`."""
        if not jobs:
            return []
        self._on_batch(len(jobs))
        try:
            async with asyncio.timeout(READ_SECONDS):
                values = await self._mget(self.names(jobs))
        except TimeoutError:
            raise redis.TimeoutError(f"no reply within {READ_SECONDS} s") from None
        return self.documents(jobs, values)

    async def _mget(self, names: Sequence[str]) -> list[bytes | None]:
        """Send the command packed and give the parsed reply: half of what the client's own costs.

        Whatever interrupts it, the connection closes itself, so that no reply is left in it.
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
        self._flush_is_due = False
        while self._waiting and len(self._under_way) < MGETS_AT_ONCE:
            task = asyncio.create_task(self._serve(self._next_batch()))
            self._under_way.add(task)
            task.add_done_callback(self._served)

    def _next_batch(self) -> Waiters:
        if len(self._waiting) <= self._jobs_per_mget:
            batch, self._waiting = self._waiting, {}
            return batch
        jobs = list(islice(self._waiting, self._jobs_per_mget))
        return {job: self._waiting.pop(job) for job in jobs}

    def _served(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if self._waiting:
            self._flush()

    async def _serve(self, batch: Waiters) -> None:
        """Read a batch in a task of its own: no waiter that is cancelled takes others along."""
        try:
            found = await self.read_many(list(batch))
        except Exception as error:  # whatever it is, exactly these waiters get it
            for waiter in _still_waiting(batch):
                waiter.set_exception(error)
        except asyncio.CancelledError:  # the event loop is being shut down
            for waiter in _still_waiting(batch):
                waiter.cancel()
            raise
        else:
            for waiters, documents in zip(batch.values(), found, strict=True):
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(documents)

    def names(self, jobs: Iterable[JobKey]) -> list[str]:
        """Name the keys that hold these jobs' documents."""
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
        """Give the documents that `names` of the same jobs have as values, in that order."""
        if self._legacy:
            return list(self._sorted_out(jobs, iter(values)))
        pairs = iter(values)
        return [
            None if status is None else Documents(status, progress)
            for status, progress in zip(pairs, pairs, strict=True)
        ]

    def _sorted_out(
        self, jobs: Iterable[JobKey], values: Iterator[bytes | None]
    ) -> Iterator[Documents | None]:
        for job in jobs:
            status, progress, legacy = next(values), next(values), next(values)
            if status is None:
                yield None
            elif progress is None and legacy is not None and _is_processing(job, status):
                yield Documents(status, legacy)
            else:
                yield Documents(status, progress)


def _still_waiting(batch: Waiters) -> Iterator[Waiter]:
    return (waiter for waiters in batch.values() for waiter in waiters if not waiter.done())


def _is_processing(job: JobKey, status: bytes) -> bool:
    try:
        document = load_json(status)
    except ValueError:
        return False
    word = KINDS[job.kind].words[State.PROCESSING]
    return isinstance(document, dict) and document.get("status") == word

"""Reading whether entries are settled, for many waiting requests at a time.

All questions that come while one round trip is under way share the next one: requests that are held
until an entry is reflected ask again and again, and cost the server and its client little. Used by
`api.app` and `api.progress.long_polls`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import redis.asyncio

from projections.reading.documents import READ_SECONDS
from streams.cluster import keys_of
from streams.entry_ids import EntryId
from streams.keys import Keys
from streams.settled_entries import is_settled, questions
from streams.wire import async_round_trip

ENTRIES_AT_ONCE = 250
"""Entries in one round trip: the server is held for about a millisecond."""

Question = tuple[str, EntryId]
"""A tenant, and an entry of its stream."""
Askers = Mapping[Question, Sequence["asyncio.Future[bool]"]]


class SettledReader:
    """Reads whether entries are settled; for use from one event loop."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys | None = None) -> None:
        self._client = client
        self._keys = keys or keys_of(client)
        self._waiting: dict[Question, list[asyncio.Future[bool]]] = {}
        self._task: asyncio.Task[None] | None = None

    def read(self, tenant: str, entry_id: EntryId) -> asyncio.Future[bool]:
        """Return what becomes True if the projection `status` has settled the tenant's entry.

        Awaiting it raises redis.RedisError where Redis is unavailable or refuses.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((tenant, entry_id), []).append(future)
        if self._task is None:
            self._task = asyncio.create_task(self._serve_all())
        return future

    async def _serve_all(self) -> None:
        """Serve all questions, those that come meanwhile too."""
        try:
            while self._waiting:
                await self._serve(self._next_batch())
        finally:
            self._task = None

    def _next_batch(self) -> Askers:
        some = list(islice(self._waiting, ENTRIES_AT_ONCE))
        return {question: self._waiting.pop(question) for question in some}

    async def _serve(self, batch: Askers) -> None:
        try:
            replies = await self._ask(list(batch))
        except Exception as error:  # whatever it is, exactly these askers get it
            for future in _still_waiting(batch):
                future.set_exception(error)
        except asyncio.CancelledError:  # the event loop is being shut down
            for future in _still_waiting(batch):
                future.cancel()
            raise
        else:
            for ((_, entry_id), futures), reply in zip(batch.items(), replies, strict=True):
                _resolve(futures, reply, entry_id)

    async def _ask(self, asked: Sequence[Question]) -> list[Sequence[Any]]:
        commands = [
            command
            for tenant, entry_id in asked
            for command in questions(self._keys.stream(tenant), entry_id)
        ]
        try:
            async with asyncio.timeout(READ_SECONDS):
                replies = await async_round_trip(self._client, commands, partial=True)
        except TimeoutError:
            raise redis.TimeoutError(f"no reply within {READ_SECONDS} s") from None
        return list(zip(replies[::2], replies[1::2], strict=True))


def _still_waiting(batch: Askers) -> Iterator[asyncio.Future[bool]]:
    return (future for futures in batch.values() for future in futures if not future.done())


def _resolve(
    futures: Sequence[asyncio.Future[bool]], replies: Sequence[Any], entry_id: EntryId
) -> None:
    """Pass on what the replies tell about an entry, or why they do not tell it."""
    waiting = [future for future in futures if not future.done()]
    try:
        settled = is_settled(replies, entry_id)
    except redis.RedisError as error:
        for future in waiting:
            future.set_exception(error)
    else:
        for future in waiting:
            future.set_result(settled)

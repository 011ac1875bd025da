"""Ranges of the tenants' streams, read in pages of bounded size.

Used by `projections.replay.events.missing_entries` and `projections.replay.events.stream_tail`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import redis

from projections.replay.events.portions import READ_AT_ONCE, READ_BYTES
from streams.entry_ids import EntryId, of_reply
from streams.keys import Keys
from streams.wire import as_bytes, ask, round_trip


class StreamPage(NamedTuple):
    """Entries of one stream, as the reply of the server has them; at least one."""

    ids: Sequence[bytes]
    fields: Sequence[Sequence[bytes]]
    """Names and values in turn."""

    @property
    def last(self) -> EntryId:
        """The id of its last entry."""
        return of_reply(self.ids[-1])


class StreamPages:
    """Reader of streams in pages of at most `READ_AT_ONCE` entries and about `READ_BYTES`.

    All methods raise redis.RedisError where Redis is away or refuses.
    """

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        script = files("projections.replay.events").joinpath("read_range.lua")
        self._read_range = client.register_script(script.read_text(encoding="utf-8"))

    def first(self, tenant: str) -> EntryId | None:
        """Return the id of the stream's oldest entry; None for an empty or missing stream."""
        found = ask(self._client, "XRANGE", self._keys.stream(tenant), "-", "+", "COUNT", 1)
        return of_reply(found[0][0]) if found else None

    def last(self, tenant: str) -> EntryId | None:
        """Return the id of the stream's newest entry; None for an empty or missing stream."""
        found = ask(self._client, "XREVRANGE", self._keys.stream(tenant), "+", "-", "COUNT", 1)
        return of_reply(found[0][0]) if found else None

    def after(self, tenant: str, after: EntryId, last: EntryId) -> Iterator[StreamPage]:
        """Yield the entries after one id up to another, which is included."""
        if after >= last:  # Redis refuses a range after the greatest id that there is
            return iter(())
        return self._pages(tenant, f"({after}", last)

    def between(self, tenant: str, first: EntryId, last: EntryId) -> Iterator[StreamPage]:
        """Yield the entries from one id to another, both included."""
        return self._pages(tenant, str(first), last)

    def _pages(self, tenant: str, start: str, last: EntryId) -> Iterator[StreamPage]:
        stream = as_bytes(self._keys.stream(tenant))
        small = self._is_small(stream)
        while found := self._read(stream, start, last, small=small):
            page = StreamPage(*zip(*found, strict=True))
            yield page
            if page.last >= last:
                return
            start = f"({page.last}"

    def _read(self, stream: bytes, start: str, last: EntryId, *, small: bool) -> Any:
        if small:
            return ask(self._client, "XRANGE", stream, start, str(last), "COUNT", READ_AT_ONCE)
        arguments: list[str | int] = [start, str(last), READ_AT_ONCE, READ_BYTES]
        return self._read_range(keys=[stream], args=arguments)

    def _is_small(self, stream: bytes) -> bool:
        """Return True if the complete stream may be held in memory.

        Then no page can be too large, and XRANGE takes a sixth of the script's CPU time. Where the
        server does not report the size, the script reads the stream.
        """
        (size,) = round_trip(self._client, [("MEMORY", "USAGE", stream, "SAMPLES", 0)])
        return isinstance(size, int) and size <= READ_BYTES

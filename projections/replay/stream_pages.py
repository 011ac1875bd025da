"""Reading the tenants' streams: entries from one place to another, a bounded page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import redis

from projections.replay.history_parts import READ_BYTES
from streams.entry_ids import EntryId, of_reply
from streams.keys import Keys
from streams.wire import as_bytes, ask, round_trip

READ_AT_ONCE = 2_000
"""Entries in one page."""


class Page(NamedTuple):
    """Entries as the server's reply has them."""

    ids: Sequence[bytes]
    fields: Sequence[Sequence[bytes]]

    @property
    def last(self) -> EntryId:
        """The id of its last entry."""
        return of_reply(self.ids[-1])


class StreamPages:
    """Reads streams in pages of at most `READ_AT_ONCE` entries and about `READ_BYTES`."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        script = files("projections.replay").joinpath("read_range.lua").read_text(encoding="utf-8")
        self._read_range = client.register_script(script)

    def first(self, tenant: str) -> EntryId | None:
        """Return the id of the stream's oldest entry; None where there is no stream."""
        found = ask(self._client, "XRANGE", self._keys.stream(tenant), "-", "+", "COUNT", 1)
        return of_reply(found[0][0]) if found else None

    def last(self, tenant: str) -> EntryId | None:
        """Return the id of the stream's newest entry; None where there is none."""
        found = ask(self._client, "XREVRANGE", self._keys.stream(tenant), "+", "-", "COUNT", 1)
        return of_reply(found[0][0]) if found else None

    def after(self, tenant: str, after: EntryId, last: EntryId) -> Iterator[Page]:
        """Yield the entries after an id, up to and including another."""
        return self._pages(tenant, f"({after}", last)

    def between(self, tenant: str, first: EntryId, last: EntryId) -> Iterator[Page]:
        """Yield the entries from one id to another, both included."""
        return self._pages(tenant, str(first), last)

    def _pages(self, tenant: str, start: str, last: EntryId) -> Iterator[Page]:
        stream = as_bytes(self._keys.stream(tenant))
        small = self._is_small(stream)
        while found := self._read(stream, start, last, small=small):
            page = Page(*zip(*found, strict=True))
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
        """Return whether the whole stream may be held at once.

        Then no page can be too large, and XRANGE takes a sixth of the script's CPU time. A server
        that does not tell has its streams read by the script.
        """
        (size,) = round_trip(self._client, [("MEMORY", "USAGE", stream, "SAMPLES", 0)])
        return isinstance(size, int) and size <= READ_BYTES

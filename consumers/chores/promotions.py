"""Finding what a failover of PostgreSQL lost, and storing it again.

A standby that is promoted may lack the last commits of the primary. Their entries are
acknowledged, so nobody reads them again; but they are still in the streams. A consumer that finds
itself on another server, or on another timeline of it, compares what its group has settled with the
history and applies what is missing. Applying an event twice changes nothing, so several may do this
at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import redis
import structlog

from consumers import metrics
from consumers.delivery.group_states import group_states
from consumers.faults import is_outage
from consumers.round_trips import encodable, text_of
from projections.decoding import Entry, decode_each
from streams.discovery import tenants
from streams.entry_ids import FIRST, EntryId, of_reply
from streams.events import MAX_EVENT_BYTES
from streams.keys import TENANT, Keys
from streams.wire import ask

_LOG = structlog.get_logger(__name__)

Page = Sequence[tuple[bytes, list[bytes]]]
"""Entries as the server replies with them."""

INTERVAL_SECONDS = 5.0
"""Between two looks at which server it is: one small statement."""
SLICE_SECONDS = 0.5
"""The time for which entries are compared before the next batch is consumed."""
READ_AT_ONCE = 1_000
"""Entries in one page."""


class Restoring(Protocol):
    """A projection in a database that may be replaced by an older copy."""

    def server(self) -> str:
        """Return what changes when another server, or a promoted one, answers."""
        ...

    def restore(self, entries: Sequence[Entry]) -> int:
        """Apply those of the entries that are not stored, and return how many those were."""
        ...


class Promotions:
    """One consumer's part in noticing that the database is another one.

    Args:
        group: whose settled entries are compared.
        max_event_bytes: longer entries are skipped, as consumers dead-letter them.
    """

    def __init__(
        self,
        client: redis.Redis,
        projection: Restoring,
        group: str,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        keys: Keys | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._projection = projection
        self._group = group
        self._max_event_bytes = max_event_bytes
        self._keys = keys or Keys()
        self._interval = interval_seconds
        self._clock = clock
        self._next = float("-inf")
        self._seen: str | None = None
        self._comparing: Iterator[int] | None = None
        self._restored = 0

    def due(self) -> bool:
        """Return whether the next look is due, or a comparison is unfinished."""
        return self._comparing is not None or self._clock() >= self._next

    def run(self) -> None:
        """Look once; where the database is another one, compare for a while."""
        self._next = self._clock() + self._interval
        try:
            server = self._projection.server()
            if self._comparing is None and not self._is_other(server):
                self._seen = server
                return
            if self._compare():
                ask(self._client, "SET", self._keys.database(self._group), server)
                self._seen = server
        except Exception:
            self._comparing = None  # it begins again, from the first entry
            raise

    def _is_other(self, server: str) -> bool:
        """Return whether this process, or the last that compared, used another server.

        Both count: while others had compared already, this one may still have written to the old
        primary.
        """
        known: bytes | None = ask(self._client, "GET", self._keys.database(self._group))
        before = {self._seen} if self._seen is not None else set()
        before |= {encodable(text_of(known))} if known is not None else set()
        if before == {server}:
            return False
        if before - {server}:
            _LOG.warning("database_replaced", before=sorted(before - {server}), now=server)
        self._comparing, self._restored = self._compared(), 0
        return True

    def _compare(self) -> bool:
        """Go on comparing, and return whether that is done."""
        until = self._clock() + SLICE_SECONDS
        for restored in self._comparing or ():
            self._restored += restored
            if restored:
                metrics.RESTORED.inc(restored)
            if self._clock() >= until:
                return False
        self._comparing = None
        if self._restored:
            _LOG.warning("lost_history_restored", entries=self._restored)
        return True

    def _compared(self) -> Iterator[int]:
        """Compare page by page; yield how many entries of each were missing."""
        for tenant in tenants(self._client, self._keys):
            if not TENANT.match(tenant):
                continue  # nothing of such a stream was ever applied
            stream = self._keys.stream(tenant)
            (states,) = group_states(self._client, [stream.encode()])
            settled = [each.last_delivered for each in states if each.name == self._group]
            for page in self._pages(stream, *settled):
                yield self._restore(self._decoded(tenant, page))

    def _pages(
        self, stream: str, end: EntryId = FIRST
    ) -> Iterator[list[tuple[bytes, list[bytes]]]]:
        """Read a stream up to what was delivered; the rest is yet to be consumed."""
        after = FIRST
        while after < end:
            page = ask(self._client, "XRANGE", stream, f"({after}", str(end), "COUNT", READ_AT_ONCE)
            if not page:
                return
            yield page
            after = of_reply(page[-1][0])

    def _decoded(self, tenant: str, page: Page) -> list[Entry]:
        """Return the entries of a page, without those that are dead letters."""
        ids, fields = zip(*page, strict=True)
        decoded = decode_each([tenant] * len(page), ids, fields, self._max_event_bytes)
        return [each for each in decoded if isinstance(each, Entry)]

    def _restore(self, entries: Sequence[Entry]) -> int:
        """Restore them together; where one cannot be applied, the others alone."""
        try:
            return self._projection.restore(entries)
        except Exception as error:
            if is_outage(error) or len(entries) == 1:
                if is_outage(error):
                    raise
                return 0  # a dead letter
        middle = len(entries) // 2
        return self._restore(entries[:middle]) + self._restore(entries[middle:])

"""Restoring what a failover of PostgreSQL lost.

A standby that is promoted may lack the last commits of the primary. Their entries are acknowledged,
so that no consumer reads them again, but the streams still have them. A consumer that finds its
database on another server, or on another timeline of it, compares the entries that its group has
settled with the history and applies those that are missing. Applying an event twice changes
nothing, so that several consumers may do this at once, without an election. Used by
`consumers.composition`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import redis
import structlog

from consumers import metrics
from consumers.chores.periodic import PeriodicChore
from consumers.delivery.group_states import group_states
from consumers.faults import is_outage
from consumers.round_trips import encodable
from projections.decoding import Entry, decode_each
from streams.cluster import keys_of
from streams.discovery import tenants
from streams.entry_ids import FIRST, EntryId, of_reply
from streams.events import MAX_EVENT_BYTES
from streams.keys import TENANT, Keys
from streams.wire import as_text, ask

_LOG = structlog.get_logger(__name__)

RawEntries = Sequence[tuple[bytes, list[bytes]]]
"""Entries of a reply of XRANGE: entry ids and fields."""

INTERVAL_SECONDS = 5.0
"""The time between two checks of the server; a check is one small statement."""
SLICE_SECONDS = 0.5
"""The time for which one run compares entries, before the next batch is consumed."""
READ_AT_ONCE = 1_000
"""The number of entries that are read and compared together."""


@runtime_checkable
class Restorable(Protocol):
    """A projection in a database that may be replaced by an older copy."""

    def server(self) -> str:
        """Return a name that changes when another server, or a promoted one, answers."""
        ...

    def restore(self, entries: Sequence[Entry]) -> int:
        """Apply those of the entries that are not stored, and return their number."""
        ...


class Promotions(PeriodicChore):
    """One consumer's comparison of the database with the streams after a failover.

    Args:
        group: the group whose settled entries are compared.
        max_event_bytes: longer entries are skipped, because consumers reject them.
        clock: returns monotonic seconds.
    """

    name = "promotions"

    def __init__(
        self,
        client: redis.Redis,
        projection: Restorable,
        group: str,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        keys: Keys | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(interval_seconds, clock=clock)
        self._client = client
        self._projection = projection
        self._group = group
        self._max_event_bytes = max_event_bytes
        self._keys = keys or keys_of(client)
        self._seen: str | None = None
        self._comparison: Iterator[int] | None = None
        self._restored = 0

    def _work(self) -> None:
        """Check the server once; after a change, compare for a while and continue at once."""
        try:
            server = self._projection.server()
            if self._comparison is None and not self._start_if_replaced(server):
                self._seen = server
                return
            if not self._compare():
                self.timer.set(0)
                return
            ask(self._client, "SET", self._keys.database(self._group), server)
            self._seen = server
        except Exception:
            self._comparison = None  # the next one starts with the first entry
            raise

    def _start_if_replaced(self, server: str) -> bool:
        """Start a comparison if the server was replaced; return whether it was.

        It was if this process, or the last one that compared, used another server. Both count:
        after other processes have compared, this one may still have written to the old primary.
        """
        known: bytes | None = ask(self._client, "GET", self._keys.database(self._group))
        before = {self._seen} if self._seen is not None else set()
        before |= {encodable(as_text(known))} if known is not None else set()
        if before == {server}:
            return False
        if before - {server}:
            _LOG.warning("database_replaced", before=sorted(before - {server}), now=server)
        self._comparison, self._restored = self._compare_all(), 0
        return True

    def _compare(self) -> bool:
        """Continue the comparison for a while, and return whether it is finished."""
        until = self._clock() + SLICE_SECONDS
        for restored in self._comparison or ():
            self._restored += restored
            if restored:
                metrics.RESTORED.inc(restored)
            if self._clock() >= until:
                return False
        self._comparison = None
        if self._restored:
            _LOG.warning("lost_history_restored", entries=self._restored)
        return True

    def _compare_all(self) -> Iterator[int]:
        """Compare all streams in parts; yield the number of restored entries of each part."""
        for tenant in tenants(self._client, self._keys):
            if not TENANT.match(tenant):
                continue  # no entry of an invalid tenant was ever applied
            stream = self._keys.stream(tenant)
            (states,) = group_states(self._client, [stream.encode()])
            settled = [each.last_delivered for each in states if each.name == self._group]
            for raw in self._read(stream, *settled):
                yield self._restore(self._decoded(tenant, raw))

    def _read(self, stream: str, end: EntryId = FIRST) -> Iterator[RawEntries]:
        """Read a stream up to the last delivered entry; the rest is yet to be consumed."""
        after = FIRST
        while after < end:
            raw = ask(self._client, "XRANGE", stream, f"({after}", str(end), "COUNT", READ_AT_ONCE)
            if not raw:
                return
            yield raw
            after = of_reply(raw[-1][0])

    def _decoded(self, tenant: str, raw: RawEntries) -> list[Entry]:
        """Return the valid entries; the others are dead letters."""
        ids, fields = zip(*raw, strict=True)
        decoded = decode_each([tenant] * len(raw), ids, fields, self._max_event_bytes)
        return [each for each in decoded if isinstance(each, Entry)]

    def _restore(self, entries: Sequence[Entry]) -> int:
        """Restore entries together; if one of them cannot be applied, restore the others.

        Returns:
            The number of entries that were missing.
        """
        try:
            return self._projection.restore(entries)
        except Exception as error:
            if is_outage(error):
                raise
            if len(entries) == 1:
                return 0  # the entry is in the dead letters
        middle = len(entries) // 2
        return self._restore(entries[:middle]) + self._restore(entries[middle:])

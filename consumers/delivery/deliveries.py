"""Deliveries: entries of a consumer group's reads, not decoded yet.

Used by `consumers.delivery.groups`, which makes them from replies, by `consumers.loop`, which
decodes them, and by `consumers.dead_letters`, and also by `consumers.delivery.read_requests`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby, repeat
from operator import itemgetter
from typing import NamedTuple

from streams.entry_ids import EntryId, of_reply


class Delivery(NamedTuple):
    """An entry that was delivered to one consumer and is pending until it is acknowledged."""

    tenant: str
    id: bytes
    """The entry id as the server writes it; most deliveries only send it back."""
    fields: Sequence[bytes]
    """Field names and values in turn."""

    @property
    def entry_id(self) -> EntryId:
        """The parsed entry id."""
        return of_reply(self.id)


class Claimed(NamedTuple):
    """Entries taken over from consumers that no longer answer."""

    deliveries: list[Delivery]
    deleted: int
    """The number of entries that were trimmed while they were pending."""


def deliveries_of(tenant: str, entries: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Delivery]:
    """Return the deliveries of a tenant's entries in a reply of XREADGROUP or XAUTOCLAIM.

    An entry that was trimmed while it was pending has no fields and is skipped.
    """
    if not all(map(_FIELDS, entries)):  # such an entry is rare, and a loop in Python takes longer
        entries = [entry for entry in entries if entry[1]]
    if not entries:
        return []
    return list(map(_new, repeat(Delivery), zip(repeat(tenant), *zip(*entries, strict=True))))


def ids_by_tenant(deliveries: Iterable[Delivery]) -> Mapping[str, list[bytes]]:
    """Return the entry ids of deliveries, grouped by tenant."""
    tenants: dict[str, list[bytes]] = {}
    for tenant, run in groupby(deliveries, _TENANT):
        tenants.setdefault(tenant, []).extend(map(_ID, run))
    return tenants


# A named tuple's own constructor takes three times as long.
_new = tuple.__new__
_TENANT: Callable[[Delivery], str] = itemgetter(0)
_ID: Callable[[Delivery], bytes] = itemgetter(1)
_FIELDS: Callable[[tuple[bytes, Sequence[bytes]]], Sequence[bytes]] = itemgetter(1)

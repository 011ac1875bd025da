"""Batches: deliveries and their decoded entries. Used by the modules of `consumers.loop`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consumers.delivery.deliveries import Delivery
from projections.decoding import Entry, decode_each
from streams.events import InvalidEvent


class Batch(NamedTuple):
    """Deliveries, and for each its entry, or the reason why it can never be applied."""

    deliveries: Sequence[Delivery]
    entries: Sequence[Entry | InvalidEvent]


def decode_batch(deliveries: Sequence[Delivery], max_event_bytes: int) -> Batch:
    """Return the batch of these deliveries; a longer event than `max_event_bytes` is invalid."""
    if not deliveries:
        return Batch((), ())
    tenants, ids, fields = zip(*deliveries, strict=True)
    return Batch(deliveries, decode_each(tenants, ids, fields, max_event_bytes))

"""Waiting: events that wait in an outbox, and who waits for them.

Used by `streams.async_job_report` and `streams.reporting.outbox`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from ..payloads import Prepared
from .delivery import Addressed, Deadline, id_of
from .turns import Outcome, settle


class Item:
    """An event that waits to be sent as progress."""

    __slots__ = ("event", "taken", "tenant")

    def __init__(self, tenant: str, event: Prepared) -> None:
        self.tenant = tenant
        self.event = event
        self.taken = False
        """True once a thread sends it."""


class End(NamedTuple):
    """An end that waits to be sent, events that go before it, and who waits for it."""

    tenant: str
    end: Prepared
    before: Sequence[Prepared]
    deadline: Deadline
    loop: asyncio.AbstractEventLoop
    waiting: asyncio.Future[None]
    spooled: bool
    """False if it is not spooled after its deadline."""

    def events(self) -> list[Addressed]:
        """Return all events in their order."""
        return [(self.tenant, event) for event in (*self.before, self.end)]

    def outcome(self, error: BaseException | None) -> Outcome:
        """Return the outcome for the coroutine that waits."""
        name = f"{self.end.type} of job {id_of(self.end.payload)}" if error else ""
        return Outcome(self.waiting, error, name)


def settle_ends(ends: Sequence[End], error: Exception | None) -> None:
    """Wake the coroutines that wait for ends, with one call for each loop."""
    outcomes: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for end in ends:
        outcomes.setdefault(end.loop, []).append(end.outcome(error))
    for loop, settled in outcomes.items():
        settle(loop, settled)


def by_tenant(ends: Sequence[End]) -> list[list[End]]:
    """Return the ends of each tenant, in their order."""
    groups: dict[str, list[End]] = {}
    for end in ends:
        groups.setdefault(end.tenant, []).append(end)
    return list(groups.values())

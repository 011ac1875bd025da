"""Append plans: the commands that append events in one round trip, and the meaning of the replies.

A plan knows no client: the blocking and the asyncio appender (`streams/appender.py`) send its
commands and hand it the replies. After the entries, a plan sets the *ready mark* of each tenant:
its place in the ready queue of each consumer group, by which consumers find new entries.

- `Plan` appends events; `ClusterPlan` on a cluster.
- `CappedPlan` appends progress by the script of `streams/shedding.py`, which may shed it;
  `CappedClusterPlan` on a cluster.
- `DurablePlan` wraps one of them and also waits for disk and replicas (`streams/durability.py`).

An appender calls a plan's members in this order: it sends `commands`; if `retries` of the replies
returns commands, because the server had lost the script, it sends those too and takes the replies
of `merged`; then `entry_ids` returns the ids or raises. Used by `consumers.chores.sweep.chore`,
`consumers.chores.sweep.open_streams`, `consumers.dead_letters.store`, `streams.appender` and
`streams.cluster_appends`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import redis

from .connection import LogUnavailable
from .durability import NotDurable, Wait
from .entry_ids import EntryId, of_reply
from .keys import Keys
from .shedding import LOAD, SHEDDABLE, Cap, indexes_without_script
from .wire import Command

FIELD = "event"
"""Name of the only field of an entry."""


def ready_marks(keys: Keys, groups: Sequence[str], tenant: str) -> Iterator[Command]:
    """Yield the commands that mark a tenant as ready in each group; an older mark stays."""
    now = time.time_ns() // 1_000_000
    for group in groups:
        yield "ZADD", keys.ready_of(group, tenant), "NX", now, tenant


def unavailable(error: Exception) -> LogUnavailable:
    """Return the error that callers of an appender get for an error of Redis or its client."""
    return LogUnavailable(f"Redis did not take it: {error}")


def check_durable(wait: Wait, replies: Sequence[object]) -> None:
    """Raise NotDurable if a confirmation is missing in the replies to the commands that wait."""
    if missing := wait.missing(replies):
        raise NotDurable(f"appended, but not known to be durable: {missing}")


class Plan:
    """The commands that append events and set ready marks."""

    tenant_key: str | None = None
    """On a cluster, a key of the tenant if the plan has one tenant only."""

    def __init__(self, keys: Keys, groups: Sequence[str], payloads: Sequence[tuple[str, bytes]]):
        self.appends = len(payloads)
        self.commands: list[Command] = [
            ("XADD", keys.stream(tenant), "*", FIELD, payload) for tenant, payload in payloads
        ]
        # After the XADDs: a consumer that sees the mark must find the entry.
        for tenant in dict.fromkeys(tenant for tenant, _ in payloads):
            self.commands.extend(ready_marks(keys, groups, tenant))

    def entry_ids(self, replies: Sequence[object]) -> list[EntryId]:
        """Return the ids of the entries, in the order of the events.

        Raises:
            LogUnavailable: the server refused a command; events of other commands may have been
                appended.
        """
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                raise unavailable(reply)
        # The application may have made the client, which then may decode replies.
        ids = (reply if isinstance(reply, bytes) else str(reply).encode() for reply in replies)
        return [of_reply(entry_id) for entry_id in islice(ids, self.appends)]

    def retries(self, replies: Sequence[object]) -> list[Command]:
        """Return the commands to send after these replies because the server lacked a script."""
        del replies
        return []

    def merged(self, replies: Sequence[object], later: Sequence[object]) -> list[object]:
        """Return the replies, with those of the commands of `retries` in their places."""
        del later
        return list(replies)

    def counts(self, replies: Sequence[object]) -> list[Command]:
        """Return the commands that count events as shed; none where the script has counted them."""
        del replies
        return []


class ClusterPlan(Plan):
    """A plan for a cluster, where an entry and a ready mark may have different nodes.

    A ready mark that failed is ignored: consumers find the entry without it, and the error of an
    append that was executed would make its caller append again.
    """

    def __init__(self, keys: Keys, groups: Sequence[str], payloads: Sequence[tuple[str, bytes]]):
        super().__init__(keys, groups, payloads)
        tenants = {tenant for tenant, _ in payloads}
        self.tenant_key = keys.stream(tenants.pop()) if len(tenants) == 1 else None

    def entry_ids(self, replies: Sequence[object]) -> list[EntryId]:
        """Return the ids of the entries, in the order of the events.

        Raises:
            LogUnavailable: a node refused an event.
        """
        return super().entry_ids(replies[: self.appends])


class CappedClusterPlan(ClusterPlan):
    """A plan for streams of limited size on a cluster: `progress` events may be shed.

    The script has the keys of one slot, so that ready marks and the numbers of shed events are sent
    beside it.

    Args:
        cap: the limit, and the names for the script.
        events: tenant, type and payload of each event.
    """

    def __init__(self, cap: Cap, events: Sequence[tuple[str, str, bytes]]) -> None:
        super().__init__(cap.keys, cap.groups, [(tenant, raw) for tenant, _, raw in events])
        self._shed = cap.keys.shed()
        self._tenants = [tenant for tenant, _, _ in events]
        for index, (tenant, type_, raw) in enumerate(events):
            if type_ == SHEDDABLE:
                self.commands[index] = cap.command_of_slot(tenant, FIELD, raw)

    def entry_ids(self, replies: Sequence[object]) -> list[EntryId]:
        """Return the ids of the entries, and `SHED` for each event that was shed."""
        return super().entry_ids([b"0-0" if reply is None else reply for reply in replies])

    def retries(self, replies: Sequence[object]) -> list[Command]:
        """Return the commands that failed without the script, which the caller loads."""
        return [self.commands[index] for index in indexes_without_script(replies)]

    def merged(self, replies: Sequence[object], later: Sequence[object]) -> list[object]:
        """Return all replies, with those to the repeated commands instead of the failed ones."""
        by_index = dict(zip(indexes_without_script(replies), later, strict=True))
        return [by_index.get(index, reply) for index, reply in enumerate(replies)]

    def counts(self, replies: Sequence[object]) -> list[Command]:
        """Return the commands that count the events that were shed."""
        shed = Counter(
            tenant for tenant, reply in zip(self._tenants, replies, strict=False) if reply is None
        )
        return [("HINCRBY", self._shed, tenant, number) for tenant, number in shed.items()]


class CappedPlan(Plan):
    """A plan for streams of limited size: `progress` events may be shed.

    A `progress` event is appended by the script, which also sets the ready marks of its tenant. All
    others are appended by XADD, and their ready marks follow at the end. If the server had lost the
    script, the progress of this plan is appended again after the other events. That is harmless: no
    event is lost, and progress that follows the end of its job in the stream does not change it.

    Args:
        cap: the limit, and the names for the script.
        events: tenant, type and payload of each event.
    """

    def __init__(self, cap: Cap, events: Sequence[tuple[str, str, bytes]]) -> None:
        never_shed = [(tenant, raw) for tenant, type_, raw in events if type_ != SHEDDABLE]
        xadds_and_marks = iter(Plan(cap.keys, cap.groups, never_shed).commands)
        self.appends = len(events)
        self.commands = [
            cap.command(tenant, FIELD, raw) if type_ == SHEDDABLE else next(xadds_and_marks)
            for tenant, type_, raw in events
        ]
        # All XADDs have been taken from the iterator; the ready marks are left.
        self.commands.extend(xadds_and_marks)

    def entry_ids(self, replies: Sequence[object]) -> list[EntryId]:
        """Return the ids of the entries, and `SHED` for each event that was shed."""
        return super().entry_ids([b"0-0" if reply is None else reply for reply in replies])

    def retries(self, replies: Sequence[object]) -> list[Command]:
        """Return the command that loads the script, and those that failed without it."""
        failed = indexes_without_script(replies)
        return [LOAD, *(self.commands[index] for index in failed)] if failed else []

    def merged(self, replies: Sequence[object], later: Sequence[object]) -> list[object]:
        """Return all replies, with those to the repeated commands instead of the failed ones.

        If the server refused to load the script, its error is the reply to each of them.
        """
        loaded, *found = later
        refused = isinstance(loaded, redis.RedisError)
        by_index = dict(zip(indexes_without_script(replies), found, strict=True))
        return [
            (loaded if refused else by_index[index]) if index in by_index else reply
            for index, reply in enumerate(replies)
        ]


class DurablePlan(Plan):
    """A plan that also waits, on the connection that appended.

    It is for one server; on a cluster, `ClusterAppends` waits.
    """

    def __init__(self, plan: Plan, wait: Wait) -> None:
        self.appends = plan.appends
        self.commands = [*plan.commands, *wait.commands]
        self._plan = plan
        self._wait = wait

    def entry_ids(self, replies: Sequence[object]) -> list[EntryId]:
        """Return the ids of the entries.

        Raises:
            LogUnavailable: the server refused a command.
            NotDurable: a confirmation did not come in time.
        """
        plain, waited = self._split(replies)
        ids = self._plan.entry_ids(plain)
        check_durable(self._wait, waited)
        return ids

    def retries(self, replies: Sequence[object]) -> list[Command]:
        """Return what the inner plan sends again, and the commands that wait for that."""
        again = self._plan.retries(self._split(replies)[0])
        return [*again, *self._wait.commands] if again else []

    def merged(self, replies: Sequence[object], later: Sequence[object]) -> list[object]:
        """Return all replies; of the two waits the later one counts."""
        plain, waited = self._split(later)
        return [*self._plan.merged(self._split(replies)[0], plain), *waited]

    def _split(self, replies: Sequence[object]) -> tuple[Sequence[object], Sequence[object]]:
        """Return the replies of the inner plan, and those of the commands that wait."""
        plain = len(replies) - len(self._wait.commands)
        return replies[:plain], replies[plain:]

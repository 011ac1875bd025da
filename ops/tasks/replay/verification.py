"""Verifying: shares of the tenants in parallel; each difference is passed on as it is found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import redis

from consumers.delivery.group_states import group_states
from ops.tasks.parallel import Send, run_parts
from ops.tasks.progress import Progress
from ops.tasks.replay.messages import Expected, FoundDifference, ShareDone
from ops.tasks.replay.scope import Scope
from ops.tasks.replay.servers import open_servers
from ops.tasks.replay.shares import tenant_shares
from projections.replay.served import NOTHING, Difference
from projections.replay.tenant_shares import Share
from projections.replay.verify import Verifier
from streams.entry_ids import EntryId, of_reply
from streams.keys import Keys
from streams.wire import checked, round_trip


def verify_shares(
    scope: Scope,
    processes: int | None,
    progress: Progress,
    on_difference: Callable[[FoundDifference], None],
) -> int:
    """Compare everything in the scope with the projection; return the number of jobs.

    Raises:
        CommandError: a process failed, or the database lacks migrations.
        redis.RedisError, psycopg.Error: a server is away.
    """
    verified = 0

    def receive(_process: int, message: object) -> None:
        nonlocal verified
        if isinstance(message, Expected):
            progress.expect(message.events)
        elif isinstance(message, FoundDifference):
            on_difference(message)
        elif isinstance(message, ShareDone):
            verified += message.jobs
        elif isinstance(message, int):
            progress.advance(message)

    run_parts(tenant_shares(scope, processes), partial(_verify_share, scope), receive)
    return verified


def _verify_share(scope: Scope, share: Share, send: Send) -> None:
    """Verify a share; send its differences and how many events are done."""
    with open_servers(scope, share) as servers:
        if scope.counted:
            send(Expected(servers.sources.events()))
        verifier = Verifier(
            servers.sources,
            servers.served,
            lambda tenants: settled(servers.client, scope.projection, tenants),
            horizon=servers.horizon,
            on_progress=send,
        )
        for difference in verifier.run():
            send(FoundDifference(_facts(difference), str(difference)))
        send(ShareDone(jobs=verifier.verified))


def settled(
    client: redis.Redis, group: str, tenants: Collection[str], keys: Keys | None = None
) -> Mapping[str, EntryId | None]:
    """Return the entry id up to which a group has settled each tenant's stream.

    None stands for a stream that does not have the group: nothing more of it will be settled.

    Raises:
        redis.RedisError: Redis is away or refuses.
    """
    keys = keys or Keys()
    names = [keys.stream(tenant) for tenant in tenants]
    # Read before the pending entries: what is delivered between the two commands then counts as
    # pending, never as settled.
    delivered = [
        next((state.last_delivered for state in states if state.name == group), None)
        for states in group_states(client, [name.encode() for name in names])
    ]
    known = [name for name, last in zip(names, delivered, strict=True) if last is not None]
    replies = checked(round_trip(client, [("XPENDING", name, group) for name in known]))
    oldest = {
        name: of_reply(reply[1]) for name, reply in zip(known, replies, strict=True) if reply[1]
    }
    return {
        tenant: _before(oldest[name]) if name in oldest else last
        for tenant, name, last in zip(tenants, names, delivered, strict=True)
    }


def _before(entry_id: EntryId) -> EntryId:
    """Return the greatest entry id that is smaller."""
    ms, seq = entry_id
    return EntryId(ms, seq - 1) if seq else EntryId(ms - 1, 2**64 - 1)


def _facts(difference: Difference) -> dict[str, Any]:
    job, field, served, folded = difference
    sides = {
        name: None if value is NOTHING else value
        for name, value in (("served", served), ("folded", folded))
    }
    return {**job._asdict(), "field": field, **sides}

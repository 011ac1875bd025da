"""The doctor's checks of the tenants' streams: lag, trimming, shed progress, keys, entry ids.

Used by `ops.doctor.checks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

from consumers.chores.retention.registration import group_reports
from consumers.chores.retention.trimming import trim
from consumers.round_trips import round_trips, server_ms
from ops.doctor.deployment import Deployment
from ops.doctor.finding import Verdict
from ops.doctor.summaries import by_tenant, first_of, printable
from ops.text.plurals import counted
from streams.entry_ids import EntryId, of_reply
from streams.keys import TENANT
from streams.shedding import shed_counts
from streams.wire import as_bytes, as_text

LATE_SECONDS = 60.0
"""An entry that has waited longer means that its group is too slow or does not run."""
FUTURE_MS = 86_400_000
"""An entry id further in the future than this was not given by the server's clock."""


def group_lag(group: str, deployment: Deployment) -> Verdict:
    """Check whether a group handles entries in time."""
    rows = [row for row in deployment.lags if row.group == group]
    oldest = max(rows, key=lambda row: row.oldest_age_seconds, default=None)
    age = oldest.oldest_age_seconds if oldest else 0.0
    where = f" (tenant {printable(oldest.tenant)})" if oldest and age else ""
    late = {row.tenant for row in rows if row.oldest_age_seconds > LATE_SECONDS}
    return Verdict(
        ok=not late,
        found=f"oldest unprocessed {age:.0f} s{where}",
        advice="; ".join(_lag_advice(group, late, deployment)) if late else "",
    )


def _lag_advice(group: str, late: set[str], deployment: Deployment) -> Iterator[str]:
    """Yield what to do about tenants that are late: more consumers help only some of them."""
    refused = [key for key in deployment.unexpected_keys if key.tenant in late]
    if refused:
        names = first_of([f"{printable(key.name)} (a {key.type})" for key in refused])
        yield f"consumers cannot serve tenants with these keys, rename them (RENAME): {names}"
    if late - {key.tenant for key in refused}:
        yield f"start more of: jobtrail consume {group}"


def trimming(deployment: Deployment) -> Verdict:
    """Check whether a registered group without consumers keeps old entries in the streams."""
    client, keys = deployment.client, deployment.keys
    keep = deployment.settings.stream_keep_seconds
    trims = list(trim(client, keys, keep, deployment.tenants, dry_run=True))
    # The reports read the consumers of every stream.
    held = any(one.held_by for one in trims)
    reports = group_reports(client, keys, trims) if held else []
    idle = [each for each in reports if each.holds_back and not each.consumers_alive]
    names = ", ".join(f"{report.group} ({counted(report.holds_back, 'stream')})" for report in idle)
    return Verdict(
        ok=not idle,
        found=f"held back by {names}" if idle else "no group without consumers holds it back",
        advice="start its consumers, or retire it: jobtrail groups deregister GROUP",
    )


def shed_progress(deployment: Deployment) -> Verdict:
    """Check whether progress events were refused because a stream was full."""
    counts = shed_counts(deployment.client)
    return Verdict(
        ok=not counts,
        found=by_tenant("event", counts) if counts else "none",
        advice="see what holds trimming back (jobtrail groups list), or raise"
        f" JOBTRAIL_STREAM_MAX_BYTES; then reset the count: DEL {deployment.keys.shed()}",
    )


def unexpected_keys(deployment: Deployment) -> Verdict:
    """Check whether keys of tenants have a type that keeps the tenant from being served."""
    found = [f"{printable(key.name)} ({key.type})" for key in deployment.unexpected_keys]
    return Verdict(
        ok=not found,
        found=first_of(found) or "none",
        advice="jobtrail does not write these: rename them (RENAME), and find out which program"
        " does",
    )


def stream_ids(deployment: Deployment) -> Verdict:
    """Check whether the last entry id of a stream is far in the future, or the greatest one."""
    found = _future_ids(deployment)
    worst = sorted(found.items(), key=lambda one: (-one[1].ms, one[0]))
    named = [f"{tenant} ({last})" for tenant, last in worst if TENANT.match(tenant)]
    text = f"far in the future: {first_of(named, unnamed=len(worst) - len(named))}"
    return Verdict(
        ok=not found,
        found=text if found else "none is in the future",
        advice="a producer appends with explicit ids; a stream at 2^64-1 accepts no more events:"
        " see 'Spent stream ids' in the runbook",
    )


def _future_ids(deployment: Deployment) -> dict[str, EntryId]:
    """Return the last entry id of each stream, by tenant, if it is too far in the future."""
    client = deployment.client
    names = [as_bytes(deployment.keys.stream(tenant)) for tenant in deployment.tenants]
    replies = round_trips(client, [("XINFO", "STREAM", name) for name in names])
    latest = server_ms(client) + FUTURE_MS
    found: dict[str, EntryId] = {}
    for name, reply in zip(names, replies, strict=True):
        last = None if isinstance(reply, redis.RedisError) else _last_id(reply)
        if last is not None and last.ms > latest:
            found[deployment.keys.tenant_of(as_text(name))] = last
    return found


def _last_id(reply: list[Any]) -> EntryId | None:
    fields = dict(zip(reply[::2], reply[1::2], strict=False))
    last = fields.get(b"last-generated-id")
    return None if last is None else of_reply(last)

"""The doctor's checks of Redis beyond versions: replicas, command size, stream ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis

from consumers.round_trips import round_trips, server_ms, text_of
from ops.doctor.finding import Finding
from streams.appender import GROUPS
from streams.connection import refuses_writes
from streams.discovery import all_streams
from streams.durability import assurance_of
from streams.entry_ids import EntryId, of_reply
from streams.keys import TENANT, Keys
from streams.settings import Settings
from streams.wire import ask

MAX_LAG_SECONDS = 2
"""A replica reports once a second: one that was silent for longer may be cut off."""
BULK_PER_EVENT = 4
"""The largest command that should be taken, as a multiple of the largest event."""
EVENT_ROOM = 65_536
"""Bytes that a command has beside its event: other fields, names, a dead letter's detail."""
FUTURE_MS = 86_400_000
SHOWN_TENANTS = 5


def config_of(client: redis.Redis, name: str) -> str:
    """Return one setting of the server, or nothing where it may not be read."""
    try:
        reply = ask(client, "CONFIG", "GET", name)
    except redis.ResponseError:
        return ""
    return reply[1].decode() if reply else ""


def replicas(client: redis.Redis, info: Mapping[str, Any], settings: Settings) -> Finding:
    """Judge whether a primary that is cut off refuses appends, and whether replicas are missing."""
    connected, in_step = int(info.get("connected_slaves", 0)), assurance_of(info).replicas
    wanted, lag = (
        config_of(client, "min-replicas-to-write"),
        config_of(client, "min-replicas-max-lag"),
    )
    advice = []
    if connected and wanted == "0":
        advice.append("set min-replicas-to-write 1 here and on each replica")
    if (connected or wanted not in ("", "0")) and lag and not 0 < int(lag) <= MAX_LAG_SECONDS:
        advice.append(f"set min-replicas-max-lag {MAX_LAG_SECONDS} here and on each replica")
    needed = settings.durable_replicas or 0
    if needed > in_step:
        advice.append(
            f"start {needed - in_step} more, or lower JOBTRAIL_DURABLE_REPLICAS: no append is"
            " durable until then"
        )
    unknown = bool(connected) and not (wanted and lag)
    if unknown and not advice:
        advice.append("CONFIG GET is refused: see that min-replicas-to-write is 1 at least")
    rule = f", min-replicas-to-write {wanted or '?'}, min-replicas-max-lag {lag or '?'}"
    return Finding(
        "redis replicas",
        ok=not advice or (unknown and needed <= in_step),
        found=f"{in_step} of {connected} in step{rule}" if connected else f"none{rule}",
        advice="; ".join(advice),
        warns=unknown,
    )


def largest_command(client: redis.Redis, settings: Settings) -> Finding:
    """Judge whether the largest event is taken, and nothing larger by far."""
    limit = config_of(client, "proto-max-bulk-len")
    event = settings.max_event_bytes
    room = max(BULK_PER_EVENT * event, 2**20)
    small = bool(limit) and int(limit) < event + EVENT_ROOM
    large = bool(limit) and int(limit) > room
    return Finding(
        "redis proto-max-bulk-len",
        ok=not small,
        found=f"{limit} bytes" if limit else "not readable",
        advice=f"set proto-max-bulk-len {room}: "
        + (
            f"events of JOBTRAIL_MAX_EVENT_BYTES ({event}) are refused"
            if small
            else "one entry of that size costs every consumer several times as much memory"
        ),
        warns=large,
    )


def writes(client: redis.Redis) -> Finding:
    """Try a write that changes nothing: the server's answer says what it lacks."""
    name = "redis writes"
    try:
        ask(client, "ZADD", Keys().ready(GROUPS[0]), "XX", 0, "")
    except redis.exceptions.NoPermissionError:
        return Finding(name, ok=True, found="not ours to try")
    except redis.ResponseError as error:
        if not refuses_writes(error):
            raise
        return Finding(name, ok=False, found=f"refused: {error}", advice=_lacking(error))
    return Finding(name, ok=True, found="taken")


def _lacking(error: redis.ResponseError) -> str:
    """Return what to do about a server that refuses writes."""
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        lacking = "raise maxmemory, or run: jobtrail trim"
    elif str(error).startswith("MISCONF"):
        lacking = "free or mend the disk that it saves to; its log has the error"
    else:
        lacking = "start the replicas that min-replicas-to-write asks for"
    return f"{lacking}; until then appends fail and consumers wait"


def stream_ids(client: redis.Redis) -> Finding:
    """Find the streams whose ids somebody used up, or moved far into the future."""
    names = list(all_streams(client))
    replies = round_trips(client, [("XINFO", "STREAM", name) for name in names])
    latest = server_ms(client) + FUTURE_MS
    found: dict[str, EntryId] = {}
    for name, reply in zip(names, replies, strict=True):
        last = None if isinstance(reply, redis.RedisError) else _last_id(reply)
        if last is not None and last.ms > latest:
            found[Keys().tenant_of(text_of(name))] = last
    worst = sorted(found.items(), key=lambda one: (-one[1].ms, one[0]))
    shown = [f"{tenant} ({last})" for tenant, last in worst if TENANT.match(tenant)]
    more = len(worst) - len(shown[:SHOWN_TENANTS])
    others = f" and {more} more" if more else ""
    return Finding(
        "stream ids",
        ok=not found,
        found=f"far in the future: {', '.join(shown[:SHOWN_TENANTS])}{others}"
        if found
        else "none is in the future",
        advice="somebody appends with ids of its own; a stream at 2^64-1 takes no event any more:"
        " see 'Spent stream ids' in the runbook",
    )


def _last_id(reply: list[Any]) -> EntryId | None:
    fields = dict(zip(reply[::2], reply[1::2], strict=False))
    last = fields.get(b"last-generated-id")
    return None if last is None else of_reply(last)

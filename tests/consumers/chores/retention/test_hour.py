"""Retention over an hour at fifty events a second; the time is that of the entry ids."""

from __future__ import annotations

import time

import redis

from consumers.chores.retention.chore import Retention
from consumers.chores.retention.registration import deregister
from consumers.delivery.groups import ConsumerGroup
from streams.wire import ask

LOG = "tenant:42:events"
A_SECOND, A_MINUTE = 50, 60 * 50
KEEP_SECONDS = 120
MINUTE_MS = 60_000
APPEND = """
for at = 0, ARGV[2] - 1 do
  redis.call('XADD', KEYS[1], string.format('%.0f-0', ARGV[1] + at * 20), 'event', ARGV[3])
end
"""


def append_minute(client: redis.Redis, start_ms: int) -> None:
    """Append the events of one minute with a script, which takes a tenth of the time."""
    event = b'{"type":"progress","id":"a1","step":"reading","percent":12}'
    client.eval(APPEND, 1, LOG, start_ms, A_MINUTE, event)


def has_all(group: ConsumerGroup) -> None:
    """Make a group read and acknowledge all entries."""
    while deliveries := group.read(["42"], A_MINUTE):
        group.acknowledge(deliveries)


def test_an_hour_stays_bounded__a_stopped_group_keeps_what_it_has_not_had(
    redis_client: redis.Redis,
) -> None:
    """Young entries and a minute more are left, and all that a stopped group has not read."""
    groups = [ConsumerGroup(redis_client, name, "me") for name in ("status", "rows", "audit")]
    for group in groups:
        group.register()
    trimming = Retention(redis_client, "me", keep_seconds=KEEP_SECONDS)
    begin = int(time.time() * 1000) - 60 * MINUTE_MS
    lengths = []
    for minute in range(60):
        append_minute(redis_client, begin + minute * MINUTE_MS)
        for group in groups[: 3 if minute < 30 else 2]:
            has_all(group)
        trimming.run()
        lengths.append(redis_client.xlen(LOG))
    young = KEEP_SECONDS * A_SECOND
    assert max(lengths[:30]) <= A_MINUTE
    assert lengths[30:] == [A_MINUTE * stopped + 1 for stopped in range(1, 31)]
    first_not_had = f"{begin + 30 * MINUTE_MS}-0".encode()
    _, (raw_id, _) = ask(redis_client, "XRANGE", LOG, "-", "+", "COUNT", 2)
    assert raw_id == first_not_had

    deregister(redis_client, "audit", force=True)
    trimming.run()
    assert 0 < redis_client.xlen(LOG) <= young

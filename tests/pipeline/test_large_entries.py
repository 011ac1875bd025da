"""An entry far beyond the limit costs a consumer little more than itself."""

from __future__ import annotations

import re
from pathlib import Path

import redis

from consumers.dead_letters.store import DeadLetterStore
from consumers.dead_letters.writer import HEAD_BYTES
from tests.pipeline.conftest import Start
from tests.support.groups import settled
from tests.support.waiting import eventually

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "jobtrail-consume@.service"
LARGE = 150_000_000


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has held so far."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kib) * 1024


def test_entries_of_150_mb__stay_within_the_limit_of_the_unit(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    (megabytes,) = re.findall(r"MemoryMax=(\d+)M", UNIT.read_text())
    redis_client.xadd("tenant:42:events", {"event": b'{"type":"done","id":"a1"}'})
    for _ in range(2):
        redis_client.xadd("tenant:42:events", {"event": b"x" * LARGE})
    redis_client.xadd("tenant:42:events", {"event": b'{"type":"done","id":"a2"}'})
    try:
        consumers = [start("consume", group, **servers) for group in ("status", "rows")]
        eventually(lambda: redis_client.get("tenant:42:job:a2:status"), 90)
        eventually(lambda: settled(redis_client, "42", "status", "rows"), 90)
        peaks = [peak_bytes(process.pid) for process in consumers]
    finally:
        redis_client.delete("tenant:42:events")
    assert max(peaks) < int(megabytes) * 2**20, peaks
    letters = list(DeadLetterStore(redis_client).letters("42"))
    assert [(letter.size, len(letter.event or b"")) for letter in letters] == [
        (LARGE, HEAD_BYTES)
    ] * 2

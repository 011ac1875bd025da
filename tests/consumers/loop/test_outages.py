"""Waiting for a server."""

from __future__ import annotations

import threading
import time

import redis

from consumers import metrics
from consumers.loop.outages import Outages


def test_waiting_for_a_server_counts_as_a_turn() -> None:
    """Otherwise health checks would restart every consumer in a long outage, again and again."""
    last_turn = metrics.LAST_TURN.labels("waiting")
    last_turn.set(0)
    stop = threading.Event()
    stop.set()
    before = time.time()
    Outages("waiting", "c1").wait(stop, redis.ConnectionError("away"), 60)
    assert last_turn._value.get() >= before
    metrics.LAST_TURN.remove("waiting")

"""The chores of one consumer that write the console's figures, run together."""

from __future__ import annotations

from typing import Any

import redis

from consumers.chores.activity import Tally
from consumers.chores.heartbeat import Heartbeat
from consumers.chores.samples import Samples


class Member:
    """One consumer's heartbeat and its part in the samples."""

    def __init__(
        self, client: redis.Redis, name: str = "one", tally: Tally | None = None, **options: Any
    ) -> None:
        self._heartbeat = Heartbeat(client, "status", name, tally or Tally())
        self._samples = Samples(client, name, **options)

    def run(self) -> None:
        """Send a heartbeat, and take a sample if this consumer is elected."""
        self._heartbeat.run()
        self._samples.run()

    def leave(self) -> None:
        """End both chores."""
        self._heartbeat.leave()
        self._samples.leave()

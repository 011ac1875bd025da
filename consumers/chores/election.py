"""Elections: one consumer at a time does what must not be done by several at once.

An election runs out by itself, so that a winner that died is replaced. Two that believe they won
for a moment do harmless work twice; nothing may depend on more.
"""

from __future__ import annotations

import redis

from streams.wire import ask


class Election:
    """One consumer's part in an election that lasts `seconds` unless it is held again."""

    def __init__(self, client: redis.Redis, name: str, consumer: str, seconds: float) -> None:
        self._client = client
        self._name = name
        self._consumer = consumer
        self._ms = int(seconds * 1000)
        self.anew = False
        """Whether the last `hold` won what it did not hold before."""

    def hold(self) -> bool:
        """Win the election, or stay elected, and tell whether we are."""
        self.anew = bool(ask(self._client, "SET", self._name, self._consumer, "NX", "PX", self._ms))
        if self.anew:
            return True
        if ask(self._client, "GET", self._name) != self._consumer.encode():
            return False
        ask(self._client, "PEXPIRE", self._name, self._ms)
        return True

    def resign(self) -> None:
        """Let another consumer be elected at once."""
        if ask(self._client, "GET", self._name) == self._consumer.encode():
            ask(self._client, "DEL", self._name)

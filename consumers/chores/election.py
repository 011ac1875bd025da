"""Elections: one consumer at a time does the work that several should not do at the same time.

An election expires by itself, so that an elected consumer that died is replaced. For a moment two
consumers may both be elected: their work must be harmless when it is done twice. Each elected chore
(`consumers.chores.periodic`) holds one election. Used by `consumers.chores`.
"""

from __future__ import annotations

import redis

from streams.wire import ask

ELECTED_INTERVALS = 2.5
"""The number of a chore's intervals after which an election that is not renewed expires."""


class Election:
    """One consumer's part in the election for one chore.

    Args:
        key: the key that holds the name of the elected consumer.
        interval_seconds: the interval of the chore, which renews the election in each run.
    """

    def __init__(
        self, client: redis.Redis, key: str, consumer: str, interval_seconds: float
    ) -> None:
        self._client = client
        self._key = key
        self._consumer = consumer
        self._ms = max(1, int(interval_seconds * ELECTED_INTERVALS * 1000))
        self.is_new = False
        """True if the last `acquire` elected this consumer, which was not elected before it."""

    def acquire(self) -> bool:
        """Try to be elected, or renew the election; return whether this consumer is elected.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        won = ask(self._client, "SET", self._key, self._consumer, "NX", "PX", self._ms)
        self.is_new = bool(won)
        if self.is_new:
            return True
        if ask(self._client, "GET", self._key) != self._consumer.encode():
            return False
        ask(self._client, "PEXPIRE", self._key, self._ms)
        return True

    def resign(self) -> None:
        """Let another consumer be elected at once.

        Raises:
            redis.RedisError: Redis is unavailable or refuses; the election expires by itself.
        """
        if ask(self._client, "GET", self._key) == self._consumer.encode():
            ask(self._client, "DEL", self._key)

"""Scripts that run many times in one round trip, on a single server or on the nodes of a cluster.

A server keeps the scripts that it was sent, and loses them in a restart or failover. So each run
sends the digest of the script, and its text only if a server does not have it: by SCRIPT LOAD and
not by EVAL, because the users in `deploy/redis/users.acl` have only SCRIPT LOAD and EVALSHA.
Used by `consumers` and `projections`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import redis

from .cluster import Cluster
from .wire import Command, PendingReplies, ask, round_trip

Words = Sequence[str | bytes | float]
Run = tuple[Sequence[str | bytes], Words]
"""The keys and the arguments of one run."""


class Script:
    """A script in Lua. All keys of one run share a slot."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        self._digest = hashlib.sha1(self._text, usedforsecurity=False).hexdigest()

    def run(
        self,
        client: redis.Redis,
        runs: Iterable[Run],
        *,
        partial: bool = False,
    ) -> list[Any]:
        """Run the script for each pair of keys and arguments, and return the replies in order.

        The reply of a failed run is its error. With `partial`, the loss of one server of several is
        the reply to its runs and not raised.

        Raises:
            redis.ConnectionError, redis.TimeoutError: some runs may have been executed.
            redis.RedisError: a server refuses to load the script, or no node has the slot map.
        """
        return self.send(client, runs, partial=partial).replies()

    def send(
        self,
        client: redis.Redis,
        runs: Iterable[Run],
        *,
        partial: bool = False,
    ) -> PendingRuns:
        """Send the runs without waiting for the replies.

        Raises:
            redis.ConnectionError, redis.TimeoutError: some runs may have been executed.
        """
        words = [(len(keys), *keys, *arguments) for keys, arguments in runs]
        return PendingRuns(self._text, self._digest, client, words, partial=partial)


class PendingRuns:
    """Runs of a script that were sent."""

    def __init__(
        self,
        text: bytes,
        digest: str,
        client: redis.Redis,
        words: Sequence[Words],
        *,
        partial: bool,
    ) -> None:
        self._text = text
        self._client = client
        self._partial = partial
        self._commands: list[Command] = [("EVALSHA", digest, *run) for run in words]
        self._pending = PendingReplies(client, self._commands, partial=partial)

    def replies(self) -> list[Any]:
        """Wait for the replies; a server without the script is sent its text.

        Runs that failed for lack of the script are repeated once, after the others.

        Raises:
            redis.ConnectionError, redis.TimeoutError: some runs may have been executed.
            redis.RedisError: a server refuses to load the script, or no node has the slot map.
        """
        replies = self._pending.replies()
        missing = [
            index
            for index, reply in enumerate(replies)
            if isinstance(reply, redis.exceptions.NoScriptError)
        ]
        if missing:
            if isinstance(self._client, Cluster):
                self._client.load_script(self._text)
            else:
                ask(self._client, "SCRIPT", "LOAD", self._text)
            again = [self._commands[index] for index in missing]
            later = round_trip(self._client, again, partial=self._partial)
            for index, reply in zip(missing, later, strict=True):
                replies[index] = reply
        return replies

    def give_up(self) -> None:
        """Close the connections whose replies were not read."""
        self._pending.give_up()

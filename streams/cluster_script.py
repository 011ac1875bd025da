"""Scripts of a Redis Cluster, which are sent to the node of their first key.

Used by `streams.cluster`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis
from redis.commands.core import Script

from .wire import checked, round_trip


class ClusterScript(Script):
    """A script of a cluster.

    Args:
        cluster: the client.
        script: the text of the script.
        load: loads a script into all primaries.
    """

    def __init__(
        self,
        cluster: redis.Redis,
        script: str | bytes | memoryview,
        load: Callable[[bytes], None],
    ) -> None:
        self._cluster = cluster
        self._source = script.encode() if isinstance(script, str) else bytes(script)
        self._load = load
        super().__init__(cluster, self._source)

    def __call__(
        self,
        keys: Sequence[Any] | None = None,
        args: Iterable[Any] | None = None,
        client: Any = None,
    ) -> Any:
        """Run the script; it is loaded into all nodes if one does not have it."""
        del client
        command = ("EVALSHA", self.sha, len(keys or ()), *(keys or ()), *(args or ()))
        (reply,) = round_trip(self._cluster, [command])
        if isinstance(reply, redis.exceptions.NoScriptError):
            self._load(self._source)
            (reply,) = round_trip(self._cluster, [command])
        return checked([reply])[0]

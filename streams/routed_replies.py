"""Commands that were sent to several nodes of a cluster, and their replies.

Used by `streams.cluster`, whose client has the connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import redis

from .routing import REDIRECTIONS, AddTo, Batch, Routed, commands_of, store
from .wire import Command, PendingReplies, Sent

if TYPE_CHECKING:
    from .cluster import Cluster


class RoutedReplies(Sent):
    """Commands that were sent to the nodes of their keys; redirected ones are sent again.

    Args:
        cluster: the client.
        commands: the commands.
        add: what is sent behind them.
        partial: as in `Router.send`.
        tenant_key: as in `planned`.
        begun: the batches that were sent already, with the replies to all commands.

    Raises:
        redis.RedisError: no node answers, or one was lost; some commands may have been executed.
    """

    def __init__(
        self,
        cluster: Cluster,
        commands: Sequence[Command],
        add: AddTo[redis.Redis] | None = None,
        *,
        partial: bool = False,
        tenant_key: str | None = None,
        begun: tuple[list[Batch], list[Any]] | None = None,
    ) -> None:
        if begun is None and cluster.is_outdated:
            cluster.read_map()
        self._cluster = cluster
        self._commands = commands
        self._add = add
        self._partial = partial
        self._batches, self._replies = begun or cluster.planned(commands, tenant_key)
        self._sent = list[tuple[Batch, Any, PendingReplies]]()
        if begun is None:
            self._send()

    def replies(self) -> list[Any]:
        """Wait for the replies and return them in the order of the commands."""
        return self.routed().replies

    def routed(self) -> Routed:
        """Wait for the replies, follow redirections, and return all replies."""
        added = self._receive()
        for _ in range(REDIRECTIONS - 1):
            self._batches = self._cluster.redirected(self._batches, self._replies)
            if not self._batches:
                break
            self._send()
            added += self._receive()
        self._cluster.note(self._replies)
        return Routed(self._replies, added)

    def give_up(self) -> None:
        """Close the connections whose replies were not read."""
        for _, _, pending in self._sent:
            pending.give_up()

    def _send(self) -> None:
        """Send the batches, each to its node."""
        self._sent = []
        for batch in self._batches:
            try:
                applies = self._add and self._add.applies_to(batch.indexes)
                node = self._cluster.node(batch.address)
                extra = self._add.make(node) if self._add and applies else None
                words = commands_of(batch, self._commands, extra)
                self._sent.append((batch, extra, self._cluster.contact(batch.address, words)))
            except BaseException as error:
                if not self._is_partial_loss(batch, error):
                    raise

    def _receive(self) -> list[tuple[Any, list[Any]]]:
        """Store the replies of all nodes; return what was added, with the replies to it."""
        added = []
        for batch, extra, pending in self._sent:
            try:
                if self._cluster.silent:
                    node = self._cluster.node(batch.address)
                    self._cluster.silent.await_reply(batch.address, node, pending)
                if found := store(batch, pending.replies(), self._replies):
                    added.append((extra, found))
            except BaseException as error:
                if not self._is_partial_loss(batch, error):
                    raise
        return added

    def _is_partial_loss(self, batch: Batch, error: BaseException) -> bool:
        """Make an error of the node the reply, if that is wanted; else abandon everything."""
        if isinstance(error, redis.RedisError):
            self._cluster.suspect(batch.address)
            if self._partial:
                for index in batch.indexes:
                    self._replies[index] = error.with_traceback(None)
                return True
        self.give_up()
        return False

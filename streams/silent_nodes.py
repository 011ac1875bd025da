"""Nodes of a cluster that do not answer in time, so that waiting for one delays no other.

A node whose machine or network is lost refuses no connection: each command to it would wait for the
whole timeout, and so would each session that begins. So once a node was silent for longer than the
patience, commands to it fail at once, while it is probed, until it answers, refuses at once, or has
left the cluster. The patience with a node is doubled each time, so that one that is only slow is
waited for in the end. Used by `streams.cluster` and `streams.async_cluster`, for clients that serve
the tenants of all nodes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Container
from typing import Any

import redis
import redis.asyncio

from .servers.slots import Address
from .wire import Command, PendingReplies, answered, async_round_trip, round_trip

_LOG = logging.getLogger(__name__)

LONGEST_PATIENCE = 5.0
"""The longest patience of a blocking client in seconds."""
LONGEST_ASYNC_PATIENCE = 1.0
"""The longest patience of an asyncio client in seconds."""
MOST_DOUBLINGS = 30
"""The number up to which the doublings of a patience are counted."""
PROBE_SECONDS = 0.2
"""The pause between two probes of a node."""
LATE_SECONDS = 0.05
"""The time that an event loop, which may have been late itself, gets to read what has arrived."""
_PING: list[Command] = [("PING",)]


class _Nodes:
    """The nodes that one client found silent.

    Args:
        patience: the seconds to wait for a node's reply at first.
        nodes: the clients of the nodes in use, by address; a node that has left them is not probed.
    """

    def __init__(self, patience: float, nodes: Container[Address]) -> None:
        self._patience = patience
        self._longest = LONGEST_PATIENCE
        self._nodes = nodes
        self._silent: set[Address] = set()
        self._times: dict[Address, int] = {}

    def __contains__(self, address: object) -> bool:
        """Return True while commands to a node must fail at once."""
        return address in self._silent

    def check(self, address: Address) -> None:
        """Raise an error if a node is silent.

        Raises:
            redis.TimeoutError: it is.
        """
        if address in self._silent:
            host, port = address
            raise redis.TimeoutError(f"{host}:{port} does not answer yet")

    def seconds(self, address: Address) -> float:
        """Return the patience with a node."""
        return min(self._longest, self._patience * 2.0 ** self._times.get(address, 0))

    def _forgive(self, address: Address) -> None:
        """Have the patience with a node, which answered, be the first one again."""
        if self._times:
            self._times.pop(address, None)

    def _begin(self, address: Address) -> bool:
        """Record that a node is silent; return whether it must be probed from now on."""
        if address in self._silent:
            return False
        self._silent.add(address)
        # Limited, because the patience must remain a number that a float can hold.
        self._times[address] = min(self._times.get(address, 0) + 1, MOST_DOUBLINGS)
        return True

    def _refused_at_once(self, began: float) -> bool:
        """Return whether a probe that failed did so at once, as where only the server has ended.

        No command would wait for such a node.
        """
        return time.monotonic() - began < self._patience


class SilentNodes(_Nodes):
    """The nodes that one blocking client found silent, which threads probe."""

    def await_reply(self, address: Address, node: redis.Redis, pending: PendingReplies) -> None:
        """Wait until the first reply of a node arrives.

        Raises:
            redis.TimeoutError: it did not in time; the replies are given up.
        """
        seconds = self.seconds(address)
        if answered([pending], seconds):
            self._forgive(address)
            return
        pending.give_up()
        self.add(address, node)
        raise _not_answered(address, seconds)

    def add(self, address: Address, node: redis.Redis) -> None:
        """Have commands to a node fail at once, until a probe ends."""
        if self._begin(address):
            probing = threading.Thread(
                target=self._probe, args=(address, node), name="node-probe", daemon=True
            )
            try:
                probing.start()
            except BaseException as error:
                self._silent.discard(address)
                if not isinstance(error, RuntimeError):
                    raise
                # At a limit of threads: commands wait for the node until one finds a thread.
                host, port = address
                _LOG.warning("%s:%d is silent and not probed: %s", host, port, error)

    def _probe(self, address: Address, node: redis.Redis) -> None:
        try:
            self._await_answer(address, node)
        finally:
            self._silent.discard(address)

    def _await_answer(self, address: Address, node: redis.Redis) -> None:
        while address in self._nodes:
            began = time.monotonic()
            try:
                round_trip(node, _PING)
            except redis.RedisError:
                if self._refused_at_once(began):
                    break
            else:
                break
            time.sleep(PROBE_SECONDS)


class AsyncSilentNodes(_Nodes):
    """The nodes that one asyncio client found silent, which tasks probe."""

    def __init__(self, patience: float, nodes: Container[Address]) -> None:
        super().__init__(patience, nodes)
        # Callers limit their operations as a whole: a longer patience would never end.
        self._longest = LONGEST_ASYNC_PATIENCE
        self._probes = set[asyncio.Task[None]]()

    async def replies(
        self,
        address: Address,
        node: redis.asyncio.Redis,
        exchange: Callable[[asyncio.Event], Awaitable[list[Any]]],
    ) -> list[Any]:
        """Return the replies of a node, which the exchange awaits.

        The patience ends with the first bytes of a reply, at which the exchange sets the event: the
        rest of a large reply may take longer than a small one of a node that is hardly alive.

        Raises:
            redis.TimeoutError: the node is silent; the exchange was cancelled.
            redis.RedisError: what the exchange raises.
        """
        self.check(address)
        seconds, answering = self.seconds(address), asyncio.Event()
        work = asyncio.ensure_future(exchange(answering))
        try:
            for limit in (seconds, LATE_SECONDS):
                done, _ = await asyncio.wait([work], timeout=limit)
                if done or answering.is_set():
                    self._forgive(address)
                    return await work
        finally:
            work.cancel()
        if self._begin(address):
            probe = asyncio.create_task(self._probe(address, node))
            self._probes.add(probe)
            # Not in the task, which does not even begin if it is cancelled before.
            probe.add_done_callback(lambda _: self._silent.discard(address))
            probe.add_done_callback(self._probes.discard)
        raise _not_answered(address, seconds)

    async def close(self) -> None:
        """End the probes."""
        probes = [*self._probes]
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    async def _probe(self, address: Address, node: redis.asyncio.Redis) -> None:
        while address in self._nodes:
            began = time.monotonic()
            try:
                async with asyncio.timeout(LONGEST_PATIENCE):
                    await async_round_trip(node, _PING)
            except (redis.RedisError, TimeoutError):
                if self._refused_at_once(began):
                    break
            else:
                break
            await asyncio.sleep(PROBE_SECONDS)


def _not_answered(address: Address, seconds: float) -> redis.TimeoutError:
    host, port = address
    return redis.TimeoutError(f"{host}:{port} did not answer within {seconds} s")

"""Nodes of a cluster that do not answer in time, so that waiting for one delays no other.

A node whose machine or network is lost refuses no connection: each command to it would wait for the
whole timeout, and so would each session that begins. So once a node was silent for longer than the
patience, commands to it fail at once, while a thread probes it, until it answers, refuses at once,
or has left the cluster. The patience with a node is doubled each time, so that one that is only
slow is waited for in the end. Used by `streams.cluster`, for clients that serve the tenants of all
nodes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Container

import redis

from .servers.slots import Address
from .wire import PendingReplies, answered, round_trip

LONGEST_PATIENCE = 5.0
"""The longest patience in seconds."""
MOST_DOUBLINGS = 30
"""The number up to which the doublings of a patience are counted."""
PROBE_SECONDS = 0.2
"""The pause between two probes of a node."""


class SilentNodes:
    """The nodes that one client found silent.

    Args:
        patience: the seconds to wait for a node's reply at first.
        nodes: the clients of the nodes in use, by address; a node that has left them is not probed.
    """

    def __init__(self, patience: float, nodes: Container[Address]) -> None:
        self._patience = patience
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
        return min(LONGEST_PATIENCE, self._patience * 2.0 ** self._times.get(address, 0))

    def await_reply(self, address: Address, node: redis.Redis, pending: PendingReplies) -> None:
        """Wait until the first reply of a node arrives.

        Raises:
            redis.TimeoutError: it did not in time; the replies are given up.
        """
        seconds = self.seconds(address)
        if answered([pending], seconds):
            if self._times:
                self._times.pop(address, None)
            return
        pending.give_up()
        self.add(address, node)
        host, port = address
        raise redis.TimeoutError(f"{host}:{port} did not answer within {seconds} s")

    def add(self, address: Address, node: redis.Redis) -> None:
        """Have commands to a node fail at once, until a probe ends."""
        if address in self._silent:
            return
        self._silent.add(address)
        # Limited, because the patience must remain a number that a float can hold.
        self._times[address] = min(self._times.get(address, 0) + 1, MOST_DOUBLINGS)
        probing = threading.Thread(
            target=self._probe, args=(address, node), name="node-probe", daemon=True
        )
        probing.start()

    def _probe(self, address: Address, node: redis.Redis) -> None:
        while address in self._nodes:
            began = time.monotonic()
            try:
                round_trip(node, [("PING",)])
            except redis.RedisError:
                # Refused at once, as by a machine whose server has ended: no command would wait.
                if time.monotonic() - began < self._patience:
                    break
            else:
                break
            time.sleep(PROBE_SECONDS)
        self._silent.discard(address)

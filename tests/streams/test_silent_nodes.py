"""Nodes of a cluster that do not answer in time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import pytest
import redis

from streams import silent_nodes
from streams.silent_nodes import SilentNodes
from streams.wire import PendingReplies

ADDRESS = ("127.0.0.1", 1)


class Unanswered:
    """Commands that get no reply."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        """Return the number of a pipe without content."""
        return self.number

    def give_up(self) -> None:
        """Do nothing."""


@pytest.fixture
def unanswered() -> Iterator[PendingReplies]:
    reading, writing = os.pipe()
    yield cast("PendingReplies", Unanswered(reading))
    os.close(reading)
    os.close(writing)


def test_a_node_may_stay_silent_any_number_of_times(
    unanswered: PendingReplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silent_nodes, "LONGEST_PATIENCE", 0.0)
    nodes = SilentNodes(0.1, ())  # a node that has left the cluster is not probed
    node: Any = None
    for _ in range(1_100):
        with pytest.raises(redis.TimeoutError):
            nodes.await_reply(ADDRESS, node, unanswered)
        while ADDRESS in nodes:
            pass

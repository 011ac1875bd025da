"""The commands on consumer groups; no other Python module builds one.

Each function builds one command and sends nothing: the caller passes it to `streams.wire`. `stream`
is the key of a tenant's stream. Used by modules of `consumers.delivery` and `consumers.chores`. Lua
scripts that must act on a group and other keys in one step contain their own commands.
"""

from __future__ import annotations

from collections.abc import Sequence

from streams.wire import Command

Key = str | bytes


def create(stream: Key, group: str) -> Command:
    """Build the command that creates a group before the first entry of an existing stream."""
    return "XGROUP", "CREATE", stream, group, "0"


def destroy(stream: Key, group: str) -> Command:
    """Build the command that deletes a group; the reply is the number of groups deleted."""
    return "XGROUP", "DESTROY", stream, group


def read(stream: Key, group: str, consumer: str, count: int, after: bytes = b">") -> Command:
    """Build the command that delivers up to `count` new entries.

    With an entry id as `after` the reply has the entries after that id that are pending for this
    consumer.
    """
    return "XREADGROUP", "GROUP", group, consumer, "COUNT", count, "STREAMS", stream, after


def acknowledge(stream: Key, group: str, ids: Sequence[bytes]) -> Command:
    """Build the command that acknowledges entries."""
    return "XACK", stream, group, *ids


def claim_idle(
    stream: Key, group: str, consumer: str, idle_ms: int, *, cursor: bytes, count: int
) -> Command:
    """Build the command that takes over entries that were idle for so many milliseconds.

    The reply has the next cursor, the entries, and the ids of entries that were trimmed.
    """
    return "XAUTOCLAIM", stream, group, consumer, idle_ms, cursor, "COUNT", count


def renew(
    stream: Key, group: str, consumer: str, ids: Sequence[bytes], idle_ms: int = 0
) -> Command:
    """Build the command that sets the idle time of pending entries; no delivery is counted.

    At 0 other consumers do not take them over yet; at the reclaim time they do so at once.
    """
    return "XCLAIM", stream, group, consumer, 0, *ids, "IDLE", idle_ms, "JUSTID"


def set_counter(stream: Key, group: str, consumer: str, entry_id: bytes, count: int) -> Command:
    """Build the command that sets the delivery counter of a pending entry."""
    return "XCLAIM", stream, group, consumer, 0, entry_id, "RETRYCOUNT", count, "JUSTID"


def pending_summary(stream: Key, group: str) -> Command:
    """Build the command for the number of pending entries, the lowest and the highest id."""
    return "XPENDING", stream, group


def pending_entry(stream: Key, group: str, entry_id: bytes) -> Command:
    """Build the command for the consumer, idle time and delivery counter of a pending entry."""
    return "XPENDING", stream, group, entry_id, entry_id, 1


def first_idle(stream: Key, group: str, idle_ms: int) -> Command:
    """Build the command for the first entry that was idle for so many milliseconds."""
    return "XPENDING", stream, group, "IDLE", idle_ms, "-", "+", 1


def list_consumers(stream: Key, group: str) -> Command:
    """Build the command for a group's consumers and their idle times."""
    return "XINFO", "CONSUMERS", stream, group


def list_groups(stream: Key) -> Command:
    """Build the command for the state of every group of a stream."""
    return "XINFO", "GROUPS", stream

"""Open streams: the comparison of every group with a stream until the group has settled it.

For a group that is behind, the tenant gets a ready mark. For a group with deliveries that became
old, the tenant is added to the group's stale queue. A group whose last delivered id is greater than
every id of the stream, as after a flush, is set back to the beginning. Used by
`consumers.chores.sweep.chore`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import redis
import structlog

from consumers.chores.sweep.known_streams import KnownStreams
from consumers.chores.sweep.stream_figures import StreamFigures
from consumers.delivery import group_commands
from consumers.delivery.group_states import GroupState, served_group_states
from consumers.delivery.ready import add_stale
from consumers.round_trips import round_trips
from streams.append_plan import ready_marks
from streams.cluster import checked_served
from streams.keys import Keys
from streams.wire import Command, as_text

_LOG = structlog.get_logger(__name__)


class OpenStreams:
    """The comparison of groups with open streams.

    Args:
        reclaim_idle_ms: the idle time in milliseconds after which a delivery is stale.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        known: KnownStreams,
        figures: StreamFigures,
        reclaim_idle_ms: int,
    ) -> None:
        self._client = client
        self._keys = keys
        self._known = known
        self._figures = figures
        self._reclaim_idle_ms = reclaim_idle_ms
        self._reset_ahead = client.register_script(
            files("consumers.chores.sweep").joinpath("reset_ahead.lua").read_text(encoding="utf-8")
        )

    def follow(self, streams: Sequence[bytes], groups: Sequence[str]) -> None:
        """Compare the groups with these streams, and close streams that all groups have settled.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        unsettled: dict[bytes, dict[str, GroupState | None]] = {}
        marks, pending = list[Command](), list[tuple[bytes, str]]()
        for stream, states in served_group_states(self._client, streams).items():
            at = {state.name: state for state in states if state.name in groups}
            newest = self._known.newest(stream)
            is_ahead = any(state.last_delivered > newest for state in at.values())
            behind = [name for name in groups if name not in at or at[name].last_delivered < newest]
            with_pending = [name for name in at if at[name].pending]
            marks += ready_marks(self._keys, behind, self._known.tenant(stream))
            pending += ((stream, name) for name in with_pending)
            unsettled[stream] = {name: at.get(name) for name in [*behind, *with_pending]}
            self._known.set_open(stream, is_open=bool(unsettled[stream]))
            if is_ahead:
                self._reset(stream, groups)
        # One round trip for all: one for each stream would delay the known ones by seconds.
        checked_served(round_trips(self._client, marks, partial=True))
        self._add_stale(pending)
        self._figures.update(unsettled)

    def _reset(self, stream: bytes, groups: Sequence[str]) -> None:
        """Set groups that are ahead of all ids of a stream back: they would get no new entry."""
        try:
            reset = self._reset_ahead(keys=[stream], args=list(groups))
        except redis.ResponseError as error:
            self._known.drop(stream, error)
            return
        for name in reset:
            _LOG.warning("group_reset", tenant=self._known.tenant(stream), group=as_text(name))

    def _add_stale(self, pending: Sequence[tuple[bytes, str]]) -> None:
        """Queue the tenants of streams whose deliveries to a group became old."""
        commands = (
            group_commands.first_idle(stream, group, self._reclaim_idle_ms)
            for stream, group in pending
        )
        stale = [
            (group, self._known.tenant(stream))
            for (stream, group), reply in zip(
                pending, round_trips(self._client, commands, partial=True), strict=True
            )
            if reply and not isinstance(reply, redis.RedisError)
        ]
        checked_served(round_trips(self._client, add_stale(self._keys, stale), partial=True))

"""The sweep: it finds entries that no consumer would read otherwise, and has their tenants read.

A consumer reads the tenants in its group's *ready queue*. A tenant whose append was not marked
there (a plain XADD, a failover) would never be read, nor would deliveries to a consumer that died.
So one elected consumer sweeps over the streams of all tenants. The steps of a sweep, in order:

1. Ask the known streams for entries after those seen, and put their tenants into the ready queues.
2. Discover streams with SCAN, a bounded part of the keyspace in each sweep.
3. Compare the groups with unchecked streams: those just discovered, and once a minute all. It is a
   bounded number at a time, and only while a ready queue is short: very many new streams must not
   delay the others.
4. Compare the groups with open streams, of which some group has unsettled entries. A tenant with
   deliveries that became old is put into the group's *stale queue*.
5. Publish the figures of all streams as metrics.

Every consumer, elected or not, also takes tenants from its group's stale queue, to take over their
deliveries. An idle stream costs the server a third of a microsecond in each sweep. Used by
`consumers.composition` and `consumers.loop.runner`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from consumers.chores.election import ELECTED_INTERVALS, Election
from consumers.chores.periodic import PeriodicChore, Timer
from consumers.chores.sweep.known_streams import KnownStreams
from consumers.chores.sweep.open_streams import OpenStreams
from consumers.chores.sweep.stream_figures import StreamFigures
from consumers.delivery.group_states import known_groups
from consumers.delivery.ready import StaleQueue, shortest_ready
from consumers.round_trips import round_trips
from streams.append_plan import ready_marks
from streams.appender import GROUPS
from streams.cluster import Cluster, checked_served, is_lost, keys_of
from streams.keys import Keys

INTERVAL_SECONDS = 1.5
"""The time between two sweeps when there are many streams."""
FEW_STREAMS = 2_000
"""The number of known streams up to which the sweep runs twice as often."""
SHOWN_INTERVALS = 2 * ELECTED_INTERVALS
"""The number of intervals for which the metrics of the last sweep are shown."""
CHECKED_AT_ONCE = 300
"""The most tenants that checks leave in the shortest of the ready queues: fewer streams are checked
at once by as many as it has already."""
CHECK_SECONDS = 0.1
"""The pause before more unchecked streams are checked."""
FOLLOWED_AT_ONCE = 500
"""The number of open streams compared in one sweep."""
STALE_AT_ONCE = 16
"""The number of stale tenants that a consumer takes at once."""


class Sweep(PeriodicChore):
    """One consumer's part in the sweep: sweeping while it is elected, and taking stale tenants.

    Args:
        client: a client of the Redis with the streams.
        group: the group whose stale tenants are taken.
        consumer: the consumer's name in the group.
        keys: the names of keys; those of the client's server by default.
        reclaim_idle_seconds: the idle time after which a delivery is stale.
        interval_seconds: the time between two sweeps; half of it while there are few streams.
        tenants_in_metrics: whether the metrics name the tenants that are furthest behind.
        clock: returns monotonic seconds.
    """

    name = "sweep"

    def __init__(
        self,
        client: redis.Redis,
        group: str,
        consumer: str,
        *,
        keys: Keys | None = None,
        reclaim_idle_seconds: float = 30.0,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        tenants_in_metrics: bool = False,
    ) -> None:
        self._keys = keys or keys_of(client)
        election = Election(client, self._keys.sweeper(), consumer, interval_seconds)
        super().__init__(interval_seconds, election=election, clock=clock)
        self._client = client
        self._known = KnownStreams(client, self._keys, clock)
        self._figures = StreamFigures(client, self._keys, tenants=tenants_in_metrics)
        idle_ms = int(reclaim_idle_seconds * 1000)
        self._open = OpenStreams(client, self._keys, self._known, self._figures, idle_ms)
        self._stale = StaleQueue(client, group, self._keys)
        self._check_timer, self._stale_timer = Timer(clock), Timer(clock)
        self._is_elected = False
        self._known_groups = sorted({*GROUPS, group})

    def run(self) -> None:
        """Sweep once, if this consumer is elected.

        After it, no sweep is due for as long as it took, so that the consumer has half of the time
        for reading. The pause is one interval at most, even after a longer sweep: the election,
        which is renewed by sweeps alone, expires soon after it, and another sweeper would have to
        discover all streams again.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        begun = self._clock()
        super().run()
        pause = min(self._clock() - begun, self._interval)
        self.timer.set(max(self.timer.seconds_left(), pause))

    def check_due(self) -> bool:
        """Return whether discovered streams are unchecked and the next check is due."""
        return self._known.has_unchecked and self._check_timer.is_due()

    def check_more(self) -> None:
        """Check some of the streams that the last sweep left unchecked.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        self._check(self._groups())

    def seconds_left(self) -> float:
        """Return the seconds until the next sweep or check is due."""
        left = self.timer.seconds_left()
        return min(left, self._check_timer.seconds_left()) if self._known.has_unchecked else left

    def take_stale(self) -> list[str]:
        """Take tenants with deliveries of this group to take over from its queue; return them.

        At most once per interval, and `STALE_AT_ONCE` tenants; otherwise none.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        if not self._stale_timer.is_due():
            return []
        self._stale_timer.set(self._interval)
        return self._stale.take(STALE_AT_ONCE)

    def leave(self) -> None:
        """Withdraw the metrics, and let another consumer sweep.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        self._figures.withdraw()
        super().leave()

    def _acquire_election(self) -> bool:
        """Return whether this consumer must sweep.

        If the node of a cluster that has the election is lost, the consumer that was elected last
        goes on, so that the streams of other nodes are swept.
        """
        try:
            self._is_elected = super()._acquire_election()
        except redis.RedisError as error:
            if not self._is_on_lost_node(error):
                raise
        return self._is_elected

    def _renew_election(self) -> None:
        """Renew the election, unless its node is lost."""
        try:
            super()._renew_election()
        except redis.RedisError as error:
            if not self._is_on_lost_node(error):
                raise

    def _groups(self) -> list[str]:
        """Return the registered groups; those known before if the node of their list is lost."""
        try:
            self._known_groups = known_groups(self._client, self._keys)
        except redis.RedisError as error:
            if not self._is_on_lost_node(error):
                raise
        return self._known_groups

    def _is_on_lost_node(self, error: redis.RedisError) -> bool:
        return is_lost(error) and isinstance(self._client, Cluster)

    def _seconds_until_next(self) -> float:
        return self._interval / (2 if len(self._known) <= FEW_STREAMS else 1)

    def _drop_state(self) -> None:
        self._known.forget()
        self._figures.withdraw()

    def _work(self) -> None:
        groups = self._groups()
        # Known streams first: new ones must not delay them.
        self._examine(groups)
        self._known.discover(self._figures.add_dead)
        self._check(groups)
        self._open.follow(self._known.open(FOLLOWED_AT_ONCE), groups)
        self._figures.count()
        self._figures.publish(groups, len(self._known), self._interval * SHOWN_INTERVALS)
        # After a long sweep the election is about to expire: a new sweeper would know no stream.
        self._renew_election()

    def _examine(self, groups: list[str]) -> None:
        """Mark the tenants of streams with newer entries for all groups."""
        for streams in self._known.with_news():
            marks = (
                command
                for stream in streams
                for command in ready_marks(self._keys, groups, self._known.tenant(stream))
            )
            checked_served(round_trips(self._client, marks, partial=True))
            self._known.remember_newest(streams)

    def _check(self, groups: list[str]) -> None:
        """Compare the groups with unchecked streams, while the shortest ready queue has room."""
        self._check_timer.set(CHECK_SECONDS)
        if not self._known.has_unchecked:
            return
        room = CHECKED_AT_ONCE - shortest_ready(self._client, groups, self._keys)
        if room > 0:
            streams = self._known.take_unchecked(room)
            self._open.follow(self._known.remember_newest(streams), groups)

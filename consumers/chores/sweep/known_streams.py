"""The streams that the sweep has found, and the newest entry of each.

A stream that SCAN finds is first *unchecked*: its groups have to be compared with it. From the
moment at which the sweep takes it for that, it is *known*, and each sweep asks for entries after
the newest one seen. Once a minute all known streams become unchecked again, and stay known. A known
stream is *open* while some group may have unsettled entries of it. Used by
`consumers.chores.sweep` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import redis
import structlog

from consumers.chores.periodic import Timer
from consumers.faults import is_of_key
from consumers.round_trips import round_trips
from streams.cluster import Cluster, is_lost
from streams.discovery import START, scan_streams
from streams.entry_ids import EntryId, of_reply
from streams.keys import DEAD_END, STREAM_END, SWEPT_END, Keys
from streams.wire import as_text, ask, checked, round_trip

_LOG = structlog.get_logger(__name__)

FORGET_SECONDS = 60.0
"""The interval at which all streams become unchecked again, except those that no SCAN has found in
it, which are forgotten."""
SCAN_CALLS, SCAN_SECONDS = 400, 0.15
"""The most SCAN commands in one sweep, and the most seconds that they may take together."""
READ_AT_ONCE = 1_000
"""The number of streams in one XREAD."""
NO_ENTRY = b"0-0"
"""The newest entry of a stream that is empty, or was not read yet."""


class KnownStreams:
    """The streams that the sweep has found; those that exist no longer are forgotten in time.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, client: redis.Redis, keys: Keys, clock: Callable[[], float]) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._forgetting = Timer(clock)
        self.forget()

    def forget(self) -> None:
        """Forget all streams and start from nothing."""
        self._newest: dict[bytes, bytes] = {}
        """The newest entry that was seen of each known stream."""
        self._unchecked: dict[bytes, None] = {}
        self._open: dict[bytes, None] = {}
        self._found = set[bytes]()
        """Streams that SCAN has found since streams were last forgotten."""
        self._has_lost = False
        """True if a node of a cluster was lost since then, whose streams SCAN cannot find."""
        self._cursor = START
        self._forgetting.set(FORGET_SECONDS)

    def __len__(self) -> int:
        """Return the number of known streams."""
        return len(self._newest)

    @property
    def has_unchecked(self) -> bool:
        """True while streams wait for their check."""
        return bool(self._unchecked)

    def newest(self, stream: bytes) -> EntryId:
        """Return the id of the newest entry that was seen in a stream."""
        return of_reply(self._newest.get(stream, NO_ENTRY))

    def tenant(self, stream: bytes) -> str:
        """Return the tenant of a stream."""
        return self._keys.tenant_of(as_text(stream))

    def open(self, limit: int) -> list[bytes]:
        """Return open streams, at most `limit` of them."""
        return list(islice(self._open, limit))

    def set_open(self, stream: bytes, *, is_open: bool) -> None:
        """Close a stream, or make it the last of the open ones."""
        self._open.pop(stream, None)
        if is_open:
            self._open[stream] = None

    def discover(self, found_dead: Callable[[Iterable[bytes]], None]) -> None:
        """Scan a bounded part of the keyspace for streams, from where the last call stopped.

        The keys of dead letters, which the same SCAN finds, are passed to `found_dead`.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        until, swept = self._clock() + SCAN_SECONDS, self._keys.pattern(SWEPT_END)
        for _ in range(SCAN_CALLS):
            self._cursor, names = scan_streams(
                self._client, self._cursor, swept, skipping=self._note_lost
            )
            found_dead(name for name in names if name.endswith(DEAD_END.encode()))
            streams = [name for name in names if name.endswith(STREAM_END.encode())]
            self._found.update(streams)
            for name in streams:
                if name not in self._newest:
                    self._unchecked[name] = None
            if self._cursor == START:
                self._check_again()
                return
            if self._clock() >= until:
                return

    def with_news(self) -> Iterator[list[bytes]]:
        """Yield lists of known streams that have entries after the newest one seen.

        For each list, `READ_AT_ONCE` streams are examined with one XREAD; on a cluster, or if that
        is refused because of one of the keys, with one XREAD for each of them in a round trip.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        known = list(self._newest.items())
        for at in range(0, len(known), READ_AT_ONCE):
            yield self._with_news(known[at : at + READ_AT_ONCE])

    def take_unchecked(self, limit: int) -> list[bytes]:
        """Remove up to `limit` unchecked streams and return them; they are known from now on.

        One half of them are those discovered first, the other half those discovered last: neither
        do new streams wait for all older ones, nor old streams while new ones are found.
        """
        half = limit // 2
        taken = dict.fromkeys(islice(self._unchecked, limit - half))
        taken.update(dict.fromkeys(islice(reversed(self._unchecked), half)))
        for stream in taken:
            del self._unchecked[stream]
            self._newest.setdefault(stream, NO_ENTRY)
        return list(taken)

    def remember_newest(self, streams: Sequence[bytes]) -> list[bytes]:
        """Read the newest entry of each stream, and store it; open and return those that have one.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        commands = [("XREVRANGE", name, "+", "-", "COUNT", 1) for name in streams]
        opened = []
        replies = round_trip(self._client, commands, partial=True)
        for name, reply in zip(streams, replies, strict=True):
            if isinstance(reply, redis.RedisError):
                self.drop(name, reply)
                continue
            self._newest[name] = reply[0][0] if reply else NO_ENTRY
            if reply:
                self._open[name] = None
                opened.append(name)
        return opened

    def drop(self, stream: bytes, error: redis.RedisError) -> None:
        """Forget a stream whose key was refused; SCAN finds it once it is a stream again.

        A stream of a lost node of a cluster is not forgotten, however long the node is away.

        Raises:
            redis.RedisError: the error concerns more than this key.
        """
        if is_lost(error):
            self._has_lost = True
            return
        checked([] if is_of_key(error) else [error])
        for known in (self._newest, self._open, self._unchecked):
            known.pop(stream, None)
        _LOG.error("stream_unreadable", tenant=self.tenant(stream), error=str(error))

    def _note_lost(self, _error: redis.RedisError) -> None:
        self._has_lost = True

    def _check_again(self) -> None:
        """After a whole scan, once a minute: forget streams that are gone, and check the others."""
        if not self._forgetting.is_due():
            return
        every = dict.fromkeys([*self._unchecked, *self._newest])
        gone = set[bytes]() if self._has_lost else every.keys() - self._found
        self._unchecked = {name: None for name in every if name not in gone}
        for name in gone:
            self._newest.pop(name, None)
            self._open.pop(name, None)
        self._found.clear()
        self._has_lost = False
        self._forgetting.set(FORGET_SECONDS)

    def _with_news(self, known: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        names, after = [name for name, _ in known], [seen for _, seen in known]
        if isinstance(self._client, Cluster):  # the streams have different slots
            return self._with_news_each(known)
        try:
            reply = ask(self._client, "XREAD", "COUNT", 1, "STREAMS", *names, *after)
        except redis.ResponseError as error:
            if not is_of_key(error):
                raise
        else:
            return [name for name, _ in reply or ()]
        return self._with_news_each(known)

    def _with_news_each(self, known: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Examine streams with a command each, and forget those whose keys are not streams."""
        commands = (("XREAD", "COUNT", 1, "STREAMS", name, seen) for name, seen in known)
        news = []
        replies = round_trips(self._client, commands, partial=True)
        for (name, _), reply in zip(known, replies, strict=True):
            if isinstance(reply, redis.RedisError):
                self.drop(name, reply)
            elif reply:
                news.append(name)
        return news

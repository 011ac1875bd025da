"""Entry ids: identity and order of the entries of a stream.

The server assigns them as `milliseconds-sequence`. They compare as two integers; as text, 10 would
sort before 9. Used by the fold, by all projections, and by all that reads streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import NamedTuple, Self

import orjson

_LAST_MS = 253_402_300_799_999  # the end of the year 9999, the last that a datetime can hold
_PART_MAX = 2**64 - 1
_STORED_MAX = 2**63 - 1
"""The greatest part that the history's columns, which are signed, can hold."""


class EntryId(NamedTuple):
    """Entry id: the server's milliseconds since 1970, and a number within the millisecond."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Return the entry id of `ms-seq`, or of `ms`, which means `ms-0`.

        Raises:
            ValueError: the text is not an entry id.
        """
        if isinstance(text, bytes):
            text = text.decode("ascii")
        ms, _, seq = text.partition("-")
        if not (ms.isascii() and ms.isdigit() and (not seq or (seq.isascii() and seq.isdigit()))):
            raise ValueError(f"{text!r} is no entry id: give milliseconds-sequence")
        entry_id = cls(int(ms), int(seq or 0))
        if entry_id.ms > _PART_MAX or entry_id.seq > _PART_MAX:
            raise ValueError(f"{text!r} is no entry id: a part is over 64 bits")
        return entry_id

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    @property
    def can_be_stored(self) -> bool:
        """True if every projection can hold the id: both parts are below 2^63.

        The clock of a server makes no larger ones, but a producer may choose its own ids.
        """
        return self.ms <= _STORED_MAX and self.seq <= _STORED_MAX

    @property
    def time(self) -> datetime:
        """UTC time of the entry; the end of the year 9999 for all later times."""
        ms = self.ms if self.ms < _LAST_MS else _LAST_MS
        return datetime.fromtimestamp(ms / 1000, UTC)


FIRST = EntryId(0, 0)
LAST = EntryId(_STORED_MAX, _STORED_MAX)
"""The last id that can be stored."""
_new = tuple.__new__


def range_after(entry_id: EntryId, end: str = "+") -> tuple[str, str]:
    """Return the start and the end of XRANGE for what follows an entry.

    After the greatest id that there is, it is an empty range: Redis refuses to begin after that id.
    """
    if entry_id.ms == entry_id.seq == _PART_MAX:
        return "+", "-"
    return f"({entry_id}", end


def of_reply(raw: bytes) -> EntryId:
    """Return the entry id in a server's reply, which is not checked because it is well-formed."""
    ms, _, seq = raw.partition(b"-")
    return _new(EntryId, (int(ms), int(seq)))


def of_replies(raws: Sequence[bytes]) -> list[EntryId]:
    """Return the entry ids in a server's replies, in a third of the time that `of_reply` takes."""
    if not raws:
        return []
    # The parts of all ids, as the text of one JSON array of integers.
    parts = iter(orjson.loads(b"[%b]" % b",".join(raws).replace(b"-", b",")))
    return list(map(_new, repeat(EntryId), zip(parts, parts, strict=True)))

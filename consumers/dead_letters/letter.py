"""A dead letter as it is read back: the entry, and the groups that rejected it.

Used by `consumers.dead_letters` and `ops.tasks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from consumers.dead_letters.letter_format import NO_EVENT, OTHER_PREFIX
from streams.entry_ids import EntryId, of_reply
from streams.wire import as_text


@dataclass(slots=True)
class Rejection:
    """One group's reason for moving an entry to the dead letters."""

    group: str = ""
    reason: str = ""
    detail: str = ""
    deliveries: int = 0
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: an entry, and the groups that rejected it."""

    tenant: str
    id: EntryId
    """The letter's id; it changes when another group rejects the same entry."""
    entry_id: str
    """The entry's id; empty in a letter that another program wrote."""
    rejections: Sequence[Rejection]
    """At least one, in the order in which they were written."""
    event: bytes | None
    """The bytes of the entry's `event` field, or None if it had none."""
    others: Sequence[tuple[bytes, bytes]]
    """The entry's other fields."""
    size: int
    """Bytes of the original event."""
    sha256: str | None = field(default=None)
    """The hash of the original event if only its beginning was stored."""

    @property
    def name(self) -> str:
        """The id that operators use: the entry's id if it is valid, otherwise the letter's."""
        try:
            return str(EntryId.parse(self.entry_id))
        except ValueError:
            return str(self.id)

    @property
    def is_complete(self) -> bool:
        """True if all bytes of the entry were stored."""
        return self.sha256 is None

    @property
    def groups(self) -> list[str]:
        """The groups that rejected the entry."""
        return [rejection.group for rejection in self.rejections]

    @property
    def group(self) -> str:
        """The groups as one text."""
        return ", ".join(self.groups)

    @property
    def reason(self) -> str:
        """The reason of the first group."""
        return self.rejections[0].reason

    @property
    def detail(self) -> str:
        """The detail of the first group's reason."""
        return self.rejections[0].detail

    @property
    def deliveries(self) -> int:
        """The highest number of deliveries of the entry to one group."""
        return max(rejection.deliveries for rejection in self.rejections)

    @property
    def rejected_at(self) -> datetime:
        """The time of the first rejection, in UTC."""
        return min((each.at for each in self.rejections if each.at), default=self.id.time)


def letter_of(tenant: str, raw_id: bytes, fields: Sequence[bytes]) -> Letter:
    """Return the letter in an entry of a tenant's stream of dead letters.

    Any program can write such an entry: missing or unexpected fields become empty values.
    """
    pairs = list(zip(fields[::2], fields[1::2], strict=True))
    facts = {name: value for name, value in pairs if not name.startswith(OTHER_PREFIX)}
    rejections = list(_rejections(pairs)) or [Rejection()]
    event = None if rejections[0].reason == NO_EVENT else facts.get(b"event", b"")
    size = facts.get(b"bytes", b"")
    return Letter(
        tenant=tenant,
        id=of_reply(raw_id),
        entry_id=as_text(facts.get(b"entry_id", b"")),
        rejections=rejections,
        event=event,
        others=[
            (name.removeprefix(OTHER_PREFIX), value)
            for name, value in pairs
            if name.startswith(OTHER_PREFIX)
        ],
        size=int(size) if _is_number(size) else len(event or b""),
        sha256=as_text(facts[b"sha256"]) if b"sha256" in facts else None,
    )


def _rejections(pairs: Sequence[tuple[bytes, bytes]]) -> Iterator[Rejection]:
    """Yield the rejections, each of which begins with its group."""
    rejection: Rejection | None = None
    for name, value in pairs:
        if name == b"group":
            if rejection is not None:
                yield rejection
            rejection = Rejection(group=as_text(value))
        elif rejection is None:
            continue
        elif name == b"reason":
            rejection.reason = as_text(value)
        elif name == b"detail":
            rejection.detail = as_text(value)
        elif name == b"deliveries" and _is_number(value):
            rejection.deliveries = int(value)
        elif name == b"at" and _is_number(value):
            rejection.at = EntryId(int(value), 0).time.astimezone(UTC)
    if rejection is not None:
        yield rejection


def _is_number(raw: bytes) -> bool:
    """Return whether bytes are a number of at most 19 digits; int() refuses very long ones."""
    return raw.isdigit() and len(raw) < 20

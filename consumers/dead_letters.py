"""Dead letters: entries that can never be applied, kept with all that is known of them.

Consumers bury (`DeadLetters`), operators look, requeue and discard (`Graveyard`). A *letter* stands
in its tenant's stream of dead letters under an id of its own; to *requeue* it is to append its
entry again, under a new entry id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import NamedTuple

import redis

from consumers.groups import Delivery
from consumers.trials import TRIAL, Trials
from streams.appender import GROUPS
from streams.discovery import all_streams
from streams.entries import FIELD, field_of
from streams.entry_ids import EntryId, of_reply
from streams.events import MAX_EVENT_BYTES, load_json
from streams.keys import Keys
from streams.wire import as_bytes, ask

DETAIL_LENGTH = 500
FOUND_FIELDS = 3_000
"""Fields beside `event` that a letter keeps at most: a script takes no more words."""
PAGE = 50
"""Letters in one round trip; each may be a whole event of the largest size."""
NO_EVENT = "no_event_field"

_FOUND = b"found:"


class DeadLetters:
    """Buries entries of one group."""

    def __init__(self, client: redis.Redis, group: str, *, keys: Keys | None = None) -> None:
        self._client = client
        self._group = group
        self._keys = keys or Keys()
        self._bury = client.register_script(_script("dead_bury.lua"))

    def bury(self, delivery: Delivery, reason: str, detail: str) -> None:
        """Move one entry from pending to the dead letters, both or neither.

        One that is pending no longer is let be: it was settled, or it will be delivered again.
        """
        facts: dict[str, str | bytes] = {
            "event": field_of(delivery.fields) or b"",
            "entry_id": delivery.id,
            "group": self._group,
            "reason": reason,
            "detail": " ".join(detail.split())[:DETAIL_LENGTH],
        }
        fields = [part for fact in facts.items() for part in fact]
        names = self._keys.stream(delivery.tenant), self._keys.dead(delivery.tenant)
        self._bury(
            keys=list(map(as_bytes, names)),
            args=[self._group, delivery.id, TRIAL, *fields, *_found(delivery.fields)],
        )

    def trials(self, consumer: str) -> Trials:
        """Give the trials of entries that may kill this consumer."""
        return Trials(self._client, self._group, consumer, self._keys)


class Letter(NamedTuple):
    """One dead letter."""

    tenant: str
    id: EntryId
    """The letter's own, which also says when it was buried."""
    entry_id: str
    group: str
    reason: str
    detail: str
    deliveries: int
    event: bytes | None
    """The bytes of the entry's `event` field, or None where it had none."""
    others: Sequence[tuple[bytes, bytes]]
    """The entry's other fields."""


class Graveyard:
    """All dead letters, as operators use them."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        keys: Keys | None = None,
        groups: Sequence[str] = GROUPS,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._client = client
        self._keys = keys or Keys()
        self._groups = groups
        self._max_event_bytes = max_event_bytes
        self._requeue = client.register_script(_script("dead_requeue.lua"))

    def tenants(self) -> Iterator[str]:
        """Give every tenant that has dead letters; the keyspace is scanned as far as is asked."""
        start, end = self._keys.dead("*").split("*")
        for name in all_streams(self._client, f"{start}*{end}"):
            yield _text(name).removeprefix(start).removesuffix(end)

    def letters(
        self,
        tenant: str,
        *,
        reason: str | None = None,
        group: str | None = None,
        oldest_first: bool = False,
    ) -> Iterator[Letter]:
        """Give the letters of a tenant, those that come meanwhile left out."""
        for raw, fields in self._pages(self._dead(tenant), oldest_first=oldest_first):
            letter = _letter(tenant, raw, fields)
            if reason in (None, letter.reason) and group in (None, letter.group):
                yield letter

    def _pages(self, dead: bytes, *, oldest_first: bool) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        newest = ask(self._client, "XREVRANGE", dead, "+", "-", "COUNT", 1)
        if not newest:
            return
        ends: tuple[bytes, bytes] = (newest[0][0], b"-")
        start, end = reversed(ends) if oldest_first else ends
        command = "XRANGE" if oldest_first else "XREVRANGE"
        while True:
            page = ask(self._client, command, dead, start, end, "COUNT", PAGE)
            yield from page
            if len(page) < PAGE:
                return
            start = b"(" + page[-1][0]

    def find(self, tenant: str, letter_id: EntryId) -> Letter | None:
        """Give one letter, or None where there is none of that id."""
        where = (self._dead(tenant), str(letter_id), str(letter_id))
        found = ask(self._client, "XRANGE", *where)
        return _letter(tenant, *found[0]) if found else None

    def requeue(self, letter: Letter) -> EntryId | None:
        """Append the letter's entry again, mark its tenant ready and delete the letter, at once.

        Gives the new entry id, or None where the letter is gone: it was requeued once already.
        """
        tenant = letter.tenant
        where = [self._keys.stream(tenant), self._keys.dead(tenant)]
        added = self._requeue(
            keys=[*where, *(self._keys.ready(group) for group in self._groups)],
            args=[str(letter.id), tenant, *self._fields(letter)],
        )
        return None if added is None else of_reply(added)

    def discard(self, letter: Letter) -> bool:
        """Delete a letter for ever; say whether it was there."""
        return bool(ask(self._client, "XDEL", self._dead(letter.tenant), str(letter.id)))

    def _dead(self, tenant: str) -> bytes:
        # The client's packer would refuse a name that somebody wrote in another encoding.
        return self._keys.dead(tenant).encode(errors="surrogateescape")

    def _fields(self, letter: Letter) -> list[bytes]:
        others = [part for pair in letter.others for part in pair]
        if letter.event is None:
            return others
        named = with_event_id(letter.event, letter.entry_id)
        # Better twice in a history than never applied.
        event = named if len(named) <= self._max_event_bytes else letter.event
        return [FIELD, event, *others]


def with_event_id(raw: bytes, entry_id: str) -> bytes:
    """Give the event with the entry id as its event id, where it is an object that has none.

    That is the name it went by: another group may have applied the entry that this one buried, and
    the history must know it again under the new entry id.
    """
    try:
        fields = load_json(raw)
    except ValueError:
        return raw
    if not isinstance(fields, dict) or fields.get("event_id") is not None:
        return raw
    # At the end, because of a key given twice the last stands: it may be there as null.
    comma = "," if fields else ""
    return b"%b%b}" % (raw.rstrip()[:-1], f'{comma}"event_id":"{entry_id}"'.encode())


def _found(fields: Sequence[bytes]) -> Iterator[bytes]:
    """Name an entry's other fields so that they cannot be taken for the letter's own."""
    pairs = zip(fields[::2], fields[1::2], strict=True)
    others = [pair for pair in pairs if pair[0] != FIELD][:FOUND_FIELDS]
    for name, text in others:
        yield _FOUND + name
        yield text


def _letter(tenant: str, raw_id: bytes, fields: Sequence[bytes]) -> Letter:
    pairs = list(zip(fields[::2], fields[1::2], strict=True))
    facts = {name: value for name, value in pairs if not name.startswith(_FOUND)}
    reason, deliveries = _text(facts.get(b"reason", b"")), facts.get(b"deliveries", b"")
    return Letter(
        tenant=tenant,
        id=of_reply(raw_id),
        entry_id=_text(facts.get(b"entry_id", b"")),
        group=_text(facts.get(b"group", b"")),
        reason=reason,
        detail=_text(facts.get(b"detail", b"")),
        deliveries=int(deliveries) if deliveries.isdigit() else 0,
        event=None if reason == NO_EVENT else facts.get(b"event", b""),
        others=[
            (name.removeprefix(_FOUND), value) for name, value in pairs if name.startswith(_FOUND)
        ],
    )


def _script(name: str) -> str:
    return files("consumers").joinpath(name).read_text(encoding="utf-8")


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")

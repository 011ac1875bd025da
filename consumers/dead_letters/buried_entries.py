"""Dead letters as operators use them: by entry, whichever groups buried it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import redis

from consumers.dead_letters.letter_format import FOUND, NO_EVENT, letter_keys, script
from streams.appender import GROUPS
from streams.discovery import all_streams
from streams.entries import FIELD
from streams.entry_ids import EntryId, of_reply
from streams.events import MAX_EVENT_BYTES, load_json
from streams.keys import Keys
from streams.wire import as_bytes, ask

PAGE = 50
"""Letters in one round trip; each may be a whole event of the largest size."""
ADOPTED_AT_ONCE = 200
"""Letters of an earlier version that one script puts into the index."""


class NotKept(Exception):
    """The entry was too large to be kept whole, and has left the stream: append it again."""


@dataclass(slots=True)
class Burial:
    """That one group gave the entry up."""

    group: str = ""
    reason: str = ""
    detail: str = ""
    deliveries: int = 0
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: an entry, and the groups that buried it."""

    tenant: str
    id: EntryId
    """The letter's own; another group's burial of the same entry changes it."""
    entry_id: str
    """Empty where somebody else wrote the letter."""
    burials: Sequence[Burial]
    """At least one, in the order in which they came."""
    event: bytes | None
    """The bytes of the entry's `event` field, or None where it had none."""
    others: Sequence[tuple[bytes, bytes]]
    """The entry's other fields."""
    size: int
    """Bytes of the event as it came."""
    sha256: str | None = field(default=None)
    """The hash of the event as it came, where only its beginning was kept."""

    @property
    def name(self) -> str:
        """The id that operators use: that of the entry, if it is one."""
        try:
            return str(EntryId.parse(self.entry_id))
        except ValueError:
            return str(self.id)

    @property
    def whole(self) -> bool:
        """True where all bytes of the entry were kept."""
        return self.sha256 is None

    @property
    def groups(self) -> list[str]:
        """The groups that buried the entry."""
        return [burial.group for burial in self.burials]

    @property
    def group(self) -> str:
        """The groups as one text."""
        return ", ".join(self.groups)

    @property
    def reason(self) -> str:
        """Why, as the first group found."""
        return self.burials[0].reason

    @property
    def detail(self) -> str:
        """The same in more words."""
        return self.burials[0].detail

    @property
    def deliveries(self) -> int:
        """The highest number of deliveries of the entry to one group."""
        return max(burial.deliveries for burial in self.burials)

    @property
    def buried_at(self) -> datetime:
        """When the first group buried the entry, in UTC."""
        return min((each.at for each in self.burials if each.at), default=self.id.time)


class Graveyard:
    """All dead letters."""

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
        self._settle = client.register_script(script("dead_settle.lua"))
        self._adopt = client.register_script(script("dead_adopt.lua"))

    def tenants(self) -> Iterator[str]:
        """Yield every tenant that has dead letters; the keyspace is scanned as far as is asked."""
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
        before: EntryId | None = None,
    ) -> Iterator[Letter]:
        """Yield the letters of a tenant, those that come meanwhile left out.

        With `before` only letters whose own id is lower.
        """
        self.adopt(tenant)
        for raw, fields in self._pages(self._dead(tenant), before, oldest_first=oldest_first):
            letter = _letter(tenant, raw, fields)
            if any(
                reason in (None, each.reason) and group in (None, each.group)
                for each in letter.burials
            ):
                yield letter

    def find(self, tenant: str, name: str) -> Letter | None:
        """Return the letter of an entry, or that of its own id; None where there is none.

        Raises:
            ValueError: it is no id.
        """
        EntryId.parse(name)
        self.adopt(tenant)
        index = letter_keys(self._keys, tenant)[2]
        try:
            known = ask(self._client, "HGET", index, name)
        except redis.ResponseError:
            known = None  # something else stands there; the next letter replaces it
        found = self._at(tenant, known or name)
        if found is None or (known and found.entry_id != name and str(found.id) != name):
            found = self._at(tenant, name)
        return found

    def requeue(self, letter: Letter) -> EntryId | None:
        """Append the letter's entry again, mark its tenant ready and delete the letter, at once.

        Return the new entry id, or None where the letter is gone: it was requeued once already.

        Raises:
            NotKept: the letter holds a part of the entry only, and nothing else holds the rest.
        """
        added = self._take(letter, self._fields(letter))
        return None if added is None else of_reply(added)

    def discard(self, letter: Letter) -> bool:
        """Delete a letter for ever; return whether it was there."""
        return self._take(letter, []) is not None

    def adopt(self, tenant: str) -> None:
        """Make one letter of those that an earlier version wrote of one entry."""
        dead, index = letter_keys(self._keys, tenant)[1:3]
        try:
            if ask(self._client, "XLEN", dead) <= ask(self._client, "HLEN", index):
                return
        except redis.ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            if ask(self._client, "TYPE", dead) != b"stream":
                raise
        after: bytes | None = b"-"
        while after is not None:
            after = self._adopt(keys=[dead, index], args=[after, ADOPTED_AT_ONCE])

    def _take(self, letter: Letter, fields: Sequence[bytes]) -> bytes | None:
        tenant = letter.tenant
        ready = [self._keys.ready(group) for group in self._groups]
        entry = letter.entry_id or str(letter.id)
        words = (as_bytes(entry), str(letter.id), as_bytes(tenant), len(self._groups))
        taken: bytes | None = self._settle(
            keys=[*letter_keys(self._keys, tenant), *ready],
            args=[*words, *self._groups, *fields],
        )
        return taken

    def _pages(
        self, dead: bytes, before: EntryId | None, *, oldest_first: bool
    ) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        newest = ask(self._client, "XREVRANGE", dead, "+", "-", "COUNT", 1)
        if not newest:
            return
        last: bytes = newest[0][0] if before is None else f"({before}".encode()
        start, end = (b"-", last) if oldest_first else (last, b"-")
        command = "XRANGE" if oldest_first else "XREVRANGE"
        while True:
            page = ask(self._client, command, dead, start, end, "COUNT", PAGE)
            yield from page
            if len(page) < PAGE:
                return
            start = b"(" + page[-1][0]

    def _at(self, tenant: str, letter_id: bytes | str) -> Letter | None:
        found = ask(self._client, "XRANGE", self._dead(tenant), letter_id, letter_id)
        return _letter(tenant, *found[0]) if found else None

    def _dead(self, tenant: str) -> bytes:
        # The client's packer would refuse a name that somebody wrote in another encoding.
        return as_bytes(self._keys.dead(tenant))

    def _fields(self, letter: Letter) -> list[bytes]:
        if not letter.whole:
            return self._fields_in_stream(letter)
        others = [part for pair in letter.others for part in pair]
        if letter.event is None:
            return others
        named = with_event_id(letter.event, letter.entry_id)
        # Better twice in a history than never applied.
        event = named if len(named) <= self._max_event_bytes else letter.event
        return [FIELD, event, *others]

    def _fields_in_stream(self, letter: Letter) -> list[bytes]:
        stream, entry = as_bytes(self._keys.stream(letter.tenant)), letter.entry_id
        found = ask(self._client, "XRANGE", stream, entry, entry)
        if not found:
            raise NotKept(
                f"entry {entry} was too large to be kept whole ({letter.size} bytes), and has left"
                " the stream: append the event again, or discard it"
            )
        fields: list[bytes] = found[0][1]
        return fields


def with_event_id(raw: bytes, entry_id: str) -> bytes:
    """Return the event with the entry id as its event id, where it is an object that has none.

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


def _letter(tenant: str, raw_id: bytes, fields: Sequence[bytes]) -> Letter:
    pairs = list(zip(fields[::2], fields[1::2], strict=True))
    facts = {name: value for name, value in pairs if not name.startswith(FOUND)}
    burials = list(_burials(pairs)) or [Burial()]
    nothing = burials[0].reason == NO_EVENT
    event = None if nothing else facts.get(b"event", b"")
    size = facts.get(b"bytes", b"")
    return Letter(
        tenant=tenant,
        id=of_reply(raw_id),
        entry_id=_text(facts.get(b"entry_id", b"")),
        burials=burials,
        event=event,
        others=[
            (name.removeprefix(FOUND), value) for name, value in pairs if name.startswith(FOUND)
        ],
        size=int(size) if size.isdigit() else len(event or b""),
        sha256=_text(facts[b"sha256"]) if b"sha256" in facts else None,
    )


def _burials(pairs: Sequence[tuple[bytes, bytes]]) -> Iterator[Burial]:
    """Yield the burials, each of which begins with its group."""
    burial: Burial | None = None
    for name, value in pairs:
        if name == b"group":
            if burial is not None:
                yield burial
            burial = Burial(group=_text(value))
        elif burial is None:
            continue
        elif name == b"reason":
            burial.reason = _text(value)
        elif name == b"detail":
            burial.detail = _text(value)
        elif name == b"deliveries" and value.isdigit():
            burial.deliveries = int(value)
        elif name == b"at" and value.isdigit():
            burial.at = EntryId(int(value), 0).time.astimezone(UTC)
    if burial is not None:
        yield burial


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")

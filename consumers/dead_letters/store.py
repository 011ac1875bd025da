"""The operators' side of the dead letters: list, find, requeue and discard, by entry.

To *requeue* a letter is to append its entry again, with a new entry id. Used by
`consumers.dead_letters.bulk`, `consumers.dead_letters.requeued`, `consumers.dead_letters.tenants`
and `ops`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import redis

from consumers.dead_letters.letter import Letter, letter_of
from consumers.dead_letters.letter_filter import LetterFilter
from consumers.dead_letters.letter_format import letter_keys, script
from consumers.delivery.ready import ready_keys
from streams.append_plan import ready_marks
from streams.appender import GROUPS
from streams.cluster import keys_of
from streams.discovery import all_streams
from streams.entries import FIELD
from streams.entry_ids import FIRST, EntryId, of_reply
from streams.escapes import storable
from streams.events import MAX_EVENT_BYTES, load_json
from streams.keys import DEAD_END, Keys
from streams.wire import as_bytes, as_text, ask, round_trip

PAGE = 50
"""Letters in one round trip; each may be an event of the largest size."""
ADOPTED_AT_ONCE = 200
"""Letters of an earlier version that one script adds to the index."""


class CannotRequeue(Exception):
    """One letter cannot be requeued, while others may be; the message has the reason."""


class NotKept(CannotRequeue):
    """The letter does not have the whole entry, and the stream does not have it any more."""


class NotAppended(CannotRequeue):
    """Redis refuses to append to the tenant's stream."""


class DeadLetterStore:
    """The dead letters of all tenants.

    Args:
        groups: the groups whose ready queues get a tenant's mark after a requeue.
        max_event_bytes: the largest event that is appended with an event id added.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        keys: Keys | None = None,
        groups: Sequence[str] = GROUPS,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._client = client
        self._keys = keys or keys_of(client)
        self._groups = groups
        self._max_event_bytes = max_event_bytes
        self._take_letter = client.register_script(script("take.lua"))
        self._adopt = client.register_script(script("adopt.lua"))

    def tenants(self) -> Iterator[str]:
        """Yield every tenant that has dead letters; this scans the keyspace.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        start, end = self._keys.dead("*").split("*")
        for name in all_streams(self._client, self._keys.pattern(DEAD_END)):
            yield as_text(name).removeprefix(start).removesuffix(end)

    def letters(
        self,
        tenant: str,
        *,
        wanted: LetterFilter | None = None,
        oldest_first: bool = False,
        before: EntryId | None = None,
        after: EntryId | None = None,
    ) -> Iterator[Letter]:
        """Yield the letters of a tenant that exist now, newest first by default.

        Args:
            tenant: any name, also one in another encoding.
            wanted: the filters; None for all letters.
            oldest_first: the order of the letters' ids.
            before: only letters with a lower id of their own.
            after: only letters with a higher id of their own.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        self.adopt(tenant)
        pages = self._pages(self._dead(tenant), before, after, oldest_first=oldest_first)
        for raw, fields in pages:
            letter = letter_of(tenant, raw, fields)
            if wanted is None or wanted.matches(letter):
                yield letter

    def find(self, tenant: str, name: str) -> Letter | None:
        """Return the letter of the entry with this id, or the letter with this id, or None.

        Raises:
            ValueError: `name` is not an entry id.
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        EntryId.parse(name)
        self.adopt(tenant)
        index = letter_keys(self._keys, tenant)[2]
        try:
            known = ask(self._client, "HGET", index, name)
        except redis.ResponseError:
            known = None  # the key has another type; the next letter replaces it
        found = self._at(tenant, known or name)
        if found is None or (known and found.entry_id != name and str(found.id) != name):
            found = self._at(tenant, name)
        return found

    def requeue(self, letter: Letter) -> EntryId | None:
        """Append the letter's entry again, mark its tenant ready and delete the letter in one step.

        Returns the new entry id, or None if the letter was requeued or discarded already.

        Raises:
            NotKept: the letter has only a part of the entry, and the stream no longer has it.
            NotAppended: Redis refuses because of the tenant's stream, or of the entry itself.
            redis.RedisError: Redis is unavailable or refuses all such commands.
        """
        try:
            added = self._take(letter, self._fields(letter))
        except redis.ResponseError as error:
            if not _is_of_letter(error):
                raise
            stream = self._keys.stream(letter.tenant)
            reason = str(error).partition(" script: ")[0]
            raise NotAppended(f"Redis refuses to append to {stream}: {reason}") from None
        return None if added is None else of_reply(added)

    def discard(self, letter: Letter) -> bool:
        """Delete a letter forever; return whether it existed.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        return self._take(letter, []) is not None

    def adopt(self, tenant: str) -> None:
        """Merge letters of an earlier version, which wrote one per group, into one per entry.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
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
        ready = ready_keys(self._keys, self._groups)
        entry = letter.entry_id or str(letter.id)
        words = (as_bytes(entry), str(letter.id), as_bytes(tenant), len(self._groups))
        taken: bytes | None = self._take_letter(
            keys=[*letter_keys(self._keys, tenant), *ready],
            args=[*words, *self._groups, *fields],
        )
        if taken and not ready:
            # The sweep finds the entry too; an error here would have it appended again.
            with suppress(redis.RedisError):
                round_trip(self._client, list(ready_marks(self._keys, self._groups, tenant)))
        return taken

    def _pages(
        self, dead: bytes, before: EntryId | None, after: EntryId | None, *, oldest_first: bool
    ) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        newest = ask(self._client, "XREVRANGE", dead, "+", "-", "COUNT", 1)
        # No letter can match, and the server refuses an interval that is open at such an end.
        if not newest or before == FIRST or (after is not None and after >= of_reply(newest[0][0])):
            return
        first = b"-" if after is None else f"({after}".encode()
        last: bytes = newest[0][0] if before is None else f"({before}".encode()
        start, end = (first, last) if oldest_first else (last, first)
        command = "XRANGE" if oldest_first else "XREVRANGE"
        while True:
            page = ask(self._client, command, dead, start, end, "COUNT", PAGE)
            yield from page
            if len(page) < PAGE:
                return
            start = b"(" + page[-1][0]

    def _at(self, tenant: str, letter_id: bytes | str) -> Letter | None:
        found = ask(self._client, "XRANGE", self._dead(tenant), letter_id, letter_id)
        return letter_of(tenant, *found[0]) if found else None

    def _dead(self, tenant: str) -> bytes:
        # The client library refuses to send a name in another encoding as text.
        return as_bytes(self._keys.dead(tenant))

    def _fields(self, letter: Letter) -> list[bytes]:
        if not letter.is_complete:
            return self._fields_in_stream(letter)
        others = [part for pair in letter.others for part in pair]
        if letter.event is None:
            if (
                not others
            ):  # written by another program; without fields, the script would discard it
                raise NotKept("the dead letter has no field of its entry: discard it")
            return others
        named = with_event_id(letter.event, letter.entry_id)
        # Without the event id the history may have the event twice, which is better than never.
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


def _is_of_letter(error: redis.ResponseError) -> bool:
    """Return whether Redis may accept other letters."""
    from consumers.faults import is_of_key  # noqa: PLC0415 - imports psycopg, which commands omit

    return is_of_key(error) or "too many results to unpack" in str(error)


def with_event_id(raw: bytes, entry_id: str) -> bytes:
    """Return the event with the entry id as its event id, if it is an object that has none.

    Another group may have applied the entry that this one rejected, under that event id. The
    history must recognize the event when it comes under the new entry id.
    """
    try:
        fields = load_json(storable(raw))
    except ValueError:
        return raw
    if not isinstance(fields, dict) or fields.get("event_id") is not None:
        return raw
    # Appended at the end: of a key given twice the last counts, and it may be present as null.
    comma = "," if fields else ""
    return b"%b%b}" % (raw.rstrip()[:-1], f'{comma}"event_id":"{entry_id}"'.encode())

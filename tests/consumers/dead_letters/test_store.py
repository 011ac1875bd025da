"""The store of dead letters: a bad entry is one letter, however often it is rejected."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
import redis
from structlog.testing import capture_logs

from consumers.dead_letters.letter import Letter
from consumers.dead_letters.letter_format import NO_EVENT
from consumers.dead_letters.limits import Limits, drop_old
from consumers.dead_letters.store import DeadLetterStore, NotKept
from consumers.dead_letters.tenants import DeadTenants
from consumers.dead_letters.writer import HEAD_BYTES, DeadLetterWriter
from consumers.delivery.deliveries import Delivery
from consumers.delivery.groups import ConsumerGroup
from streams.connection import connect
from streams.entry_ids import EntryId
from streams.keys import Keys
from streams.wire import ask
from tests.support.groups import pending

STREAM, DEAD = "tenant:42:events", "tenant:42:dead"
GROUPS = ("status", "rows")


def delivered(client: redis.Redis, group: str) -> list[Delivery]:
    return ConsumerGroup(client, group, "me").read(["42"], 1_000)


def reject_all(client: redis.Redis, *groups: str, limits: Limits | None = None) -> None:
    """Make the groups read their new entries and write a dead letter for each."""
    for group in groups:
        for delivery in delivered(client, group):
            DeadLetterWriter(client, group, limits=limits).write(
                delivery, "not_json", f"by {group}"
            )


def newest(client: redis.Redis) -> tuple[bytes, list[bytes]]:
    """Return the newest entry's id and fields."""
    ((entry_id, fields),) = ask(client, "XREVRANGE", STREAM, "+", "-", "COUNT", 1)
    return entry_id, fields


def letters(client: redis.Redis) -> list[Letter]:
    return list(DeadLetterStore(client).letters("42"))


def test_entry_that_both_groups_rejected__is_one_letter_with_one_body(
    redis_client: redis.Redis,
) -> None:
    redis_client.xadd(STREAM, {"event": b"bad", "more": b"x"}, id="5-1")
    reject_all(redis_client, *GROUPS)
    (letter,) = letters(redis_client)
    assert redis_client.xlen(DEAD) == 1
    assert (letter.name, letter.event, letter.others) == ("5-1", b"bad", [(b"more", b"x")])
    assert letter.groups == ["status", "rows"]
    assert [rejection.detail for rejection in letter.rejections] == ["by status", "by rows"]
    assert [pending(redis_client, "42", group) for group in GROUPS] == [0, 0]


def test_two_groups_reject_at_once__one_letter_an_entry(
    redis_client: redis.Redis, redis_url: str
) -> None:
    for number in range(100):
        redis_client.xadd(STREAM, {"event": b"%d" % number})
    start = threading.Barrier(2)

    def work(group: str) -> None:
        with connect(redis_url) as client:
            start.wait(10)
            reject_all(client, group)

    with ThreadPoolExecutor() as threads:
        list(threads.map(work, GROUPS))
    assert redis_client.xlen(DEAD) == 100
    assert all(sorted(letter.groups) == ["rows", "status"] for letter in letters(redis_client))


@pytest.mark.parametrize("behind", [(), ("rows",)], ids=["both have rejected", "rows is behind"])
def test_entries_that_are_bad_again_after_a_requeue__are_still_as_many(
    redis_client: redis.Redis, behind: tuple[str, ...]
) -> None:
    for _ in range(3):
        redis_client.xadd(STREAM, {"event": b"bad"})
    reject_all(redis_client, *(group for group in GROUPS if group not in behind))
    for _ in range(3):
        dead_letters = DeadLetterStore(redis_client)
        assert all(dead_letters.requeue(letter) for letter in letters(redis_client))
        reject_all(redis_client, *GROUPS)
        found = [sorted(letter.groups) for letter in letters(redis_client)]
        assert found == [["rows", "status"]] * 3
    assert [pending(redis_client, "42", group) for group in GROUPS] == [0, 0]


def test_entry_discarded_before_a_group_came_to_it__does_not_come_back(
    redis_client: redis.Redis,
) -> None:
    redis_client.xadd(STREAM, {"event": b"bad"})
    reject_all(redis_client, "status")
    (letter,) = letters(redis_client)
    assert DeadLetterStore(redis_client).discard(letter)
    assert not DeadLetterStore(redis_client).discard(letter)
    reject_all(redis_client, "rows")
    assert letters(redis_client) == []
    assert pending(redis_client, "42", "rows") == 0


def test_letter_read_before_another_group_rejected_it__is_requeued_completely(
    redis_client: redis.Redis,
) -> None:
    redis_client.xadd(STREAM, {"event": b"bad"})
    reject_all(redis_client, "status")
    (letter,) = letters(redis_client)
    reject_all(redis_client, "rows")
    assert DeadLetterStore(redis_client).requeue(letter)
    assert DeadLetterStore(redis_client).requeue(letter) is None
    assert redis_client.xlen(DEAD) == 0
    assert redis_client.xlen(STREAM) == 2


def test_two_operators_requeue_at_once__appended_once(
    redis_client: redis.Redis, redis_url: str
) -> None:
    redis_client.xadd(STREAM, {"event": b"bad"})
    reject_all(redis_client, *GROUPS)
    (letter,) = letters(redis_client)
    start = threading.Barrier(4)

    def work(_: int) -> EntryId | None:
        with connect(redis_url) as client:
            start.wait(10)
            return DeadLetterStore(client).requeue(letter)

    with ThreadPoolExecutor() as threads:
        added = list(threads.map(work, range(4)))
    assert sum(each is not None for each in added) == 1
    assert redis_client.xlen(STREAM) == 2


def earlier(client: redis.Redis, group: str, entry_id: str, **more: str) -> None:
    """Write a letter as an earlier version did: one for each group."""
    facts: dict[str, str] = {"event": "bad", "entry_id": entry_id, "group": group}
    facts |= {"reason": "not_json", "detail": group, **more, "deliveries": "2"}
    client.xadd(DEAD, facts)  # type: ignore[arg-type]


def test_letters_of_an_earlier_version__are_read_by_entry(redis_client: redis.Redis) -> None:
    for group in GROUPS:
        for number in range(300):
            earlier(redis_client, group, f"5-{number}", **{"found:more": "x"})
    redis_client.xadd(DEAD, {"foreign": "letter"})
    everything = letters(redis_client)
    (foreign,) = (letter for letter in everything if not letter.entry_id)
    assert foreign.name == str(foreign.id)
    found = [letter for letter in everything if letter.entry_id]
    assert {letter.name for letter in found} == {f"5-{number}" for number in range(300)}
    assert len(found) == redis_client.xlen(DEAD) - 1 == 300
    for letter in found:
        assert letter.groups == ["status", "rows"]
        assert [rejection.deliveries for rejection in letter.rejections] == [2, 2]
        assert letter.others == [(b"more", b"x")]
    named = DeadLetterStore(redis_client).find("42", "5-7")
    assert named
    assert DeadLetterStore(redis_client).find("42", str(named.id)) == named
    assert DeadLetterStore(redis_client).requeue(named)


def test_letter_of_an_earlier_version__that_another_group_rejects_now__stays_one(
    redis_client: redis.Redis,
) -> None:
    redis_client.xadd(STREAM, {"event": b"bad"}, id="5-1")
    earlier(redis_client, "status", "5-1")
    reject_all(redis_client, "rows")
    (letter,) = letters(redis_client)
    assert sorted(letter.groups) == ["rows", "status"]


@pytest.mark.parametrize("key", [Keys().dead_index("42"), Keys().dead_settled("42")])
def test_key_beside_the_letters_is_of_another_type__letters_work(
    redis_client: redis.Redis, key: str
) -> None:
    redis_client.set(key, "odd")
    redis_client.xadd(STREAM, {"event": b"bad"})
    reject_all(redis_client, *GROUPS)
    (letter,) = letters(redis_client)
    assert DeadLetterStore(redis_client).find("42", letter.name) == letter
    assert DeadLetterStore(redis_client).requeue(letter)
    assert letters(redis_client) == []


def test_more_letters_than_are_kept__the_oldest_go(redis_client: redis.Redis) -> None:
    limits = Limits(max_bytes=200_000)
    for _ in range(600):
        redis_client.xadd(STREAM, {"event": b"x" * 1_000})
    reject_all(redis_client, *GROUPS, limits=limits)
    kept = letters(redis_client)
    assert 100 < len(kept) < 250
    assert kept[0].entry_id == newest(redis_client)[0].decode()
    assert ask(redis_client, "MEMORY", "USAGE", DEAD, "SAMPLES", 0) < 250_000
    assert redis_client.hlen(Keys().dead_index("42")) == len(kept)
    assert [pending(redis_client, "42", group) for group in GROUPS] == [0, 0]


def test_letters_beyond_their_age_or_a_lower_limit__go_while_nothing_is_rejected(
    redis_client: redis.Redis,
) -> None:
    for number in range(1, 51):
        facts = {"event": "x" * 1_000, "entry_id": f"{number}-0", "group": "rows"}
        redis_client.xadd(DEAD, facts, id=f"{number}-0")  # type: ignore[arg-type]
    redis_client.xadd(DEAD, {"event": "x", "entry_id": "99-0", "group": "rows"})
    redis_client.zadd(Keys().dead_tenants(), {"42": 1})
    DeadTenants(redis_client, Keys(), Limits(max_bytes=30_000, keep_seconds=10**9)).maintain(1)
    assert len(letters(redis_client)) < 30
    DeadTenants(redis_client, Keys(), Limits()).maintain(1)
    assert [letter.name for letter in letters(redis_client)] == ["99-0"]
    drop_old(redis_client, Keys(), ["42", "nobody"], Limits(max_bytes=1, keep_seconds=1))
    assert redis_client.xlen(DEAD) == 1


def test_tenant_whose_keys_are_refused__the_letters_of_the_others_are_dropped_and_logged(
    redis_client: redis.Redis,
) -> None:
    for tenant in ("41", "42", "43"):
        for entry in ("1-0", "2-0"):  # the newest letter is never dropped
            facts = {"event": "x", "entry_id": entry, "group": "rows"}
            redis_client.xadd(Keys().dead(tenant), facts, id=entry)  # type: ignore[arg-type]
    ask(redis_client, "ACL", "SETUSER", "two", "on", ">pw", "+@all", "~tenant:41:*", "~tenant:43:*")
    given = redis_client.get_connection_kwargs()
    options = {name: given[name] for name in ("host", "port", "db")}
    limits = Limits(max_bytes=1, keep_seconds=1)
    refused = pytest.raises(redis.exceptions.NoPermissionError)
    with (
        redis.Redis(**options, username="two", password="pw") as client,
        capture_logs() as logs,
        refused,
    ):
        drop_old(client, Keys(), ["41", "42", "43"], limits)
    ask(redis_client, "ACL", "DELUSER", "two")
    assert [line["tenant"] for line in logs] == ["41", "43"]


def test_entry_that_is_too_large__is_kept_as_its_beginning_and_hash(
    redis_client: redis.Redis,
) -> None:
    event = b'{"type":"done"' + b" " * 2**21
    redis_client.xadd(STREAM, {"event": event, "more": b"y" * 2**21}, id="5-1")
    reject_all(redis_client, *GROUPS)
    (letter,) = letters(redis_client)
    assert letter.event == event[:HEAD_BYTES]
    assert (letter.size, letter.sha256) == (len(event), sha256(event).hexdigest())
    assert ask(redis_client, "MEMORY", "USAGE", DEAD, "SAMPLES", 0) < 100_000
    assert DeadLetterStore(redis_client).requeue(letter)  # the stream has all of it yet
    assert newest(redis_client)[1][1] == event


def test_entry_that_is_too_large_and_left_the_stream__is_not_requeued_in_part(
    redis_client: redis.Redis,
) -> None:
    redis_client.xadd(STREAM, {"more": b"y" * 2**21}, id="5-1")
    reject_all(redis_client, *GROUPS)
    redis_client.xtrim(STREAM, maxlen=0)
    (letter,) = letters(redis_client)
    with pytest.raises(NotKept, match="5-1"):
        DeadLetterStore(redis_client).requeue(letter)
    assert letters(redis_client) == [letter]


@pytest.mark.parametrize(("before", "found"), [(EntryId(0, 0), 0), (EntryId(2**64 - 1, 0), 1)])
def test_letters_before_the_first_or_a_later_id(
    redis_client: redis.Redis, before: EntryId, found: int
) -> None:
    redis_client.xadd(STREAM, {"event": b"bad"}, id="5-1")
    reject_all(redis_client, "status")
    assert len(list(DeadLetterStore(redis_client).letters("42", before=before))) == found


@pytest.mark.parametrize(
    ("after", "found"), [(EntryId(0, 0), 1), (EntryId(2**64 - 1, 2**64 - 1), 0)]
)
def test_letters_after_an_id_or_the_last_one(
    redis_client: redis.Redis, after: EntryId, found: int
) -> None:
    redis_client.xadd(STREAM, {"event": b"bad"}, id="5-1")
    reject_all(redis_client, "status")
    later = DeadLetterStore(redis_client).letters("42", oldest_first=True, after=after)
    assert len(list(later)) == found


def test_letter_of_another_program__with_endless_numbers(redis_client: redis.Redis) -> None:
    digits = "9" * 5_000
    redis_client.xadd(
        DEAD,
        {"group": "rows", "deliveries": digits, "at": digits, "event": "bad", "bytes": digits},
    )
    (letter,) = letters(redis_client)
    assert (letter.deliveries, letter.rejected_at, letter.size) == (0, letter.id.time, 3)


def test_letter_of_another_program__without_fields_of_an_entry__stays(
    redis_client: redis.Redis,
) -> None:
    redis_client.xadd(DEAD, {"group": "rows", "reason": NO_EVENT})
    (letter,) = letters(redis_client)
    with pytest.raises(NotKept):
        DeadLetterStore(redis_client).requeue(letter)
    assert redis_client.xlen(DEAD) == 1

"""Many dead letters at once, the record of every action, and operators who may only read."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import psycopg
import pytest
import redis

from streams import wire
from streams.keys import Keys
from tests.api.operators.test_routes import ACT, OPS, SECRET, Asker, bearer, ops, reject

__all__ = ["ops"]

pytestmark = pytest.mark.anyio

JWT: dict[str, Any] = {"auth": "jwt", "jwt_secret": SECRET}
ALL_READS = (
    "session/ overview/ tenants/ jobs/ stalled/ dead/ dead/groups/ actions/ dead/?reason=not_json "
    "dead/requeued/?entry=42/1-1 actions/requests/ failures/"
).split()
NOWHERE = "postgresql://u@127.0.0.1:1/none"
LATER = 4_000_000_000_000
"""A time after every letter, in milliseconds since 1970."""


def letter(client: redis.Redis, tenant: str, **facts: Any) -> str:
    """Add a dead letter with other facts than `reject` does; return its entry's id."""
    entry_id = reject(client, tenant, facts.pop("event", b'{"type":"done","id":"a1"}'))
    (found,) = wire.ask(client, "XREVRANGE", Keys().dead(tenant), "+", "-", "COUNT", 1)
    fields = dict(zip(found[1][::2], found[1][1::2], strict=True))
    client.xdel(Keys().dead(tenant), found[0])
    changed = {name.encode(): value for name, value in facts.items()}
    words = [word for pair in (fields | changed).items() for word in pair]
    wire.ask(client, "XADD", Keys().dead(tenant), "*", *words)
    return entry_id


def appended(client: redis.Redis, tenant: str) -> list[bytes]:
    """Return the events that were appended, in the order of the stream."""
    entries = wire.ask(client, "XRANGE", Keys().stream(tenant), "-", "+")
    return [fields[1] for _, fields in entries]


def operator(scope: str, **claims: Any) -> dict[str, str]:
    return {**bearer(scope=scope, **claims), "x-jobtrail-console": "1"}


def recorded(database_url: str) -> list[tuple[Any, ...]]:
    """Return actor, action and outcome of each recorded action, oldest first."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "SELECT actor, action, outcome FROM operator_actions AS a"
            " LEFT JOIN operator_outcomes AS o ON o.action_id = a.id ORDER BY a.id"
        ).fetchall()


async def test_with_the_scope_for_reading_everything_is_read_and_nothing_changed(
    ops: Asker, redis_client: redis.Redis, database_url: str
) -> None:
    one = reject(redis_client, "42")
    acts = [f"dead/42/{one}/{verb}/" for verb in ("requeue", "discard")]
    acts += [f"dead/{verb}/?until={LATER}" for verb in ("requeue", "discard")]
    async with ops(operator("ops:read", sub="auditor"), **JWT) as client:
        reads = [await client.get(path) for path in (*ALL_READS, f"dead/42/{one}/")]
        refused = [await client.post(path) for path in acts]
        english = await client.post(acts[0], headers={"accept-language": "en"})
        session = (await client.get("session/")).json()
    assert [answer.status_code for answer in reads] == [200] * len(reads)
    assert (session["subject"], session["may_act"]) == ("auditor", False)
    assert {(answer.status_code, answer.json()["type"]) for answer in refused} == {
        (403, "read-only")
    }
    assert "ops:read 권한" in refused[0].json()["detail"]
    assert "only permits reading" in english.json()["detail"]
    assert redis_client.xlen(Keys().dead("42")) == 1
    assert recorded(database_url) == []


@pytest.mark.parametrize("claims", [{"scope": "ops:read", "jobs": ["a1"]}, {"scope": "ops:write"}])
async def test_other_tokens_are_refused_alike(
    ops: Asker, redis_client: redis.Redis, claims: dict[str, Any]
) -> None:
    """A token that is limited to some jobs, or a scope that only begins alike, opens nothing."""
    one = reject(redis_client, "42")
    headers = {**bearer(**claims), "x-jobtrail-console": "1"}
    async with ops(headers, **JWT) as client:
        answers = [await client.get(path) for path in ALL_READS]
        answers += [
            await client.post(path)
            for path in (f"dead/requeue/?until={LATER}", f"dead/42/{one}/discard/", "dead/requeue/")
        ]
    assert {(answer.status_code, answer.json()["type"]) for answer in answers} == {
        (403, "forbidden")
    }


async def test_letters_are_grouped_over_all_tenants(ops: Asker, redis_client: redis.Redis) -> None:
    for number in range(3):
        detail = f"unexpected character: line 1 column {number}".encode()
        letter(redis_client, f"t{number}", event=b"{", detail=detail)
    for event in (b'{"type":"done","job_type":"excel"}', b'{"type":"failed"}', b"\xff"):
        letter(redis_client, "t0", event=event, reason=b"not_applied", detail=b"no row")
    async with ops() as client:
        found = (await client.get("dead/groups/")).json()
        excel = (await client.get("dead/groups/?job_type=excel")).json()
        query = {"reason": "not_json", "detail": found["groups"][0]["detail"]}
        listed = (await client.get("dead/", params=query)).json()
    groups = {
        (each["reason"], each["detail"], each["type"], each["letters"], each["tenant_count"])
        for each in found["groups"]
    }
    assert groups == {
        ("not_json", "unexpected character: line # column #", None, 3, 3),
        ("not_applied", "no row", "done", 1, 1),
        ("not_applied", "no row", "failed", 1, 1),
        ("not_applied", "no row", None, 1, 1),
    }
    assert (found["letters"], found["examined"], found["next_cursor"]) == (6, 6, None)
    assert found["groups"][0]["first"] <= found["groups"][0]["last"]
    assert [each["type"] for each in excel["groups"]] == ["done"]
    assert [each["tenant"] for each in listed["items"]] == ["t0", "t1", "t2"]


def event(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


async def test_letters_and_groups_name_the_jobs_their_types_and_their_workers(
    ops: Asker, redis_client: redis.Redis
) -> None:
    one = {"type": "done", "id": "a1", "job_type": "excel", "worker": "w-1"}
    events = [event(**one), event(**one), event(**{**one, "id": "a2", "worker": "w-2"})]
    events += [event(**{**one, "kind": "video"}), event(type="done", id="a1", kind="song")]
    events += [event(type="done", id="no id!", worker=7), event(type="done", kind=None)]
    for each in events:
        letter(redis_client, "t0", event=each, reason=b"invalid_event")
    letter(redis_client, "t1", event=event(**one), reason=b"invalid_event")
    letter(redis_client, "no tenant!", event=event(**one), reason=b"invalid_event")
    for unreadable in (b"{", b"7", b"\xff"):
        letter(redis_client, "t2", event=unreadable)
    async with ops() as client:
        items = (await client.get("dead/?tenant=t0")).json()["items"]
        unread = (await client.get("dead/?tenant=t2")).json()["items"]
        (group,) = (await client.get("dead/groups/?reason=invalid_event")).json()["groups"]
        kinds = {
            kind: (await client.get(f"dead/groups/?kind={kind}")).json()["letters"]
            for kind in ("job", "video", "song", "none")
        }
        page = (await client.get("dead/?kind=video")).json()
        other = await client.get("dead/?kind=song&limit=1&cursor=" + "x")
    named = [
        tuple(each[name] for name in ("kind", "job_id", "job_type", "worker", "known_job"))
        for each in reversed(items)
    ]
    assert named == [
        ("job", "a1", "excel", "w-1", True),
        ("job", "a1", "excel", "w-1", True),
        ("job", "a2", "excel", "w-2", True),
        ("video", "a1", "excel", "w-1", True),
        ("song", "a1", None, None, False),
        ("job", "no id!", None, None, False),
        (None, None, None, None, False),
    ]
    assert {(each["kind"], each["job_id"], each["worker"]) for each in unread} == {
        (None, None, None)
    }
    assert (group["letters"], group["job_count"], group["with_job"]) == (9, 4, 5)
    assert {(each["tenant"], each["kind"], each["id"]) for each in group["jobs"]} == {
        ("t0", "job", "a1"),
        ("t0", "job", "a2"),
        ("t0", "video", "a1"),
        ("t1", "job", "a1"),
    }
    assert (group["worker_count"], group["with_worker"]) == (2, 6)
    assert group["workers"][0] == {"worker": "w-1", "letters": 5}
    assert group["job_types"] == [{"job_type": "excel", "letters": 6}]
    assert kinds == {"job": 6, "video": 1, "song": 1, "none": 0}
    assert [each["kind"] for each in page["items"]] == ["video"]
    assert other.status_code == 400


async def test_steps_of_one_request_are_one_item(ops: Asker, redis_client: redis.Redis) -> None:
    for _ in range(5):
        letter(redis_client, "42")
    many = {**operator("ops", sub="kim"), "x-request-id": "many"}
    async with ops(many, **JWT) as client:
        await in_steps(client, "discard", f"until={LATER}&tenant=42")
        await client.post("dead/42/1-1/requeue/")
        again = await client.post(f"dead/discard/?until={LATER}&tenant=42")
    async with ops({**operator("ops", sub="lee"), "x-request-id": "many"}, **JWT) as client:
        await client.post(f"dead/discard/?until={LATER}")
        found = (await client.get("actions/requests/")).json()
        first = (await client.get("actions/requests/?limit=1")).json()
        cursor = first["next_cursor"]
        rest = (await client.get(f"actions/requests/?limit=9&cursor={cursor}")).json()
        of_kim = (await client.get("actions/requests/?actor=kim&action=discard")).json()["items"]
    assert again.json()["items"] == []
    assert found["next_cursor"] is None
    assert [first["items"][0], *rest["items"]] == found["items"]
    lee, kim_again, single, kim = found["items"]
    assert [(each["actor"], each["action"]) for each in found["items"]] == [
        ("lee", "discard"),
        ("kim", "discard"),
        ("kim", "requeue"),
        ("kim", "discard"),
    ]
    assert (lee["tenant_count"], lee["tenants"]) == (0, [])
    assert (kim["counts"], kim["tenants"], kim["whole"]) == ({"discarded": 5}, ["42"], True)
    assert kim["steps"] >= 3
    assert kim["outcomes"] == [{"outcome": "done", "steps": kim["steps"]}]
    assert kim["at"] < kim["ended_at"] < kim_again["at"]
    assert single["outcomes"] == [{"outcome": "no-such-page", "steps": 1}]
    assert [each["steps"] for each in of_kim] == [kim["steps"] + 1], "nothing else between"


async def test_request_with_more_steps_than_a_page_says_that_it_is_cut(
    ops: Asker, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.operators.actions.endpoint.MAX_STEPS", 4)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO operator_actions (request_id, via, action, target) SELECT"
            " CASE WHEN n > 2 THEN 'many' ELSE 'one' END, 'console', 'discard', '{}'"
            " FROM generate_series(1, 9) AS n"
        )
    pages: list[list[tuple[str, int, bool]]] = []
    cursor: str | None = ""
    async with ops() as client:
        while cursor is not None:
            page = (await client.get(f"actions/requests/?cursor={cursor}")).json()
            pages.append(
                [(each["request_id"], each["steps"], each["whole"]) for each in page["items"]]
            )
            assert all(each["outcomes"][0]["outcome"] is None for each in page["items"])
            cursor = page["next_cursor"]
    assert pages == [
        [("many", 4, False)],
        [("many", 3, False), ("one", 1, False)],
        [("one", 1, False)],
    ]


async def test_lists_with_filters_come_page_by_page(ops: Asker, redis_client: redis.Redis) -> None:
    for tenant in ("b", "a", "c"):
        for number in range(3):
            letter(redis_client, tenant, reason=[b"x", b"y"][number % 2])

    async def pages(client: httpx.AsyncClient, query: str) -> list[str]:
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await client.get(f"dead/?limit=1&cursor={cursor}&{query}")).json()
            assert len(page["items"]) <= 1
            found += [each["tenant"] for each in page["items"]]
            cursor = page["next_cursor"]
        return found

    async with ops() as client:
        assert await pages(client, "reason=x") == ["a", "a", "b", "b", "c", "c"]
        assert await pages(client, "reason=x&tenant=b") == ["b", "b"]
        assert await pages(client, "reason=z") == []
        page = (await client.get("dead/?limit=1&reason=x")).json()
        other = await client.get(f"dead/?limit=1&reason=y&cursor={page['next_cursor']}")
    assert other.status_code == 400, "a cursor belongs to its filters"


async def in_steps(client: httpx.AsyncClient, verb: str, query: str, limit: int = 2) -> Any:
    """Act on all that match, step by step, and return the outcomes."""
    items: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await client.post(f"dead/{verb}/?{query}&limit={limit}&cursor={cursor}")
        assert answer.status_code == 200, answer.text
        step = answer.json()
        assert len(step["items"]) <= limit
        items += step["items"]
        cursor = step["next_cursor"]
    return items


async def test_many_are_requeued_in_steps_and_new_ones_are_left(
    ops: Asker, redis_client: redis.Redis, database_url: str
) -> None:
    old = [letter(redis_client, tenant, reason=b"x") for tenant in "bab" for _ in range(2)]
    letter(redis_client, "a", reason=b"y")
    headers = {**operator("ops", sub="kim", tenant_id="staff"), "x-request-id": "one-action"}
    async with ops(headers, **JWT) as client:
        until = (await client.get("dead/groups/?reason=x")).json()["until"]
        # Rejected again, or for the first time, after the operator has looked.
        late = f"{until + 1}".encode()
        letter(redis_client, "a", reason=b"x", at=late)
        items = await in_steps(client, "requeue", f"reason=x&until={until}")
        again = await in_steps(client, "requeue", f"reason=x&until={until}")
        actions = (await client.get("actions/?request_id=one-action")).json()["items"]
    assert Counter(each["outcome"] for each in items) == {"requeued": 6}
    assert sorted(each["id"] for each in items) == sorted(old)
    assert all(each["entry_id"] for each in items)
    assert again == []
    assert (len(appended(redis_client, "a")), len(appended(redis_client, "b"))) == (2, 4)
    assert redis_client.xlen(Keys().dead("a")) == 2
    done = [each for each in actions if each["tenants"]]
    assert {(each["actor"], each["actor_tenant"], each["outcome"]) for each in done} == {
        ("kim", "staff", "done")
    }
    assert sum(each["details"]["counts"]["requeued"] for each in done) == 6
    assert done[0]["target"]["filters"] == {"reason": "x", "until": until}


async def test_each_letter_has_its_outcome(ops: Asker, redis_client: redis.Redis) -> None:
    cut = letter(redis_client, "42", sha256=b"0" * 64, entry_id=b"7-7")
    whole = letter(redis_client, "42")
    letter(redis_client, "no tenant!")
    odd = letter(redis_client, "41")
    redis_client.set(Keys().stream("41"), "no stream")
    async with ops(ACT) as client:
        one = await client.post(f"dead/41/{odd}/requeue/")
        items = await in_steps(client, "requeue", f"until={LATER}", 50)
        gone = await in_steps(client, "discard", f"until={LATER}&tenant=42", 50)
    found = {(each["tenant"], each["id"]): each["outcome"] for each in items}
    assert found[("42", whole)] == "requeued"
    assert found[("41", odd)] == "failed"
    assert "Redis refuses to append" in {each["id"]: each["detail"] for each in items}[odd]
    assert (one.status_code, one.json()["parameter"]) == (400, "letter")
    assert "Redis refuses to append" in one.json()["reason"]
    assert found[("42", "7-7")] == "not_kept", cut
    assert list(found.values()).count("invalid_tenant") == 1
    assert [each["outcome"] for each in gone] == ["discarded"]
    assert redis_client.exists(Keys().stream("no tenant!")) == 0


async def test_two_operators_requeue_the_same_letters_and_each_is_appended_once(
    ops: Asker, redis_client: redis.Redis
) -> None:
    ids = [reject(redis_client, "42", b'{"type":"done","id":"a1"}') for _ in range(120)]
    async with ops(ACT) as client:
        query = f"tenant=42&until={LATER}"
        runs = await asyncio.gather(*(in_steps(client, "requeue", query, 10) for _ in range(3)))
        single = await asyncio.gather(
            *(client.post(f"dead/42/{ids[0]}/requeue/") for _ in range(3))
        )
    outcomes = [each for run in runs for each in run]
    done = [each["id"] for each in outcomes if each["outcome"] == "requeued"]
    assert sorted(done) == sorted(ids)
    assert {each["outcome"] for each in outcomes} <= {"requeued", "gone"}
    named = [json.loads(event)["event_id"] for event in appended(redis_client, "42")]
    assert sorted(named) == sorted(ids)
    assert [answer.status_code for answer in single] == [404] * 3


async def test_what_became_of_requeued_entries_is_known(
    ops: Asker, redis_client: redis.Redis
) -> None:
    stream = Keys().stream("42")
    first, second, third = (
        wire.ask(redis_client, "XADD", stream, "*", "event", "x").decode() for _ in "abc"
    )
    for group in ("status", "rows"):
        redis_client.xgroup_create(stream, group, "0")
        redis_client.xreadgroup(group, "c", {stream: ">"}, count=2)
        redis_client.xack(stream, group, first)
    letter(redis_client, "42", entry_id=second.encode(), reason=b"not_json")
    async with ops() as client:
        query = "&".join(f"entry=42/{each}" for each in (first, second, third))
        items = (await client.get(f"dead/requeued/?{query}")).json()["items"]
    assert [(each["state"], each["reason"]) for each in items] == [
        ("applied", None),
        ("dead", "not_json"),
        ("waiting", None),
    ]


async def test_an_action_that_cannot_be_recorded_is_not_done(
    ops: Asker, redis_client: redis.Redis
) -> None:
    one = reject(redis_client, "42")
    async with ops({**ACT, "accept-language": "en"}, database_url=NOWHERE) as client:
        for path in (f"dead/42/{one}/requeue/", f"dead/discard/?until={LATER}"):
            answer = await client.post(path)
            assert (answer.status_code, answer.json()["type"]) == (503, "not-recorded")
            assert answer.json()["missing"] == ["postgresql"]
            assert "was not done" in answer.json()["detail"]
    assert redis_client.xlen(Keys().dead("42")) == 1
    async with ops(ACT, database_url=None) as client:  # there is nowhere to record it
        assert (await client.post(f"dead/42/{one}/requeue/")).status_code == 200


async def test_the_record_has_who_and_what_and_no_secret(
    ops: Asker, redis_client: redis.Redis, database_url: str
) -> None:
    one, other = reject(redis_client, "42"), reject(redis_client, "7")
    hostile = "\u202e<script>\x00\r\n" + "k" * 5_000
    async with ops(operator("ops", sub=hostile), **JWT) as client:
        assert (await client.post(f"dead/42/{one}/requeue/")).status_code == 200
        assert (await client.post(f"dead/42/{one}/discard/")).status_code == 404
    async with ops(operator("ops", sub="lee"), **JWT) as client:
        await in_steps(client, "discard", f"until={LATER}&tenant=7")
        everything = await client.get("actions/?limit=2")
        page = everything.json()
        cursor = page["next_cursor"]
        rest = (await client.get(f"actions/?limit=2&cursor={cursor}")).json()
        assert (await client.get(f"actions/?limit=2&actor=lee&cursor={cursor}")).status_code == 400
        of_seven = (await client.get("actions/?tenant=7&action=discard&actor=lee")).json()["items"]
    rows = recorded(database_url)
    assert [row[1:] for row in rows][:2] == [("requeue", "done"), ("discard", "no-such-page")]
    assert rows[0][0] == hostile.replace("\0", "?")[:200]
    assert [each["id"] for each in (*page["items"], *rest["items"])] == list(
        range(len(rows), 0, -1)
    )[: len(page["items"]) + len(rest["items"])]
    assert {each["actor"] for each in of_seven} == {"lee"}
    letters = [each for item in of_seven for each in item["details"]["letters"]]
    assert [(each["id"], each["outcome"]) for each in letters] == [(other, "discarded")]
    assert "eyJ" not in everything.text


async def test_old_actions_are_dropped_and_none_can_be_changed(
    ops: Asker, redis_client: redis.Redis, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO operator_actions (at, request_id, via, action, target) SELECT"
            " now() - make_interval(days => 401), 'r', 'console', 'requeue', '{}'"
            " FROM generate_series(1, 15)"
        )
        for _ in range(3):
            async with ops(ACT) as client:
                await client.post("dead/42/1-1/discard/")
        count = connection.execute("SELECT count(*) FROM operator_actions").fetchone()
        assert count == (3,)
        connection.execute("SET ROLE jobtrail_ops")
        for statement in ("DELETE FROM {}", "UPDATE {} SET at = now()", "TRUNCATE {}"):
            for table in ("operator_actions", "operator_outcomes"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.format(table))
        connection.execute("RESET ROLE")
        connection.execute("BEGIN")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO jobtrail_api")
        connection.execute("SET ROLE jobtrail_api")
        assert connection.execute("SELECT FROM operator_actions").fetchall() == []
        connection.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", "dead/groups/?until=x"),
        ("GET", "dead/groups/?until=-1"),
        ("GET", "dead/groups/?until=999999999999999"),
        ("GET", "dead/groups/?reason=%00"),
        ("GET", f"dead/groups/?detail={'x' * 501}"),
        ("GET", "dead/groups/?tenant=a%20b"),
        ("GET", "dead/groups/?cursor=x"),
        ("GET", "dead/?reason=x&cursor=1-1"),
        ("GET", "dead/requeued/"),
        ("GET", "dead/requeued/?entry=42"),
        ("GET", "dead/requeued/?entry=a%20b/1-1"),
        ("GET", "dead/requeued/?" + "&".join(["entry=42/1-1"] * 51)),
        ("GET", "actions/?cursor=x"),
        ("GET", "actions/?actor=%00"),
        ("GET", "actions/requests/?cursor=x"),
        ("GET", "dead/groups/?kind=%00"),
        ("GET", "failures/?part=%25"),
        ("GET", "failures/?since=x"),
        ("POST", "dead/requeue/"),
        ("POST", "dead/requeue/?until="),
        ("POST", "dead/discard/?until=1&limit=0"),
        ("POST", "dead/discard/?until=1&cursor=WzEsMl0"),
    ],
)
async def test_what_is_not_valid_is_refused(ops: Asker, method: str, query: str) -> None:
    async with ops(ACT) as client:
        answer = await client.request(method, query)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_many_actions_take_the_header_that_foreign_pages_cannot_send(ops: Asker) -> None:
    async with ops(OPS) as client:
        for verb in ("requeue", "discard"):
            assert (await client.post(f"dead/{verb}/?until=1")).status_code == 403
            answer = await client.post(f"dead/{verb}/?until=1", headers=ACT)
            assert answer.status_code == 200

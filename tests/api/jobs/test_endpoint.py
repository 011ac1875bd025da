"""The endpoints of stored jobs, on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count, product
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.cursors import read_cursor, write_cursor
from api.http.problems import BadRequest
from api.jobs.parameters import HistoryParameters, ListParameters, list_parameters
from projections.decoding import decode
from projections.reading.all_tenants.job_details import read_job
from projections.reading.all_tenants.job_list import OperatorFilter, list_jobs
from projections.rows.writer import JobRows
from sql import sessions
from streams.entry_ids import EntryId
from streams.events import dump_json
from streams.keys import JobKey
from streams.kinds import JOB, VIDEO
from tests.api.conftest import Asker, Writer
from tests.support.proxy import Proxy
from tests.support.tokens import FAR

pytestmark = pytest.mark.anyio

LISTS = ("/api/v1/jobs/", "/media/videos/")
SECRET = "thirty-two bytes or more of secret, for these tests"

Store = Callable[..., None]


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A function that applies events like the projection `rows`, each a second after the last."""
    rows = JobRows(lambda: sessions.connect(database_url, "test"))
    seconds = count(1)

    def apply(tenant: str, *events: dict[str, Any] | bytes) -> None:
        raws = [each if isinstance(each, bytes) else dump_json(each) for each in events]
        rows.apply(
            [decode(tenant, EntryId(next(seconds) * 1000, 0), [b"event", raw]) for raw in raws]
        )

    yield apply
    rows.close()


def ids(answer: httpx.Response, field: str = "job_id") -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [item[field] for item in answer.json()["items"]]


def bearer(**claims: Any) -> dict[str, str]:
    return {
        "authorization": f"Bearer {jwt.encode({'exp': FAR, **claims}, SECRET, algorithm='HS256')}"
    }


async def test_job(ask: Asker, store: Store, database_url: str) -> None:
    """A row has all fields, with the names of the progress answers."""
    store(
        "t",
        {"type": "queued", "id": "a", "job_type": "excel", "labels": {"team": "x"}},
        {"type": "progress", "id": "a", "percent": 40, "step": "read", "worker": "w1"},
        {"type": "done", "id": "a", "result": {"rows": 10**40}, "worker": "w2"},
        {"type": "failed", "id": "b", "error": "no space", "code": "disk"},
    )
    async with ask(database_url=database_url) as client:
        done = (await client.get("/api/v1/jobs/a/")).json()
        failed = (await client.get("/api/v1/jobs/b/")).json()
        listed = (await client.get("/api/v1/jobs/")).json()
    assert done == {
        "job_id": "a",
        "id": "a",
        "job_type": "excel",
        "status": "DONE",
        "progress": None,
        "error_message": None,
        "result": {"rows": 10**40},
        "code": None,
        "labels": {"team": "x"},
        "worker": "w2",
        "attempt": 1,
        "created_at": "1970-01-01T00:00:01Z",
        "started_at": "1970-01-01T00:00:02Z",
        "updated_at": "1970-01-01T00:00:03Z",
        "ended_at": "1970-01-01T00:00:03Z",
    }
    assert (failed["status"], failed["error_message"], failed["code"], failed["result"]) == (
        "FAILED",
        "no space",
        "disk",
        None,
    )
    assert listed["next_cursor"] is None
    assert [item["job_id"] for item in listed["items"]] == ["b", "a"]
    assert listed["items"][0] == failed


LIVES = [
    ["queued"],
    ["processing"],
    ["queued", "progress"],
    ["progress", "progress"],
    ["progress", "done"],
    ["progress", "failed"],
    ["progress", "cancelled"],
]


@pytest.mark.parametrize("life", LIVES, ids="-".join)
@pytest.mark.parametrize("next_attempt", [[], ["queued"], ["processing"], ["progress"]])
async def test_progress__a_row_and_the_progress_answer_agree(  # noqa: PLR0917 - fixtures
    ask: Asker,
    store: Store,
    write: Writer,
    database_url: str,
    life: list[str],
    next_attempt: list[str],
) -> None:
    """Progress is answered only while processing: in a row, in a list and for operators."""
    events = [
        {"type": type_, "id": "a", "attempt": attempt, "percent": 100, "extra": {"n": [attempt]}}
        for attempt, types in enumerate((life, next_attempt), 1)
        for type_ in types
    ]
    store("t", *events)
    write("t", *events)
    async with ask(database_url=database_url) as client:
        live = (await client.get("/api/v1/jobs/a/progress/")).json()
        row = (await client.get("/api/v1/jobs/a/")).json()
        listed = (await client.get("/api/v1/jobs/")).json()["items"][0]
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        shown = await read_job(connection, JobKey("t", "job", "a"))
        page = await list_jobs(connection, OperatorFilter(), None, 5)
    told = [row, listed, shown or {}, page.jobs[0]]
    assert [each["progress"] for each in told] == [live["progress"]] * len(told)
    assert {each["status"] for each in told} == {live["status"]}
    assert (live["progress"] is None) == ([*life, *next_attempt][-1] != "progress")


async def test_video(ask: Asker, store: Store, database_url: str) -> None:
    """A video has the words of its kind; a numeric id is a number."""
    result = {"hls_path": "v/1.m3u8", "duration": 10**40, "thumbnail": "t.jpg"}
    big = "9" * 40
    store(
        "t",
        {"type": "done", "kind": "video", "id": "1", "result": result},
        {"type": "cancelled", "kind": "video", "id": "007", "reason": "by its owner"},
        {"type": "queued", "kind": "video", "id": big},
        {"type": "queued", "id": "a-job"},
    )
    async with ask(database_url=database_url) as client:
        done = (await client.get("/media/videos/1/")).json()
        cancelled = (await client.get("/media/videos/007/")).json()
        listed = await client.get("/media/videos/")
    assert {"id": 1, "status": "READY", "error_reason": None, "result": result}.items() <= (
        done.items()
    )
    assert (done["hls_path"], done["duration"]) == ("v/1.m3u8", 10**40)
    assert (cancelled["id"], cancelled["error_reason"]) == ("007", "by its owner")
    assert cancelled["hls_path"] is None
    assert ids(listed, "id") == [int(big), "007", 1]


async def test_filters(ask: Asker, store: Store, database_url: str) -> None:
    """Each filter keeps the jobs that match; several filters keep those that match all."""
    store(
        "t",
        {"type": "queued", "id": "a", "job_type": "excel", "labels": {"team": "x", "a.b": "1&2"}},
        {"type": "queued", "id": "b", "job_type": "omr", "labels": {"team": "x"}},
        {"type": "queued", "id": "c", "job_type": "excel", "labels": {"team": "y"}},
        {"type": "done", "id": "c", "labels": {"at": "12:30", "x:y": "z", "empty": ""}},
        {"type": "progress", "id": "a", "at": "2026-05-01T12:00:00+09:00"},
    )
    expected = {
        "": ["c", "b", "a"],
        "status=DONE": ["c"],
        "status=PENDING": ["b"],
        "job_type=excel": ["c", "a"],
        "job_type=none": [],
        "label.team=x": ["b", "a"],
        "label.a.b=1%262": ["a"],
        "label=team:x": ["b", "a"],
        "label=team%3Ax&label=a.b%3A1%262": ["a"],
        "label=team:x&label.a.b=1%262": ["a"],
        "label=at:12:30": ["c"],
        "label.at=12:30": ["c"],
        "label.x:y=z": ["c"],
        "label=x:y:z": [],
        "label=empty:": ["c"],
        "label.team=x&job_type=excel": ["a"],
        "label.team=x&status=PENDING": ["b"],
        "label.team=x&label.a.b=1%262&status=PROCESSING&job_type=excel": ["a"],
        "updated_since=2026-05-01T03:00:00Z": ["a"],
        "updated_since=2026-05-01T12:00:00+09:00": ["a"],  # as a blank, which + is in a query
        "updated_since=2026-05-01t03:00:00.000001z": [],
        "updated_since=1970-01-01T00:00:04Z&status=DONE": ["c"],
        "updated_since=2026-05-01T02:59:60Z": ["a"],  # a leap second, as an event's `at` may have
        "updated_since=2026-05-01T11:59:60.000001+09:00": [],
        "limit=1": ["c"],
    }
    async with ask(database_url=database_url) as client:
        for query, found in expected.items():
            assert ids(await client.get(f"/api/v1/jobs/?{query}")) == found, query


async def test_changed_labels(ask: Asker, store: Store, database_url: str) -> None:
    """A changed label is found by its current value only."""
    store("t", {"type": "queued", "id": "a", "labels": {"team": "x"}, "job_type": "omr"})
    store("t", {"type": "processing", "id": "a", "labels": {"team": "y"}, "job_type": "excel"})
    async with ask(database_url=database_url) as client:
        for query, found in {
            "label.team=x": [],
            "label.team=y": ["a"],
            "job_type=omr": [],
            "job_type=excel": ["a"],
        }.items():
            assert ids(await client.get(f"/api/v1/jobs/?{query}")) == found, query


async def test_pages(ask: Asker, store: Store, database_url: str) -> None:
    """Following the cursors returns every row once and in order, also with changing page sizes."""
    store("t", *({"type": "queued", "id": f"a{n:02}"} for n in range(25)))
    found: list[str] = []
    async with ask(database_url=database_url) as client:
        cursor, sizes = "", iter([7, 3, 1, 200])
        while cursor is not None:
            query = f"limit={next(sizes)}" + (f"&cursor={cursor}" if cursor else "")
            answer = await client.get(f"/api/v1/jobs/?{query}")
            found += ids(answer)
            cursor = answer.json()["next_cursor"]
    assert found == [f"a{n:02}" for n in reversed(range(25))]
    assert list(sizes) == []


BAD = {
    "limit=0": "limit",
    "limit=201": "limit",
    "limit=-1": "limit",
    "limit=1_0": "limit",
    "limit=%D9%A5": "limit",
    "limit=": "limit",
    "limit=1&limit=2": "limit",
    "status=READY": "status",
    "status=done": "status",
    "status=": "status",
    "job_type=%00": "job_type",
    "job_type=" + "x" * 201: "job_type",
    "updated_since=5": "updated_since",
    "updated_since=2026-01-01": "updated_since",
    "updated_since=2026-01-01T00:00:00": "updated_since",
    "updated_since=2026-13-01T00:00:00Z": "updated_since",
    "label.=x": "label.",
    "label.a=%00": "label.a",
    "label.a=" + "x" * 257: "label.a",
    "labels=x": "labels",
    "labels[label.team]=x": "labels[label.team]",
    "label=x": "label",
    "label=": "label",
    "label=:x": "label",
    "label=a:%00": "label.a",
    "label=a:" + "x" * 257: "label.a",
    "label=" + "a" * 65 + ":x": "label." + "a" * 65,
    "label=a:x&label=a:y": "label.a",
    "label=a:x&label.a=x": "label.a",
    "&".join(f"label={n}:x" for n in range(6)): "label.*",
    "&".join(f"label.{n}=x" for n in range(6)): "label.*",
    "&".join(f"f{n}=x" for n in range(30)): "*",
    "job_type=%FF": "*",
    "cursor=": "cursor",
    "cursor=x": "cursor",
    "cursor=AAAA": "cursor",
    "cursor=%00": "cursor",
    "cursor=" + "A" * 1_001: "cursor",
    "nonsense=1": "nonsense",
    "tenant=u": "tenant",
    "access_token=u": "access_token",
}


@pytest.mark.parametrize(("query", "parameter"), BAD.items(), ids=[key[:40] for key in BAD])
async def test_bad_query(ask: Asker, database_url: str, query: str, parameter: str) -> None:
    """An invalid query of a list is refused, with the name of the parameter."""
    async with ask(database_url=database_url) as client:
        answer = await client.get(f"/api/v1/jobs/?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["parameter"] == parameter


async def test_parameters_of_one_job(ask: Asker, store: Store, database_url: str) -> None:
    """One job takes no parameters; its history takes those of a page."""
    store("t", {"type": "queued", "id": "a"})
    async with ask(database_url=database_url) as client:
        for path in ("/api/v1/jobs/a/?x=1", "/api/v1/jobs/a/history/?x=1"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["parameter"]) == (400, "x"), path


async def test_cursor_of_another_list(ask: Asker, store: Store, database_url: str) -> None:
    """A cursor is valid for its own list only: tenant, kind and filters."""
    store("t", *({"type": "queued", "id": str(n)} for n in range(3)))
    async with ask(database_url=database_url) as client:
        answer = await client.get("/api/v1/jobs/?limit=1&status=PENDING")
        cursor = answer.json()["next_cursor"]
        assert ids(await client.get(f"/api/v1/jobs/?status=PENDING&cursor={cursor}")) == ["1", "0"]
        for path, headers in (
            ("/api/v1/jobs/?", {}),
            ("/api/v1/jobs/?status=DONE&", {}),
            ("/api/v1/jobs/?status=PENDING&job_type=x&", {}),
            ("/media/videos/?", {}),
            ("/api/v1/jobs/0/history/?", {}),
            ("/api/v1/jobs/?status=PENDING&", {"x-tenant-id": "u"}),
        ):
            answer = await client.get(f"{path}cursor={cursor}", headers=headers)
            assert (answer.status_code, answer.json()["parameter"]) == (400, "cursor"), path
        for at in range(len(cursor)):
            other = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
            answer = await client.get(f"/api/v1/jobs/?status=PENDING&cursor={other}")
            # The last character has bits to spare, which say nothing.
            assert answer.status_code == 400 or at == len(cursor) - 1


FORGED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=5,
) | st.lists(
    st.sampled_from(["a", "2026-01-01", "2026-01-01T00:00:00+00:00", "x\0", 1, -1, 2**63]),
    max_size=4,
)


async def test_forged_cursor(ask: Asker, store: Store, database_url: str) -> None:
    """With a valid checksum over any position, the answer is a page or 400."""
    store("t", {"type": "queued", "id": "a"})
    no_filters = list_parameters(JOB).of_query(b"").filter_values
    async with ask(database_url=database_url) as client:
        for position in (
            [1, 2],
            ["a"],
            ["2026-01-01T00:00:00", "a"],
            ["2026-01-01T00:00:00+00:00", "x\0"],
            ["infinity", "a"],
            ["9999-12-31T23:59:59-23:59", "a"],
            [2**63, 1, "e"],
            [-1, 0, ""],
            [1, 1, "\0"],
            [],
            {"a": 1},
            None,
            7,
        ):
            given_: Any = position
            listing = write_cursor(["t", "job", no_filters], given_)
            history = write_cursor(["t", "job", "a"], given_)
            for path in (
                f"/api/v1/jobs/?cursor={listing}",
                f"{LISTS[0]}a/history/?cursor={history}",
            ):
                assert (await client.get(path)).status_code in (200, 400), position


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: raw.hex()))
async def test_any_text_for_a_cursor(text: str) -> None:
    with pytest.raises(BadRequest):
        read_cursor(["t", "job", []], text)


@given(st.lists(st.text(max_size=9) | st.integers(0, 2**63 - 1), max_size=4), FORGED)
async def test_cursor_round_trip(position: list[str | int], of_list: Any) -> None:
    assert read_cursor([of_list], write_cursor([of_list], position)) == position


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: quote(text, "=&+").encode()))
async def test_any_query(raw: bytes) -> None:
    """A query is parsed or refused; nothing else happens."""
    for model in (HistoryParameters, list_parameters(JOB), list_parameters(VIDEO)):
        limit, refusal = 1, b""
        try:
            limit = model.of_query(raw).limit
        except BadRequest as problem:
            refusal = problem.response.body
        assert 1 <= limit <= 200
        assert len(refusal) < 1_000


async def test_large_result(ask: Asker, store: Store, database_url: str) -> None:
    """Lists omit results of 10,000 bytes and more; the row has results of any size."""
    texts = {"under": "x" * 9_991, "limit": "x" * 9_992, "large": "가" * 250_000}
    for job_id, text in texts.items():
        store("t", {"type": "done", "id": job_id, "result": {"t": text}})
        store("t", {"type": "done", "kind": "video", "id": job_id, "result": {"t": text}})
    async with ask(database_url=database_url) as client:
        for url in LISTS:
            items = {
                item["job_id" if url == LISTS[0] else "id"]: item
                for item in (await client.get(url)).json()["items"]
            }
            for job_id, text in texts.items():
                size = len(
                    json.dumps({"t": text}, ensure_ascii=False, separators=(",", ":")).encode()
                )
                item, whole = items[job_id], (await client.get(f"{url}{job_id}/")).json()
                assert whole["result"] == {"t": text}
                assert "result_omitted" not in whole
                if size < 10_000:
                    assert item == whole
                else:
                    assert item["result"] is None
                    assert (item["result_omitted"], item["result_bytes"]) == (True, size)


async def test_history(ask: Asker, store: Store, database_url: str) -> None:
    """Events are returned unchanged in the order of their entries, and a retried one once."""
    own = {"type": "progress", "id": "a", "event_id": "own", "percent": 5, "unknown": [1, 10**30]}
    store("t", *({"type": "progress", "id": "a", "percent": n} for n in range(12)), own, own)
    store("t", {"type": "done", "id": "b"})
    async with ask(database_url=database_url) as client:
        path = "/api/v1/jobs/a/history/"
        whole = (await client.get(path)).json()
        paged, cursor = [], ""
        while cursor is not None:
            page = (await client.get(f"{path}?limit=5{cursor and '&cursor=' + cursor}")).json()
            assert len(page["items"]) <= 5
            paged += page["items"]
            cursor = page["next_cursor"]
    assert whole["next_cursor"] is None
    assert paged == whole["items"]
    assert [item["entry_id"] for item in paged] == [f"{n}000-0" for n in range(1, 14)]
    assert paged[-1] == {
        "entry_id": "13000-0",
        "event_id": "own",
        "type": "progress",
        "attempt": 1,
        "at": "1970-01-01T00:00:13Z",
        "event": own,
    }


async def test_a_history_has_no_texts_for_operators(
    ask: Asker, store: Store, database_url: str
) -> None:
    """Whoever appended the event; its other fields are unchanged."""
    event = {"type": "failed", "id": "a", "error": "Try again.", "unknown": [1, 10**30, "\u20ac"]}
    store("t", event | {"operator_detail": "OSError: /srv/app"}, event | {"attempt": 2})
    async with ask(database_url=database_url) as client:
        answer = await client.get("/api/v1/jobs/a/history/")
    assert "/srv/app" not in answer.text
    assert [item["event"] for item in answer.json()["items"]] == [event, event | {"attempt": 2}]


async def test_a_history_is_served_whatever_its_events_escape(
    ask: Asker, store: Store, database_url: str
) -> None:
    """Half of a surrogate pair, NUL and whole pairs; texts for operators are left out of each."""
    texts = (rb"\ud800", rb"\u0000", rb"\ud83d\ude00", rb"a\\u0041")
    private = (b"", b',"operator_detail":"/srv/app"', rb',"operator\u005fdetail":"/srv/app"')
    for text, detail in product(texts, private):
        store("t", b'{"type":"failed","id":"a","mine":"%b"%b}' % (text, detail))
    async with ask(database_url=database_url) as client:
        answer = await client.get("/api/v1/jobs/a/history/")
    assert (answer.status_code, "/srv/app" in answer.text) == (200, False)
    served = [item["event"]["mine"] for item in answer.json()["items"]]
    assert served[1::3] == served[2::3] == ["\ufffd", "\ufffd", "\U0001f600", r"a\u0041"]
    assert len(served) == 12


@pytest.mark.parametrize("letter", ["\U0001f600", "\x01", "한"])
async def test_history__longest_event_ids__every_page_can_be_requested(
    ask: Asker, store: Store, database_url: str, letter: str
) -> None:
    event = {"type": "progress", "id": "a", "event_id": letter * 200}
    store("t", event, {**event, "percent": 1}, {"type": "done", "id": "a"})
    seen, cursor = list[str](), ""
    async with ask(database_url=database_url) as client:
        for _ in range(3):
            answer = await client.get(f"/api/v1/jobs/a/history/?limit=1{cursor}")
            seen += ids(answer, "entry_id")
            cursor = f"&cursor={answer.json()['next_cursor']}"
    assert seen == ["1000-0", "2000-0", "3000-0"]


async def test_long_history(ask: Asker, store: Store, database_url: str) -> None:
    """The size of a page does not depend on the number of events."""
    store("t", {"type": "queued", "id": "a"})
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO job_events SELECT 't', 'job', 'a', n::text, '1970-01-01', n, 0,"
            " 'progress', 1, to_timestamp(0), '{}' FROM generate_series(10000, 29999) AS n"
        )
    seen, cursor = list[str](), ""
    async with ask(database_url=database_url) as client:
        for _ in range(3):
            answer = await client.get(f"/api/v1/jobs/a/history/?limit=200{cursor}")
            seen += ids(answer, "entry_id")
            cursor = "&cursor=" + answer.json()["next_cursor"]
    assert seen == ["1000-0", *(f"{n}-0" for n in range(10_000, 10_599))]


async def test_nothing_of_anothers(ask: Asker, store: Store, database_url: str) -> None:
    """Another tenant's job, a job outside the token's list and a missing job: equal bytes."""
    store(
        "t",
        {"type": "done", "id": "a", "job_type": "x", "labels": {"l": "v"}},
        {"type": "done", "kind": "video", "id": "a"},
    )
    settings = {"database_url": database_url, "auth": "jwt", "jwt_secret": SECRET}
    other, narrow = bearer(tenant_id="u"), bearer(tenant_id="t", jobs=["b"])
    async with ask(headers=bearer(tenant_id="t"), **settings) as client:
        for url in LISTS:
            for rest in ("{}/", "{}/history/"):
                nothing = await client.get(url + rest.format("none"))
                assert nothing.status_code == 404
                assert nothing.json()["detail"] == "진행 중인 작업이 아닙니다."
                for job_id, headers in (
                    ("a", other),
                    ("a", narrow),
                    ("-malformed", {}),
                    ("x" * 129, {}),
                    ("%00", {}),
                    ("a%0A", {}),
                ):
                    answer = await client.get(url + rest.format(job_id), headers=headers)
                    assert (answer.status_code, answer.content) == (404, nothing.content), job_id
                    assert dict(answer.headers) == dict(nothing.headers)
            for query in ("", "?job_type=x", "?label.l=v", "?updated_since=1970-01-01T00:00:00Z"):
                unknown = await client.get(url + query, headers=bearer(tenant_id="nobody"))
                assert unknown.content == b'{"items":[],"next_cursor":null}'
                for headers in (other, narrow):
                    answer = await client.get(url + query, headers=headers)
                    assert answer.content == unknown.content
                    assert dict(answer.headers) == dict(unknown.headers)


async def test_no_timing_oracle(
    ask: Asker, store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same statements are sent for another tenant's job and for a missing one."""
    store("t", {"type": "done", "id": "a"})

    said: list[str] = []
    original = psycopg.AsyncConnection.execute

    async def execute(self: Any, query: Any, *rest: Any, **named: Any) -> Any:
        said.append(query)
        return await original(self, query, *rest, **named)

    sent: list[list[str]] = []
    async with ask(headers={"x-tenant-id": "u"}, database_url=database_url) as client:
        await client.get("/api/v1/jobs/a/")  # connects
        monkeypatch.setattr(psycopg.AsyncConnection, "execute", execute)
        for job_id in ("a", "none"):
            said.clear()
            await client.get(f"/api/v1/jobs/{job_id}/")
            await client.get(f"/api/v1/jobs/{job_id}/history/")
            sent.append([*said])
    assert sent[0] == sent[1]
    # Of the row and of the history; the transaction's begin, settings, role and end included.
    assert len(sent[0]) == 5 + 6


async def test_narrowed_token(ask: Asker, store: Store, database_url: str) -> None:
    """A token limited to some ids lists only these, with the same filters and cursors."""
    store("t", *({"type": "queued", "id": str(n)} for n in range(6)))
    store("t", {"type": "done", "id": "4"}, {"type": "queued", "kind": "video", "id": "4"})
    settings = {"database_url": database_url, "auth": "jwt", "jwt_secret": SECRET}
    mine = bearer(tenant_id="t", jobs=["1", "3", "4", "none"])
    async with ask(headers=mine, **settings) as client:
        assert ids(await client.get("/api/v1/jobs/")) == ["4", "3", "1"]
        assert ids(await client.get("/api/v1/jobs/?status=PENDING")) == ["3", "1"]
        first = await client.get("/api/v1/jobs/?limit=1")
        cursor = first.json()["next_cursor"]
        assert ids(await client.get(f"/api/v1/jobs/?cursor={cursor}")) == ["3", "1"]
        assert ids(await client.get("/media/videos/"), "id") == []
        assert (await client.get("/api/v1/jobs/3/")).status_code == 200
        assert (await client.get("/media/videos/4/")).status_code == 404


async def test_who_asks(ask: Asker, database_url: str) -> None:
    """Without a tenant 400, without a token 401, before any other check."""
    settings = {"database_url": database_url, "auth": "jwt", "jwt_secret": SECRET}
    async with ask(headers={"x": "y"}, database_url=database_url) as client:
        answer = await client.get("/api/v1/jobs/?nonsense=1")
        assert (answer.status_code, answer.json()["detail"]) == (400, "tenant가 필요합니다.")
    async with ask(**settings) as client:
        for path in ("/api/v1/jobs/?x=1", "/media/videos/1/", "/media/videos/1/history/"):
            assert (await client.get(path)).status_code == 401


async def test_paths(ask: Asker, store: Store, database_url: str) -> None:
    """The trailing slash is optional; HEAD has no body; other methods are refused."""
    store("t", {"type": "queued", "id": "a"})
    async with ask(database_url=database_url) as client:
        for path in ("/api/v1/jobs", "/api/v1/jobs/a", "/api/v1/jobs/a/history"):
            bare, slashed = await client.get(path), await client.get(f"{path}/")
            assert (bare.status_code, bare.content) == (200, slashed.content)
            assert slashed.headers["cache-control"] == "no-store"
            assert slashed.headers["content-type"] == "application/json"
            head = await client.head(f"{path}/")
            assert (head.status_code, head.content) == (200, b"")
            assert (await client.post(f"{path}/")).status_code == 405


async def test_no_database(ask: Asker, write: Writer) -> None:
    """Without a database all else is served; requests for stored jobs return 503."""
    write("t", {"type": "queued", "id": "a"})
    async with ask() as client:
        for path in ("/api/v1/jobs/", "/media/videos/1/", "/api/v1/jobs/a/history/"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) >= 1
        assert (await client.get("/api/v1/jobs/a/progress/")).status_code == 200
        assert (await client.get("/readyz")).json() == {"status": "ready", "database": "none"}


async def test_database_away_and_back(
    ask: Asker, store: Store, write: Writer, database_url: str
) -> None:
    """During an outage progress is served; after it, stored jobs too, without a restart."""
    store("t", {"type": "queued", "id": "a"})
    write("t", {"type": "queued", "id": "a"})
    port = int(database_url.partition("@")[2].partition(":")[2].partition("/")[0])
    with Proxy(port) as proxy:
        proxy.stop()
        url = database_url.replace(f":{port}/", f":{proxy.port}/")
        async with ask(database_url=url) as client:
            away = await client.get("/api/v1/jobs/a/")
            assert away.status_code == 503
            assert "127.0.0.1" not in away.text
            assert (await client.get("/readyz")).json()["database"] == "away"
            assert (await client.get("/api/v1/jobs/a/progress/")).status_code == 200
            proxy.start()
            for _ in range(20):
                answer = await client.get("/api/v1/jobs/a/")
                if answer.status_code == 200:
                    break
            assert answer.status_code == 200
            assert (await client.get("/readyz")).json()["database"] == "ok"
            proxy.cut()
            assert (await client.get("/api/v1/jobs/a/")).status_code == 200


async def test_connections_that_died(ask: Asker, store: Store, database_url: str) -> None:
    """A restart of the server causes no failed request."""
    store("t", {"type": "queued", "id": "a"})
    async with ask(database_url=database_url) as client:
        for _ in range(3):
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'jobtrail-api'"
                )
            assert (await client.get("/api/v1/jobs/a/")).status_code == 200
            assert ids(await client.get("/api/v1/jobs/")) == ["a"]


async def test_slow_read(ask: Asker, store: Store, database_url: str) -> None:
    """A read that takes too long is cancelled, and its connection is used again."""
    store("t", {"type": "queued", "id": "a"})
    settings = {
        "database_url": database_url,
        "api_pool_size": 1,
        "api_statement_timeout_seconds": 0.05,
    }
    async with ask(**settings) as client:
        with psycopg.connect(database_url) as connection:
            connection.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            for path in ("/api/v1/jobs/", "/api/v1/jobs/?status=DONE", "/api/v1/jobs/a/history/"):
                assert (await client.get(path)).status_code == 503, path
        assert ids(await client.get("/api/v1/jobs/")) == ["a"]


async def test_migrations_missing(
    ask: Asker, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database without the tables cannot be read; the log has the reason."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE job_facets CASCADE")
    async with ask(database_url=database_url) as client:
        assert (await client.get("/api/v1/jobs/")).status_code == 503
    assert "jobtrail migrate" in "".join(capsys.readouterr())


def test_list_parameters__of_each_kind__have_its_own_words() -> None:
    for kind in (JOB, VIDEO):
        shown = list_parameters(kind).model_json_schema()["properties"]["status"]["anyOf"][0]
        assert set(shown["enum"]) == set(kind.words.values())
    moment = ListParameters.of_fields({"updated_since": "2026-01-01T00:00:00+09:00"}).updated_since
    assert moment == datetime(2025, 12, 31, 15, tzinfo=UTC)

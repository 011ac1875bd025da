"""The operators' endpoints and the console's pages, requested from the application directly."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import redis
from structlog.testing import capture_logs

from api.app import create_app
from ops.operator_view import RedisOperatorView
from projections.decoding import decode
from projections.reading.all_tenants import job_details
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql import sessions
from streams import wire
from streams.entry_ids import EntryId
from streams.events import dump_json
from streams.keys import Keys
from streams.settings import Settings
from tests.api.conftest import _running
from tests.support.tokens import FAR

pytestmark = pytest.mark.anyio

SECRET = "a secret of these tests, and of no more"
OPS = {"x-tenant-id": "console"}
TENANT = {"x-tenant-id": "42"}
PROGRESS = "http://127.0.0.1:8000/api/v1/jobs/a1/progress/"
ACT = {**OPS, "x-jobtrail-console": "1"}
READS = (
    "session/ overview/ tenants/ tenants/42/ figures/ charts/ alerts/ issues/ jobs/ stalled/ dead/ "
    "dead/42/1-1/ jobs/42/job/a1/ jobs/42/job/a1/history/ jobs/42/job/a1/result/ "
    "jobs/42/job/none/ jobs/42/job/a1/past/ suggestions/?text=4 failures/ actions/requests/"
).split()
CONSOLE = "http://127.0.0.1:8000/console/"
ACTS = "dead/42/1-1/requeue/ dead/42/1-1/discard/".split()
Asker = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
Apply = Callable[..., None]


@pytest.fixture
def ops(redis_url: str, database_url: str) -> Asker:
    """A function that opens a client of an application with operators' endpoints."""

    @asynccontextmanager
    async def opened(
        headers: dict[str, str] | None = None, host: str = "127.0.0.1:8000", **settings: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        known = {"redis_url": redis_url, "database_url": database_url, "auth": "dev", **settings}
        made = Settings(**known)
        app = create_app(made, RedisOperatorView.of(made))
        transport = httpx.ASGITransport(app)
        url = f"http://{host}/api/v1/ops/"
        async with (
            _running(app),
            httpx.AsyncClient(transport=transport, base_url=url, headers=headers or OPS) as client,
        ):
            yield client

    return opened


@pytest.fixture
def apply(redis_client: redis.Redis, database_url: str) -> Iterator[Apply]:
    """A function that applies events like both projections, a second apart, from an hour ago on."""
    cache = StatusCache(redis_client)
    rows = JobRows(lambda: sessions.connect(database_url, "test"))
    ms = int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000)

    def write(tenant: str, *events: dict[str, Any]) -> None:
        nonlocal ms
        entries = []
        for event in events:
            ms += 1000
            entries.append(decode(tenant, EntryId(ms, 0), [b"event", dump_json(event)]))
        cache.apply(entries)
        rows.apply(entries)

    yield write
    rows.close()


_NUMBERS = count()


def reject(client: redis.Redis, tenant: str, event: bytes = b'{"type":"done","id":"a1"}') -> str:
    """Add a dead letter as consumers do, and return its entry's id."""
    entry_id = f"5-{next(_NUMBERS)}"
    facts: dict[str, str | bytes] = {
        "event": event,
        "entry_id": entry_id,
        "group": "status",
        "reason": "not_json",
        "detail": "d",
        "deliveries": "1",
    }
    words = [word for pair in facts.items() for word in pair]
    wire.ask(client, "XADD", Keys().dead(tenant), "*", *words)
    client.zadd(Keys().dead_tenants(), {tenant: 1})
    return entry_id


def bearer(**claims: Any) -> dict[str, str]:
    return {
        "authorization": f"Bearer {jwt.encode({'exp': FAR, 'tenant_id': '42', **claims}, SECRET)}"
    }


async def test_without_the_scope_everything_answers_the_same(
    ops: Asker, apply: Apply, redis_client: redis.Redis
) -> None:
    """403 with the same bytes for every resource, also of the caller's own tenant."""
    apply("42", {"type": "done", "id": "a1", "result": {"rows": 1}})
    letter = reject(redis_client, "42")
    headers = {**bearer(scope="other"), "x-jobtrail-console": "1"}
    async with ops(headers, auth="jwt", jwt_secret=SECRET) as client:
        answers = [await client.get(path) for path in (*READS, f"dead/42/{letter}/")]
        answers += [await client.post(path) for path in (*ACTS, f"dead/42/{letter}/discard/")]
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (403, answers[0].content)
    }
    assert redis_client.xlen(Keys().dead("42")) == 1


async def test_without_a_token_everything_answers_401(ops: Asker) -> None:
    async with ops(ACT, auth="jwt", jwt_secret=SECRET) as client:
        answers = [await client.get(path) for path in READS]
        answers += [await client.post(path) for path in ACTS]
    assert {answer.status_code for answer in answers} == {401}


async def test_with_the_scope_all_tenants_are_there(ops: Asker, apply: Apply) -> None:
    for tenant in ("42", "43"):
        apply(tenant, {"type": "done", "id": f"of-{tenant}"})
    async with ops(bearer(scope="read ops"), auth="jwt", jwt_secret=SECRET) as client:
        jobs = (await client.get("jobs/")).json()["items"]
    assert [(job["tenant"], job["id"]) for job in jobs] == [("43", "of-43"), ("42", "of-42")]


async def test_failed_jobs_are_grouped_by_their_errors(ops: Asker, apply: Apply) -> None:
    for tenant in ("42", "43"):
        apply(
            tenant,
            {"type": "failed", "id": "a1", "code": "row", "error": "row 17", "worker": "w-1"},
            {"type": "failed", "id": "a2", "code": "row", "error": "row 2", "job_type": "excel"},
            {"type": "failed", "id": "b1", "error": "no code"},
            {"type": "done", "id": "b2"},
        )
    async with ops() as client:
        found = (await client.get("failures/")).json()
        row = (await client.get("failures/?code=row&tenant=43&state=done")).json()
        by_id = (await client.get("failures/?id=b")).json()
        none = (await client.get("failures/?id=zz")).json()
    counts = [(each["code"], each["text"], each["jobs"]) for each in found["groups"]]
    assert counts == [("row", "row #", 4), (None, "no code", 2)]
    assert (found["jobs"], found["tenants"], found["examined"], found["more"]) == (6, 2, 6, False)
    assert found["first"] < found["last"]
    assert (row["jobs"], row["tenants"], row["groups"][0]["worker"]) == (2, 1, "w-1")
    assert row["groups"][0]["job_type"] == "excel"
    assert (by_id["jobs"], by_id["examined"]) == (2, 4)
    assert (none["jobs"], none["first"], none["groups"]) == (0, None, [])


@pytest.mark.parametrize("path", ACTS)
async def test_an_action_takes_a_header_that_foreign_pages_cannot_send(
    ops: Asker, path: str
) -> None:
    async with ops() as client:
        assert (await client.post(path)).status_code == 403
        assert (await client.post(path, headers=ACT)).status_code == 404
        assert (await client.get(path)).status_code == 405


@pytest.mark.parametrize("host", ["evil.example:8000", "192.0.2.1", "[::1", ""])
async def test_in_dev_mode_only_this_machines_names_serve(ops: Asker, host: str) -> None:
    """A page of a foreign host name that points to loopback belongs to the name's owner."""
    async with ops({**ACT, "host": host}) as client:
        assert (await client.get("jobs/")).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
async def test_in_dev_mode_this_machines_names_serve(ops: Asker, host: str) -> None:
    async with ops({**OPS, "host": host}) as client:
        assert (await client.get("session/")).json() == {
            "mode": "dev",
            "kinds": ["job", "video"],
            "subject": None,
            "may_act": True,
        }


async def test_requeueing_appends_the_entry_and_says_who_did_it(
    ops: Asker, redis_client: redis.Redis
) -> None:
    letter = reject(redis_client, "42")
    headers = {**bearer(scope="ops", tenant_id="staff"), "x-jobtrail-console": "1"}
    async with ops(headers, auth="jwt", jwt_secret=SECRET) as client:
        with capture_logs() as logs:
            done = await client.post(f"dead/42/{letter}/requeue/")
            again = await client.post(f"dead/42/{letter}/requeue/")
    assert (done.status_code, again.status_code) == (200, 404)
    ((entry_id, fields),) = wire.ask(redis_client, "XRANGE", Keys().stream("42"), "-", "+")
    assert entry_id.decode() == done.json()["entry_id"]
    assert fields[1] == b'{"type":"done","id":"a1","event_id":"%b"}' % letter.encode()
    assert redis_client.xlen(Keys().dead("42")) == 0
    (log,) = [each for each in logs if each["event"] == "dead_letter_requeued"]
    assert (log["by_tenant"], log["tenant"], log["letter"]) == ("staff", "42", letter)
    assert "ey" not in str(log.values())


async def test_discarding_deletes_one_letter(ops: Asker, redis_client: redis.Redis) -> None:
    one, other = reject(redis_client, "42"), reject(redis_client, "42")
    async with ops(ACT) as client:
        assert (await client.post(f"dead/42/{one}/discard/")).json() == {"discarded": True}
        left = (await client.get("dead/?tenant=42")).json()["items"]
    assert [letter["id"] for letter in left] == [other]


async def test_letters_come_page_by_page(ops: Asker, redis_client: redis.Redis) -> None:
    ids = [reject(redis_client, "42") for _ in range(5)]
    found: list[str] = []
    async with ops() as client:
        cursor = ""
        while cursor is not None:
            page = (await client.get(f"dead/?tenant=42&limit=2&cursor={cursor}")).json()
            found += [letter["id"] for letter in page["items"]]
            cursor = page["next_cursor"]
    assert found == ids[::-1]


async def test_bytes_that_are_no_text_are_shown_in_base64(
    ops: Asker, redis_client: redis.Redis
) -> None:
    letter = reject(redis_client, "42", b"\xff\xfe")
    async with ops() as client:
        assert (await client.get(f"dead/42/{letter}/")).json()["event"] == {"base64": "//4="}


async def test_a_job_says_why_it_is_in_its_state(ops: Asker, apply: Apply) -> None:
    apply(
        "42",
        {"type": "processing", "id": "a1"},
        {"type": "progress", "id": "a1", "step": "reading", "percent": 10},
        {"type": "done", "id": "a1", "result": {"whole": 2**70}},
        {"type": "failed", "id": "a1", "error": "late"},
    )
    async with ops() as client:
        job = (await client.get("jobs/42/job/a1/")).json()
        again = await client.get("jobs/42/job/a1/")
        same = await client.get("jobs/42/job/a1/", headers={"if-none-match": again.headers["etag"]})
    assert job["job"]["result"] == f'{{"whole":{2**70}}}'
    assert (job["explanation"]["type"], job["explanation"]["matches_row"]) == ("done", True)
    assert [(each["type"], each["rule"]) for each in job["explanation"]["superseded"]] == [
        ("failed", "rank"),
        ("processing", "rank"),
        ("progress", "rank"),
    ]
    assert [span["name"] for span in job["timeline"]["spans"]] == ["reading"]
    assert job["live"]["status"] == "DONE"
    assert same.status_code == 304


async def test_a_job_that_waits_for_a_retry_says_why_its_last_attempt_failed(
    ops: Asker, apply: Apply
) -> None:
    reason = "OSError: /srv/app"
    apply(
        "42",
        {"type": "processing", "id": "a1"},
        {"type": "queued", "id": "a1", "attempt": 2, "operator_detail": reason},
    )
    async with ops() as client:
        job = (await client.get("jobs/42/job/a1/")).json()
    found = job["last_failure"]
    assert (found["attempt"], found["code"], found["text"]) == (1, None, reason)
    assert job["job"]["error"] is None


async def test_events_after_the_end_are_called_late(ops: Asker, apply: Apply) -> None:
    apply(
        "42",
        {"type": "processing", "id": "a1"},
        {"type": "progress", "id": "a1", "step": "read", "step_name_display": "Reading"},
        {"type": "failed", "id": "a1", "error": "late"},
        {"type": "progress", "id": "a1", "step": "read", "percent": 90},
        {"type": "cancelled", "id": "a1"},
        {"type": "done", "id": "a1"},
        {"type": "progress", "id": "a1", "attempt": 2, "step": "again"},
    )
    async with ops() as client:
        job = (await client.get("jobs/42/job/a1/")).json()
    late = {(e["type"], e["attempt"]): e["late"] for e in job["explanation"]["superseded"]}
    assert late == {
        ("done", 1): False,  # which replaces another end
        ("cancelled", 1): True,
        ("failed", 1): False,
        ("processing", 1): False,
        ("progress", 1): True,
    }
    spans = job["timeline"]["spans"]
    assert [(span["display"], span["late"]) for span in spans] == [
        ("Reading", False),
        ("read", True),
        ("again", False),
    ]
    moments = {(each["type"], each["late"]) for each in job["timeline"]["moments"]}
    assert {("cancelled", True), ("done", False), ("failed", False)} <= moments
    failed = next(each for each in job["timeline"]["moments"] if each["type"] == "failed")
    assert spans[0]["end"] == failed["at"]


async def test_event_that_was_appended_again__it_is_explained_once(
    ops: Asker, apply: Apply
) -> None:
    done = {"type": "done", "id": "a1", "event_id": "e"}
    apply("42", done)
    apply("42", done, {**done, "at": "2026-01-01T00:00:00Z"})
    async with ops() as client:
        job = (await client.get("jobs/42/job/a1/")).json()
    # The third has other bytes: it is an event of its own, and late.
    assert [each["rule"] for each in job["explanation"]["superseded"]] == ["entry_id"]
    assert [each["events"] for each in job["explanation"]["notes"]] == [1]
    assert [each["late"] for each in job["timeline"]["moments"]] == [False, True]
    assert (job["events"], job["events_read"]) == (2, 2)


async def test_failure_that_was_appended_again__its_first_entry_is_shown(
    ops: Asker, apply: Apply
) -> None:
    failed = {"type": "failed", "id": "a1", "event_id": "e", "error": "no rows"}
    apply("42", failed)
    apply("42", failed)
    async with ops() as client:
        job = (await client.get("jobs/42/job/a1/")).json()
    assert job["last_failure"]["entry_id"] == job["job"]["entry_id"]
    assert job["explanation"]["matches_row"] is True


async def test_more_ends_than_are_read__the_earliest_still_wins(
    ops: Asker, apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_details, "MAX_DECIDING", 3)
    failures = [{"type": "failed", "id": "a1", "error": str(number)} for number in range(6)]
    apply("42", *failures, *({"type": "progress", "id": "a1"} for _ in range(5)))
    async with ops() as client:
        job = (await client.get("jobs/42/job/a1/")).json()
    assert job["explanation"]["matches_row"] is True
    assert job["explanation"]["entry_id"] == job["job"]["entry_id"]
    (note,) = job["explanation"]["notes"]
    assert note["events"] == 6
    assert note["text"].startswith("At least 6 events of attempt 1 arrived after its end")
    assert (job["events"], job["events_read"]) == (11, 7)


async def test_the_past_of_a_job_is_what_its_clients_saw(ops: Asker, apply: Apply) -> None:
    seen = []
    async with ops() as client:
        for event in (
            {"type": "queued", "id": "a1", "job_type": "excel"},
            {"type": "progress", "id": "a1", "step": "reading", "percent": 10},
            {"type": "failed", "id": "a1", "error": "no file"},
            {"type": "progress", "id": "a1", "percent": 20},
            {"type": "done", "id": "a1", "attempt": 2, "result": {"rows": 1}},
        ):
            apply("42", event)
            seen.append((await client.get(PROGRESS, headers=TENANT)).json())
        past = [
            (await client.get(f"jobs/42/job/a1/past/?events={number}")).json()
            for number in range(1, 6)
        ]
        after = (await client.get("jobs/42/job/a1/past/?events=99")).json()
    assert [each["answer"] for each in past] == seen
    assert [(each["type"], each["state"], each["won"]) for each in past] == [
        ("queued", "queued", True),
        ("progress", "processing", True),
        ("failed", "failed", True),
        ("progress", "failed", False),
        ("done", "done", True),
    ]
    assert after == past[-1]


async def test_what_is_typed_suggests_jobs_and_tenants(ops: Asker, apply: Apply) -> None:
    for tenant in ("acme", "acme-labs", "zeta"):
        apply(tenant, {"type": "done", "id": "import-1"})
    async with ops() as client:
        found = {
            text: (await client.get(f"suggestions/?text={text}")).json()
            for text in ("imp", "LABS", "acmme", "")
        }
        paged = await client.get("jobs/?label.a=b&part=x&since=2026-01-01T00:00:00Z")
    assert [job["tenant"] for job in found["imp"]["jobs"]] == ["acme", "acme-labs", "zeta"]
    assert found["LABS"]["tenants"] == ["acme-labs"]
    assert found["acmme"]["tenants"][0] == "acme"
    assert found[""] == {"jobs": [], "tenants": []}
    assert paged.json()["items"] == []


async def test_a_large_result_is_given_by_itself(ops: Asker, apply: Apply) -> None:
    apply("42", {"type": "done", "id": "a1", "result": {"text": "x" * 70_000}})
    async with ops() as client:
        job = (await client.get("jobs/42/job/a1/")).json()["job"]
        whole = (await client.get("jobs/42/job/a1/result/")).json()["result"]
    assert job["result"] is None
    assert len(whole) == job["result_bytes"] > 70_000


async def test_history_comes_page_by_page_in_order(ops: Asker, apply: Apply) -> None:
    apply("42", *[{"type": "progress", "id": "a1", "percent": n} for n in range(5)])
    found: list[str] = []
    async with ops() as client:
        cursor = ""
        while cursor is not None:
            url = f"jobs/42/job/a1/history/?limit=2&cursor={cursor}"
            page = (await client.get(url)).json()
            found += [each["event"] for each in page["items"]]
            cursor = page["next_cursor"]
    assert [re.findall(r'"percent":(\d)', text) for text in found] == [[str(n)] for n in range(5)]


async def test_silent_jobs_are_stalled(ops: Asker, apply: Apply) -> None:
    apply("42", {"type": "processing", "id": "silent"}, {"type": "done", "id": "ended"})
    async with ops() as client:
        assert [job["id"] for job in (await client.get("stalled/")).json()["items"]] == ["silent"]
        assert (await client.get("overview/")).json()["stalled"]["count"] == 1


@pytest.mark.parametrize(
    "query",
    [
        "jobs/?state=nothing",
        "jobs/?kind=nothing",
        "jobs/?tenant=a%20b",
        "jobs/?id=%00",
        "jobs/?id=~",
        "jobs/?limit=0",
        "jobs/?limit=x",
        "jobs/?cursor=x",
        "jobs/?cursor=WzEsMiwzLDRd",
        "jobs/?cursor=WyJ4IiwiYSIsImIiLCJjIl0",
        "jobs/?job_type=%ED%A0%80x%00",
        "jobs/?part=%25",
        "jobs/?worker=%00",
        "jobs/?label.=x",
        "jobs/?label.a=%00",
        "jobs/?label.a=1&label.b=1&label.c=1&label.d=1&label.e=1&label.f=1",
        "jobs/?since=yesterday",
        "jobs/?since=2026-01-01T00:00:00",
        "jobs/?until=0001-01-01T00:00:00%2B14:00",
        "jobs/42/job/a1/past/?events=0",
        "suggestions/?text=a%20b",
        "stalled/?cursor=WyJ4IiwiYSIsImIiLCJjIl0",
        "tenants/?order=x",
        "tenants/?cursor=x",
        "tenants/?name=%00",
        "charts/?span=2h",
        "dead/?cursor=x&tenant=42",
        "jobs/42/job/a1/history/?cursor=99999999999999999999-0",
    ],
)
async def test_what_is_not_of_its_form_is_refused(ops: Asker, query: str) -> None:
    async with ops() as client:
        answer = await client.get(query)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "tenants/none/",
        "tenants/a%20b/",
        "jobs/42/job/none/",
        "jobs/42/nokind/a1/",
        "jobs/a%20b/job/a1/",
        "dead/42/x/",
        "dead/42/1-1/",
    ],
)
async def test_what_is_not_there_answers_404(ops: Asker, path: str) -> None:
    async with ops() as client:
        assert (await client.get(path)).status_code == 404


async def test_with_servers_away_the_overview_says_so(ops: Asker) -> None:
    nowhere = {
        "redis_url": "redis://127.0.0.1:1/0",
        "database_url": "postgresql://u@127.0.0.1:1/none",
    }
    async with ops(**nowhere) as client:
        overview = await client.get("overview/")
        jobs, dead = await client.get("jobs/"), await client.get("dead/")
    assert [server["ok"] for server in overview.json()["servers"]] == [False, False]
    assert (jobs.status_code, jobs.json()["missing"]) == (503, ["postgresql"])
    assert (dead.status_code, dead.json()["missing"]) == (503, ["redis"])


async def test_pages_come_with_a_strict_policy_and_a_tag(ops: Asker) -> None:
    async with ops({"accept": "*/*"}) as client:
        page = await client.get(CONSOLE)
        same = await client.get(CONSOLE, headers={"if-none-match": page.headers["etag"]})
        redirect = await client.get(CONSOLE.rstrip("/"))
        names = re.findall(r'(?:src|href)="([\w./]+)"', page.text)
        files = [await client.get(f"{CONSOLE}{name}") for name in names]
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert (same.status_code, same.content) == (304, b"")
    assert redirect.status_code == 308
    assert httpx.URL("http://h/console").join(redirect.headers["location"]).path == "/console/"
    assert {file.status_code for file in files} == {200}
    assert {file.headers["x-content-type-options"] for file in files} == {"nosniff"}


def test_pages_name_no_other_server_and_hold_no_inline_code() -> None:
    folder = Path(__file__).parents[3] / "api" / "operators" / "static"
    for path in filter(Path.is_file, folder.iterdir()):  # `vendor` has the libraries of others
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|innerHTML|\beval\(|\sstyle=", text), path.name
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\son\w+=|<script(?! type=\"module\" src=)", page)


def test_the_page_names_all_modules_in_advance_and_no_others() -> None:
    """Without this list, the browser finds each module only in the one that imports it."""
    folder = Path(__file__).parents[3] / "api" / "operators" / "static"
    page = (folder / "index.html").read_text(encoding="utf-8")
    imported, left = set[str](), ["app.js"]
    while left:
        name = left.pop()
        path = folder / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""  # messages.js is made
        code = re.sub(r"^//.*", "", text, flags=re.MULTILINE)
        names = set(re.findall(r"""(?:from|import\(?)\s*["']\./([\w/.]+\.js)["']""", code))
        left += names - imported
        imported |= names
    assert sorted(re.findall(r'modulepreload" href="([^"]+)"', page)) == sorted(imported)


async def test_without_operators_there_is_no_console(redis_url: str) -> None:
    app = create_app(Settings(redis_url=redis_url, auth="dev"))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=OPS
    ) as client:
        assert (await client.get("/console/")).status_code == 404
        assert (await client.get("/api/v1/ops/jobs/")).status_code == 404

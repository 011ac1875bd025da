"""The progress endpoints, from a request to the bytes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis

from tests.api.conftest import Asker, Writer

pytestmark = pytest.mark.anyio

JOB, VIDEO = "/api/v1/jobs/{}/progress/", "/media/videos/{}/progress/"
WORK = {
    "step": "transcoding",
    "percent": 42.5,
    "step_index": 4,
    "step_total": 7,
    "step_name_display": "인코딩",
    "step_percent": 30,
    "remaining_seconds": 61.5,
}


async def test_job__processing(ask: Asker, write: Writer) -> None:
    write(
        "t",
        {"type": "processing", "id": "a1", "job_type": "excel"},
        {"type": "progress", "id": "a1", "extra": {"rows": 3}, **WORK},
    )
    async with ask() as client:
        answer = await client.get(JOB.format("a1"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "job_id": "a1",
        "job_type": "excel",
        "status": "PROCESSING",
        "progress": {**WORK, "step_name": "transcoding", "rows": 3},
        "attempt": 1,
        "updated_at": "1970-01-01T00:00:02Z",
    }


async def test_job__ended(ask: Asker, write: Writer) -> None:
    write(
        "t",
        {"type": "progress", "id": "a1", **WORK},
        {"type": "done", "id": "a1", "result": {"rows": 12}},
        {"type": "failed", "id": "a2", "error": "no such sheet", "attempt": 3},
        {"type": "cancelled", "id": "a3", "reason": "by its owner"},
    )
    async with ask() as client:
        done, failed, cancelled = [
            (await client.get(JOB.format(f"a{n}"))).json() for n in (1, 2, 3)
        ]
    common = {"job_type": None, "progress": None, "attempt": 1}
    assert done == {
        **common,
        "job_id": "a1",
        "status": "DONE",
        "error_message": None,
        "result": {"rows": 12},
        "updated_at": "1970-01-01T00:00:02Z",
    }
    assert failed == {
        **common,
        "job_id": "a2",
        "status": "FAILED",
        "error_message": "no such sheet",
        "attempt": 3,
        "updated_at": "1970-01-01T00:00:03Z",
    }
    assert cancelled == {
        **common,
        "job_id": "a3",
        "status": "CANCELLED",
        "error_message": "by its owner",
        "updated_at": "1970-01-01T00:00:04Z",
    }


async def test_video__processing(ask: Asker, write: Writer) -> None:
    write("t", {"type": "progress", "kind": "video", "id": "7", **WORK})
    async with ask() as client:
        answer = await client.get(VIDEO.format("7"))
    assert answer.json() == {
        "id": 7,
        "status": "PROCESSING",
        "encoding_progress": 42,
        "encoding_remaining_seconds": 61,
        "encoding_step_index": 4,
        "encoding_step_total": 7,
        "encoding_step_name": "인코딩",
        "encoding_step_percent": 30,
        "attempt": 1,
        "updated_at": "1970-01-01T00:00:01Z",
    }


async def test_video__ended(ask: Asker, write: Writer) -> None:
    result = {"hls_path": "hls/7/master.m3u8", "duration": 93.4}
    write(
        "t",
        {"type": "done", "kind": "video", "id": "7", "result": result},
        {"type": "failed", "kind": "video", "id": "8", "error": "no video stream"},
    )
    nothing = dict.fromkeys(
        f"encoding_{name}"
        for name in (
            "progress",
            "remaining_seconds",
            "step_index",
            "step_total",
            "step_name",
            "step_percent",
        )
    )
    async with ask() as client:
        done, failed = [(await client.get(VIDEO.format(n))).json() for n in (7, 8)]
    assert done == {
        "id": 7,
        "status": "READY",
        **nothing,
        **result,
        "attempt": 1,
        "updated_at": "1970-01-01T00:00:01Z",
    }
    assert failed == {
        "id": 8,
        "status": "FAILED",
        **nothing,
        "hls_path": None,
        "duration": None,
        "error_reason": "no video stream",
        "attempt": 1,
        "updated_at": "1970-01-01T00:00:02Z",
    }


async def test_answer__follows_the_documents(ask: Asker, write: Writer) -> None:
    """A cached answer is never returned for other documents."""
    async with ask() as client:
        seen = []
        for percent in (10, 20, 10):
            write("t", {"type": "progress", "id": "a1", "percent": percent})
            seen.append((await client.get(JOB.format("a1"))).json()["progress"]["percent"])
    assert seen == [10, 20, 10]


async def test_answer__large(ask: Asker, write: Writer) -> None:
    result = {"text": "x" * 9_000}
    write("t", {"type": "done", "id": "a1", "result": result})
    async with ask() as client:
        assert (await client.get(JOB.format("a1"))).json()["result"] == result


@pytest.mark.parametrize("path", [JOB, VIDEO])
async def test_kinds_and_tenants_apart(ask: Asker, write: Writer, path: str) -> None:
    """Another tenant's job and an invalid id are answered like a missing job, to the byte."""
    other = "video" if path == JOB else "job"
    write(
        "u", {"type": "processing", "id": "7"}, {"type": "processing", "id": "7", "kind": "video"}
    )
    write("t", {"type": "processing", "id": "7", "kind": other})
    async with ask() as client:
        absent = await client.get(path.format("none"))
        assert absent.status_code == 404
        assert absent.headers["content-type"] == "application/problem+json"
        assert absent.json() == {
            "type": "no-such-job",
            "title": "Not Found",
            "status": 404,
            "detail": "진행 중인 작업이 아닙니다.",
        }
        for job_id in ("7", ":7", "a b", "x" * 129, "a%0A", "%2E%2E", "a%2Fb", "7:status", ""):
            answer = await client.get(path.format(job_id))
            assert (answer.content, answer.headers) == (absent.content, absent.headers), job_id


async def test_id__allowed_characters(ask: Asker, write: Writer) -> None:
    job_id = "aZ09._:-" + "x" * 120
    write("t", {"type": "processing", "id": job_id})
    async with ask() as client:
        for sent in (job_id, job_id.replace(":", "%3A")):
            assert (await client.get(JOB.format(sent))).json()["job_id"] == job_id


@pytest.mark.parametrize("path", [JOB, VIDEO])
async def test_trailing_slash(ask: Asker, write: Writer, path: str) -> None:
    write(
        "t", {"type": "processing", "id": "7"}, {"type": "processing", "id": "7", "kind": "video"}
    )
    async with ask() as client:
        with_slash = await client.get(path.format("7"))
        without = await client.get(path.format("7").rstrip("/"))
    assert without.status_code == 200
    assert (without.content, without.headers) == (with_slash.content, with_slash.headers)


async def test_head(ask: Asker, write: Writer) -> None:
    """HEAD is answered like GET, without the body."""
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        for path in (JOB.format("a1"), JOB.format("none"), "/healthz", "/none"):
            got, head = await client.get(path), await client.head(path)
            assert head.content == b""
            assert (head.status_code, head.headers) == (got.status_code, got.headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [JOB.format("a1"), VIDEO.format("7"), "/healthz"])
async def test_other_methods(ask: Asker, method: str, path: str) -> None:
    async with ask() as client:
        answer = await client.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 405


async def test_etag(ask: Asker, write: Writer) -> None:
    """A caller that has the answer gets 304 until it changes."""
    write("t", {"type": "progress", "id": "a1", "percent": 10})
    path = JOB.format("a1")
    async with ask() as client:
        full = await client.get(path)
        etag = full.headers["etag"]
        assert etag[0] == etag[-1] == '"'
        for known in (etag, f'"x", {etag}', f"W/{etag}", f'"x",W/{etag} ,"y"', "*", " * "):
            answer = await client.get(path, headers={"if-none-match": known})
            assert (answer.status_code, answer.content) == (304, b""), known
            assert answer.headers["etag"] == etag
            assert answer.headers["cache-control"] == full.headers["cache-control"]
            assert "content-length" not in answer.headers
        for other in ('"x"', etag.strip('"'), etag[:-2] + '"', ""):
            answer = await client.get(path, headers={"if-none-match": other})
            assert (answer.status_code, answer.content) == (200, full.content), other
        write("t", {"type": "progress", "id": "a1", "percent": 11})
        answer = await client.get(path, headers={"if-none-match": etag})
        assert answer.status_code == 200
        assert answer.headers["etag"] != etag
        absent = await client.get(JOB.format("none"), headers={"if-none-match": "*"})
        assert absent.status_code == 404


async def test_concurrent_requests(ask: Asker, write: Writer, mgets: Callable[[], int]) -> None:
    """Fifty simultaneous requests take one MGET."""
    write("t", *({"type": "processing", "id": str(n)} for n in range(50)))
    async with ask() as client:
        before = mgets()
        answers = await asyncio.gather(*(client.get(JOB.format(n)) for n in range(50)))
    assert mgets() - before == 1
    assert [answer.json()["job_id"] for answer in answers] == [str(n) for n in range(50)]


async def test_legacy_keys(ask: Asker, redis_client: redis.Redis, write: Writer) -> None:
    """With old workers, their progress is answered, of processing jobs only."""
    old = b'{"step": "probing", "remaining_seconds": 9}'
    for key in ("job:1:progress", "job:2:progress", "job:video:1:progress"):
        redis_client.set(key, old)
    write(
        "t", {"type": "processing", "id": "1"}, {"type": "processing", "kind": "video", "id": "1"}
    )
    for setting, step, percent in (
        ("on", {"step": "probing", "remaining_seconds": 9}, 15),
        ("off", None, None),
    ):
        async with ask(legacy_keys=setting) as client:
            assert (await client.get(JOB.format(1))).json()["progress"] == step
            assert (await client.get(VIDEO.format(1))).json()["encoding_progress"] == percent
            assert (await client.get(JOB.format(2))).status_code == 404


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff"])
async def test_unreadable_status(ask: Asker, redis_client: redis.Redis, raw: bytes) -> None:
    redis_client.set("tenant:t:job:a1:status", raw)
    async with ask() as client:
        assert (await client.get(JOB.format("a1"))).status_code == 404


async def test_key_of_another_type(ask: Asker, redis_client: redis.Redis) -> None:
    redis_client.hset("tenant:t:job:a1:status", "status", "PROCESSING")
    async with ask() as client:
        assert (await client.get(JOB.format("a1"))).status_code == 404


async def test_security_headers(ask: Asker, write: Writer) -> None:
    write("t", {"type": "processing", "id": "a1"})
    async with ask() as client:
        for path in (JOB.format("a1"), JOB.format("b"), "/healthz", "/readyz", "/metrics", "/none"):
            headers = (await client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert (
                headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
            )
            shown = path == JOB.format("a1")
            assert headers["cache-control"] == ("private, no-cache" if shown else "no-store"), path

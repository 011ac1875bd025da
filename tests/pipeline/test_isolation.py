"""What a caller learns of another tenant: nothing, on every operation that the document has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import httpx
import pytest

from streams.appender import EventAppender
from streams.connection import connect
from tests.pipeline.conftest import Start
from tests.support.deployment import EVENTS, TENANT, Deployment, deploy, token

ABSENT = "no-such-job"
ABSENT_LETTER = "1-1"
JOB, VIDEO = "done-1", "8"


class Asked(NamedTuple):
    """One operation, asked for what the first tenant has or for what nobody has."""

    name: str
    method: str
    path: str
    who: str
    """`anybody`, `caller`, `viewer` or `operator`."""
    body: dict[str, Any] | None


@pytest.fixture
def deployed(start: Start, redis_url: str, database_url: str) -> Deployment:
    return deploy(start, redis_url, database_url, bad_token_rate_limit="0")


def test_every_operation(deployed: Deployment, redis_url: str) -> None:
    """All that others may see of a tenant is what they see of what does not exist, to the byte."""
    strangers = {
        "another tenant": token("second"),
        "another tenant's operator's frontend": token("second", scope="read write opsx"),
        "narrowed to others": token(jobs=[ABSENT, "other"], videos=[]),
    }
    compared = 0
    for real, absent in _pairs(deployed):
        for who, stranger in strangers.items():
            if real.name == "watchTenant":
                continue  # it does not end: see below
            seen, nothing = _seen(deployed, real, stranger), _seen(deployed, absent, stranger)
            assert seen == nothing, f"{real.name} for {who}"
            assert not _tells(seen), f"{real.name} for {who}"
            if real.who == "operator":
                assert seen[0] == 403, f"{real.name} for {who}"
            elif real.path != absent.path:
                assert seen[0] == 404, f"{real.name} for {who}"
            compared += 1
    assert compared >= 3 * 20
    _owner_sees_all(deployed)
    for stranger in ("second", "third"):
        _stream_of_another_tenant(deployed, redis_url, stranger)


def test_bad_credentials(deployed: Deployment) -> None:
    """Who proves nothing learns nothing: one answer for all that exists and all that does not."""
    refused = {
        "expired": token(exp=int(time.time()) - 1),
        "not yet": token(nbf=int(time.time()) + 600),
        "unsigned": "eyJhbGciOiJub25lIn0.eyJ0ZW5hbnRfaWQiOiJmaXJzdCJ9.",
    }
    for real, absent in _pairs(deployed):
        if real.who == "anybody":
            continue
        answers = [
            _seen(deployed, asked, bad) for asked in (real, absent) for bad in refused.values()
        ]
        answers.append(_seen(deployed, real, None))
        assert answers[0][0] == 401, real.name
        assert all(answer == answers[0] for answer in answers), real.name
        assert answers[0] == _seen(deployed, absent, "garbage"), real.name


def test_narrowed_token(deployed: Deployment) -> None:
    """It sees its own ids on every way to them, and no other id of the tenant on any."""
    mine = token(jobs=[JOB], videos=[])
    for path in ("", "progress/", "history/", "progress/events"):
        assert deployed.ask(f"/api/v1/jobs/{JOB}/{path}", mine).status_code == 200
        assert deployed.ask(f"/api/v1/jobs/failed-1/{path}", mine).status_code == 404
        assert deployed.ask(f"/media/videos/{VIDEO}/{path}", mine).status_code == 404
    listed = deployed.ask("/api/v1/jobs/", mine).json()["items"]
    assert [job["job_id"] for job in listed] == [JOB]
    assert deployed.ask("/media/videos/", mine).json() == {"items": [], "next_cursor": None}
    asked = {"jobs": [JOB, "failed-1"], "videos": [VIDEO]}
    found = deployed.ask("/api/v1/progress/query", mine, method="POST", json=asked).json()
    assert found["jobs"][JOB]["status"] == "DONE"
    assert (found["jobs"]["failed-1"], found["videos"][VIDEO]) == (None, None)
    with _stream(deployed, "/api/v1/events", mine) as lines:
        assert JOB in next(line for line in lines if line.startswith("data:"))


def _pairs(deployed: Deployment) -> Iterator[tuple[Asked, Asked]]:
    """Give every operation twice: for what exists, and for what does not."""
    api = deployed.ask("/openapi.json").json()
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            who = _who(operation)
            asked = partial(_asked, operation["operationId"], method, path, who)
            yield asked(JOB, VIDEO, deployed.letter), asked(ABSENT, ABSENT, ABSENT_LETTER)


def _asked(name: str, method: str, path: str, who: str, *ids: str) -> Asked:
    job, video, letter = ids
    values = {"id": video if "videos" in path else job, "tenant": TENANT, "kind": "job"}
    filled = path.format(**values, job_id=job, letter=letter)
    body = {"jobs": [job], "videos": [video]} if name == "queryProgress" else None
    return Asked(name, method.upper(), filled, who, body)


def _who(operation: dict[str, Any]) -> str:
    if not operation["security"]:
        return "anybody"
    if operation["tags"] == ["operators"]:
        return "operator"
    return "viewer" if len(operation["security"]) > 1 else "caller"


Seen = tuple[int, bytes, list[tuple[str, str]]]


def _seen(deployed: Deployment, asked: Asked, stranger: str | None) -> Seen:
    """Give all of an answer but its date and the echo of the ids that were asked for.

    `connection` tells only whether the body had come when the answer was given: a server that
    refuses a request by its head closes what it has not read.
    """
    headers = {"x-jobtrail-console": "1"} if asked.method == "POST" else {}
    answer = deployed.ask(
        asked.path, stranger, method=asked.method, json=asked.body, headers=headers
    )
    body = answer.content
    if asked.who == "anybody":
        # Measured numbers change by themselves; that nothing is told is seen to elsewhere.
        body = b"" if asked.name == "getMetrics" else body
    if asked.body is not None:
        for ids in asked.body.values():
            body = body.replace(ids[0].encode(), b"ID")
    shown = [
        (name, value)
        for name, value in answer.headers.items()
        if name not in ("date", "content-length", "connection")
    ]
    return answer.status_code, body, shown


def _tells(seen: Seen) -> bool:
    """Tell whether an answer has anything in it that only the first tenant's workers said."""
    words = ("31337", "no sheet of", "called off", "first.m3u8", "no codec", "저장하는 중")
    return any(word.encode() in seen[1] for word in words)


def _owner_sees_all(deployed: Deployment) -> None:
    """The same paths do answer the tenant itself, so that the comparison above is one."""
    mine = token(scope="ops")
    for real, absent in _pairs(deployed):
        if real.name in ("watchTenant", "discardDeadLetter") or real.path == absent.path:
            continue
        seen, nothing = _seen(deployed, real, mine), _seen(deployed, absent, mine)
        assert seen[0] == 200, real.name
        assert nothing[:2] != seen[:2], real.name
    assert len(deployed.ask("/api/v1/jobs/", mine).json()["items"]) == 6


def _stream_of_another_tenant(deployed: Deployment, redis_url: str, tenant: str) -> None:
    """The first thing that its stream ever says is its own, whatever the others do meanwhile."""
    with _stream(deployed, "/api/v1/events", token(tenant)) as lines, connect(redis_url) as client:
        EventAppender(client).append_many((TENANT, event) for event in EVENTS)
        EventAppender(client).append(tenant, {"type": "queued", "id": f"of-{tenant}"})
        data = next(line for line in lines if line.startswith("data:"))
    assert f"of-{tenant}" in data


@contextmanager
def _stream(deployed: Deployment, path: str, caller: str) -> Iterator[Iterator[str]]:
    """Give the lines of a stream that does not end."""
    headers = {"authorization": f"Bearer {caller}"}
    with httpx.stream("GET", deployed.url + path, headers=headers, timeout=20) as answer:
        assert answer.status_code == 200
        yield answer.iter_lines()

"""The watches of the npm package in Node against a real API: many jobs, tokens, `after`."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any, Protocol
from urllib.parse import urlsplit

import jwt
import pytest
import redis

import api.spec.client_files
from streams.appender import EventAppender
from tests.api.conftest import Writer, writer_to
from tests.browser.conftest import ServeApi, base_url
from tests.pipeline.conftest import Start
from tests.support.tokens import FAR
from tests.support.waiting import ENDING

PACKAGE = Path(api.spec.client_files.__file__).with_name("client")
SCRIPTS = Path(__file__).with_name("node")
NODE = shutil.which("node")
SECRET = "a secret of these tests, and of no more"
QUICK = {"poll": 50, "pace": 20, "backoff": 50, "backoffMost": 200, "opening": 2_000}
"""Times in milliseconds."""
PATIENCE = 90.0
"""Seconds that a watch may take on a busy machine."""

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node on this machine")


class Watching:
    """A watch in Node."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.seen: list[list[Any]] = []
        """Calls and requests so far: a name and its values."""

    def until(self, *wanted: Any) -> list[Any]:
        """Read on until a call begins with these values, and return it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.seen.append(json.loads(line))
            if _begins(self.seen[-1], wanted):
                return self.seen[-1]
        raise AssertionError(f"no {wanted} in {self.seen}")

    def until_both(self, one: Sequence[Any], other: Sequence[Any]) -> None:
        """Read on until both were called, in any order."""
        first = len(self.seen)
        self.until(*one)
        if not any(_begins(call, other) for call in self.seen[first:]):
            self.until(*other)

    def call(self, *call: object) -> None:
        """Call a method of the watch."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()

    def ends(self) -> None:
        """Read the rest, and check that the process ends by itself."""
        assert self._process.stdout is not None
        self.seen += [json.loads(line) for line in self._process.stdout]
        assert self._process.wait(ENDING) == 0, self.seen

    def named(self, name: str) -> list[Any]:
        """Return the first values of all calls of a name."""
        return [call[1] for call in self.seen if call[0] == name and len(call) > 1]

    @property
    def streams(self) -> int:
        """The number of live streams that were opened."""
        return sum("/events" in request for request in self.named("request"))


def _begins(call: list[Any], wanted: Sequence[Any]) -> bool:
    return len(call) >= len(wanted) and all(map(_matches, call, wanted))


def _matches(value: Any, wanted: Any) -> bool:
    """Return whether a value is the wanted one, or an object that has the wanted members."""
    if isinstance(wanted, Mapping) and isinstance(value, Mapping):
        return all(name in value and _matches(value[name], each) for name, each in wanted.items())
    return bool(value == wanted)


class Watch(Protocol):
    """Starts a function of the package with options."""

    def __call__(self, function: str, base: str, **options: Any) -> Watching: ...


@pytest.fixture
def watch() -> Iterator[Watch]:
    with ExitStack() as stack:

        def begin(function: str, base: str, **options: Any) -> Watching:
            given = json.dumps({"baseUrl": base, "timing": QUICK, **options})
            process = stack.enter_context(
                subprocess.Popen(
                    [str(NODE), str(SCRIPTS / "watch.mjs"), str(PACKAGE), function, given],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    bufsize=1,
                )
            )
            stack.callback(process.kill)
            limit = Timer(PATIENCE, process.kill)
            stack.callback(limit.cancel)
            limit.start()
            return Watching(process)

        yield begin


@pytest.fixture
def write(redis_client: redis.Redis) -> Writer:
    """Applies events of a tenant as the projection `status` does."""
    return writer_to(redis_client)


def token(**claims: object) -> str:
    """Sign a token of tenant t."""
    return jwt.encode({"exp": FAR, "tenant_id": "t", **claims}, SECRET, algorithm="HS256")


def queued(job: str) -> dict[str, Any]:
    return {"type": "queued", "id": job}


def progress(job: str, percent: int) -> dict[str, Any]:
    return {"type": "progress", "id": job, "percent": percent}


def done(job: str) -> dict[str, Any]:
    return {"type": "done", "id": job}


def test_many_jobs_over_one_connection_whose_ids_change(
    watch: Watch, serve_api: ServeApi, redis_url: str, write: Writer
) -> None:
    base = serve_api(redis_url=redis_url)
    write("t", queued("a1"), queued("a2"), queued("other"), {**queued("7"), "kind": "video"})
    jobs = [{"kind": "job", "id": "a1"}, {"kind": "video", "id": 7}]
    many = watch("watchJobs", base, jobs=jobs, tenant="t", waitForJob=0)
    many.until("onState", {"status": "PENDING"}, {"kind": "job", "id": "a1"})
    many.until("onState", {"status": "UPLOADED"}, {"kind": "video", "id": 7})
    many.until("onConnection", "sse")

    write("t", progress("a1", 50))
    many.until("onState", {"progress": {"percent": 50}}, {"id": "a1"})
    many.call("setJobs", [{"kind": "job", "id": name} for name in ("a1", "a2", "none")])
    many.until("onState", {"status": "PENDING"}, {"id": "a2"})
    many.until("onMissing", {"id": "none"})
    write("t", done("a1"), {**done("7"), "kind": "video"}, queued("none"), done("none"), done("a2"))
    many.ends()

    assert many.named("onError") == []
    # The one that was missing is not waited for, though it may still be reported.
    assert {"a1", "a2"} <= {call[2]["id"] for call in many.seen if call[0] == "onEnd"}
    query, events = "POST /api/v1/progress/query", "GET /api/v1/events"
    # The second query finds what the beginning of the stream leaves out.
    assert many.named("request")[:3] == [query, events, query]
    assert many.streams == 2  # the second one resumes with the ids that were added
    assert many.named("onConnectionState")[0] == "open"
    assert many.named("onConnectionState")[-1] == "closed"
    assert all("other" not in str(call) for call in many.seen)


def test_many_jobs_without_live_streams_by_queries(
    watch: Watch, serve_api: ServeApi, redis_url: str, write: Writer
) -> None:
    base = serve_api(redis_url=redis_url)
    ids = [f"a{number}" for number in range(250)]
    write("t", *map(queued, ids))
    many = watch("watchJobs", base, kind="job", ids=ids, tenant="t", stream="none")
    many.until("onState", {"status": "PENDING"}, {"id": "a249"})
    many.until("onConnection", "polling")

    write("t", *map(done, ids))
    many.ends()

    assert len(many.named("onEnd")) == 250
    assert set(many.named("request")) == {"POST /api/v1/progress/query"}


def test_streams_that_something_holds_back(
    watch: Watch, serve_api: ServeApi, redis_url: str, write: Writer
) -> None:
    """Many jobs are queried instead; the watch of a tenant goes on trying, and says so."""
    base = serve_api(redis_url=redis_url)
    write("t", queued("a1"))
    held = {"tenant": "t", "hold": True, "stream": "fetch", "timing": {**QUICK, "opening": 200}}
    many = watch("watchJobs", base, kind="job", ids=["a1"], **held)
    tenant = watch("watchTenant", base, **held)
    many.until("onConnection", "polling")
    write("t", done("a1"))
    many.ends()
    tenant.until("onConnectionState", "retrying", {"title": "no live stream"})
    tenant.call("close")
    tenant.ends()

    assert [state["status"] for state in many.named("onState")] == ["PENDING", "DONE"]
    assert many.streams == 1
    assert many.named("onError") == tenant.named("onError") == []


def test_tokens_in_headers_over_a_restart_of_the_api(
    watch: Watch, start: Start, redis_url: str, write: Writer
) -> None:
    settings = {"redis_url": redis_url, "auth": "jwt", "jwt_secret": SECRET}
    server = start("api", api_port="0", **settings)
    base = base_url(server)
    write("t", queued("a1"), queued("a2"))
    expired = token(exp=int(time.time()) - 60)
    one, many, tenant = (
        watch(function, base, stream="fetch", tokens=[expired, token()], **options)
        for function, options in (
            ("watchJob", {"kind": "job", "id": "a1"}),
            ("watchJobs", {"kind": "job", "ids": ["a1", "a2"]}),
            ("watchTenant", {}),
        )
    )
    for each in (one, many, tenant):
        each.until("onConnection", "sse")

    server.terminate()
    server.wait(ENDING)
    for each in (one, many, tenant):
        each.until("onConnectionState", "retrying")
    write("t", progress("a1", 50))
    assert base_url(start("api", api_port=str(urlsplit(base).port), **settings)) == base
    for each in (one, many, tenant):
        half = ("onState", {"progress": {"percent": 50}})
        each.until_both(half, ("onConnection", "sse"))
    write("t", done("a1"), done("a2"))
    tenant.until("onState", {"status": "DONE"}, {"kind": "job", "id": "a2"})
    tenant.call("close")
    for each in (one, many, tenant):
        each.ends()

    for each in (one, many, tenant):
        assert each.named("onError") == []
        assert "token" not in str(each.named("request"))
        states = each.named("onConnectionState")
        assert states[states.index("retrying") :] == ["retrying", "open", "closed"]
    assert one.named("onState")[-1]["status"] == "DONE"
    assert many.named("onState")[-1]["status"] == "DONE"


def test_a_refused_token_ends_each_watch_with_the_reason(
    watch: Watch, serve_api: ServeApi, redis_url: str
) -> None:
    base = serve_api(redis_url=redis_url, auth="jwt", jwt_secret=SECRET)
    for function, options in (
        ("watchJob", {"kind": "job", "id": "a1"}),
        ("watchJobs", {"kind": "job", "ids": ["a1"]}),
        ("watchTenant", {}),
    ):
        refused = watch(function, base, token="none", **options)
        refused.ends()
        assert [problem["status"] for problem in refused.named("onError")] == [401]
        assert refused.named("onConnectionState") == ["closed"]


def test_after_an_append_no_older_state_is_reported(
    watch: Watch, start: Start, serve_api: ServeApi, redis_url: str, redis_client: redis.Redis
) -> None:
    base = serve_api(redis_url=redis_url)
    append = partial(EventAppender(redis_client).append, "t")
    append(queued("a1"))
    consumer = start("consume", "status", redis_url=redis_url)
    before = watch("watchJob", base, kind="job", id="a1", tenant="t", waitForJob=60_000)
    before.until("onState", {"status": "PENDING"})
    consumer.terminate()
    consumer.wait(ENDING)
    entry = append(done("a1"))

    given = {"kind": "job", "id": "a1", "tenant": "t", "after": str(entry)}
    short = watch("watchJob", base, **given, afterTimeout=0)
    short.until("onAfter", "pending")
    short.until("onState", {"status": "PENDING"})
    patient = watch("watchJob", base, **given, afterTimeout=120_000)
    patient.until("request", f"GET /api/v1/jobs/a1/progress/?after={given['after']}")
    start("consume", "status", redis_url=redis_url)
    for each in (before, short, patient):
        each.ends()

    assert patient.named("onAfter") == ["reflected"]
    assert [state["status"] for state in patient.named("onState")] == ["DONE"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_streams_are_parsed_however_they_arrive(end: str, size: int) -> None:
    lines = [
        *("retry: 1000", ": comment", "id: 1", "event: state", 'data:{"kind":"job",'),
        *('data: "job_id":"가","status":"PENDING"}', "", ": only a comment", "", "id: 2"),
        *("event: other", 'data: {"kind":"job","job_id":"no"}', "", "event: state", "id:3"),
        *('data: {"kind":"none"}', "unknown: field", "", "id: 4", "event: state", "data: cut"),
    ]
    text = "".join(line + end for line in lines)
    pieces = [text[first : first + size] for first in range(0, len(text), size)]
    ran = subprocess.run(
        [str(NODE), str(SCRIPTS / "chunks.mjs"), str(PACKAGE), json.dumps(pieces)],
        capture_output=True,
        check=True,
        timeout=ENDING,
    )
    state = {"job_id": "가", "status": "PENDING"}
    assert json.loads(ran.stdout) == {
        "told": [[{"kind": "job", "id": "가"}, state]],
        "resumed": "3",
    }

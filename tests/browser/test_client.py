"""A page that uses client.js, in a real browser, whatever stands between it and the API."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
import redis
from playwright.sync_api import Page, Route

from tests.api.conftest import Writer, writer_to
from tests.browser.conftest import ServeApi, Troubles
from tests.browser.following import PAGES, PATIENCE, Follower, assert_in_order, query
from tests.support.tokens import FAR

STREAM = re.compile(r"/progress/events")
WAIT = re.compile(r"/progress/\?wait=")
SECRET = "a secret of these tests, and of no more"

A1 = {"kind": "job", "id": "a1", "tenant": "t"}
QUEUED = {"type": "queued", "id": "a1"}
HALF = {"type": "progress", "id": "a1", "step": "reading", "percent": 50}
MORE = {"type": "progress", "id": "a1", "step": "reading", "percent": 75}
DONE = {"type": "done", "id": "a1", "result": {"rows": 3}}


@pytest.fixture
def write(redis_client: redis.Redis) -> Writer:
    """Applies events of a tenant as the projection `status` does."""
    return writer_to(redis_client)


@pytest.fixture
def base(serve_api: ServeApi, redis_url: str) -> str:
    """The URL of an API in dev mode."""
    return serve_api(redis_url=redis_url)


@pytest.fixture
def follower(page: Page, base: str) -> Follower:
    """A page that is going to follow job a1."""
    return Follower(page, base)


def follow(follower: Follower, **options: Any) -> None:
    """Open the page for job a1 of tenant t."""
    follower.open(**{**A1, **options})


def percent(follower: Follower, wanted: int) -> None:
    """Wait until the page was told this percent last."""
    follower.wait("seen.states.at(-1)?.progress?.percent === given", wanted)


def test_states_come_by_stream_from_the_present_one_to_the_end(
    follower: Follower, write: Writer
) -> None:
    write("t", QUEUED)
    follow(follower)
    follower.wait_for_state(status="PENDING")
    follower.wait("seen.connections.includes('sse')")

    write("t", HALF)
    percent(follower, 50)
    write("t", DONE)
    end = follower.wait_for_end()

    assert end["status"] == "DONE"
    assert end["result"] == {"rows": 3}
    assert [state["status"] for state in follower.states] == ["PENDING", "PROCESSING", "DONE"]
    assert follower.seen["connections"] == ["sse"]
    assert follower.asked == ["plain", "events"]


def test_after_the_end_nothing_is_asked_any_more(follower: Follower, write: Writer) -> None:
    follower.page.clock.install()
    write("t", HALF)
    follow(follower)
    follower.wait("seen.connections.includes('sse')")
    write("t", DONE)
    follower.wait_for_end()
    asked = len(follower.asked)

    follower.page.clock.fast_forward("01:00:00")

    follower.page.evaluate("fetch('/healthz').then((answer) => answer.text())")
    assert len(follower.asked) == asked


def test_a_job_that_ended_before_the_page_was_opened_takes_one_request(
    follower: Follower, write: Writer
) -> None:
    write("t", QUEUED, {"type": "failed", "id": "a1", "error": "no rows", "code": "empty"})

    follow(follower)
    end = follower.wait_for_end()

    assert end["error_message"] == "no rows"
    assert follower.asked == ["plain"]


def test_a_refused_stream_gives_way_to_long_polls(
    follower: Follower, write: Writer, troubles: Troubles
) -> None:
    troubles.expect(r"^answered 503: GET .*/progress/events")
    follower.page.route(STREAM, lambda route: route.fulfill(status=503))
    write("t", QUEUED)
    follow(follower)
    follower.wait("seen.connections.includes('long-poll')")

    write("t", HALF)
    percent(follower, 50)
    write("t", DONE)
    follower.wait_for_end()

    assert follower.seen["connections"] == ["long-poll"]
    assert_in_order(follower.states)


def hold(held: list[Route], route: Route) -> None:
    """Keep a request, and let it have no answer."""
    held.append(route)


def test_a_stream_that_something_holds_back_gives_way_to_long_polls(
    follower: Follower, write: Writer
) -> None:
    held: list[Route] = []
    follower.page.route(STREAM, lambda route: hold(held, route))
    write("t", QUEUED)
    follow(follower)

    follower.wait("seen.connections.includes('long-poll')")
    write("t", DONE)
    follower.wait_for_end()

    assert len(held) == 1
    assert follower.seen["connections"] == ["long-poll"]


def test_refused_long_polls_give_way_to_polls(
    follower: Follower, write: Writer, troubles: Troubles
) -> None:
    troubles.expect(r"^answered 400: GET .*/progress/\?wait=")
    troubles.expect(r"^failed: GET .*/progress/events")
    follower.page.route(STREAM, lambda route: route.abort())
    follower.page.route(WAIT, lambda route: route.fulfill(status=400))
    write("t", QUEUED)
    follow(follower)
    follower.wait("seen.connections.includes('polling')")

    write("t", HALF)
    percent(follower, 50)
    write("t", DONE)
    follower.wait_for_end()

    assert follower.seen["connections"] == ["long-poll", "polling"]
    assert follower.asked.count("wait") == 1
    assert_in_order(follower.states)


def test_a_state_from_before_the_last_one_is_not_told(
    follower: Follower, write: Writer, troubles: Troubles
) -> None:
    troubles.expect(r"^failed: GET .*/progress/events")
    follower.page.route(STREAM, lambda route: route.abort())
    old = {"job_id": "a1", "job_type": None, "status": "PENDING", "progress": None, "attempt": 1}
    follower.page.route(WAIT, lambda route: route.fulfill(json=old), times=1)
    write("t", QUEUED, HALF)
    follow(follower)

    percent(follower, 50)
    follower.wait("seen.connections.includes('long-poll')")
    write("t", DONE)
    follower.wait_for_end()

    assert [state["status"] for state in follower.states] == ["PROCESSING", "DONE"]


def test_an_attempt_after_the_last_one_reopens_the_job_for_a_new_watch(
    follower: Follower, write: Writer
) -> None:
    write("t", QUEUED, DONE)
    follow(follower)
    follower.wait_for_end()
    write("t", {"type": "processing", "id": "a1", "attempt": 2})

    follow(follower)
    follower.wait_for_state(status="PROCESSING", attempt=2)
    write("t", {**DONE, "attempt": 2})

    assert follower.wait_for_end()["attempt"] == 2


def test_a_better_mode_is_tried_again_after_a_while(
    follower: Follower, write: Writer, troubles: Troubles
) -> None:
    troubles.expect(r"^failed: GET .*/progress/events")
    follower.page.clock.install()
    follower.page.route(STREAM, lambda route: route.abort())
    write("t", QUEUED)
    follow(follower)
    follower.wait("seen.connections.includes('long-poll')")

    follower.page.unroute(STREAM)
    follower.page.clock.fast_forward("01:01")
    write("t", HALF)
    follower.wait("seen.connections.includes('sse')")
    write("t", DONE)
    follower.wait_for_end()

    assert follower.seen["connections"] == ["long-poll", "sse"]
    assert_in_order(follower.states)


def test_a_stream_that_went_quiet_is_found_out_by_a_plain_request(
    follower: Follower, write: Writer
) -> None:
    follower.page.clock.install()
    # A stream that gives the present state and then nothing more, open as it is.
    follower.page.add_init_script(
        """
        const Real = EventSource;
        window.EventSource = class extends Real {
            addEventListener(type, listener) {
                super.addEventListener(type, listener, { once: type === "state" });
            }
        };
        """
    )
    write("t", QUEUED)
    follow(follower)
    follower.wait("seen.connections.includes('sse')")
    write("t", HALF)

    follower.page.clock.fast_forward("00:06")

    percent(follower, 50)
    follower.wait("seen.connections.includes('long-poll')")


def test_without_an_event_source_it_begins_with_long_polls(
    follower: Follower, write: Writer
) -> None:
    follower.page.add_init_script("delete window.EventSource")
    write("t", QUEUED)
    follow(follower)
    follower.wait("seen.connections.includes('long-poll')")

    write("t", DONE)
    follower.wait_for_end()

    assert "events" not in follower.asked


def test_a_page_may_be_opened_before_the_first_event(
    follower: Follower, write: Writer, troubles: Troubles
) -> None:
    """The server holds the next request, so that the first state comes with the first event."""
    troubles.expect(r"^answered 404: GET .*/a1/progress/$")
    with follower.page.expect_request(WAIT):
        follow(follower, waitForJob=PATIENCE)

    write("t", QUEUED)
    follower.wait_for_state(status="PENDING")
    assert follower.asked[:2] == ["plain", "wait"]
    write("t", DONE)
    follower.wait_for_end()


def test_a_job_is_waited_for_though_requests_may_not_stay(
    follower: Follower, write: Writer, troubles: Troubles
) -> None:
    troubles.expect(r"/a1/progress/")
    follower.page.route(WAIT, lambda route: route.fulfill(status=504))
    with follower.page.expect_response(lambda response: response.status == 504):
        follow(follower, waitForJob=PATIENCE)

    write("t", QUEUED)
    follower.wait_for_state(status="PENDING")
    write("t", DONE)
    follower.wait_for_end()


def test_a_job_that_does_not_appear_in_time_is_an_error(
    follower: Follower, troubles: Troubles
) -> None:
    troubles.expect(r"^answered 404: GET .*/a1/progress/")
    follow(follower, waitForJob=600)
    follower.wait("seen.closed")

    (problem,) = follower.seen["errors"]
    assert problem["status"] == 404


@pytest.mark.parametrize("kind", ["constructor", "__proto__", "toString", "hasOwnProperty", "Job"])
def test_a_kind_that_there_is_not_is_a_type_error(page: Page, base: str, kind: str) -> None:
    empty = '<link rel="icon" href="data:,">'
    page.route("**/empty", lambda route: route.fulfill(body=empty, content_type="text/html"))
    page.goto(f"{base}/empty")
    thrown = page.evaluate(
        """async (kind) => {
            const { watchJob } = await import("/client.js");
            try { watchJob({ kind, id: "a1" }); } catch (error) { return String(error); }
        }""",
        kind,
    )
    assert thrown == f'TypeError: kind is "job" or "video", not {kind}'


def test_a_job_that_does_not_appear_is_an_error(follower: Follower, troubles: Troubles) -> None:
    troubles.expect(r"^answered 404: GET .*/a1/progress/$")
    follow(follower, waitForJob=0)
    follower.wait("seen.closed")

    (problem,) = follower.seen["errors"]
    assert problem["status"] == 404
    # In the browser's language.
    assert problem["detail"] == "This job is not in progress."
    assert follower.states == []


def test_a_closed_watch_asks_and_tells_nothing_more(follower: Follower, write: Writer) -> None:
    follower.page.clock.install()
    write("t", QUEUED)
    follow(follower)
    follower.wait("seen.connections.includes('sse')")
    follower.page.evaluate("watch.close(), watch.close()")
    asked = len(follower.asked)

    write("t", HALF)
    follower.page.clock.fast_forward("01:00:00")
    follower.page.evaluate("fetch('/healthz').then((answer) => answer.text())")

    assert len(follower.asked) == asked
    assert [state["status"] for state in follower.states] == ["PENDING"]
    assert follower.seen["closed"] == 1


def token(secret: str = SECRET, **claims: object) -> str:
    """Sign a token of tenant t."""
    return jwt.encode({"exp": FAR, "tenant_id": "t", **claims}, secret, algorithm="HS256")


def test_a_token_that_expired_is_renewed_once(
    page: Page, serve_api: ServeApi, redis_url: str, write: Writer, troubles: Troubles
) -> None:
    troubles.expect(r"^answered 401: GET .*/a1/progress/$")
    follower = Follower(page, serve_api(redis_url=redis_url, auth="jwt", jwt_secret=SECRET))
    given = [token(exp=int(time.time()) - 60), token()]
    page.expose_function("nextToken", lambda: given.pop(0))
    write("t", QUEUED)
    follow(follower, tenant=None)
    follower.wait("seen.connections.includes('sse')")

    write("t", DONE)
    follower.wait_for_end()

    assert given == []
    assert follower.asked == ["plain", "plain", "events"]


def test_a_token_that_is_refused_again_is_an_error(
    page: Page, serve_api: ServeApi, redis_url: str, write: Writer, troubles: Troubles
) -> None:
    troubles.expect(r"^answered 401: GET .*/a1/progress/$")
    follower = Follower(page, serve_api(redis_url=redis_url, auth="jwt", jwt_secret=SECRET))
    given = [token("another" * 5), token("yet another" * 5), token()]
    page.expose_function("nextToken", lambda: given.pop(0))
    write("t", QUEUED)
    follow(follower)
    follower.wait("seen.closed")

    assert [problem["status"] for problem in follower.seen["errors"]] == [401]
    assert given == [token()]
    assert follower.states == []


@pytest.fixture
def site() -> Iterator[str]:
    """The origin of a product's own site, which serves the pages of these tests.

    A real one: of a page that came from no address, Chromium asks before it lets it reach loopback.
    """
    handler = partial(_Quiet, directory=str(PAGES))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


def test_a_page_of_another_origin_that_the_api_allows(
    page: Page, serve_api: ServeApi, redis_url: str, write: Writer, site: str
) -> None:
    base = serve_api(redis_url=redis_url, cors_origins=site)
    follower = Follower(page, base)
    write("t", QUEUED)
    page.goto(f"{site}/follow.html?{query({**A1, 'baseUrl': base})}")
    follower.wait("seen.connections.includes('sse')")

    write("t", HALF)
    percent(follower, 50)
    write("t", DONE)
    follower.wait_for_end()

    assert_in_order(follower.states)

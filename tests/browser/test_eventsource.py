"""The browser's own EventSource, with nothing of ours around it."""

from __future__ import annotations

from urllib.parse import urlencode

import redis
from playwright.sync_api import Page

from tests.api.conftest import writer_to
from tests.browser.conftest import ServeApi
from tests.browser.following import PAGES, PATIENCE

QUEUED = {"type": "queued", "id": "a1"}
HALF = {"type": "progress", "id": "a1", "step": "reading", "percent": 50}
DONE = {"type": "done", "id": "a1", "result": {"rows": 3}}


def test_it_shows_each_state_once_and_stops_coming_back_after_the_end(
    page: Page, serve_api: ServeApi, redis_url: str, redis_client: redis.Redis
) -> None:
    base, write = serve_api(redis_url=redis_url), writer_to(redis_client)
    page.route(f"{base}/raw.html*", lambda route: route.fulfill(path=PAGES / "raw.html"))
    answers: list[int] = []
    page.on(
        "response",
        lambda answer: answers.append(answer.status) if "/progress/events" in answer.url else None,
    )
    write("t", QUEUED)
    page.goto(f"{base}/raw.html?{urlencode({'url': '/api/v1/jobs/a1/progress/events?tenant=t'})}")
    for told, event in enumerate((HALF, DONE), start=1):
        page.wait_for_function("(told) => window.seen?.length === told", arg=told, timeout=PATIENCE)
        write("t", event)

    # The server ends the stream; the browser comes back with the last id, and is answered 204.
    page.wait_for_function("source.readyState === EventSource.CLOSED", timeout=PATIENCE)

    seen = page.evaluate("seen")
    assert [state["status"] for _, state in seen] == ["PENDING", "PROCESSING", "DONE"]
    assert len({version for version, _ in seen}) == 3
    assert answers == [200, 204]

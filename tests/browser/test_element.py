"""The element <job-progress> as the API serves it, on a page with a strict security policy."""

from __future__ import annotations

import re
from typing import Any

import pytest
import redis
from playwright.sync_api import Locator, Page, Route, expect

from tests.api.conftest import Writer, writer_to
from tests.browser.conftest import ServeApi, Troubles
from tests.browser.following import PATIENCE

POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
PAGE = """<!doctype html>
<html lang="ko">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>Jobs</title>
<link rel="icon" href="data:,">
<script type="module" src="/element.js"></script>
<job-progress id="korean" kind="job" job-id="a1" tenant="t"></job-progress>
<job-progress id="english" job-id="a1" tenant="t" lang="en-GB" label="Import"></job-progress>
<job-progress id="none" job-id="none" tenant="t" lang="en"></job-progress>
<job-progress id="given" kind="video" lang="en"></job-progress>
</html>
"""
STEP = {
    "type": "progress",
    "id": "a1",
    "percent": 40,
    "step": "reading",
    "step_index": 2,
    "step_total": 5,
    "remaining_seconds": 200,
}
VIDEO = {
    "id": 7,
    "status": "PROCESSING",
    "encoding_progress": None,
    "encoding_remaining_seconds": 30,
    "encoding_step_index": None,
    "encoding_step_total": None,
    "encoding_step_name": None,
    "encoding_step_percent": None,
    "attempt": 1,
}


@pytest.fixture
def write(redis_client: redis.Redis) -> Writer:
    """Applies events of a tenant as the projection `status` does."""
    return writer_to(redis_client)


def show(page: Page, base: str) -> None:
    """Open the page at the API's own origin."""

    def answer(route: Route) -> None:
        headers = {
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": POLICY,
        }
        route.fulfill(body=PAGE, headers=headers)

    page.route(f"{base}/jobs.html", answer)
    page.goto(f"{base}/jobs.html")


def texts(element: Locator, *wanted: str) -> None:
    """Wait until the label, the value and the detail have these texts."""
    for part, text in zip(("label", "value", "detail"), wanted, strict=True):
        expect(element.locator(f"[part={part}]")).to_have_text(text, timeout=PATIENCE)


def set_state(element: Locator, state: dict[str, Any]) -> None:
    element.evaluate("(element, state) => void (element.state = state)", state)


def test_element_shows_a_job_to_its_end_in_the_language_of_the_page(
    page: Page, serve_api: ServeApi, redis_url: str, write: Writer, troubles: Troubles
) -> None:
    troubles.expect(r"^answered 404: GET .*/none/progress/")
    write("t", STEP)
    show(page, serve_api(redis_url=redis_url))
    korean, english = page.locator("#korean"), page.locator("#english")

    texts(korean, "5단계 중 2단계 · reading", "40%", "약 3분 남음")
    texts(english, "Step 2 of 5 · reading", "40%", "about 3 min left")
    for element, name in ((korean, "진행률"), (english, "Import")):
        bar = element.get_by_role("progressbar", name=name, exact=True)
        assert [bar.get_attribute(f"aria-value{each}") for each in ("min", "now", "max")] == [
            *("0", "40", "100")
        ]
    assert "Step 2 of 5" in str(english.get_by_role("progressbar").get_attribute("aria-valuetext"))
    assert english.get_by_role("status").inner_text() == "Step 2 of 5 · reading"
    assert width_of(english) == pytest.approx(0.4, abs=0.02)

    english.evaluate(
        "(element) => element.addEventListener('jobend', (event) => (window.end = event.detail))"
    )
    write("t", {"type": "failed", "id": "a1", "error": "no rows", "code": "empty"})
    texts(korean, "실패", "40%", "no rows")
    expect(english.get_by_role("status")).to_have_text("Failed: no rows", timeout=PATIENCE)
    assert english.get_attribute("phase") == "failed"
    assert page.evaluate("window.end.status") == "FAILED"

    write("t", {"type": "processing", "id": "a2"})
    english.evaluate("(element) => element.setAttribute('job-id', 'a2')")
    texts(english, "In progress", "", "")
    assert english.get_by_role("progressbar").get_attribute("aria-valuenow") is None
    english.evaluate("(element) => element.remove()")
    texts(page.locator("#none"), *NOT_FOUND)


NOT_FOUND = ("Failed", "", "This job is not in progress.")


def test_element_shows_the_state_that_it_is_given(
    page: Page, serve_api: ServeApi, redis_url: str, troubles: Troubles
) -> None:
    troubles.expect(r"^answered 404: GET .*/progress/")
    show(page, serve_api(redis_url=redis_url))
    given = page.locator("#given")
    set_state(given, VIDEO)
    texts(given, "In progress", "", "about 30 s left")

    steps = {"encoding_step_index": 2, "encoding_step_total": 4, "encoding_step_percent": 50}
    set_state(given, {**VIDEO, **steps, "encoding_step_name": "transcoding"})
    texts(given, "Step 2 of 4 · transcoding", "37%", "about 30 s left")
    set_state(given, {**VIDEO, "status": "READY", "encoding_remaining_seconds": None})
    texts(given, "Done", "100%", "")
    assert width_of(given) == pytest.approx(1, abs=0.02)


def test_element_reports_a_watch_that_its_signal_has_ended_already(
    page: Page, serve_api: ServeApi, redis_url: str, troubles: Troubles
) -> None:
    troubles.expect(r"^answered 404: GET .*/progress/")
    show(page, serve_api(redis_url=redis_url))
    state = page.locator("#given").evaluate(
        """(element) => new Promise((resolve) => {
            element.addEventListener("jobconnection", (event) => resolve(event.detail));
            element.options = { signal: AbortSignal.abort() };
            element.jobId = "v1";
        })"""
    )
    assert state == "closed"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_element_takes_its_colours_from_the_page(
    new_page: Any, serve_api: ServeApi, redis_url: str, troubles: Troubles, scheme: str
) -> None:
    troubles.expect(r"^answered 404: GET .*/progress/")
    page = new_page(color_scheme=scheme)
    show(page, serve_api(redis_url=redis_url))
    given = page.locator("#given")
    set_state(given, {**VIDEO, "encoding_progress": 60})

    text = given.locator("[part=label]").evaluate("(part) => getComputedStyle(part).color")
    assert text == ("rgb(0, 0, 0)" if scheme == "light" else "rgb(255, 255, 255)")
    given.evaluate("(it) => it.style.setProperty('--job-progress-color', 'rgb(1, 2, 3)')")
    bar = given.locator("[part=bar]")
    assert bar.evaluate("(it) => getComputedStyle(it).backgroundColor") == "rgb(1, 2, 3)"
    assert re.match(
        "color|rgba",
        given.locator("[part=track]").evaluate("(it) => getComputedStyle(it).backgroundColor"),
    )


def width_of(element: Locator) -> float:
    """Return the width of the bar as a share of its track, once it does not change any more."""
    return float(
        element.locator("[part=bar]").evaluate(
            """async (bar) => {
                await Promise.all(bar.getAnimations().map((each) => each.finished));
                return bar.clientWidth / bar.parentElement.clientWidth;
            }"""
        )
    )

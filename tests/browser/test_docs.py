"""The page of the OpenAPI document, in a browser: Swagger UI under our Content-Security-Policy.

What violates the policy, fails, or is requested from elsewhere is a trouble, and fails each test.
"""

from __future__ import annotations

import re

import jwt
import pytest
import redis
from playwright.sync_api import Locator, Page, expect

from tests.api.conftest import Writer, writer_to
from tests.browser.conftest import NewPage, ServeApi, Troubles
from tests.support.thorough import THOROUGH
from tests.support.tokens import FAR

SECRET = "a secret of these tests, and of no more"
DONE = {"type": "done", "id": "report-1", "result": {"rows": 3}}
LOADING = 60_000
"""Milliseconds for which the page may load its 2 MB, or draw, on a busy machine."""
SNIPPETS = {
    "curl": "curl -X 'GET'",
    "JavaScript": 'await fetch("http',
    "Python": "urlopen(request)",
}


@pytest.fixture
def write(redis_client: redis.Redis) -> Writer:
    return writer_to(redis_client)


def opened(page: Page, name: str) -> Locator:
    """Return an operation of the page, which is open then."""
    found = page.locator(f".opblock[id$='-{name}']")
    found.wait_for(timeout=LOADING)
    if found.locator(".opblock-body").count() == 0:
        found.locator(".opblock-summary-control").click()
    return found


def executed(operation: Locator) -> Locator:
    """Send the operation's request, and return the answer as the page shows it."""
    operation.get_by_role("button", name="Execute").click()
    return operation.locator(".live-responses-table")


def authorize(page: Page, value: str) -> None:
    page.get_by_role("button", name="Authorize", exact=True).first.click(timeout=LOADING)
    form = page.locator(".auth-container").first
    form.locator("input").fill(value)
    form.get_by_role("button", name="Apply credentials").click()
    page.locator(".btn-done").first.click()


def test_every_operation_is_shown_and_nothing_is_wider_than_a_phone(
    new_page: NewPage, serve_api: ServeApi, redis_url: str
) -> None:
    page = new_page(color_scheme="dark", viewport={"width": 390, "height": 844})
    url = serve_api(redis_url=redis_url)
    page.goto(f"{url}/docs#/monitoring/isReady")
    expect(page.locator("[id$='-isReady'] .opblock-body")).to_be_visible(timeout=LOADING)
    paths = page.request.get(f"{url}/openapi.json").json()["paths"]
    described = [each for methods in paths.values() for each in methods.values()]
    expect(page.locator(".opblock")).to_have_count(len(described), timeout=LOADING)
    for each in described if THOROUGH else described[:3]:
        operation = opened(page, each["operationId"])
        expect(operation.locator(".responses-inner")).to_contain_text("200", timeout=LOADING)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, each["operationId"]
        operation.locator(".opblock-summary-control").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(28, 32, 34)"


def test_requests_carry_a_token_that_the_page_keeps(
    page: Page, serve_api: ServeApi, redis_url: str, write: Writer, troubles: Troubles
) -> None:
    """Ids are filled in; each request is shown as snippets; the token outlives a reload."""
    write("t", DONE)
    page.goto(f"{serve_api(redis_url=redis_url, auth='jwt', jwt_secret=SECRET)}/docs")
    troubles.expect("answered (400|401): GET .*/progress/")
    operation = opened(page, "getJobProgress")
    expect(executed(operation)).to_contain_text(re.compile("40[01]"), timeout=LOADING)
    authorize(page, jwt.encode({"exp": FAR, "tenant_id": "t"}, SECRET))
    expect(executed(operation)).to_contain_text('"rows": 3', timeout=LOADING)
    for name, text in SNIPPETS.items():
        snippets = operation.locator(".request-snippets")
        snippets.get_by_role("heading", name=name).click()
        expect(snippets).to_contain_text(text, timeout=LOADING)
        expect(snippets).to_contain_text("/api/v1/jobs/report-1/progress/", timeout=LOADING)
    page.reload()
    expect(executed(opened(page, "getJobProgress"))).to_contain_text('"rows": 3', timeout=LOADING)


def test_a_live_stream_is_shown_as_it_arrives(
    page: Page, serve_api: ServeApi, redis_url: str, write: Writer
) -> None:
    write("t", {"type": "queued", "id": "report-1"})
    page.goto(f"{serve_api(redis_url=redis_url)}/docs")
    authorize(page, "t")
    answers = {}
    for name in ("watchTenant", "watchJobProgress"):
        operation = opened(page, name)
        answers[name] = executed(operation)
        expect(page.get_by_label("Events", exact=True)).to_contain_text("PENDING", timeout=LOADING)
        if name == "watchTenant":
            page.get_by_role("button", name="Stop", exact=True).click()
            expect(answers[name]).to_contain_text("PENDING", timeout=LOADING)
    write("t", DONE)
    expect(answers["watchJobProgress"]).to_contain_text("DONE", timeout=LOADING)
    expect(page.locator("#live")).to_be_hidden(timeout=LOADING)


def test_operations_are_found_by_all_of_their_texts(
    page: Page, serve_api: ServeApi, redis_url: str
) -> None:
    page.goto(f"{serve_api(redis_url=redis_url)}/docs")
    search = page.locator(".operation-filter-input")
    shown = page.locator(".opblock .opblock-summary-operation-id")
    search.fill("as a web page", timeout=LOADING)
    expect(shown).to_have_text(["getDocs"], timeout=LOADING)
    search.fill("UPDATED_SINCE list video")
    expect(shown).to_have_text(["listVideos"], timeout=LOADING)

"""The page of the OpenAPI document, in a browser."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage, ServeApi, Troubles


def test_read_and_try(page: Page, serve_api: ServeApi, redis_url: str) -> None:
    """By the keyboard alone: to an operation, into its form, to the API's real answer."""
    page.goto(f"{serve_api(redis_url=redis_url)}/docs#isReady")
    expect(page.locator("#isReady > summary")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#isReady button[type=submit]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#isReady [role=status]")).to_have_text(re.compile("^200"))
    expect(page.locator("#isReady pre[aria-label=Answer]")).to_contain_text('"ready"')


def test_credentials(page: Page, serve_api: ServeApi, redis_url: str, troubles: Troubles) -> None:
    """What is typed in above goes with every question; without it the answer is a problem."""
    page.goto(f"{serve_api(redis_url=redis_url)}/docs#listJobs")
    form = page.locator("#listJobs form")
    troubles.expect("answered (400|503): GET .*/api/v1/jobs/")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_have_text(re.compile("^400"))
    page.get_by_label("X-Tenant-ID").fill("t")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_have_text(re.compile("^503"))


def test_narrow_and_dark(new_page: NewPage, serve_api: ServeApi, redis_url: str) -> None:
    """On a phone nothing is wider than the screen, and every operation is there."""
    page = new_page(color_scheme="dark", viewport={"width": 390, "height": 844})
    url = serve_api(redis_url=redis_url)
    page.goto(f"{url}/docs")
    operations = page.locator("#operations > details")
    expect(operations.first).to_be_visible()
    described = page.request.get(f"{url}/openapi.json").json()["paths"].values()
    assert operations.count() == sum(map(len, described))
    for number in range(operations.count()):
        operations.nth(number).evaluate("each => { each.open = true }")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(18, 22, 27)"

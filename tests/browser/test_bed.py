"""The test bed itself: what goes wrong on a page fails the test that did not expect it."""

from __future__ import annotations

from functools import partial

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import ServeApi, Troubles, seen_by

NOISY = """
<meta http-equiv="Content-Security-Policy" content="img-src 'none'">
<img src="/picture.png">
<script>
console.error("it said so");
fetch("http://example.org/");
fetch("/healthz/nowhere");
setTimeout(() => { throw new Error("it threw"); });
</script>
"""


@pytest.fixture
def seen(troubles: Troubles) -> list[str]:
    """The troubles, none of which fails the test."""
    troubles.expect("")
    return troubles._seen


def test_each_kind_of_trouble_is_noted(
    page: Page, seen: list[str], serve_api: ServeApi, redis_url: str
) -> None:
    base = serve_api(redis_url=redis_url)
    page.route("**/page", lambda route: route.fulfill(body=NOISY, content_type="text/html"))
    page.goto(f"{base}/page")

    wanted = (
        "console: it said so",
        "console: content security policy: img-src forbids",
        "exception: it threw",
        "foreign: GET http://example.org/",
        "failed: GET http://example.org/",
        f"answered 404: GET {base}/healthz/nowhere",
    )
    for line in wanted:
        seen_by(page, partial(_any_starts, seen, line), line)


def _any_starts(seen: list[str], start: str) -> bool:
    return any(line.startswith(start) for line in seen)


def test_what_a_test_expects_is_no_trouble() -> None:
    troubles = Troubles()
    troubles._seen += ["console: one", "answered 404: GET /two"]

    troubles.expect(r"^answered 404: .*/two$")

    assert troubles.unexpected == ["console: one"]

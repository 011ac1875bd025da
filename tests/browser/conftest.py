"""A real browser on real servers: headless Chromium, and pages on which nothing goes wrong unseen.

`page` (and every page of `new_page`) notes each *trouble*: an error on the console, an uncaught
exception, a violation of the Content-Security-Policy, a request that failed or was answered by 400
or above, a request to anywhere but this machine. A test fails for each one that it did not announce
by `troubles.expect(pattern)`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    sync_playwright,
)

from tests.pipeline.conftest import Start, start
from tests.support.waiting import eventually

__all__ = ["start"]

NewPage = Callable[..., Page]
"""Opens a page in a browser context of its own, which takes these options; closed after the test.

`new_page(color_scheme="dark", viewport={"width": 390, "height": 844})`
"""

ServeApi = Callable[..., str]
"""Starts `jobtrail api` with these settings (dev mode, a free port) and gives its base URL."""

_CHROMIUM = shutil.which("chromium")
_ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage "
    "--disable-background-networking --disable-component-update --disable-sync --no-proxy-server"
).split()
# Nothing leaves this machine, not even the question where it would go to.
_NO_NAMES = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
_LOCAL = {"127.0.0.1", "localhost"}

_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (violation) => console.error(
    `content security policy: ${violation.effectiveDirective} forbids ${violation.blockedURI}`));
"""


class Troubles:
    """What went wrong on a test's pages, a line each, in the order in which it was seen."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._expected: list[re.Pattern[str]] = []

    def expect(self, pattern: str) -> None:
        """Let every trouble pass whose line this regular expression is found in."""
        self._expected.append(re.compile(pattern))

    @property
    def unexpected(self) -> list[str]:
        """Those that no pattern covers."""
        return [
            line for line in self._seen if not any(each.search(line) for each in self._expected)
        ]

    def watch(self, context: BrowserContext) -> None:
        """Note what happens on all pages of a context."""
        context.add_init_script(_REPORT_VIOLATIONS)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._seen.append(f"exception: {error.error}"))
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium's own lines on failed requests do not name the request: `_failed` does.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self._seen.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname not in _LOCAL:
            self._seen.append(f"foreign: {request.method} {request.url}")

    def _failed(self, request: Request) -> None:
        # An aborted one was given up by the page itself, which closed or left.
        if request.failure != "net::ERR_ABORTED":
            self._seen.append(f"failed: {request.method} {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._seen.append(
                f"answered {response.status}: {response.request.method} {response.url}"
            )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave the tests of this folder to thorough runs, but for those that are marked otherwise."""
    if not item.get_closest_marker("smoke"):
        item.add_marker(pytest.mark.thorough)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser a module: while it runs, no event loop can run in this thread but its own."""
    if _CHROMIUM is None:
        pytest.skip("there is no chromium on this machine (.ci/run installs Debian's)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_CHROMIUM, args=[*_ARGUMENTS, _NO_NAMES], timeout=120_000
        )
        yield browser
        browser.close()


@pytest.fixture
def troubles() -> Iterator[Troubles]:
    """What went wrong on the test's pages; what it did not expect fails it."""
    seen = Troubles()
    yield seen
    assert seen.unexpected == []


@pytest.fixture
def new_page(
    browser: Browser, troubles: Troubles, start: Start, request: pytest.FixtureRequest
) -> Iterator[NewPage]:
    # `start` is asked for so that its processes outlive the pages, which would miss them. So do
    # the servers of a test that has some.
    if "servers" in request.fixturenames:
        request.getfixturevalue("servers")
    with ExitStack() as stack:

        def opened(**options: Any) -> Page:
            context = browser.new_context(**options)
            stack.callback(context.close)
            troubles.watch(context)
            return context.new_page()

        yield opened


@pytest.fixture
def page(new_page: NewPage) -> Page:
    """A page in a context of its own."""
    return new_page()


@pytest.fixture
def serve_api(start: Start) -> ServeApi:
    def serve(**settings: str) -> str:
        return base_url(start("api", **{"auth": "dev", "api_port": "0", **settings}))

    return serve


def base_url(api: subprocess.Popen[bytes]) -> str:
    """Wait until a `jobtrail api` answers, and give its URL."""
    assert api.stdout is not None
    line = api.stdout.readline().decode()
    assert line.startswith("api: "), line
    return line.removeprefix("api: ").strip()


def seen_by(page: Page, check: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Wait until a condition outside the page holds, while the page's events are taken in."""

    def checked() -> object:
        page.evaluate("0")  # events reach their listeners only while the browser is asked something
        return check()

    eventually(checked, timeout, what)

"""Pages that follow a job by client.js, and what they have seen."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from playwright.sync_api import Page, Request
from playwright.sync_api import TimeoutError as TookTooLong

PAGES = Path(__file__).with_name("pages")

QUICK = {"poll": 50, "pace": 20, "backoff": 50, "backoffMost": 200, "opening": 1_000}
"""Timing for tests that go through failures, in milliseconds."""

PATIENCE = 180_000
"""Milliseconds that a page may take to get somewhere on a busy machine."""


class Follower:
    """A page that watches one job."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.asked: list[str] = []
        """What the page asked for of the job: `wait`, `events` or `plain`, in order."""
        self._base = base
        page.on("request", self._note)

    def open(self, **options: Any) -> None:
        """Open the page at the API's own origin; the options are those of `watchJob`."""
        self.page.route(f"{self._base}/pages/follow.html*", _page)
        self.page.goto(f"{self._base}/pages/follow.html?{query(options)}")

    def wait(self, condition: str, argument: object = None) -> None:
        """Wait until an expression over `seen`, what the page was told, is true."""
        try:
            self.page.wait_for_function(
                f"(given) => window.seen && ({condition})", arg=argument, timeout=PATIENCE
            )
        except TookTooLong:
            latest = {
                name: told[-3:] if isinstance(told, list) else told
                for name, told in self.seen.items()
            }
            raise AssertionError(f"not so in {PATIENCE} ms: {condition}; {latest}") from None

    def wait_for_state(self, **fields: Any) -> None:
        """Wait until the latest state has these fields."""
        self.wait(
            "Object.entries(given).every(([name, value]) => seen.states.at(-1)?.[name] === value)",
            fields,
        )

    def wait_for_end(self) -> dict[str, Any]:
        """Wait until the watch is closed by the job's end, and give that."""
        self.wait("seen.closed")
        seen = self.seen
        assert seen["errors"] == []
        assert seen["closed"] == 1
        assert seen["ends"] == seen["states"][-1:]
        return dict(seen["ends"][0])

    @property
    def seen(self) -> dict[str, Any]:
        """Everything that the page was told."""
        return dict(self.page.evaluate("seen"))

    @property
    def states(self) -> list[dict[str, Any]]:
        """The states that the page was told."""
        return list(self.seen["states"])

    def _note(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.path.endswith("/progress/events"):
            self.asked.append("events")
        elif parts.path.endswith("/progress/"):
            self.asked.append("wait" if "wait=" in parts.query else "plain")


def query(options: dict[str, Any]) -> str:
    """Give the query by which a page is told its options."""
    return urlencode({"options": json.dumps({"timing": QUICK, **options})})


def _page(route: Any) -> None:
    name = urlsplit(route.request.url).path.rpartition("/")[2]
    route.fulfill(path=PAGES / name, content_type="text/html; charset=utf-8")


def assert_in_order(states: list[dict[str, Any]]) -> None:
    """Nothing was told twice in a row, and nothing of an earlier stage after a later one."""
    assert all(one != other for one, other in pairwise(states))
    stages = ["PENDING UPLOADED", "PROCESSING", "FAILED CANCELLED", "DONE READY"]
    told = [
        (state["attempt"], next(n for n, words in enumerate(stages) if state["status"] in words))
        for state in states
    ]
    assert told == sorted(told)

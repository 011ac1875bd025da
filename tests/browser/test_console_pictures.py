"""Every page of the console in every state, with the data of many tenants, and pictures.

The test sees that no page is wider than the window, and that none reports an error. It visits each
page in one look (two with data) with 600 jobs, in under a minute on a quiet machine. If
`JOBTRAIL_TEST_PICTURES` names a folder, it visits them in up to eight looks with 20,000 jobs, and
puts pictures there for a person to look at; that takes several minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import redis
from playwright.sync_api import Page, expect

from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from tests.browser.conftest import NewPage, ServeApi, Troubles
from tests.browser.crowd import JOBS, STORY, append
from tests.pipeline.conftest import Start, servers
from tests.support.groups import settled
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

__all__ = ["servers"]

PAGES = {
    "overview": "",
    "jobs": "jobs",
    "failed": "jobs?state=failed&last=24h",
    "nothing": "jobs?id=zzz&tenant=acm&state=failed",
    "job": f"jobs/acme/job/{STORY}",
    "stalled": "stalled",
    "dead": "dead",
    "tenants": "tenants",
    "behind": "tenants?order=lag",
    "tenant": "tenants/acme",
    "issues": "issues",
    "audit": "audit",
    "help": "help/dead",
}


class Look(NamedTuple):
    """A way to look at a page."""

    scheme: Literal["light", "dark"]
    width: int
    locale: str

    def options(self) -> dict[str, Any]:
        """Return the options of a browser context."""
        viewport = {"width": self.width, "height": 900}
        return {"color_scheme": self.scheme, "viewport": viewport, "locale": self.locale}


SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LOOKS = [Look(*each) for each in product(SCHEMES, (1360, 390), ("en-GB", "ko-KR"))]
PAIRS = [LOOKS[0], LOOKS[3], LOOKS[5], LOOKS[6]]
"""Looks among which each two values are together once."""


class Extent(NamedTuple):
    """The looks at pages by state, and the number of jobs."""

    empty: list[Look]
    full: list[Look]
    others: list[Look]
    jobs: int


FOLDER = os.environ.get("JOBTRAIL_TEST_PICTURES")
EXTENT = (
    Extent(PAIRS, LOOKS, PAIRS[:2], JOBS)
    if FOLDER
    else Extent(PAIRS[:1], [LOOKS[0], LOOKS[-1]], PAIRS[:1], 600)
)


class Ways(NamedTuple):
    """The ways from the console's API to its servers."""

    settings: dict[str, str]
    redis: Proxy
    postgresql: Proxy


@pytest.fixture
def ways(
    servers: dict[str, str], redis_server: EmbeddedRedis, migrated_server: EmbeddedPostgres
) -> Iterator[Ways]:
    ports = (redis_server.port, migrated_server.port)
    with Proxy(ports[0]) as to_redis, Proxy(ports[1]) as to_rows:
        settings = {
            "redis_url": servers["redis_url"].replace(f":{ports[0]}", f":{to_redis.port}"),
            "database_url": servers["database_url"].replace(f":{ports[1]}", f":{to_rows.port}"),
        }
        yield Ways(settings, to_redis, to_rows)


@pytest.mark.thorough
def test_every_page_in_every_state(
    new_page: NewPage, start: Start, serve_api: ServeApi, ways: Ways, servers: dict[str, str]
) -> None:
    api = serve_api(**ways.settings)
    visit(new_page, api, "empty", EXTENT.empty)
    fill(start, servers)
    visit(new_page, api, "full", EXTENT.full)
    visit(new_page, api, "loading", EXTENT.others)
    for state, proxy in (("without-redis", ways.redis), ("without-postgresql", ways.postgresql)):
        proxy.stop()
        visit(new_page, api, state, EXTENT.others)
        proxy.start()


@pytest.fixture(autouse=True)
def _expected(troubles: Troubles) -> None:
    """Expect what a job or a server that is not there leads to."""
    troubles.expect(r"answered (404|503): GET |^failed: GET ")


def visit(new_page: NewPage, api: str, state: str, looks: list[Look]) -> None:
    """Look at all pages, and take their pictures."""
    for look in looks:
        page = new_page(**look.options())
        if state == "loading":
            page.route("**/api/v1/ops/[!s]*/**", lambda _route: None)  # never answered
        for name, where in PAGES.items():
            shown(page, f"{api}/console/#/{where}", state)
            wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, (state, name, look)
            if FOLDER:
                picture = f"{state}-{name}-{look.width}-{look.scheme}-{look.locale}.png"
                page.screenshot(path=Path(FOLDER) / picture)
        page.unroute_all(behavior="ignoreErrors")
        page.close()


def fill(start: Start, servers: dict[str, str]) -> None:
    """Append everything, and wait until consumers have applied it."""
    client = redis.Redis.from_url(servers["redis_url"])
    append(client, EXTENT.jobs)
    for group in ("status", "rows"):
        start("consume", group, **servers)
    queues = [f"jobtrail:ready:{group}" for group in ("status", "rows")]
    eventually(lambda: not any(client.zcard(each) for each in queues), 300)
    eventually(lambda: settled(client, "acme", "status", "rows"), 60)


def shown(page: Page, url: str, state: str) -> None:
    page.goto("about:blank")
    page.goto(url)
    expect(page.locator("main h1")).to_be_visible(timeout=30_000)
    if state in ("empty", "full"):
        expect(page.locator(".skeleton")).to_have_count(0, timeout=60_000)
    elif state != "loading":
        expect(page.locator("#pulse")).not_to_have_text("", timeout=30_000)
        expect(page.locator(".pulse.loading")).to_have_count(0, timeout=60_000)

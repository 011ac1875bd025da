"""The overview while one of the two servers is away, and the times of its alerts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from streams.appender import EventAppender
from tests.browser.conftest import NewPage, ServeApi, Troubles, seen_by
from tests.browser.test_console import Deployment
from tests.pipeline.conftest import Start, servers
from tests.support.proxy import Proxy

__all__ = ["servers"]

FOLDER = os.environ.get("JOBTRAIL_TEST_PICTURES")

HEALTH = """async ({ rates = [], running = 0, stalled = {}, changes = {}, past = [], since }) => {
    const { healthOf } = await import("/console/health.js");
    const at = rates.map((_, index) => Date.now() - (rates.length - 1 - index) * 10_000);
    const none = rates.map(() => 0), lag = { waiting: none, pending: none, oldest_seconds: none };
    const group = () => ({ rate: rates, ...lag });
    const facts = {
        samples: { at, dead: 0, groups: { status: group(), rows: group() } },
        consumers: ["status", "rows"].map((group) => ({ group, alive: true, beat: 7_000 })),
        stalled: { count: 0 }, servers: [{ name: "redis", ok: true, since: null }],
        ...changes,
    };
    const silent = { count: 0, lately: 0, ...stalled };
    const figures = { types: [], now: { processing: running }, stalled: silent };
    const { issues } = healthOf(facts, figures, null, { issues: past, since });
    return issues.map((each) => [each.text, each.isOlder ? "older" : each.since]);
}"""
NOTHING = {"end": None, "group": None, "worst": None, "tenants": None, "tenant": None}
NOTHING |= {"kind": None, "job_type": None, "code": None, "failed": None, "ended": None}


def issue(cause: str, begin: int, **facts: object) -> dict[str, object]:
    return {**NOTHING, "cause": cause, "begin": begin, **facts}


def test_alerts_have_a_begin_and_a_second_failure_does_not_hide_the_first(
    page: Page, serve_api: ServeApi, servers: dict[str, str]
) -> None:
    page.goto(f"{serve_api(**servers)}/console/")

    def health(**given: Any) -> list[list[object]]:
        return list(page.evaluate(HEALTH, given))

    def silent(group: str, *, alive: bool = False) -> dict[str, object]:
        return {"group": group, "alive": alive, "beat": 7_000, "left": None}

    gone = {"consumers": [silent("status", alive=True), silent("rows")]}
    assert health(rates=[1], changes=gone) == [["no consumer of rows is alive", 7_000]]
    none = {"consumers": [silent("status"), silent("rows") | {"left": 9_000}]}
    assert health(rates=[1], changes=none) == [["no consumer is alive", 9_000]]
    # Consumers that were removed from the list, because they are silent for long.
    past = [issue("no_consumer", 5_000, group="rows"), issue("no_consumer", 1, group="x", end=2)]
    only = {"consumers": [silent("status", alive=True)]}
    assert health(rates=[1], changes=only, past=past) == [["no consumer of rows is alive", 5_000]]
    # Redis is away, or refuses writes: what was wrong before stays in the list.
    before = ["before that: No consumer of rows reported", 5_000]
    dead = ["before that: Dead letters: up to 3", 6_000]
    past.append(issue("dead", 6_000, worst=3))
    away: dict[str, object] = {"samples": None, "consumers": None}
    away |= {"servers": [{"name": "redis", "ok": False, "since": 8_000}]}
    assert health(changes=away, past=past) == [["redis is unavailable", 8_000], before, dead]
    refusing = {"servers": [{"name": "redis", "ok": True, "refuses_writes": True}]}
    assert health(rates=[1], changes=refusing, past=past)[1:] == [before]
    assert health(rates=[1]) == []
    # Before the last day nothing is known.
    found = health(rates=[1], changes=only, past=past, since=4_000)
    assert found == [["no consumer of rows is alive", "older"]]


def test_no_event_although_jobs_are_running_is_an_alert(
    page: Page, serve_api: ServeApi, servers: dict[str, str]
) -> None:
    page.goto(f"{serve_api(**servers)}/console/")

    def is_quiet(rates: list[int], running: int, **stalled: int) -> bool:
        given = {"rates": rates, "running": running, "stalled": stalled}
        found = page.evaluate(HEALTH, given)
        return any(text.startswith("no event arrives") for text, _ in found)

    busy, quiet = [5] * 60, [0] * 32
    assert is_quiet([*busy, *quiet], 3)
    assert not is_quiet([*busy, *quiet], 0)
    assert not is_quiet([*busy, 0, 0], 3)
    assert not is_quiet([*quiet, *quiet], 3)
    # Workers that seldom send an event are as quiet as usual.
    assert not is_quiet([5, *[0] * 20, 5, *quiet], 3)
    # Jobs that are silent for days are no sign; those that became silent lately are.
    assert not is_quiet([*busy, *quiet], 3, count=3, lately=0)
    assert is_quiet([*busy, *quiet], 3, count=3, lately=2)


def picture(page: Page, name: str) -> None:
    if FOLDER:
        page.screenshot(path=Path(FOLDER) / f"{name}.png", full_page=True)


@contextmanager
def away(link: Proxy) -> Iterator[None]:
    link.stop()
    try:
        yield
    finally:
        link.start()


@pytest.fixture
def links(servers: dict[str, str]) -> Iterator[dict[str, Proxy]]:
    """Proxies before both servers, which `servers` names from now on."""
    ports = {name: url_port(url) for name, url in servers.items()}
    with Proxy(ports["redis_url"]) as redis, Proxy(ports["database_url"]) as postgresql:
        made = {"redis_url": redis, "database_url": postgresql}
        for name, link in made.items():
            servers[name] = servers[name].replace(f":{ports[name]}", f":{link.port}")
        yield made


def url_port(url: str) -> int:
    return urlsplit(url).port or 0


def test_one_server_away_is_named_alone_with_its_begin_and_what_to_do(
    new_page: NewPage,
    *,
    start: Start,
    serve_api: ServeApi,
    servers: dict[str, str],
    links: dict[str, Proxy],
    troubles: Troubles,
) -> None:
    """Consumers that wait for PostgreSQL are alive; what Redis last knew is not forgotten."""
    troubles.expect("503")
    deployment = Deployment(start, serve_api, servers)
    page = new_page(viewport={"width": 1360, "height": 900})
    page.goto(deployment.console)
    alerts = page.locator(".health li")
    dead = alerts.filter(has_text="2 dead letters")
    expect(dead).to_contain_text("began", timeout=90_000)
    with away(links["database_url"]):
        EventAppender(deployment.client).append("acme", {"type": "queued", "id": "later-1"})
        alert = alerts.filter(has_text="postgresql is unavailable")
        expect(alert.get_by_role("link", name="postgresql is unavailable")).to_have_attribute(
            "href", "#/help/postgresql", timeout=60_000
        )
        expect(alert).to_contain_text("began")
        waited = time.monotonic() + 40  # longer than a consumer without heartbeats counts as alive
        seen_by(page, lambda: time.monotonic() > waited, "the time", timeout=60)
        expect(alerts.filter(has_text="no consumer")).to_have_count(0)
        expect(page.get_by_text("waits for postgres")).to_be_visible()
        late = alerts.filter(has_text="behind for 1 tenant: acme")
        expect(late).to_contain_text("rows is", timeout=30_000)
        picture(page, "overview-without-postgresql")
    expect(alerts.filter(has_text="postgresql")).to_have_count(0, timeout=60_000)
    page.goto(f"{deployment.console}#/issues")
    issue = page.locator("tbody tr", has_text="PostgreSQL was away")
    expect(issue).to_be_visible(timeout=90_000)
    expect(issue).not_to_contain_text("goes on", timeout=90_000)
    picture(page, "issues-after-postgresql")
    page.goto(f"{deployment.console}#/")
    expect(dead).to_be_visible(timeout=30_000)
    with away(links["redis_url"]):
        alert = alerts.filter(has_text="redis is unavailable")
        expect(alert).to_contain_text("began", timeout=60_000)
        expect(alerts.filter(has_text="before that: Dead letters")).to_be_visible(timeout=30_000)
        picture(page, "overview-without-redis")
    expect(alerts.filter(has_text="redis")).to_have_count(0, timeout=60_000)

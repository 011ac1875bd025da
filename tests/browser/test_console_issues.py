"""Tenants that are behind, forecasts, issues of the last day, and the last hour of a tenant."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import redis
from playwright.sync_api import Page, expect

from consumers.round_trips import server_ms
from streams.keys import Keys
from tests.browser.conftest import NewPage, ServeApi
from tests.browser.test_console_session import AXE, RUN_AXE, SMALL
from tests.pipeline.conftest import servers

__all__ = ["servers"]

FOLDER = os.environ.get("JOBTRAIL_TEST_PICTURES")
DONE = b'{"type":"done","id":"a1"}'


def flood(client: redis.Redis) -> None:
    """Write what consumers leave behind in a flood of one tenant that is being worked off."""
    now, keys = server_ms(client), Keys()
    for number in range(60):
        at, left = now - (59 - number) * 10_000, max(0, 70 - number) * 1_000 if number > 50 else 0
        late = {"oldest_ms": at - 24_000, "behind": 1, "furthest": "globex"} if left else {}
        rows = {"waiting": left, "pending": 0, "oldest_ms": None, "applied": number * 900} | late
        status = {"waiting": 0, "pending": 0, "oldest_ms": None, "applied": number * 900}
        text = json.dumps({"at": at, "groups": {"status": status, "rows": rows}})
        client.rpush(keys.samples(), text)
    for number in range(40):
        activity = {"globex": 18_000.0 if number > 35 else 12.0}
        minute = {
            "at": now - (39 - number) * 60_000,
            "activity": activity,
            "late": {"globex": 24.0},
        }
        client.rpush(keys.tenant_minutes(), json.dumps(minute))
    client.xadd(keys.stream("globex"), {"event": DONE}, id=f"{now - 24_000}-0")
    behind = {"at": now, "tenants": ["globex"], "count": 1}
    client.set(keys.behind(), json.dumps(behind))


def picture(page: Page, name: str) -> None:
    if FOLDER:
        page.screenshot(path=Path(FOLDER) / f"{name}.png", full_page=True)


def test_a_flood_is_named_with_its_tenant_its_end_and_what_to_do(
    page: Page, new_page: NewPage, serve_api: ServeApi, servers: dict[str, str]
) -> None:
    flood(redis.Redis.from_url(servers["redis_url"]))
    console = f"{serve_api(**servers)}/console/"
    page.set_viewport_size({"width": 1360, "height": 900})
    page.goto(console)
    issue = page.locator(".health li", has_text="globex")
    expect(issue).to_contain_text("rows is 24 s behind for 1 tenant: globex", timeout=30_000)
    expect(issue).to_contain_text("catching up: about")
    expect(page.locator(".group .trend")).to_contain_text("catching up")
    picture(page, "overview")
    page.get_by_role("link", name="Issues of the last 24 h").click()
    rows = page.get_by_role("table", name="Issues of the last 24 h").locator("tbody tr")
    expect(rows.filter(has_text="rows was up to 24 s behind")).to_contain_text("goes on")
    picture(page, "issues")
    rows.get_by_role("link", name="globex").click()
    expect(page.locator("h1")).to_have_text("globex")
    expect(page.get_by_text("Unusually active since")).to_be_visible()
    expect(page.locator(".chart canvas")).to_have_count(2)
    expect(page.get_by_text("jobtrail cannot pause or throttle a tenant")).to_be_visible()
    picture(page, "tenant")
    phone = new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", locale="ko-KR")
    for where in ("", "issues", "tenants/globex", "tenants?order=lag", "help/flood"):
        phone.goto("about:blank")
        phone.goto(f"{console}#/{where}")
        expect(phone.locator(".skeleton")).to_have_count(0, timeout=30_000)
        expect(phone.locator("main h1")).to_be_visible()
        assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
        assert phone.evaluate(SMALL) == [], where
        if AXE.exists():
            phone.evaluate(AXE.read_text(encoding="utf-8"))
            assert phone.evaluate(RUN_AXE) == [], where
        picture(phone, f"phone-{where.replace('/', '-').replace('?', '-')}")


FORECAST = """async (series) => {
    const { forecastOf } = await import("/console/forecast.js");
    const at = series.map((_, index) => Date.now() - (series.length - 1 - index) * 10_000);
    const found = forecastOf(at, { waiting: series, pending: series.map(() => 0) });
    return found && [found.trend, found.seconds === null ? null : Math.round(found.seconds)];
}"""


def test_a_forecast_compares_what_is_left_with_the_most_of_the_last_minute(
    page: Page, serve_api: ServeApi, servers: dict[str, str]
) -> None:
    page.goto(f"{serve_api(**servers)}/console/")

    def forecast(*left: int) -> Any:
        return page.evaluate(FORECAST, left)

    assert forecast() is None
    assert forecast(5) is None
    assert forecast(500, 0) is None
    assert forecast(100, 200, 300) == ["worse", None]
    assert forecast(300, 300, 300) == ["same", None]
    trend, seconds = forecast(0, 3_000, 2_000, 1_000)
    assert (trend, 8 <= seconds <= 10) == ("better", True)
    assert forecast(9_000, *[0] * 8, 100, 200) == ["worse", None]

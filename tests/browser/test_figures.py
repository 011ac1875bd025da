"""The console's overview, charts and tenants in a real browser, on real servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.sync_api import Page, expect

from consumers.round_trips import server_ms
from ops.devstack.server import free_port
from streams.appender import EventAppender
from streams.keys import Keys
from tests.browser.conftest import NewPage, ServeApi, seen_by
from tests.pipeline.conftest import Start, servers
from tests.support.debian import debian_command, debian_environ
from tests.support.groups import settled
from tests.support.waiting import eventually

__all__ = ["servers"]

TENANTS = 60
RULES = """
groups:
  - name: jobtrail
    rules:
      - alert: JobtrailLagging
        expr: vector(1)
        labels: {severity: page}
        annotations: {summary: "Group rows <b>is</b> late"}
      - alert: SomebodyElses
        expr: vector(1)
"""
CONFIGURATION = """
global: {evaluation_interval: 1s}
rule_files: [rules.yml]
"""


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """Run a Prometheus of which one of our rules and another one fire, and yield its URL."""
    (folder / "rules.yml").write_text(RULES)
    (folder / "prometheus.yml").write_text(CONFIGURATION)
    url = f"127.0.0.1:{free_port()}"
    words = [
        *debian_command("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={url}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, env=dict(debian_environ()), stderr=log)
        try:
            yield f"http://{url}"
        finally:
            process.terminate()
            process.wait()


def events() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of jobs of the last hour: one type fails, one job runs since long ago."""
    now = datetime.now(UTC)

    def at(minutes: float) -> str:
        return (now - timedelta(minutes=minutes)).isoformat()

    for number in range(TENANTS):
        tenant, job = f"tenant-{number:02}", {"id": f"j{number}", "job_type": "excel"}
        yield tenant, {"type": "queued", "at": at(30), **job}
        done = {"type": "done", "at": at(30 - 0.5), "result": {"x": "y" * number}, **job}
        failed = {"type": "failed", "at": at(29), "code": "bad_file", "error": "no", **job}
        yield tenant, failed if number % 4 == 0 else done
    slow = {"type": "processing", "id": "slow-1", "job_type": "hls", "worker": "w1"}
    yield "tenant-07", {**slow, "at": at(50)}
    yield "tenant-07", {"type": "queued", "id": "waits", "job_type": "hls"}


def spike(client: redis.Redis) -> None:
    """Write samples of the last hour, one of which is far above the others."""
    now = server_ms(client)
    for number in range(60):
        figures = {"waiting": 9_000 if number == 30 else 10, "pending": 0, "oldest_ms": None}
        groups = {group: {**figures, "applied": number} for group in ("status", "rows")}
        at = now - (60 - number) * 60_000
        sampler = "one" if number < 20 else "two"
        sample = {"at": at, "groups": groups, "sampler": sampler}
        client.rpush(Keys().samples(), json.dumps(sample))


@pytest.fixture
def console(
    start: Start, serve_api: ServeApi, servers: dict[str, str], tmp_path: Path
) -> Iterator[str]:
    """The URL of a console that has a Prometheus, some tenants, and a tenant that is behind."""
    client = redis.Redis.from_url(servers["redis_url"])
    spike(client)
    for group in ("status", "rows"):
        start("consume", group, **servers)
    EventAppender(client).append_many(events())
    eventually(
        lambda: all(settled(client, f"tenant-{n:02}", "status", "rows") for n in (7, 59)), 90
    )
    with prometheus(tmp_path) as url:
        yield f"{serve_api(**servers, prometheus_url=url)}/console/"


def tile(page: Page, name: str) -> Any:
    return page.locator(".tile", has_text=name).locator(".figure")


def test_overview_and_tenants(page: Page, new_page: NewPage, console: str) -> None:
    page.goto(console)
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview", timeout=30_000)
    alerts = page.locator(".alerts li")
    expect(alerts).to_have_count(1, timeout=60_000)
    expect(alerts).to_contain_text("Group rows <b>is</b> late")

    expect(tile(page, "Failed, last hour")).to_have_text("15", timeout=60_000)
    expect(page.locator(".tile", has_text="Failed, last hour")).to_contain_text("25 % of those")
    expect(tile(page, "Done, last hour")).to_have_text("45")
    expect(tile(page, "Queued")).to_have_text("1")
    expect(tile(page, "Processing, but silent")).to_have_text("0")
    excel = page.get_by_role("table", name="By type").locator("tr", has_text="excel")
    expect(excel).to_contain_text("bad_file 15")
    expect(excel.locator("td").nth(8)).to_have_text("30 s")
    slow = page.get_by_role("table", name="Running the longest").locator("tbody tr")
    expect(slow).to_contain_text("50 min")

    charts_are_read_by_pointer_and_keyboard(page)
    tenants_are_found_and_sorted(page)
    phone = new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", locale="ko-KR")
    phone.goto(console)
    expect(phone.get_by_text("최근 1시간 실패")).to_be_visible(timeout=30_000)
    expect(phone.locator(".chart canvas")).to_have_count(8)
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")


def charts_are_read_by_pointer_and_keyboard(page: Page) -> None:
    expect(page.locator(".chart canvas")).to_have_count(8)
    waiting = page.locator(".charted", has=page.get_by_role("img", name="rows: waiting"))
    expect(waiting.locator(".clipped")).to_contain_text("up to 9,000")
    expect(page.locator(".marks")).to_contain_text("another consumer was elected")
    reading, chart = waiting.locator(".reading"), waiting.locator(".chart")
    expect(reading).to_contain_text("latest")
    page.get_by_role("button", name="1 h", exact=True).scroll_into_view_if_needed()
    chart.locator(".u-over").click(position={"x": 40, "y": 40})
    page.mouse.move(0, 0)
    expect(reading).to_contain_text(":")  # the time that was chosen, after the pointer has left
    chosen = reading.text_content()
    other = page.locator(".charted", has=page.get_by_role("img", name="status: waiting"))
    expect(other.locator(".reading small")).to_have_text(
        str(reading.locator("small").text_content())
    )
    chart.focus()
    page.keyboard.press("ArrowRight")
    expect(reading).not_to_have_text(str(chosen))
    page.keyboard.press("Escape")
    expect(reading).to_contain_text("latest")
    for span in ("15 min", "24 h", "6 h", "1 h"):
        span_is_loaded(page, span)
    page.get_by_role("button", name="Pause").click()
    span_is_loaded(page, "24 h")
    page.get_by_role("heading", name="Charts").select_text()
    span_is_loaded(page, "15 min")
    expect(page.locator("#pulse")).to_have_text("Paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#pulse")).to_have_text("Live", timeout=30_000)
    axes = page.evaluate("""async () => {
        const { topOf } = await import("/console/charts.js");
        const even = Array.from({ length: 20 }, (_, n) => n), flat = even.map(() => 5);
        const spike = [...flat, 900, 5], incident = [...flat, 900, null];
        return [even, spike, incident, [null, 0, null], []].map((column) => topOf([column]));
    }""")
    assert [each["clipped"] for each in axes] == [False, True, False, False, False]
    assert [each["top"] for each in axes] == [19, 7.5, 900, 1, 1]


def span_is_loaded(page: Page, span: str) -> None:
    with page.expect_response(f"**/charts/?span={span.replace(' ', '').replace('min', 'm')}"):
        page.get_by_role("button", name=span, exact=True).click()
    expect(page.locator("button[aria-pressed=true]")).to_have_text(span)


def tenants_are_found_and_sorted(page: Page) -> None:
    page.get_by_role("link", name="Tenants", exact=True).click()
    table = page.get_by_role("table", name="Tenants")
    rows = table.locator("tbody tr")
    expect(rows).to_have_count(50, timeout=30_000)
    page.get_by_role("link", name="Largest results").click()
    expect(rows.first).to_contain_text("tenant-59")
    page.get_by_role("link", name="Next page").click()
    expect(rows).to_have_count(10)
    page.get_by_role("link", name="Behind", exact=True).click()
    expect(page.get_by_text("No tenant is behind.")).to_be_visible()
    page.get_by_role("link", name="Most failures").click()
    page.get_by_label("Name contains").fill("ANT-0")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text("tenant-00")
    page.get_by_role("link", name="tenant-07").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("tenant-07")
    expect(page.get_by_text("Not behind.")).to_be_visible()
    expect(page.locator(".facts").first).to_contain_text("processing")
    expect(page.get_by_text("No job has failed.")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Name contains")).to_have_value("ANT-0")


def test_a_tenant_that_is_behind_and_a_prometheus_that_is_away_are_named(
    page: Page, serve_api: ServeApi, servers: dict[str, str]
) -> None:
    client = redis.Redis.from_url(servers["redis_url"])
    long_ago = f"{server_ms(client) - 60_000}-0"
    client.xadd("tenant:late:events", {"event": b'{"type":"done","id":"a1"}'}, id=long_ago)
    behind = {"at": server_ms(client), "tenants": ["late"]}
    client.set(Keys().behind(), json.dumps(behind))
    nowhere = f"http://127.0.0.1:{free_port()}"
    console = f"{serve_api(**servers, prometheus_url=nowhere)}/console/"
    page.goto(console)
    unknown = page.locator("[data-alerts=unknown]")
    expect(unknown).to_contain_text("Prometheus cannot be reached", timeout=30_000)
    page.goto(f"{console}#/tenants?order=lag")
    rows = page.get_by_role("table", name="Tenants").locator("tbody tr")
    seen_by(page, lambda: rows.count() == 1, "the tenant that is behind")
    expect(page.get_by_text("1 of 1 tenants is behind.")).to_be_visible()
    rows.get_by_role("link", name="late").click()
    expect(page.locator(".note.bad")).to_contain_text("Behind: the oldest unprocessed entry is 1 m")

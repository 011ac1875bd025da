"""The pages of the console for unusual figures: changed answers of a real API."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import redis
from playwright.sync_api import Page, Route, expect

from consumers.round_trips import server_ms
from streams.keys import Keys
from tests.browser.conftest import ServeApi
from tests.pipeline.conftest import servers

__all__ = ["servers"]

RECENT = {"done": 0, "failed": 10, "last_failed_at": 0}
COUNTS = {"queued": 0, "processing": 0, "finished": 0, "failed": 10}
TIMES = {"p50_seconds": None, "p95_seconds": None}
KIND = {"kind": "job", "job_type": "report", "codes": [], "failure_rate": 1}
FAILING = {**KIND, **COUNTS, **TIMES, "recent": RECENT}
FAR_AWAY = 2**53
"""A time in milliseconds that is no date of JavaScript."""


def change(page: Page, path: str, make: Callable[[dict[str, Any]], None]) -> None:
    """Change the API's answers to a path."""

    def handle(route: Route) -> None:
        # An answer to a condition may have no body to change.
        headers = {**route.request.headers}
        headers.pop("if-none-match", None)
        answer = route.fetch(headers=headers)
        body = answer.json()
        make(body)
        route.fulfill(response=answer, body=json.dumps(body))

    page.route(f"**/api/v1/ops/{path}", handle)


def nearly_full(facts: dict[str, Any]) -> None:
    facts["servers"][0] |= {"used_bytes": 840, "max_bytes": 1000}
    # Nothing is wrong but what the figures say.
    facts |= {"samples": None, "consumers": None}


def test_unusual_figures_are_shown_as_what_they_mean(
    servers: dict[str, str], serve_api: ServeApi, page: Page
) -> None:
    client = redis.Redis.from_url(servers["redis_url"])
    long_ago = f"{server_ms(client) - 60_000}-0"
    client.xadd("tenant:acme:events", {"event": b'{"type":"done","id":"a1"}'}, id=long_ago)
    api = serve_api(**servers)
    console = f"{api}/console/"

    change(page, "overview/", nearly_full)
    change(page, "figures/", lambda figures: figures.update(types=[FAILING]))
    page.goto(console)
    full = page.locator(".servers .warn")
    expect(full).to_contain_text("84 % of its memory is in use.", timeout=30_000)
    expect(page.locator(".health li.bad")).to_have_count(1)
    expect(page).to_have_title("✕ Overview · jobtrail")
    page.goto(f"{console}#/help/dead")
    expect(page.locator(".pulse.loading")).to_have_count(0)  # it has nothing to load
    expect(page).to_have_title(re.compile("^✕ (?!Overview)"), timeout=30_000)
    page.reload()
    expect(page).to_have_title(re.compile("^✕ (?!Overview)"), timeout=30_000)

    change(
        page,
        "tenants/acme/",
        lambda facts: facts.update(behind_seconds=None, missing=["redis"]),
    )
    client.set(Keys().behind(), json.dumps({"at": server_ms(client), "tenants": ["acme"]}))
    page.goto(f"{console}#/tenants/acme")
    delivery = page.locator(".panel", has=page.get_by_role("heading", name="Delivery"))
    expect(delivery).to_contain_text("It is unknown whether this tenant is behind.", timeout=30_000)
    expect(delivery).to_contain_text("redis is unavailable")
    expect(page.locator(".note.good")).to_have_count(0)

    headers = {"x-tenant-id": "console", "x-jobtrail-console": "1"}
    url = f"{api}/api/v1/ops/dead/discard/?tenant=acme&until=4000000000000"
    answer = httpx.post(url, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    change(
        page, "actions/requests/*", lambda facts: facts["items"][0]["target"].update(until=FAR_AWAY)
    )
    page.goto(f"{console}#/audit")
    log = page.get_by_role("table", name="Audit log").locator("tbody tr")
    expect(log).to_contain_text(f"until: {FAR_AWAY}", timeout=30_000)
    page.unroute_all(behavior="ignoreErrors")

    headers["x-request-id"] = "for-several-tenants"
    for tenant in ("acme", "globex", "globex", "acme"):
        url = f"{api}/api/v1/ops/dead/discard/?tenant={tenant}&until=0"
        assert httpx.post(url, headers=headers, timeout=60).status_code == 200
    page.goto(f"{console}#/audit?tenant=globex")
    with page.expect_response(re.compile("/ops/actions/[?]")) as loaded:
        log.get_by_text("2 steps").click(timeout=30_000)
    assert [step["tenant"] for step in loaded.value.json()["items"]] == ["globex", "globex"]


LEGEND = """async ({ spans, moments }) => {
    const { timelineOf } = await import("/console/timeline.js");
    const at = (second) => new Date(second * 1000).toISOString();
    const step = ([attempt, name, start, end]) =>
        ({ attempt, name, display: name, start: at(start), end: at(end), late: false });
    const moment = ([attempt, second]) =>
        ({ attempt, type: "processing", at: at(second), entry_id: `${second}-0`, late: false });
    const timeline = { spans: spans.map(step), moments: moments.map(moment) };
    const [chart, legend] = timelineOf(timeline, null, 800, 100_000);
    return [
        [...legend.querySelectorAll("li")].map((each) => each.textContent),
        chart.querySelectorAll(".running").length,
    ];
}"""


def test_legend_and_chart_of_a_timeline_agree_on_the_step_that_is_running(
    servers: dict[str, str], serve_api: ServeApi, page: Page
) -> None:
    page.goto(f"{serve_api(**servers)}/console/")

    def steps(spans: list[Any], moments: list[Any]) -> Any:
        return page.evaluate(LEGEND, {"spans": spans, "moments": moments})

    reading, saving = [1, "reading", 10, 20], [2, "saving", 30, 40]
    assert steps([reading, saving], []) == [["reading 10 s", "saving 1 min 10 s"], 1]
    # Spans need not be in the order of their attempts.
    assert steps([saving, reading], []) == [["saving 1 min 10 s", "reading 10 s"], 1]
    # A new attempt has no step yet.
    assert steps([reading], [[2, 50]]) == [["reading 10 s"], 0]

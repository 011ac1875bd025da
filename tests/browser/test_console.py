"""The console in a real browser, on real servers, with real consumers and a real API."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import jwt
import pytest
import redis
from playwright.sync_api import Dialog, Page, expect

from streams.appender import EventAppender
from tests.browser.conftest import NewPage, ServeApi, Troubles, seen_by
from tests.pipeline.conftest import Start, servers
from tests.support.groups import settled
from tests.support.tokens import FAR
from tests.support.waiting import eventually

__all__ = ["servers"]

SECRET = "a secret of these tests, and of no more"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
WIDE, PHONE = {"width": 1360, "height": 900}, {"width": 390, "height": 844}
LARGE = {"type": "done", "id": "large-1", "result": {"text": "x" * 600}}
EVENTS: list[dict[str, object]] = [
    {"type": "queued", "id": "import-1", "job_type": "excel", "labels": {"note": HOSTILE}},
    {"type": "processing", "id": "import-1", "worker": HOSTILE},
    {"type": "progress", "id": "import-1", "step": HOSTILE, "percent": 20},
    {"type": "progress", "id": "import-1", "step": "saving", "percent": 80},
    {"type": "failed", "id": "import-1", "error": HOSTILE, "code": HOSTILE},
    {"type": "processing", "id": "import-1", "attempt": 2},
    {"type": "done", "id": "import-1", "attempt": 2, "result": {"rows": 3, "html": HOSTILE}},
    {"type": "progress", "id": "import-1", "attempt": 2, "step": "late"},
    {"type": "progress", "id": "working-1", "step": "reading", "percent": 40},
]


class Deployment:
    """Both consumers and an API, and a log with good and bad entries."""

    def __init__(self, start: Start, serve: ServeApi, settings: dict[str, str]) -> None:
        self._start, self._settings = start, settings
        self._consumers: list[subprocess.Popen[bytes]] = []
        self.client = redis.Redis.from_url(settings["redis_url"])
        self.consume(max_event_bytes="500")
        EventAppender(self.client).append_many(("acme", event) for event in EVENTS)
        for raw in (json.dumps(LARGE).encode(), json.dumps({"type": HOSTILE}).encode()):
            self.client.xadd("tenant:acme:events", {"event": raw})
        eventually(lambda: settled(self.client, "acme", "status", "rows"), 60)
        self.api = serve(**settings)
        self.console = f"{self.api}/console/"

    def consume(self, **settings: str) -> None:
        """Replace the consumers."""
        for process in self._consumers:
            process.terminate()
            process.wait()
        self._consumers = [
            self._start("consume", group, **self._settings, **settings)
            for group in ("status", "rows")
        ]

    def letters(self) -> int:
        """Count the dead letters."""
        return int(self.client.xlen("tenant:acme:dead"))

    def status(self, job_id: str) -> str | None:
        """Give what Redis serves of a job."""
        found = self.client.get(f"tenant:acme:job:{job_id}:status")
        return None if found is None else str(json.loads(found)["status"])


@pytest.fixture
def deployment(start: Start, serve_api: ServeApi, servers: dict[str, str]) -> Deployment:
    return Deployment(start, serve_api, servers)


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text, timeout=30_000)


@pytest.mark.smoke
def test_clicking_from_the_overview_to_a_job_and_why_it_is_done(
    page: Page, deployment: Deployment
) -> None:
    page.goto(deployment.console)
    heading(page, "Overview")
    expect(page.get_by_role("link", name="Dead letters 2")).to_be_visible()
    consumers = page.get_by_role("table", name="Consumers")
    expect(consumers.get_by_text("alive")).to_have_count(2, timeout=30_000)
    expect(page.locator(".servers .good")).to_have_count(2)
    expect(page.get_by_role("img", name="Throughput")).to_have_count(2)

    page.get_by_role("link", name="Jobs", exact=True).click()
    heading(page, "Jobs")
    page.get_by_label("Id begins with").fill("imp")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/#/jobs?id=imp")
    expect(page.get_by_role("table", name="Jobs").locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="import-1").click()

    heading(page, "import-1")
    expect(page.locator(".state")).to_contain_text("DONE")
    expect(page.get_by_role("img", name="Timeline: 2 attempts")).to_be_visible()
    expect(page.locator(".life .won")).to_have_count(1)
    expect(page.locator(".explanation")).to_contain_text("done of attempt 2 won")
    note = "1 event of attempt 2 arrived after its end"
    expect(page.locator(".note.warn")).to_contain_text(note)
    lost = page.get_by_role("table", name="Superseded events")
    expect(lost.locator("tr", has_text="failed of attempt 1")).to_contain_text("1. attempt")
    expect(page.get_by_text('"rows": 3')).to_be_visible()
    page.get_by_text("History").click()
    expect(page.locator("td .event")).to_have_count(8)


def test_what_is_no_longer_the_present_is_said(
    page: Page, deployment: Deployment, troubles: Troubles
) -> None:
    troubles.expect(r"^failed: GET .*/ops/overview/")
    page.goto(deployment.console)
    health, warning = page.locator(".health"), page.get_by_role("alert")
    expect(health.get_by_role("link", name="2 dead letters")).to_be_visible(timeout=30_000)
    expect(page).to_have_title("! Overview · jobtrail")
    page.route("**/ops/overview/", lambda route: route.abort())
    expect(warning).to_contain_text("does not answer. Last updated", timeout=30_000)
    expect(page).to_have_title("? Overview · jobtrail")
    page.unroute("**/ops/overview/")
    expect(warning).to_have_count(0, timeout=60_000)
    expect(page).to_have_title("! Overview · jobtrail")


HEALTH = """async (changes) => {
    const { healthOf } = await import("/console/health.js");
    const group = () => ({ oldest_seconds: [50, 0.2] });
    const facts = {
        samples: { at: [0, Date.now()], dead: 0, groups: { status: group(), rows: group() } },
        consumers: ["status", "rows"].map((group) => ({ group, alive: true })),
        stalled: { count: 0 }, servers: [{ name: "redis", ok: true, refuses_writes: false }],
    };
    const types = changes.types ?? [];
    delete changes.types;
    for (const [path, value] of Object.entries(changes)) {
        const names = path.split("."), last = names.pop();
        names.reduce((node, name) => node[name], facts)[last] = value;
    }
    const { tone, issues } = healthOf(facts, { types });
    return [tone, ...issues.map((each) => each.text)];
}"""


def test_the_health_names_what_is_wrong_the_worst_first(
    page: Page, serve_api: ServeApi, servers: dict[str, str]
) -> None:
    page.goto(f"{serve_api(**servers)}/console/")

    def health(**changes: object) -> list[str]:
        given = {path.replace("__", "."): value for path, value in changes.items()}
        return list(page.evaluate(HEALTH, given))

    assert health() == ["good"]
    assert health(stalled=None) == ["good"]
    assert health(consumers__0__alive=False) == ["bad", "no consumer of status is alive"]
    assert health(consumers=[]) == ["bad", "no consumer is alive"]
    assert health(samples__at=[0, 1])[0] == "warn"
    refused = {"servers__0__refuses_writes": True, "consumers": [], "samples__at": [0, 1]}
    assert health(**refused) == [
        "bad",
        "redis refuses writes: workers of all tenants cannot report",
    ]
    for done, failed, tone in ((0, 4, "good"), (20, 5, "warn"), (2, 8, "warn"), (2, 10, "bad")):
        recent = {"done": done, "failed": failed, "last_failed_at": 0}
        failing = {"kind": "job", "job_type": "report", "codes": [{"code": "E"}], "recent": recent}
        text = f"report: {failed} of the last {done + failed} jobs failed, most with E"
        assert health(types=[failing]) == ([tone] if tone == "good" else [tone, text])
    late = {"samples__groups__rows__oldest_seconds": [0.1, 40]}
    assert health(**late) == ["bad", "rows is 40 s behind"]
    assert health(samples__dead=1, servers__0__ok=False) == [
        "bad",
        "redis is unavailable",
        "1 dead letter",
    ]


def test_hostile_texts_are_shown_and_never_run(page: Page, deployment: Deployment) -> None:
    page.goto(f"{deployment.console}#/jobs/acme/job/import-1")
    expect(page.locator(".labels")).to_contain_text(HOSTILE, timeout=30_000)
    expect(page.locator(".life title", has_text="onerror")).to_have_count(1)
    page.goto(f"{deployment.console}#/dead?tenant=acme")
    expect(page.get_by_role("table", name="Dead letters").locator("tbody tr")).to_have_count(2)
    page.locator("tr", has_text="unknown_type").first.locator("a.unbroken").click()
    expect(page.locator("pre")).to_contain_text("<script>")
    assert page.locator("main img, main script").count() == 0


HOSTILES = (
    "\x1b]8;;http://evil\x07\x1b[2J\x00\x9b31m",
    "first line\r\nsecond: forged\u2028third",
    "\u202etxt.exe \u2066\u200b",
    "${__from} {{tenant}} {% x %} <%= x %> $(id) `id`",
    "javascript:alert(1)//\"'><svg onload=alert(1)>",
    "W" * 200,
)


def test_every_kind_of_hostile_text_is_text_in_every_field(
    page: Page, start: Start, serve_api: ServeApi, servers: dict[str, str]
) -> None:
    client = redis.Redis.from_url(servers["redis_url"])
    for group in ("status", "rows"):
        start("consume", group, **servers)
    events: list[dict[str, Any]] = []
    for number, text in enumerate(HOSTILES):
        one = {
            "id": f"j{number}",
            "job_type": text[:100],
            "worker": text,
            "labels": {text[:64]: text},
        }
        events += [
            {"type": "processing", **one},
            {
                "type": "progress",
                "step": text,
                "step_name_display": text,
                "extra": {text: text},
                **one,
            },
            {"type": "failed", "error": text, "code": text[:64], **one},
            {"type": "cancelled", "reason": text, "id": f"c{number}"},
        ]
    for event in events:
        client.xadd("tenant:acme:events", {"event": json.dumps(event)})
    for text in HOSTILES:
        client.xadd("tenant:acme:events", {"event": text, text: text})
    eventually(lambda: settled(client, "acme", "status", "rows"), 60)
    dialogs, errors = list[str](), list[str]()

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("pageerror", lambda error: errors.append(str(error)))
    console = f"{serve_api(**servers)}/console/"
    jobs = [f"jobs/acme/job/j{number}" for number in range(len(HOSTILES))]
    for where in ("", "jobs", *jobs, "stalled", "dead?tenant=acme", "tenants"):
        page.goto("about:blank")
        page.goto(f"{console}#/{where}")
        expect(page.locator("main .panel, main .empty").first).to_be_visible(timeout=30_000)
        assert page.locator("main img, main script, main iframe, main svg[onload]").count() == 0
        assert page.locator("main a[href^='javascript']").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
    assert (dialogs, errors) == ([], [])


def test_a_requeued_letter_is_gone_and_its_event_is_applied(
    page: Page, deployment: Deployment
) -> None:
    page.goto(f"{deployment.console}#/dead")
    letters = page.get_by_role("table", name="Dead letters").locator("tbody tr")
    expect(letters).to_have_count(2, timeout=30_000)
    deployment.consume()  # with the default limit: what was in the way is mended
    page.locator("tr", has_text="too_large").first.get_by_role("button", name="Requeue").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Requeue this entry?")
    dialog.get_by_role("button", name="Requeue").click()
    expect(page.locator("#toast")).to_contain_text("Requeued as entry")
    expect(letters).to_have_count(1)
    assert deployment.letters() == 1
    seen_by(page, lambda: deployment.status("large-1") == "DONE", "the requeued event")
    page.goto(f"{deployment.console}#/jobs/acme/job/large-1")
    expect(page.locator(".state")).to_contain_text("DONE", timeout=30_000)


def test_a_letter_is_discarded_only_once_that_is_confirmed(
    page: Page, deployment: Deployment
) -> None:
    page.goto(f"{deployment.console}#/dead?tenant=acme")
    letters = page.get_by_role("table", name="Dead letters").locator("tbody tr")
    expect(letters).to_have_count(2, timeout=30_000)
    discard = page.get_by_role("button", name="Discard").first
    discard.click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert deployment.letters() == 2
    discard.click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    expect(letters).to_have_count(1)
    assert deployment.letters() == 1


def test_the_keyboard_alone_finds_and_discards_a_letter(page: Page, deployment: Deployment) -> None:
    page.goto(deployment.console)
    heading(page, "Overview")

    def focused(what: str) -> Callable[[], bool]:
        return lambda: bool(page.evaluate(FOCUSED, what))

    def tab_to(what: str) -> None:
        for _ in range(60):
            if focused(what)():
                return
            page.keyboard.press("Tab")
        pytest.fail(f"{what} is not to be reached by Tab")

    page.keyboard.press("Tab")
    assert focused("Skip to content")()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Shift+Tab")
    tab_to("Overview")
    tab_to("Dead letters")
    page.keyboard.press("Enter")
    heading(page, "Dead letters")
    tab_to("Discard dead letter")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert focused("Cancel")()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert focused("Discard dead letter")(), "focus goes back to where it came from"
    page.keyboard.press("Enter")
    tab_to("Discard")
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("Discarded")
    assert deployment.letters() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_page_is_wider_than_the_window_and_text_stands_out(
    new_page: NewPage, deployment: Deployment, scheme: str, viewport: dict[str, int]
) -> None:
    page = new_page(color_scheme=scheme, viewport=viewport)
    pages = ("", "jobs", "jobs/acme/job/import-1", "stalled", "dead", "tenants", "tenants/acme")
    for where in pages:
        page.goto("about:blank")
        page.goto(f"{deployment.console}#/{where}")
        expect(page.locator("main .panel, main .empty").first).to_be_visible(timeout=30_000)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
        assert page.evaluate(FAINT) == [], where


FOCUSED = """what => {
    const node = document.activeElement;
    return (node.getAttribute("aria-label") ?? node.textContent).startsWith(what);
}"""

FAINT = """() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgb = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
        const part = (each) => each <= 10 ? each / 3295 : ((each / 255 + 0.055) / 1.055) ** 2.4;
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const ground = (node) => {
        for (let each = node; each; each = each.parentElement) {
            const colour = rgb(getComputedStyle(each).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255, 255];
    };
    const faint = [];
    for (const node of document.querySelectorAll("body *:not(svg *)")) {
        const said = [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
        if (!said || !node.checkVisibility({visibilityProperty: true})) continue;
        const [a, b] = [light(rgb(getComputedStyle(node).color)), light(ground(node))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faint.push(`${node.textContent} ${contrast.toFixed(2)}`);
    }
    return faint;
}"""
"""Texts whose contrast is under 4.5 (WCAG 2.2, 1.4.3)."""


def test_a_token_is_asked_for_and_stays_out_of_the_address(
    page: Page, serve_api: ServeApi, servers: dict[str, str], troubles: Troubles
) -> None:
    troubles.expect(r"answered 40[13]: GET \S+/api/v1/ops/session/$")
    api = serve_api(**servers, auth="jwt", jwt_secret=SECRET)

    def token(**claims: str) -> str:
        return jwt.encode({"exp": FAR, "tenant_id": "ops", **claims}, SECRET)

    page.goto(f"{api}/console/#/jobs")
    heading(page, "Sign in")
    given = page.get_by_label("Access token")
    for wrong, words in (("nonsense", "not valid"), (token(), "lacks the scope")):
        given.fill(wrong)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text(words)
    given.fill(token(scope="ops"))
    page.keyboard.press("Enter")
    heading(page, "Jobs")
    assert "ey" not in page.url
    page.reload()
    heading(page, "Jobs")
    # Session storage is not shared with a tab that the operator opens, nor is there an opener.
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Tenants").click(modifiers=["ControlOrMeta"])
    heading(opened.value, "Tenants")
    assert opened.value.evaluate("window.opener") is None
    assert page.evaluate("localStorage.length") == 0
    with page.context.expect_page() as middle:
        page.get_by_role("link", name="Stalled").click(button="middle")
    heading(middle.value, "Stalled jobs")
    page.get_by_role("button", name="Sign out").click()
    for tab in (page, opened.value, middle.value):
        heading(tab, "Sign in")
        assert tab.evaluate("sessionStorage.length") == 0
    opened.value.reload()
    heading(opened.value, "Sign in")


def test_signing_out_reaches_tabs_that_cannot_hear_of_it(
    page: Page, serve_api: ServeApi, servers: dict[str, str], troubles: Troubles
) -> None:
    troubles.expect(r"answered 40[13]: GET \S+/api/v1/ops/session/$")
    console = f"{serve_api(**servers, auth='jwt', jwt_secret=SECRET)}/console/"
    token = jwt.encode({"exp": FAR, "tenant_id": "ops", "scope": "ops"}, SECRET)
    page.goto(f"{console}#/jobs")
    page.get_by_label("Access token").fill(token)
    page.keyboard.press("Enter")
    heading(page, "Jobs")
    away = page.context.new_page()
    away.goto(f"{console}#/tenants")
    heading(away, "Tenants")
    away.goto("about:blank")
    page.get_by_role("button", name="Sign out").click()
    heading(page, "Sign in")
    away.go_back()
    heading(away, "Sign in")
    page.reload()
    heading(page, "Sign in")
    # A tab that has not heard of it yet answers a tab that asks.
    page.evaluate(
        """(token) => {
            const console = new URL(".", document.baseURI).pathname;
            const channel = new BroadcastChannel(`jobtrail ${console}`);
            channel.addEventListener("message", ({ data }) => {
                if (!data.ask) return;
                channel.postMessage({ out: true });
                channel.postMessage({ token });
            });
        }""",
        token,
    )
    asking = page.context.new_page()
    asking.goto(console)
    heading(asking, "Sign in")
    assert asking.evaluate("sessionStorage.length") == 0


def test_a_page_that_is_not_seen_asks_for_nothing(page: Page, deployment: Deployment) -> None:
    page.goto(f"{deployment.console}#/jobs/acme/job/working-1")
    heading(page, "working-1")
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => true});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(page.locator("#pulse")).to_have_text("Paused")
    EventAppender(deployment.client).append("acme", {"type": "done", "id": "working-1"})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    seen_by(page, lambda: deployment.status("working-1") == "DONE", "the end")
    assert asked == []
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => false});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(page.locator(".state")).to_contain_text("DONE", timeout=30_000)

"""An operator in the console: searches, lists, a job, languages; every page with axe."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from streams.appender import EventAppender
from streams.connection import connect
from tests.browser.conftest import NewPage, Troubles, base_url
from tests.browser.test_console import PHONE, WIDE, Deployment, heading
from tests.browser.test_console_answers import change
from tests.pipeline.conftest import starting
from tests.support.groups import settled
from tests.support.servers import cloned_database
from tests.support.waiting import eventually


def ago(minutes: int) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


STORY: list[dict[str, object]] = [
    {
        "type": "queued",
        "id": "story-1",
        "at": ago(20),
        "job_type": "excel",
        "labels": {"customer": "c8"},
    },
    {
        "type": "progress",
        "id": "story-1",
        "at": ago(18),
        "step": "read",
        "step_name_display": "Reading rows",
    },
    {
        "type": "failed",
        "id": "story-1",
        "at": ago(11),
        "error": "no space left",
        "code": "disk_full",
    },
    {"type": "progress", "id": "story-1", "at": ago(9), "step": "save", "percent": 90},
    {"type": "processing", "id": "story-1", "at": ago(8), "worker": "late-worker"},
    {
        "type": "progress",
        "id": "running-1",
        "worker": "w-7",
        "step": "save",
        "step_name_display": "Saving",
        "percent": 40,
        "step_index": 3,
        "step_total": 7,
        "step_percent": 60,
        "remaining_seconds": 95,
    },
    {"type": "queued", "id": "child-1", "labels": {"parent": "running-1"}},
]
PAGES = (
    "",
    "jobs",
    "jobs?id=zzz&tenant=acm&last=24h",
    "jobs/acme/job/story-1",
    "jobs/acme/job/running-1",
    "stalled",
    "dead",
    "tenants",
    "tenants/acme",
    "issues",
    "help/flood",
    "audit",
    "nowhere",
)
LETTERS = re.compile("[가-힣]")


@pytest.fixture(scope="module")
def deployment(
    redis_server: EmbeddedRedis, migrated_server: EmbeddedPostgres
) -> Iterator[Deployment]:
    """One deployment for all tests of the module, which append jobs of their own."""
    with connect(redis_server.url) as client:
        client.flushall()
    with cloned_database(migrated_server) as database, starting() as start:

        def serve(**settings: str) -> str:
            return base_url(start("api", **{"auth": "dev", "api_port": "0", **settings}))

        urls = {"redis_url": redis_server.url, "database_url": database}
        made = Deployment(start, serve, urls)
        append(made, *STORY)
        eventually(lambda: settled(made.client, "acme", "status", "rows"), 60)
        yield made


def picture(page: Page, name: str) -> None:
    """Take a picture for the documentation, if `JOBTRAIL_TEST_PICTURES` names a folder for it."""
    folder = os.environ.get("JOBTRAIL_TEST_PICTURES")
    if folder:
        expect(page.locator("#toast.shown")).to_have_count(0, timeout=20_000)
        page.screenshot(path=f"{folder}/console-{name}.png")


def append(deployment: Deployment, *events: dict[str, object], tenant: str = "acme") -> None:
    EventAppender(deployment.client).append_many((tenant, event) for event in events)


@contextmanager
def requests_of(page: Page) -> Iterator[list[str]]:
    """Collect the addresses that the page asks for."""
    found: list[str] = []

    def collect(request: Request) -> None:
        found.append(request.url)

    page.on("request", collect)
    yield found
    page.remove_listener("request", collect)


def test_a_job_explains_itself(page: Page, deployment: Deployment) -> None:
    page.goto(f"{deployment.console}#/jobs/acme/job/running-1")
    heading(page, "running-1")
    running = page.locator("ul.running")
    expect(running).to_contain_text("Step 3 of 7: Saving")
    expect(running).to_contain_text("60 %")
    expect(running).to_contain_text("about 1 min 35 s left")
    expect(running).to_contain_text(re.compile("last event .* ago"))
    expect(page.locator(".life .now, .life .tick line").first).to_be_attached()
    expect(page.locator(".legend")).to_contain_text("Saving")
    page.get_by_text("Children").click()
    expect(page.get_by_role("table", name="Jobs")).to_contain_text("child-1")
    page.get_by_role("button", name="Copy: Id").click()
    expect(page.locator("#toast")).to_have_text(re.compile("Copied|did not allow"))

    page.goto(f"{deployment.console}#/jobs/acme/job/story-1")
    heading(page, "story-1")
    note = page.locator(".late-note")
    expect(note).to_contain_text("2 events of attempt 1 arrived after its end (failed, entry")
    expect(note).to_contain_text("did not change the status")
    expect(note).to_contain_text("attempt: 2")
    expect(page.locator(".life .late")).to_have_count(2)
    assert page.locator(".life .sign").last.get_attribute("class") == "sign is-failed won"
    expect(page.locator(".life title", has_text="Reading rows")).to_have_count(1)
    page.get_by_text("As it was at").click()
    past = page.locator("details", has_text="As it was at")
    expect(past).to_contain_text("After event 5 of 5")
    for _ in range(3):
        past.get_by_role("button", name="One event earlier").click()
    expect(past.locator("pre")).to_contain_text('"status": "PROCESSING"', timeout=30_000)
    expect(past.locator("pre")).to_contain_text('"step": "read"')
    page.evaluate("scrollTo(0, 0)")
    picture(page, "job")
    page.get_by_text("History").click()
    row = page.locator("tr", has_text="disk_full")
    expect(row).to_contain_text("no space left")
    row.locator("summary").click()
    expect(row.locator("pre")).to_contain_text('"code": "disk_full"')
    part = page.get_by_text("The timeline and the explanation use")
    expect(part).to_have_count(0)
    change(page, "jobs/acme/job/story-1/", lambda facts: facts.update(events=2_500))
    page.reload()
    expect(part).to_contain_text("use 5 of 2,500 events", timeout=30_000)
    page.unroute_all(behavior="ignoreErrors")


def test_anything_is_found_and_what_is_not_is_said(
    page: Page, deployment: Deployment, troubles: Troubles
) -> None:
    jobs = page.get_by_role("table", name="Jobs").locator("tbody tr")

    def found(text: str, *ids: str) -> None:
        page.keyboard.press("Escape")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("/")
        expect(page.locator("#find")).to_be_focused()
        page.locator("#find").fill(text)
        page.keyboard.press("Enter")
        expect(jobs).to_have_count(len(ids), timeout=30_000)
        for job in ids:
            expect(jobs.filter(has_text=job)).to_have_count(1)

    page.goto(deployment.console)
    heading(page, "Overview")
    found("part:ory-", "story-1")
    assert page.url.endswith("#/jobs?part=ory-")
    found("state:failed code:disk_full", "story-1")
    found("label.customer:c8 last:1h", "story-1")
    found("worker:w-7 tenant:acme", "running-1")
    found("type:excel", "story-1", "import-1")
    page.locator("#find").fill("runn")
    page.locator(".found a", has_text="running-1").click()
    heading(page, "running-1")
    page.get_by_role("link", name="w-7").click()
    page.wait_for_url("**/#/jobs?worker=w-7")
    expect(jobs).to_have_count(1)
    page.go_back()
    heading(page, "running-1")

    page.goto(f"{deployment.console}#/jobs?id=storyy&tenant=acm&state=failed")
    nothing = page.locator(".nothing")
    expect(nothing).to_contain_text("No jobs match the filters.")
    expect(nothing.get_by_role("link", name="State failed (remove")).to_be_visible()
    expect(nothing.get_by_role("link", name="story-1")).to_be_visible()
    expect(nothing.get_by_role("link", name="acme", exact=True)).to_be_visible()
    picture(page, "search")
    page.get_by_label("Tenant").press_sequentially("cm")
    expect(page.locator("datalist option[value=acme]")).to_be_attached()

    troubles.expect(r"answered 400: GET .*/ops/jobs/\?part=%25")
    page.goto(f"{deployment.console}#/jobs?part=%25")
    expect(page.get_by_role("alert")).to_contain_text("The request is not valid. (part)")
    expect(page.get_by_label("Id contains")).to_have_value("%")
    page.goto(f"{deployment.console}#/jobs?state=failed")
    page.get_by_text("Save this view").click()
    page.get_by_label("Name of the view").fill("What failed")
    page.get_by_role("button", name="Save").click()
    page.goto(f"{deployment.console}#/jobs")
    page.reload()
    page.get_by_role("link", name="What failed").click()
    page.wait_for_url("**/#/jobs?state=failed")
    page.get_by_role("button", name="Delete the view What failed").click()
    expect(page.get_by_role("link", name="What failed")).to_have_count(0)


def test_lists_hold_still_and_back_returns_to_the_place(page: Page, deployment: Deployment) -> None:
    many: list[dict[str, object]] = [{"type": "done", "id": f"many-{n:02}"} for n in range(60)]
    append(deployment, *many, tenant="bulk")
    rows = page.locator("main tbody tr")
    eventually(lambda: settled(deployment.client, "bulk", "status", "rows"), 60)
    page.goto(f"{deployment.console}#/jobs?tenant=bulk")
    expect(rows).to_have_count(50, timeout=30_000)
    new: list[dict[str, object]] = [{"type": "queued", "id": f"new-{n}"} for n in (1, 2)]
    append(deployment, *new, tenant="bulk")
    first = rows.first.locator(".job").inner_text()
    fresh = page.get_by_role("button", name="2 new jobs")
    expect(fresh).to_be_visible(timeout=30_000)
    assert rows.first.locator(".job").inner_text() == first
    fresh.click()
    expect(rows.first).to_contain_text("new-2")

    link = page.get_by_role("link", name="many-20")
    link.scroll_into_view_if_needed()
    place = page.evaluate("scrollY")
    with requests_of(page) as asked:
        link.click()
        heading(page, "many-20")
        expect(page.locator(".state")).to_contain_text("DONE", timeout=30_000)
        page.go_back()
        heading(page, "Jobs")
        expect(link).to_be_focused()
        expect(link).to_be_in_viewport()
    assert place > 0
    assert not [url for url in asked if "/session/" in url], "the session is known"

    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#pulse")).to_have_text("Paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#pulse")).to_have_text("Live", timeout=30_000)


def test_a_page_that_was_left_draws_nothing_and_keeps_no_timer(
    page: Page, deployment: Deployment
) -> None:
    page.add_init_script(
        "const repeat = setInterval; setInterval = (work, ms) => repeat(work, Math.min(ms, 100));"
    )
    job = f"{deployment.console}#/jobs/acme/job/running-1"
    page.goto(job)
    heading(page, "running-1")
    expect(page.locator(".state")).to_contain_text("PROCESSING", timeout=30_000)
    page.goto(f"{deployment.console}#/tenants")
    heading(page, "Tenants")
    page.route("**/job/running-1/", lambda _route: None)  # never answered
    page.goto(job)
    expect(page.locator(".state")).to_contain_text("PROCESSING")
    page.goto(f"{deployment.console}#/tenants")
    heading(page, "Tenants")
    page.wait_for_timeout(1_000)
    heading(page, "Tenants")
    page.unroute_all(behavior="ignoreErrors")


def test_an_answer_that_breaks_off_is_not_kept(page: Page, deployment: Deployment) -> None:
    page.goto(f"{deployment.console}#/tenants")
    heading(page, "Tenants")
    got = page.evaluate(
        """async () => {
            const { get, lastAnswer } = await import(new URL("http.js", document.baseURI));
            const real = window.fetch, found = [];
            for (const body of [new ReadableStream({ pull: (to) => to.error() }), "<p>"]) {
                window.fetch = async () => new Response(body, { headers: { etag: '"1"' } });
                found.push(await get("broken/").then(() => "an answer", (error) => error.message));
            }
            window.fetch = real;
            return [...found, lastAnswer("broken/") === undefined];
        }"""
    )
    assert got == ["The server does not answer.", "The server does not answer.", True]


def test_the_keyboard_goes_everywhere_until_it_is_turned_off(
    page: Page, deployment: Deployment
) -> None:
    rows = page.locator("main tbody tr")
    page.goto(deployment.console)
    heading(page, "Overview")
    page.keyboard.press("g")
    page.keyboard.press("s")
    heading(page, "Stalled jobs")
    page.keyboard.press("g")
    page.keyboard.press("j")
    heading(page, "Jobs")
    expect(rows.nth(1)).to_be_visible(timeout=30_000)
    first = rows.first.locator(".job a").inner_text()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(rows.first.locator(".job a")).to_be_focused()
    page.keyboard.press("Enter")
    heading(page, first)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Next and previous row")
    page.get_by_label("Turn these keys off").check()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("o")
    heading(page, first)


def test_what_is_watched_is_told_on_any_page(page: Page, deployment: Deployment) -> None:
    page.goto(f"{deployment.console}#/jobs/acme/job/working-1")
    heading(page, "working-1")
    page.get_by_role("button", name="Watch").click()
    page.goto(f"{deployment.console}#/jobs?state=failed")
    heading(page, "Jobs")
    page.get_by_role("button", name="Watch", exact=True).click()
    watching = page.locator("#watches")
    expect(watching).to_contain_text("now PROCESSING", timeout=30_000)
    expect(watching).to_contain_text("nothing new")
    page.goto(f"{deployment.console}#/tenants")
    heading(page, "Tenants")
    append(deployment, {"type": "done", "id": "working-1"}, {"type": "failed", "id": "fails-1"})
    expect(page).to_have_title(re.compile(r"^\(2\) .*Tenants"), timeout=60_000)
    expect(watching).to_contain_text("now DONE")
    expect(watching).to_contain_text("1 new job")
    watching.get_by_role("link", name="working-1").click()
    heading(page, "working-1")
    expect(page).to_have_title(re.compile(r"^\(1\) working-1"))
    watching.get_by_role("button", name="Stop watching failed").click()
    expect(page).to_have_title(re.compile("^working-1"))


def test_times_are_read_by_touch_and_keyboard_in_any_zone(
    new_page: NewPage, deployment: Deployment
) -> None:
    page = new_page(timezone_id="Asia/Seoul", viewport=PHONE, has_touch=True)
    page.goto(f"{deployment.console}#/jobs/acme/job/import-1")
    heading(page, "import-1")
    time = page.locator(".facts .when").first
    expect(time).to_contain_text("ago", timeout=30_000)
    time.tap()
    shown = page.locator("#moment")
    expect(shown).to_contain_text(re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \+09:00"))
    expect(shown).to_contain_text("UTC")
    page.keyboard.press("Escape")
    expect(shown).to_have_count(0)
    time.focus()
    page.keyboard.press("Enter")
    expect(shown).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_text("Settings").click()
    page.get_by_label("Times").select_option("absolute")
    expect(time).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+09:00$"))
    page.get_by_label("Time zone").select_option("utc")
    expect(time).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
    page.reload()
    expect(time).to_have_text(re.compile("UTC$"), timeout=30_000)
    assert page.evaluate(SECONDS, [0.44, 9.97, 59.6, 61, 3600, 71_572, 68_452, 172_900]) == [
        "0.4 s",
        "10 s",
        "1 min",
        "1 min 1 s",
        "1 h",
        "19 h 52 min",
        "19 h",
        "2 d",
    ]


SECONDS = """async (values) => {
    const { seconds } = await import("/console/time.js");
    return values.map(seconds);
}"""

UNTRANSLATED = """() => [...document.querySelectorAll(
    "h1, h2, th, dt, label, caption, summary, button, nav a, .hint, .lead, .empty, .note, option"
)].filter((node) => {
    const copy = node.cloneNode(true);
    const data = copy.querySelectorAll("[translate=no], code, kbd, time, svg, [lang]");
    data.forEach((each) => each.remove());
    return /[A-Za-z]{4}/.test(copy.textContent) && !/[가-힣]/.test(copy.textContent)
        && !node.closest("[translate=no], [lang]:not(html)");
}).map((node) => node.outerHTML)"""
"""Texts for people that have no Korean, except for names such as Redis beside Korean."""

SMALL = """() => [
    ...document.querySelectorAll("a, button, input, select, summary")
].filter((node) => {
    if (!node.checkVisibility() || node.matches(".skip, .unseen")) return false;
    const box = node.getBoundingClientRect();
    const inText = node.matches("p a, .error-text a, .trail a");
    return box.width > 0 && !inText && (box.height < 23.5 || box.width < 23.5);
}).map((node) => `${node.outerHTML.slice(0, 90)} ${node.getBoundingClientRect().height}`)"""
"""Targets under 24 px, except for links in sentences (WCAG 2.2, 2.5.8)."""


def shown(page: Page, deployment: Deployment, where: str) -> None:
    """Open a page, and wait until its data is there."""
    page.goto("about:blank")
    page.goto(f"{deployment.console}#/{where}")
    expect(page.locator(".skeleton")).to_have_count(0, timeout=30_000)
    expect(page.locator("main h1")).to_be_visible()


def test_korean_is_whole_by_the_browsers_wish_and_by_the_switch(
    new_page: NewPage, deployment: Deployment
) -> None:
    page, untranslated = new_page(locale="ko-KR", viewport=WIDE), {}
    for where in PAGES:
        shown(page, deployment, where)
        untranslated[where] = page.evaluate(UNTRANSLATED)
        assert LETTERS.search(page.locator("main h1").inner_text()) or "/" in where
    assert not any(untranslated.values()), untranslated
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("단축키")
    page.keyboard.press("Escape")
    page.get_by_text("설정").click()
    page.get_by_label("언어").select_option("en")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.get_by_role("link", name="Jobs", exact=True).click()
    heading(page, "Jobs")


AXE = Path(os.environ.get("JOBTRAIL_TEST_NODE_MODULES", "/none")) / "axe-core" / "axe.min.js"
RUN_AXE = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map((each) => each.target).join(" ")}`)"""


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not in JOBTRAIL_TEST_NODE_MODULES")
def test_axe_finds_nothing_on_any_page(new_page: NewPage, deployment: Deployment) -> None:
    """Wide and on a phone, light and dark; on a phone every target has 24 px."""
    source, wrong = AXE.read_text(encoding="utf-8"), {}
    for viewport, scheme in ((WIDE, "light"), (PHONE, "dark"), (WIDE, "dark"), (PHONE, "light")):
        page = new_page(color_scheme=scheme, viewport=viewport)
        for where in PAGES:
            shown(page, deployment, where)
            open_all(page.locator("main details.panel:not([open]) > summary"))
            page.evaluate(source)
            wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            small = page.evaluate(SMALL) if viewport is PHONE else []
            violations = page.evaluate(RUN_AXE)
            if violations or small or wide:
                wrong[f"{where} {viewport['width']} {scheme}"] = (violations, small, wide)
    assert wrong == {}


def open_all(summaries: Locator) -> None:
    for _ in range(summaries.count()):
        summaries.first.click()


NARROW = {"width": 1024, "height": 768}
LONG_ERROR = "KeyError: 'sheet_name' in row 17; the worker of version 4.2.1 read the file. " * 3


def test_a_long_error_is_whole_on_focus_and_when_it_is_opened(
    new_page: NewPage, deployment: Deployment
) -> None:
    failed = {"type": "failed", "id": "long-1", "code": "ValidationError", "error": LONG_ERROR}
    EventAppender(deployment.client).append("acme", failed)
    page = new_page(viewport=NARROW)
    page.goto(f"{deployment.console}#/jobs?id=long")
    row = page.get_by_role("table", name="Jobs").locator("tbody tr", has_text="long-1")
    more, text = row.locator("summary"), row.locator(".error-text")
    expect(more).to_have_attribute("title", LONG_ERROR, timeout=30_000)
    if AXE.exists():
        page.evaluate(AXE.read_text(encoding="utf-8"))
        assert page.evaluate(RUN_AXE) == []
    cut = text.bounding_box()
    more.click()
    expect(row.get_by_text("Show less")).to_be_visible()
    opened = text.bounding_box()
    assert cut
    assert opened
    assert opened["height"] > 2 * cut["height"]
    more.click()
    row.get_by_role("link", name="ValidationError").focus()
    page.keyboard.press("Tab")
    focused = text.bounding_box()
    assert focused
    assert focused["height"] == opened["height"]


def test_states_are_in_the_operators_language_with_the_status_that_clients_see(
    new_page: NewPage, deployment: Deployment
) -> None:
    page = new_page(locale="ko-KR", viewport=NARROW)
    page.goto(f"{deployment.console}#/jobs?id=import")
    state = page.locator("td .badge", has_text="완료")
    expect(state).to_have_attribute("title", "DONE", timeout=30_000)
    box = state.bounding_box()
    assert box
    assert box["height"] < box["width"]  # not one letter below the other
    page.goto(f"{deployment.console}#/jobs/acme/job/import-1")
    heading(page, "import-1")
    expect(page.locator(".state").first).to_contain_text("완료")


def test_all_pages_are_within_the_screen_of_a_phone(
    new_page: NewPage, deployment: Deployment
) -> None:
    for locale in ("en-GB", "ko-KR"):
        page = new_page(locale=locale, viewport=PHONE)
        page.goto(deployment.console)
        links = page.locator("nav a")
        expect(links).to_have_count(8, timeout=30_000)
        for link in links.all():
            box = link.bounding_box()
            assert box
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"], link.inner_text()

"""An operator in an incident: dead letters with their jobs, failed jobs by error, whole tables."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from streams.appender import EventAppender
from tests.browser.conftest import NewPage
from tests.browser.test_console import FAINT, PHONE, WIDE, Deployment, deployment, heading
from tests.pipeline.conftest import servers
from tests.support.groups import settled
from tests.support.waiting import eventually

__all__ = ["deployment", "servers"]

MIDDLE = {"width": 1024, "height": 768}
LONG_TENANT = "a-tenant-with-a-name-of-sixty-four-characters-as-long-as-allowed"
LONG_TYPE = "a type with a long name that nobody shortened"
FORMULA = '=HYPERLINK("http://evil")'
FAILURES = 7
CUT_OFF = """() => [...document.querySelectorAll(".scroll")]
    .filter((each) => each.scrollWidth > each.clientWidth + 1)
    .map((each) => [each.textContent.slice(0, 60), each.scrollWidth, each.clientWidth])"""
"""Tables that are wider than their place, so that a column is out of sight."""
PAGES = {
    "jobs": "jobs",
    "failed": "jobs?state=failed",
    "dead": "dead",
    "dead-kind": "dead?kind=video",
    "stalled": "stalled",
    "audit": "audit",
    "tenants": "tenants",
    "job": "jobs/acme/job/import-1",
}


@pytest.fixture
def incident(deployment: Deployment) -> Deployment:
    """Failed jobs of three tenants, and dead letters of which some name a job and a worker."""
    appender = EventAppender(deployment.client)
    tenants = ("acme", "globex", LONG_TENANT)
    facts = {"job_type": LONG_TYPE, "worker": FORMULA}
    for number in range(FAILURES):
        failed = {"type": "failed", "id": f"report-{number}", "code": "row", **facts}
        appender.append(tenants[number % 3], {**failed, "error": f"row {number} is not valid"})
    appender.append("acme", {"type": "failed", "id": "odd-1", "error": "no code " + "x" * 200})
    ends = {"type": "done", "job_type": "encode", "worker": "video-7", "attempt": -1}
    letters = [{**ends, "id": f"film-{number % 4}", "kind": "video"} for number in range(6)]
    letters += [{**ends, "id": "song-1", "kind": "song"}, {"type": "failed", "id": "f-1", "v": -1}]
    for letter in letters:
        deployment.client.xadd("tenant:globex:events", {"event": json.dumps(letter)})
    for group in ("status", "rows"):
        deployment.client.zadd(f"jobtrail:ready:{group}", dict.fromkeys(tenants, 1))
    for tenant in tenants:
        eventually(lambda: settled(deployment.client, tenant, "status", "rows"), 60)  # noqa: B023
    return deployment


def test_dead_letters_name_their_jobs_and_workers(page: Page, incident: Deployment) -> None:
    page.goto(f"{incident.console}#/dead?tenant=globex")
    groups = page.get_by_role("region", name="By reason")
    ends = groups.locator("li", has=page.locator(".badge", has_text=re.compile("^done$"))).first
    expect(ends).to_contain_text("4 jobs: film-0, film-1, film-2 …", timeout=30_000)
    expect(ends).to_contain_text("Workers: video-7")
    expect(ends).to_contain_text("those jobs will not end by themselves")
    expect(groups).to_contain_text("The event names no worker.")
    expect(groups).to_contain_text("The event names no valid job.")
    rows = page.get_by_role("table", name="Dead letters").locator("tbody tr")
    expect(rows).to_have_count(8)
    unnamed = rows.filter(has_text="f-1")
    expect(unnamed).to_contain_text("The event names no worker.")
    expect(unnamed).to_contain_text("end of the job")
    expect(rows.filter(has_text="song-1").locator(".job a", has_text="song-1")).to_have_count(0)

    page.get_by_label("Kind").fill("video")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/#/dead?**kind=video")
    expect(rows).to_have_count(6, timeout=30_000)
    page.get_by_role("button", name="Select all that match").click()
    expect(page.get_by_text("All 6 that match are selected.")).to_be_visible(timeout=30_000)

    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    letter = page.get_by_role("region", name="Dead letter")
    expect(letter).to_contain_text("encode", timeout=30_000)
    expect(letter.get_by_role("link", name="film-")).to_have_attribute(
        "href", re.compile("#/jobs/globex/video/film-")
    )
    expect(letter.locator(".note.warn")).to_contain_text("will not end by itself")
    letter.get_by_role("link", name="video-7").click()
    page.wait_for_url("**/#/jobs?tenant=globex&worker=video-7")


def test_failed_jobs_have_a_head_and_their_ids_can_be_taken_along(
    page: Page, incident: Deployment, tmp_path: Path
) -> None:
    page.goto(f"{incident.console}#/jobs?state=failed")
    head = page.get_by_role("region", name="Failed jobs by error")
    expect(head.get_by_role("heading")).to_have_text(
        f"{FAILURES + 1} failed jobs · 3 tenants", timeout=30_000
    )
    group = head.locator("li", has_text="row # is not valid")
    expect(group.locator(".figure")).to_have_text(str(FAILURES))
    expect(group).to_contain_text("3 tenants")
    expect(head.locator("li", has_text="no code x")).to_contain_text("no code")
    expect(head).to_contain_text("jobtrail does not run jobs")
    group.get_by_role("link", name="row", exact=True).click()
    page.wait_for_url("**/#/jobs?state=failed&code=row")
    expect(head.get_by_role("heading")).to_have_text(
        f"{FAILURES} failed jobs · 3 tenants", timeout=30_000
    )

    page.get_by_role("button", name="Ids, CSV").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"{FAILURES} jobs. One job a line", timeout=30_000)
    lines = dialog.locator("pre").inner_text().split("\n")
    assert f"{LONG_TENANT}\tjob\treport-2" in lines
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download CSV").click()
    download.value.save_as(tmp_path / "jobs.csv")
    with (tmp_path / "jobs.csv").open(newline="", encoding="utf-8") as file:
        jobs = list(csv.DictReader(file))
    assert {job["id"] for job in jobs} == {f"report-{number}" for number in range(FAILURES)}
    assert {job["worker"] for job in jobs} == {f"'{FORMULA}"}, "no formula of a spreadsheet"
    dialog.get_by_role("button", name="Close").click()
    page.goto(f"{incident.console}#/jobs?state=done")
    expect(page.get_by_role("table", name="Jobs")).to_be_visible(timeout=30_000)
    expect(head).to_have_count(0)


def test_jobs_are_the_newest_after_each_link_and_hold_still_between(
    page: Page, incident: Deployment
) -> None:
    appender = EventAppender(incident.client)
    newest = page.get_by_role("table", name="Jobs").locator("tbody tr").first
    in_navigation = page.locator("nav").get_by_role("link", name="Jobs", exact=True)
    page.goto(f"{incident.console}#/jobs")
    expect(newest).to_be_visible(timeout=30_000)
    for id_, leave in (("new-1", True), ("new-2", False)):
        before = newest.locator(".job a").inner_text()
        if leave:
            page.locator("nav").get_by_role("link", name="Stalled").click()
            heading(page, "Stalled jobs")
        appender.append("acme", {"type": "queued", "id": id_})
        eventually(lambda: settled(incident.client, "acme", "status", "rows"), 60)
        if not leave:
            notice = page.get_by_role("button", name="1 new job")
            expect(notice).to_be_visible(timeout=30_000)
            assert newest.locator(".job a").inner_text() == before
        in_navigation.click()
        expect(newest).to_contain_text(id_, timeout=30_000)
        expect(page.get_by_role("button", name=re.compile("new job"))).to_have_count(0)
    appender.append("acme", {"type": "queued", "id": "new-3"})
    eventually(lambda: settled(incident.client, "acme", "status", "rows"), 60)
    page.get_by_role("button", name="Search").click()  # the same search once more
    expect(newest).to_contain_text("new-3", timeout=30_000)


AGES = """async (ages) => {
    const { relative } = await import("/console/time.js");
    const { serverNow } = await import("/console/http.js");
    return ages.map((age) => relative(serverNow() - age * 1000 - 5));
}"""


def test_ages_are_short_and_no_column_is_out_of_sight(
    new_page: NewPage, incident: Deployment
) -> None:
    folder = os.environ.get("JOBTRAIL_TEST_PICTURES")
    looks: list[tuple[str, dict[str, Any]]] = [
        ("1360", {"viewport": WIDE}),
        ("1024", {"viewport": MIDDLE, "locale": "ko-KR"}),
        ("1360-dark", {"viewport": WIDE, "color_scheme": "dark", "locale": "ko-KR"}),
        ("390", {"viewport": PHONE}),
    ]
    wrong = {}
    for look, options in looks:
        page = new_page(**options)
        for name, where in PAGES.items():
            page.goto("about:blank")
            page.goto(f"{incident.console}#/{where}")
            expect(page.locator(".skeleton")).to_have_count(0, timeout=30_000)
            expect(page.locator("main .panel, main .empty").first).to_be_visible()
            if where.startswith("dead"):
                expect(page.locator(".cases li").first).to_be_visible(timeout=30_000)
            cut_off = [] if look == "390" else page.evaluate(CUT_OFF)  # cards instead of rows
            found = [cut_off, page.evaluate(FAINT)]
            if folder:
                page.screenshot(path=f"{folder}/{name}-{look}.png", full_page=True)
            if any(found):
                wrong[f"{name} {look}"] = found
    assert wrong == {}
    page.get_by_text("Settings").click()
    page.get_by_label("Times").select_option("absolute")
    page.set_viewport_size({"width": MIDDLE["width"], "height": MIDDLE["height"]})
    for where in PAGES.values():
        page.goto("about:blank")
        page.goto(f"{incident.console}#/{where}")
        expect(page.locator(".skeleton")).to_have_count(0, timeout=30_000)
        assert page.evaluate(CUT_OFF) == [], where
    ages = [0, 59, 61, 299, 3_600, 3_900, 86_399, 97_200, 1_209_600]
    assert page.evaluate(AGES, ages) == [
        "0 s ago",
        "59 s ago",
        "1 min ago",
        "4 min ago",
        "1 h ago",
        "1 h 5 min ago",
        "23 h 59 min ago",
        "1 d 3 h ago",
        "14 d ago",
    ]

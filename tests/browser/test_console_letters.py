"""Many dead letters in the console: groups, selection, preview, progress, outcomes, audit log."""

from __future__ import annotations

import json

import jwt
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage, ServeApi, Troubles
from tests.browser.test_console import (
    FAINT,
    HOSTILE,
    PHONE,
    SECRET,
    Deployment,
    deployment,
    heading,
)
from tests.pipeline.conftest import servers
from tests.support.groups import settled
from tests.support.tokens import FAR
from tests.support.waiting import eventually

__all__ = ["deployment", "servers"]

LARGE = 5
"""Entries that are too large for the consumers at first."""


@pytest.fixture
def crowded(deployment: Deployment) -> Deployment:
    """Dead letters of two tenants, for three reasons, some of them hostile."""
    client = deployment.client
    for number in range(LARGE):
        event = {"type": "done", "id": f"more-{number}", "job_type": "excel", "text": "x" * 600}
        client.xadd("tenant:acme:events", {"event": json.dumps(event)})
    for number in range(60):
        client.xadd("tenant:zeta:events", {"event": "{" * (number + 2)})
    client.xadd("tenant:zeta:events", {"event": json.dumps({"type": HOSTILE, "id": HOSTILE})})
    client.zadd("jobtrail:ready:status", {"acme": 1, "zeta": 1})
    client.zadd("jobtrail:ready:rows", {"acme": 1, "zeta": 1})
    for tenant in ("acme", "zeta"):
        eventually(lambda: settled(client, tenant, "status", "rows"), 60)  # noqa: B023
    return deployment


def rows(page: Page) -> int:
    return page.get_by_role("table", name="Dead letters").locator("tbody tr").count()


def test_all_that_match_are_requeued_and_what_became_of_each_is_shown(
    page: Page, crowded: Deployment
) -> None:
    page.goto(f"{crowded.console}#/dead")
    groups = page.get_by_role("region", name="By reason")
    expect(groups).to_contain_text(f"{LARGE + 63} dead letters · 2 tenants", timeout=30_000)
    group = groups.locator("li", has_text="too_large").first
    expect(group.locator(".figure")).to_have_text(str(LARGE + 1))
    expect(groups.locator("li", has_text="not_json").locator(".figure")).to_have_text("60")
    expect(groups.locator("li", has_text="not_json")).to_contain_text("requeueing does not change")
    expect(group).to_contain_text("JOBTRAIL_MAX_EVENT_BYTES")
    assert page.locator("main img, main script").count() == 0

    group.get_by_role("link", name="Show only these").click()
    page.wait_for_url("**/#/dead?reason=too_large**")
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("too_large")
    letters = page.get_by_role("table", name="Dead letters").locator("tbody tr")
    expect(letters).to_have_count(LARGE + 1)
    # All but one will be applied: it is no valid event with any limit.
    broken = json.dumps({"type": "done", "id": "more-x", "attempt": "x" * 600})
    crowded.client.xadd("tenant:acme:events", {"event": broken})
    expect(page.get_by_role("button", name="1 new dead letter: show")).to_be_visible(timeout=30_000)
    expect(letters).to_have_count(LARGE + 1)
    page.get_by_role("button", name="1 new dead letter: show").click()
    expect(letters).to_have_count(LARGE + 2)
    crowded.consume()  # with the default limit

    page.get_by_role("button", name="Select all that match").focus()
    page.keyboard.press("Enter")
    selected = page.get_by_text(f"All {LARGE + 2} that match are selected.")
    expect(selected).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Requeue selected").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(f"Requeue {LARGE + 2} dead letters?")
    expect(dialog).to_contain_text("In 1 tenant")
    dialog.get_by_role("button", name="Requeue").click()
    expect(dialog).to_contain_text(f"{LARGE + 2} of {LARGE + 2}", timeout=30_000)
    expect(dialog).to_contain_text("Finished.")
    expect(dialog).to_contain_text(f"applied {LARGE + 1}", timeout=60_000)
    expect(dialog).to_contain_text("still invalid 1", timeout=60_000)
    dialog.locator("summary").click()
    expect(dialog.locator("tbody tr")).to_have_count(LARGE + 2)
    expect(dialog.locator("tbody tr", has_text="still invalid")).to_contain_text("invalid_event")
    eventually(lambda: crowded.status("more-4") == "DONE", 30)
    dialog.get_by_role("link", name="Show it in the audit log").click()

    heading(page, "Audit log")
    action = page.get_by_role("table", name="Audit log").locator("tbody tr")
    expect(action.first).to_contain_text("requeue")
    expect(action.first).to_contain_text("reason: too_large")
    page.locator("summary", has_text=f"{LARGE + 2} dead letters").click()
    expect(action.locator("li")).to_have_count(LARGE + 2, timeout=30_000)


def test_chosen_letters_are_discarded_and_an_interrupted_action_goes_on(
    new_page: NewPage, crowded: Deployment, troubles: Troubles
) -> None:
    troubles.expect(r"^failed: POST ")
    page = new_page(viewport=PHONE, locale="ko-KR")
    page.goto(f"{crowded.console}#/dead?tenant=zeta")
    heading(page, "데드 레터")
    expect(page.get_by_role("checkbox")).to_have_count(25, timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(FAINT) == []
    for number in range(3):
        page.get_by_role("checkbox").nth(number).check()
    page.get_by_role("button", name="선택 항목 버리기").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("데드 레터 3건을 완전히 버릴까요?")
    done = list[str]()

    def once(route: object) -> None:
        done.append("")
        route.abort() if len(done) == 2 else route.continue_()  # type: ignore[attr-defined]

    page.route("**/discard/", once)
    dialog.get_by_role("button", name="버리기").click()
    expect(dialog).to_contain_text("중단됨: 서버가 응답하지 않습니다.")
    expect(dialog).to_contain_text("3건 중 1건")
    assert crowded.client.xlen("tenant:zeta:dead") == 60
    dialog.get_by_role("button", name="계속").click()
    expect(dialog).to_contain_text("끝났습니다.")
    expect(dialog).to_contain_text("버림 3")
    assert page.evaluate(FAINT) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    dialog.get_by_role("button", name="닫기").click()
    expect(page.get_by_role("region", name="사유별")).to_contain_text("데드 레터 58건")
    page.goto(f"{crowded.console}#/audit")
    heading(page, "감사 로그")
    action = page.get_by_role("table", name="감사 로그").locator("tbody tr")
    expect(action).to_have_count(1)
    expect(action).to_contain_text("버림 3")
    action.locator("summary", has_text="데드 레터 3건, 3단계").click()
    expect(action.locator("li")).to_have_count(3, timeout=30_000)
    assert page.evaluate(FAINT) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_operator_who_may_only_read_has_no_buttons_and_is_told_why(
    page: Page,
    serve_api: ServeApi,
    deployment: Deployment,
    servers: dict[str, str],
    troubles: Troubles,
) -> None:
    troubles.expect(r"answered 401: GET \S+/api/v1/ops/session/$")
    api = serve_api(**servers, auth="jwt", jwt_secret=SECRET)
    page.goto(f"{api}/console/#/dead")
    token = jwt.encode({"exp": FAR, "tenant_id": "ops", "scope": "ops:read"}, SECRET)
    page.get_by_label("Access token").fill(token)
    page.keyboard.press("Enter")
    letters = page.get_by_role("table", name="Dead letters").locator("tbody tr")
    expect(letters).to_have_count(2, timeout=30_000)
    expect(page.locator("main .note")).to_contain_text("change nothing")
    expect(page.get_by_role("checkbox")).to_have_count(0)
    expect(page.get_by_role("button", name="Discard")).to_have_count(0)
    letters.first.get_by_role("link").nth(1).click()
    expect(page.get_by_role("region", name="Dead letter")).to_contain_text("change nothing")
    expect(page.get_by_role("button", name="Requeue")).to_have_count(0)
    assert deployment.letters() == 2


def test_letters_are_selected_after_an_action_while_the_page_is_paused(
    page: Page, crowded: Deployment
) -> None:
    page.goto(f"{crowded.console}#/dead?tenant=zeta")
    heading(page, "Dead letters")
    expect(page.get_by_role("checkbox")).to_have_count(50, timeout=30_000)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Discard selected").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Discard").click()
    expect(dialog).to_contain_text("Finished.")
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Select this page").click()
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(50)

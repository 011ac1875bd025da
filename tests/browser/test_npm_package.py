"""The npm package in projects of React, Vue and Svelte: type-checked, built, and in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import jwt
import pytest
import redis
from playwright.sync_api import Page, Request, Route, expect

import api.spec.client_files
from streams.appender import EventAppender
from tests.browser.conftest import Troubles, base_url
from tests.browser.following import PATIENCE
from tests.pipeline.conftest import Start
from tests.support.tokens import FAR
from tests.support.waiting import ENDING

PACKAGE = Path(api.spec.client_files.__file__).with_name("client")
PROJECTS = Path(__file__).with_name("projects")
MODULES = os.environ.get("JOBTRAIL_TEST_NODE_MODULES", "")
"""A folder `node_modules` with the frameworks and their tools; `.ci/run` makes one."""
SECRET = "a secret of these tests, and of no more"

CHECKS = {
    "react": ("typescript/bin/tsc", "-p", "."),
    "vue": ("vue-tsc/bin/vue-tsc.js", "-p", "."),
    "svelte": ("svelte-check/bin/svelte-check", "--tsconfig", "tsconfig.json"),
}
ENDINGS = {"react": ".tsx", "vue": ".vue", "svelte": ".svelte"}
GUIDE = Path(__file__).parents[2] / "docs/frontend.md"
EXAMPLE = re.compile(r'^```\w+ title="([\w.]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
ROWS = 200

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.long,
    pytest.mark.skipif(
        not Path(MODULES, "vite").is_dir(),
        reason="JOBTRAIL_TEST_NODE_MODULES names no node_modules with the frameworks (see .ci/run)",
    ),
]
Build = Callable[[str], Path]
Serve = Callable[..., subprocess.Popen[bytes]]


class Append(Protocol):
    """Appends events of tenant t as a worker does; a consumer projects them."""

    def __call__(self, *events: Mapping[str, Any]) -> None: ...


class Show(Protocol):
    """Opens the page of a framework's project at the API's own origin."""

    def __call__(self, base: str, **parameters: object) -> None: ...


@pytest.fixture(params=CHECKS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Makes a framework's project with the packed package, and builds it; once each."""
    packed = tmp_path_factory.mktemp("packed")
    run("npm", "pack", "--silent", "--pack-destination", str(packed), str(PACKAGE), folder=packed)
    (archive,) = packed.glob("jobtrail-*.tgz")

    @cache
    def built(framework: str) -> Path:
        project = tmp_path_factory.mktemp("project") / framework
        shutil.copytree(PROJECTS / framework, project)
        shutil.copy(PROJECTS / "page.ts", project / "src")
        for name, text in EXAMPLE.findall(GUIDE.read_text("utf-8")):
            if name.endswith(ENDINGS[framework]):
                (project / "src" / name).write_text(text)
        installed = project / "node_modules"
        installed.mkdir()
        for module in Path(MODULES).iterdir():
            (installed / module.name).symlink_to(module)
        shutil.unpack_archive(archive, installed)
        (installed / "package").rename(installed / "jobtrail")
        node(project, "vite/bin/vite.js", "build")
        return project

    return built


def node(project: Path, program: str, *arguments: str) -> None:
    """Run a program of the modules in a project."""
    run("node", f"{MODULES}/{program}", *arguments, folder=project)


def run(*command: str, folder: Path) -> str:
    """Return what a command printed."""
    ran = subprocess.run(
        command, check=False, cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture
def append(start: Start, redis_url: str, redis_client: redis.Redis) -> Append:
    start("consume", "status", redis_url=redis_url)
    appender = EventAppender(redis_client)

    def appended(*events: Mapping[str, Any]) -> None:
        appender.append_many([("t", event) for event in events])

    return appended


@pytest.fixture
def serve(start: Start, redis_url: str) -> Serve:
    """Starts an API."""
    return partial(start, "api", redis_url=redis_url)


@pytest.fixture
def show(build: Build, framework: str, page: Page) -> Show:
    folder = build(framework) / "dist"

    def opened(base: str, **parameters: object) -> None:
        def answer(route: Route) -> None:
            route.fulfill(path=folder / urlsplit(route.request.url).path.partition("/page/")[2])

        page.route(f"{base}/page/**", answer)
        page.goto(f"{base}/page/index.html?parameters={quote(json.dumps(parameters))}")

    return opened


def test_types_are_right_for_a_strict_project(build: Build, framework: str) -> None:
    """The examples of the guide, too."""
    node(build(framework), *CHECKS[framework])


def test_nothing_is_watched_while_a_server_renders(build: Build, framework: str) -> None:
    """The program ends by itself, and has connected to nothing."""
    printed = run("node", "server.mjs", folder=build(framework))
    assert printed.strip() == "<p>connecting connecting</p>"


def queued(job: str) -> dict[str, Any]:
    return {"type": "queued", "id": job}


def progress(job: str, percent: int) -> dict[str, Any]:
    return {"type": "progress", "id": job, "percent": percent}


def done(job: str) -> dict[str, Any]:
    return {"type": "done", "id": job}


def wait_for(page: Page, **wanted: str) -> None:
    """Wait until the page's elements of these ids have these texts."""
    for name, text in wanted.items():
        expect(page.locator(f"#{name}")).to_have_text(text, timeout=PATIENCE)


def test_a_page_follows_real_jobs_over_a_restart_of_the_api(
    show: Show, serve: Serve, append: Append, page: Page, troubles: Troubles
) -> None:
    troubles.expect(r"^failed: GET .*/progress/")
    troubles.expect(r"^answered 404: GET .*/a1/progress/")  # the consumer may start slowly
    settings = {"auth": "jwt", "jwt_secret": SECRET}
    server = serve(api_port="0", **settings)
    base = base_url(server)
    append(queued("a1"), queued("a2"))
    token = jwt.encode({"exp": FAR, "tenant_id": "t"}, SECRET, algorithm="HS256")
    show(base, ids=["a1", "a2"], tokens=[token])
    wait_for(page, status="PENDING", connection="open")
    append(progress("a1", 50))
    wait_for(page, status="PROCESSING", percent="50")

    server.terminate()
    server.wait(ENDING)
    wait_for(page, percent="50", connection="retrying")
    append(progress("a1", 75))
    assert base_url(serve(api_port=str(urlsplit(base).port), **settings)) == base
    wait_for(page, percent="75", connection="open")
    append(done("a1"))
    wait_for(page, status="DONE", percent="100", connection="closed", error="")

    page.get_by_role("button", name="Next").click()
    wait_for(page, status="PENDING", percent="", connection="open")
    append(done("a2"))
    wait_for(page, status="DONE", connection="closed")
    page.get_by_role("button", name="Next").click()
    wait_for(page, status="", connection="closed")


def test_a_page_of_200_running_jobs_has_one_connection(
    show: Show, serve: Serve, append: Append, page: Page, framework: str
) -> None:
    base = base_url(serve(api_port="0", auth="dev"))
    ids = [f"a{number}" for number in range(ROWS)]
    append(*map(queued, ids))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(_line(request)))
    stream = "fetch" if framework == "vue" else "eventsource"
    show(base, ids=ids, many=True, tenant="t", stream=stream)
    wait_for_rows(page, "PENDING", ROWS)
    wait_for(page, connection="open")

    appended: dict[str, float] = {}
    for job in ids:
        append(progress(job, 50))
        appended[job] = time.time() * 1_000
    wait_for_rows(page, "PROCESSING 50", ROWS)
    shown = page.evaluate("shownAt")
    delays = [shown[f"{job} PROCESSING 50"] - appended[job] for job in ids]
    median, most = statistics.median(delays), max(delays)
    sys.stdout.write(f"{framework}: {ROWS} rows, median {median:.0f} ms, most {most:.0f} ms\n")

    page.get_by_role("button", name="Fewer").click()
    wait_for_rows(page, "PROCESSING 50", ROWS - 1)
    append(*map(done, ids))
    wait_for_rows(page, "DONE", ROWS - 1)
    wait_for(page, connection="closed", missing="")
    assert [line for line in requests if "/events" in line] == ["GET /api/v1/events"]
    assert not any("/progress/?" in line for line in requests)


def wait_for_rows(page: Page, text: str, count: int) -> None:
    """Wait until so many rows, and no more, begin with a text."""
    page.wait_for_function(
        """([text, count]) => {
            const rows = [...document.querySelectorAll("[data-job]")];
            const shown = rows.filter((row) => row.textContent.trim().startsWith(text));
            return rows.length === count && shown.length === count;
        }""",
        arg=[text, count],
        timeout=PATIENCE,
    )


def _line(request: Request) -> str:
    return f"{request.method} {urlsplit(request.url).path}"

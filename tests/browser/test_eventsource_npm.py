"""Clients outside a browser: curl, the npm package `eventsource`, and client.js in Node with it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.api.conftest import Writer, writer_to
from tests.browser.conftest import ServeApi
from tests.support.event_stream import recorded
from tests.support.waiting import ENDING

SCRIPTS = Path(__file__).with_name("node")
MODULES = "JOBTRAIL_TEST_NODE_MODULES"
"""Names a folder `node_modules` that holds the package; `.ci/run` makes one outside the tree."""

QUEUED = {"type": "queued", "id": "a1"}
HALF = {"type": "progress", "id": "a1", "step": "reading", "percent": 50}
DONE = {"type": "done", "id": "a1", "result": {"rows": 3}}

Lines = Iterator[str]
Run = Callable[..., Lines]


@pytest.fixture
def write(redis_client: redis.Redis) -> Writer:
    """Applies events of a tenant as the projection `status` does."""
    return writer_to(redis_client)


@pytest.fixture
def base(serve_api: ServeApi, redis_url: str) -> str:
    """The URL of an API in dev mode."""
    return serve_api(redis_url=redis_url)


@pytest.fixture
def run() -> Iterator[Run]:
    """Starts a command and gives its lines as they come; it has to end by itself, with status 0."""
    with ExitStack() as stack:

        def begin(*command: str) -> Lines:
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
            )
            stack.callback(process.kill)
            return lines_of(process)

        yield begin


def lines_of(process: subprocess.Popen[str]) -> Lines:
    assert process.stdout is not None
    yield from (line.rstrip("\n") for line in process.stdout)
    assert process.wait(ENDING) == 0


@pytest.fixture
def node(run: Run) -> Run:
    """Runs a script of ours in Node, with the npm package at hand."""
    program, modules = shutil.which("node"), os.environ.get(MODULES)
    if program is None or modules is None:
        pytest.skip(f"no node, or {MODULES} names no node_modules (.ci/run sees to both)")

    def begin(script: str, *arguments: str) -> Lines:
        return run(program, str(SCRIPTS / script), modules, *arguments)

    return begin


def states_after(lines: Lines, write: Writer) -> list[dict[str, Any]]:
    """Follow states, a JSON line each, and have the job go on whenever the last was seen."""
    told = [json.loads(next(lines))]
    for event in (HALF, DONE):
        write("t", event)
        told.append(json.loads(next(lines)))
    assert list(lines) == []
    return told


def statuses(states: list[dict[str, Any]]) -> list[str]:
    return [state["status"] for state in states]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_curl_shows_each_state_and_ends_after_the_end(run: Run, base: str, write: Writer) -> None:
    write("t", QUEUED)
    url = f"{base}/api/v1/jobs/a1/progress/events"
    lines = run("curl", "--silent", "--show-error", "--no-buffer", "-H", "X-Tenant-ID: t", url)

    data = (line.removeprefix("data: ") for line in lines if line.startswith("data: "))
    told = states_after(data, write)

    assert statuses(told) == ["PENDING", "PROCESSING", "DONE"]


def test_the_npm_package_follows_a_job_and_is_sent_away_after_its_end(
    node: Run, base: str, write: Writer
) -> None:
    """It comes back once, with the last id, and is answered 204: there is no more to say."""
    write("t", QUEUED)
    lines = node("eventsource.mjs", f"{base}/api/v1/jobs/a1/progress/events?tenant=t")

    told = [json.loads(next(lines))]
    for event in (HALF, DONE):
        write("t", event)
        told.append(json.loads(next(lines)))

    assert statuses(told) == ["PENDING", "PROCESSING", "DONE"]
    assert list(lines) == ["closed by 204"]


def test_client_js_iterates_over_states_in_node_by_stream(
    node: Run, base: str, write: Writer
) -> None:
    write("t", QUEUED)

    told = states_after(node("states.mjs", base, "sse"), write)

    assert statuses(told) == ["PENDING", "PROCESSING", "DONE"]
    assert told[-1]["result"] == {"rows": 3}


def test_client_js_iterates_over_states_in_node_without_an_event_source(
    node: Run, base: str, write: Writer
) -> None:
    write("t", QUEUED)

    told = states_after(node("states.mjs", base, "long-poll"), write)

    assert statuses(told) == ["PENDING", "PROCESSING", "DONE"]


def test_an_iteration_throws_why_it_cannot_go_on(node: Run, base: str) -> None:
    lines = node("states.mjs", base, "long-poll")

    (line,) = lines

    assert json.loads(line)["problem"]["status"] == 404


def test_npm_packages_read_no_empty_message_from_heartbeats_and_retry(
    node: Run, tmp_path: Path
) -> None:
    states = [b'{"status":"PENDING"}', b'{"status":"DONE"}']
    record = tmp_path / "stream"
    record.write_bytes(asyncio.run(recorded(states)))

    lines = node("parsers.mjs", str(record))

    read = [["state", str(number), state.decode()] for number, state in enumerate(states)]
    assert [json.loads(line) for line in lines] == [read, read]

"""The examples for workers: each is run against a real Redis, and its events are read back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from streams.events import parse_event
from tests.docs.pages import blocks_of, example
from tests.support.debian import debian_environ, debian_program

PLUGIN = "jobtrail.pytest_plugin"
ALL_LANGUAGES = ["processing", "progress", "done"]


def reported(client: redis.Redis) -> Iterator[tuple[str, str]]:
    """Read the type and the job of each event of tenant 42."""
    reply: Any = client.xrange("tenant:42:events")
    for _, fields in reply:
        event = parse_event(fields[b"event"])
        yield event.type, event.id


def run(*command: str, url: str, folder: Path, environ: Mapping[str, str]) -> None:
    subprocess.run(
        command,
        cwd=folder,
        env={**environ, "JOBTRAIL_REDIS_URL": url},
        check=True,
        timeout=120,
        capture_output=True,
    )


def test_shell(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    folder = debian_program("redis-cli").parent
    environ = {**debian_environ(), "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    script = example("any-language.md", "shell").text
    run("bash", "-euc", script, url=redis_url, folder=tmp_path, environ=environ)
    assert list(reported(redis_client)) == [(name, "shell-1") for name in ALL_LANGUAGES]


def test_node(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    modules = Path(os.environ.get("JOBTRAIL_TEST_NODE_MODULES", "none"))
    if not (modules / "redis").is_dir():
        pytest.skip("no npm package redis: name its node_modules in JOBTRAIL_TEST_NODE_MODULES")
    (tmp_path / "node_modules").symlink_to(modules)
    script = example("any-language.md", "worker.mjs")
    (tmp_path / script.title).write_text(script.text)
    run("node", script.title, url=redis_url, folder=tmp_path, environ=os.environ)
    assert list(reported(redis_client)) == [(name, "node-1") for name in ALL_LANGUAGES]


@pytest.mark.thorough
def test_go(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    root = Path(os.environ.get("JOBTRAIL_TEST_DEBIAN", "none"), "usr")
    toolchain = next(root.glob("lib/go-*"), None)
    if toolchain is None:
        pytest.skip("no Go: unpack its Debian package and name the folder in JOBTRAIL_TEST_DEBIAN")
    program = example("any-language.md", "worker.go")
    (tmp_path / program.title).write_text(program.text)
    environ = {
        **os.environ,
        "GOROOT": str(toolchain),
        "GOPATH": str(root / "share" / "gocode"),
        "GO111MODULE": "off",
        "GOCACHE": str(tmp_path / "cache"),
    }
    go = str(toolchain / "bin" / "go")
    run(go, "run", program.title, url=redis_url, folder=tmp_path, environ=environ)
    assert list(reported(redis_client)) == [(name, "go-1") for name in ALL_LANGUAGES]


@pytest.mark.parametrize("title", ["coroutines.py", "loop.py", "words.py"])
def test_python_programs(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path, title: str
) -> None:
    program = example("workers.md", title)
    (tmp_path / title).write_text(program.text)
    run(sys.executable, title, url=redis_url, folder=tmp_path, environ=os.environ)
    found = list(reported(redis_client))
    jobs = {job for _, job in found}
    assert len(jobs) == (20 if title == "coroutines.py" else 1)
    assert Counter(kind for kind, _ in found if kind != "progress") == {
        "processing": len(jobs),
        "done": len(jobs),
    }
    assert {job for kind, job in found if kind == "progress"} == jobs


def test_python_test(tmp_path: Path) -> None:
    """The example is a test itself; it needs no server."""
    page = example("workers.md", "test_import.py")
    (tmp_path / page.title).write_text(page.text)
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:jobtrail", "-p", PLUGIN, page.title)
    run(*command, url="redis://127.0.0.1:1/0", folder=tmp_path, environ=os.environ)


def test_starlette(
    redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of background tasks, called as a server calls it."""
    monkeypatch.setenv("JOBTRAIL_REDIS_URL", redis_url)
    names: dict[str, Any] = {"__name__": "background"}
    exec(example("integrations.md", "background.py").text, names)

    async def request() -> str:
        transport = httpx.ASGITransport(names["app"])
        async with (
            names["lifespan"](names["app"]),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            return str((await client.post("/imports")).json()["job"])

    jobs = [asyncio.run(request()) for _ in range(2)]
    found = list(reported(redis_client))
    for job in jobs:
        types = [kind for kind, each in found if each == job]
        assert (types[:2], types[-1]) == (["queued", "processing"], "done")
        assert "progress" in types


def test_python(redis_url: str, redis_client: redis.Redis) -> None:
    """The first block of the page defines a function that reports, the second one is inside it."""
    first, progress, *_ = [
        block.text for block in blocks_of("workers.md") if block.language == "python"
    ]
    names: dict[str, Any] = {"save": lambda row: None}
    exec(first.replace("redis://127.0.0.1:6379/0", redis_url), names)
    names["import_rows"]("a1", "42", [{"name": "Ada"}, {"name": "Alan"}])
    with names["reporter"].job("a2", tenant="42") as job:
        exec(progress, {"job": job})
    assert list(reported(redis_client)) == [
        ("processing", "a1"),
        ("progress", "a1"),
        ("progress", "a1"),
        ("done", "a1"),
        ("processing", "a2"),
        ("progress", "a2"),
        ("done", "a2"),
    ]

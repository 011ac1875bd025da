"""The examples of the pages on extending: what a page shows is installed and used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from projections.registry.definition import RegisteredProjection
from streams.kinds import Kind
from tests.docs.pages import blocks_of


def installed(page: str, folder: Path) -> dict[str, str]:
    """Install the package that a page shows, and return an environment that has it."""
    for block in blocks_of(page):
        if block.title and block.language != "sh":
            (folder / block.title).write_text(block.text)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    information = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (information / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in entries.items())
            for group, entries in project["entry-points"].items()
        )
    )
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path[:1]])}


@pytest.mark.parametrize("package", ["streams", "jobtrail"])
def test_kind(package: str, tmp_path: Path) -> None:
    """The service and the worker's package know the kind of the page."""
    environ = installed("extending/kind.md", tmp_path)
    program = (
        f"from {package}.kinds import KINDS; import json; kind = KINDS['transcript'];"
        "print(json.dumps([kind.url, kind.words['done'], kind.result_fields]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environ,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == ["/transcripts", "WRITTEN", ["language", "text"]]


PROGRAM = """
import sys
from types import SimpleNamespace

import redis

from projections.registry.lookup import find_projection
from streams.entry_ids import EntryId

projection = find_projection("jobs-per-day")
client = redis.Redis.from_url(sys.argv[1])
job = SimpleNamespace(kind="job", id="a1")
entry = SimpleNamespace(tenant="42", job=job, entry_id=EntryId.parse("1795000000000-0"))
projection.writer(client, None).apply([entry, entry])
print(client.scard("jobs-per-day:42:2026-11-18"))
"""


def test_projection(tmp_path: Path, redis_url: str) -> None:
    """The registry finds the projection of the page, whose writer may apply an entry twice."""
    environ = installed("extending/projection.md", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, redis_url],
        env=environ,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("name", "form", "left_out"),
    [("kind", Kind, {"legacy_prefix"}), ("projection", RegisteredProjection, set[str]())],
)
def test_page_has_every_field(name: str, form: type[Any], left_out: set[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "extending" / f"{name}.md").read_text()
    cells = re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE)
    assert {field.name for field in fields(form)} - set(re.findall(r"`(\w+)`", "".join(cells))) == (
        left_out
    )

"""The examples of the pages on extending: what a page shows is installed and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

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


def test_kind_page_has_every_field() -> None:

    page = (Path(__file__).parents[2] / "docs" / "extending" / "kind.md").read_text()
    missing = {field.name for field in fields(Kind) if f"| `{field.name}` |" not in page}
    assert missing == {"legacy_prefix"}

"""The packages that each target of the Makefile installs into a new environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.support.packages import checked


@pytest.mark.parametrize(
    ("target", "extras"),
    [
        ("install", "embedded"),
        ("run", "embedded"),
        ("setup", "embedded,dev"),
        ("test", "embedded,dev"),
        ("lint", "embedded,dev"),
    ],
)
def test_who_only_runs_it_installs_no_tools_for_changes(
    target: str, extras: str, tmp_path: Path
) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "streams"):
        (tmp_path / name).symlink_to(ROOT / name)
    planned = checked("make", "--dry-run", target, cwd=tmp_path)
    assert re.findall(r"-e '\.\[([\w,]+)\]' -e \./streams", str(planned)) == [extras]

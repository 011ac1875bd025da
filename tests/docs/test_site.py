"""The site is built strictly: `make docs` fails for a page that leads nowhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, clone

OUTSIDE = (".git", ".venv", "build", "docs")


@pytest.mark.thorough
def test_make_docs_fails(tmp_path: Path) -> None:
    """It names a dead link, an anchor that does not exist and a page that nothing points to."""
    clone(tmp_path, [each.name for each in ROOT.iterdir() if each.name not in OUTSIDE])
    shutil.copytree(DOCS, tmp_path / "docs")
    (tmp_path / "docs" / "orphan.md").write_text("# Orphan\n")
    with (tmp_path / "docs" / "backup.md").open("a") as page:
        page.write("[a](no-page.md) [b](runbook.md#no-heading)\n")
    done = subprocess.run(
        ["make", "docs"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    for wrong in ("orphan.md", "'no-page.md'", "'#no-heading'"):
        assert wrong in done.stdout
    assert "Aborted with 3 warnings in strict mode" in done.stdout

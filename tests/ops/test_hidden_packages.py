"""A package of the service that is hidden by another of its name is one error line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobtrail_command import PACKAGES
from tests.support.packages import FOLDERS
from tests.support.waiting import ENDING

SCRIPT = ("-P", "-c", "from jobtrail_command import main; main()")
"""The code of the script `jobtrail` that pip installs."""


def failed(*words: str, cwd: Path, **environ: str) -> str:
    """Run a command that must fail with one line on standard error, and return that line."""
    done = subprocess.run(
        [sys.executable, *words, "--version"],
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDING,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr.strip()


def test_all_packages_are_known() -> None:
    assert set(PACKAGES) == set(FOLDERS)


@pytest.mark.parametrize("name", PACKAGES)
def test_folder_on_the_path(name: str, tmp_path: Path) -> None:
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('the application was imported')\n")
    assert failed(*SCRIPT, cwd=tmp_path, PYTHONPATH=str(tmp_path)) == (
        f"jobtrail: {package} hides the package {name!r} of jobtrail:"
        " start jobtrail without its folder in PYTHONPATH"
    )


def test_module_on_the_path(tmp_path: Path) -> None:
    module = tmp_path / "앱" / "workers.py"
    module.parent.mkdir()
    module.touch()
    relative = failed(*SCRIPT, cwd=tmp_path, PYTHONPATH="앱")
    assert relative.startswith(f"jobtrail: {module} hides the package 'workers'")


def test_folder_where_the_user_is(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "__init__.py").touch()
    assert failed("-m", "ops", cwd=tmp_path) == (
        f"jobtrail: {tmp_path / 'api'} hides the package 'api' of jobtrail:"
        " start jobtrail in another folder"
    )


def test_path_with_a_line_end_stays_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "two\nlines"
    folder.mkdir()
    (folder / "sql.py").touch()
    assert r"two\nlines/sql.py' hides" in failed(*SCRIPT, cwd=tmp_path, PYTHONPATH=str(folder))

"""Wheels of this tree, and environments that hold one of them alone.

An environment gets what a wheel requires from the one that runs the tests: nothing is downloaded,
and pip refuses to install the wheel where it requires anything else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.waiting import ENDING

ROOT = Path(__file__).parents[2]
FOLDERS = ("api", "consumers", "ops", "projections", "sql", "streams", "workers")
_FILES = ("LICENSE", "Makefile", "README.md", "constraints.txt", "jobtrail_command.py")
_PURE = Path(sysconfig.get_path("purelib"))


def copy_tree(folder: Path) -> None:
    """Copy what the distributions are built from."""
    for name in FOLDERS:
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in (*_FILES, "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)


def run(*words: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed and its exit status."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDING,
    )


def checked(*words: str | Path, cwd: Path, **environ: str) -> str:
    """Run a command that must succeed, and return its standard output."""
    done = run(*words, cwd=cwd, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def closure(requirements: Iterable[str]) -> set[str]:
    """Return the distributions that requirements bring, by the metadata of those installed here."""
    waiting, found = [*map(Requirement, requirements)], set[tuple[str, str]]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in found:
                found.add((name, extra))
                waiting += _required_by(name, extra)
    return {name for name, _ in found}


def _required_by(name: str, extra: str) -> list[Requirement]:
    requirements = map(Requirement, metadata.requires(name) or [])
    return [
        each
        for each in requirements
        if each.marker is None or each.marker.evaluate({"extra": extra})
    ]


class Environment:
    """A virtual environment with a wheel, and with `brought` distributions for it to require."""

    def __init__(self, folder: Path, wheel: str, brought: Iterable[str]) -> None:
        venv.create(folder, symlinks=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.site = Path(
            checked(
                self.python,
                "-c",
                "import sysconfig; print(sysconfig.get_path('purelib'))",
                cwd=folder,
            ).strip()
        )
        for name in brought:
            self._link(name)
        pip = (sys.executable, "-m", "pip", "--python", self.python)
        checked(*pip, "install", "--quiet", "--no-index", "--no-compile", wheel, cwd=folder)

    def distributions(self) -> set[str]:
        """Return the names of all that is installed."""
        found = metadata.distributions(path=[str(self.site)])
        return {canonicalize_name(each.metadata["Name"]) for each in found}

    def _link(self, name: str) -> None:
        files = metadata.distribution(name).files or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            target = self.site / top
            if not target.exists():
                target.symlink_to(_PURE / top)

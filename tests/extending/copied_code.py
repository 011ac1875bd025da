"""A copy of the code, which a test extends as somebody who works on jobtrail would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.docs.pages import ROOT
from tests.support.packages import FOLDERS


class CopiedCode:
    """A folder with the service's packages, to be changed and run.

    Args:
        folder: an empty folder for the copy.
        settings: environment variables of the commands.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self._environ = {**os.environ, **settings, "PYTHONPATH": str(folder)}
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        for package in FOLDERS:
            shutil.copytree(ROOT / package, folder / package, ignore=ignored)
        shutil.copy(ROOT / "jobtrail_command.py", folder)

    def insert(self, file: str, before: str, text: str) -> None:
        """Insert text into a file, before the only occurrence of another text."""
        path = self.folder / file
        content = path.read_text()
        assert content.count(before) == 1, before
        path.write_text(content.replace(before, f"{text}{before}"))

    def jobtrail(self, *words: str, status: int = 0) -> str:
        """Run a command, check its exit status, and return its output and errors."""
        return self.python("-m", "ops", *words, status=status)

    def python(self, *words: str, status: int = 0) -> str:
        """Run Python in the copy, check its exit status, and return its output and errors."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

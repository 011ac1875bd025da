"""Fixtures of several tests of the deployment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deploy.manifests import DEPLOY


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make-secrets` writes for servers on this machine."""
    folder = tmp_path_factory.mktemp("deployment") / "secrets"
    subprocess.run([DEPLOY / "make-secrets", folder], check=True)
    return folder

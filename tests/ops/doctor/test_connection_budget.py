"""The connection budget: the sum of the limits, its verdict for servers, and the API's pool."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.doctor.connection_budget import (
    Api,
    Limits,
    WorkerClass,
    budget,
    budgets,
    check_pool,
    read_limits,
)
from ops.doctor.examination import examine
from ops.doctor.finding import Finding
from streams.settings import Settings, SettingsError
from tests.pipeline.conftest import environ
from tests.support.servers import PostgresFactory
from tests.support.waiting import ENDING

SHIPPED = Path(__file__).parents[3] / "deploy" / "limits.toml"


def test_the_shipped_file_and_the_defaults_are_the_same() -> None:
    """If this fails, change deploy/limits.toml and ops/doctor/connection_budget.py together."""
    assert read_limits(SHIPPED) == read_limits(None) == Limits()


def test_worker_classes_are_those_of_the_old_system() -> None:
    replicas = {name: each.replicas for name, each in Limits().workers.items()}
    assert replicas == {"ai": 5, "video": 3, "messaging": 5}


def test_the_smallest_server_is_refused_the_next_is_tight_the_third_is_ok() -> None:
    verdicts = {found.size: found.verdict for found in budgets(Limits())}
    assert verdicts == {25: "too much", 50: "tight", 100: "ok"}


@given(size=st.integers(1, 1_000), reserved=st.integers(0, 20), replicas=st.integers(0, 500))
def test_a_larger_server_is_never_worse(size: int, reserved: int, replicas: int) -> None:
    limits = Limits(workers={"ai": WorkerClass(replicas=replicas)})
    order = ["too much", "tight", "ok"]
    smaller, larger = (budget(limits, n, reserved).verdict for n in (size, size + 10))
    assert order.index(larger) >= order.index(smaller)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[workers.ai]\nreplicas = -1\n", "workers.ai.replicas: Input should be greater"),
        ("[workers.ai]\nreplica = 1\n", "workers.ai.replica"),
        ("[api]\npool_size = 0\n", "api.pool_size"),
        ("[api\n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="JOBTRAIL_LIMITS") as raised:
        read_limits(path)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"JOBTRAIL_LIMITS: .*no\.toml cannot be read"):
        read_limits(tmp_path / "no.toml")


def test_a_pool_over_its_limit_is_refused(tmp_path: Path) -> None:
    check_pool(Settings(limits=SHIPPED, api_pool_size=Api().pool_size))
    with pytest.raises(SettingsError, match=r"JOBTRAIL_API_POOL_SIZE=5 is over api.pool_size = 4"):
        check_pool(Settings(limits=SHIPPED, api_pool_size=5))


def test_the_api_does_not_start_with_a_pool_over_its_limit(redis_url: str) -> None:
    settings = {"redis_url": redis_url, "auth": "dev", "limits": str(SHIPPED), "api_pool_size": "9"}
    done = subprocess.run(
        [sys.executable, "-m", "ops", "api"],
        env=environ(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDING,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("jobtrail: JOBTRAIL_API_POOL_SIZE=9 is over")
    assert done.stderr.count("\n") == 1


class TestDoctor:
    def budget_finding(self, redis_url: str, database_url: str, **settings: object) -> Finding:
        given = Settings.model_validate(
            {"redis_url": redis_url, "database_url": database_url, **settings}
        )
        return {finding.check: finding for finding in examine(given)}["connection budget"]

    def test_a_server_with_room_is_green(self, redis_url: str, database_url: str) -> None:
        found = self.budget_finding(redis_url, database_url)
        assert found.ok
        assert "limits come to 38 of" in found.found

    @pytest.mark.parametrize(("percent", "ok", "warns"), [(70, True, True), (95, False, False)])
    def test_above_sixty_percent_warns_and_above_ninety_refuses(
        self,
        redis_url: str,
        own_postgres: PostgresFactory,
        tmp_path: Path,
        *,
        percent: int,
        ok: bool,
        warns: bool,
    ) -> None:
        server = own_postgres()
        with psycopg.connect(server.url, autocommit=True) as connection:
            row = connection.execute("SHOW max_connections").fetchone()
        assert row is not None
        replicas = percent * int(row[0]) // 100
        limits = tmp_path / "limits.toml"
        limits.write_text(
            f"[workers.ai]\nreplicas = {replicas}\n[application]\nconnections = 0\n"
            "[consumers]\nrows = 0\n[operators]\nconnections = 0\n"
        )
        found = self.budget_finding(redis_url, server.url, limits=limits)
        assert (found.ok, found.warns) == (ok, warns)
        assert "a larger server" in found.advice

    def test_a_pool_over_its_limit_is_red(self, redis_url: str, database_url: str) -> None:
        found = self.budget_finding(redis_url, database_url, api_pool_size=7)
        assert not found.ok
        assert found.found == "the API's pool takes 7"

    def test_the_command_prints_the_servers_of_the_usual_sizes(
        self, redis_url: str, database_url: str
    ) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "ops", "doctor"],
            env=environ({"redis_url": redis_url, "database_url": database_url})
            | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=ENDING,
        )
        for words in ("too much", "tight", "max_connections", "38"):
            assert words in done.stdout

    def test_the_command_takes_json(self, redis_url: str, database_url: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "ops", "doctor", "--json"],
            env=environ({"redis_url": redis_url, "database_url": database_url}),
            capture_output=True,
            text=True,
            check=False,
            timeout=ENDING,
        )
        checks = [finding["check"] for finding in json.loads(done.stdout)]
        assert "connection budget" in checks

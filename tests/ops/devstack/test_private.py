"""Embedded servers, their data and addresses are accessible to this user only."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
import redis

from ops.addresses import Addresses, RunningUp, published, running, with_running_up
from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from ops.devstack.private import NotPrivate, open_private, private_folder
from ops.errors import CommandError, line_for
from streams.connection import connect
from tests.support.processes import descendants
from tests.support.servers import PostgresFactory, RedisFactory, login, server_folder
from tests.support.waiting import ENDING, eventually

ADDRESSES = Addresses("http://x:1", "redis://:p@x:2/0", "postgresql://j:p@x:3/j", "http://x:1/c/")
ODD_SHELL = {
    "PGSSLMODE": "require",
    "PGSERVICE": "nowhere",
    "PGOPTIONS": "-c nonsense=1",
    "PGCHANNELBINDING": "require",
    "PGCLIENTENCODING": "LATIN1",
    "PGHOST": "192.0.2.1",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGDATABASE": "nobody",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGPASSFILE": "/nonexistent/pass",
    "PGDATESTYLE": "German",
    "PGTZ": "Asia/Seoul",
    "PGTARGETSESSIONATTRS": "standby",
    "PGREQUIREAUTH": "none",
    "PGDATA": "/nonexistent",
    "LANG": "xx_XX.KOI8",
    "LC_ALL": "xx_XX.KOI8",
    "LC_MESSAGES": "ko_KR.EUC-KR",
    "TZ": "Nowhere/Nothing",
    "HOME": "/nonexistent home",
    "TMPDIR": "/nonexistent tmp",
    "LD_PRELOAD": "",
}


@contextmanager
def up(data_dir: Path, **shell: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """Run `jobtrail up` with variables of the shell, and return its addresses."""
    environ = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
    environ |= {"JOBTRAIL_DATA_DIR": str(data_dir), "JOBTRAIL_API_PORT": "0", **shell}
    with (data_dir.parent / "up.err").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops", "up"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=log,
            umask=0o777 if shell else -1,
        )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline().decode().strip() for _ in range(4)]
        yield process, dict(line.split(": ", 1) for line in lines if line)
    finally:
        process.terminate()
        process.communicate(timeout=ENDING)


def command(*words: str, cwd: Path, **shell: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, without settings for servers."""
    environ = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
    return subprocess.run(
        [sys.executable, "-P", "-m", "ops", *words],
        cwd=cwd,
        env={**environ, "PYTHONPATH": str(Path(__file__).parents[3]), **shell},
        input='{"type":"done","id":"a1"}\n',
        capture_output=True,
        text=True,
        timeout=ENDING,
        check=False,
    )


@pytest.fixture
def home() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def others_may(path: Path) -> list[Path]:
    """Return the paths in a folder that other users may open, except below closed folders."""
    found = [path, *path.rglob("*")]
    return [each for each in found if not each.is_symlink() and mode(each) & 0o077]


def test_up__odd_shell_and_every_command_in_its_folder(home: Path) -> None:
    """Variables of the shell do not reach the servers; commands find them without settings."""
    folder = home / "a folder"
    folder.mkdir(mode=0o755)
    data_dir = folder / ".jobtrail"
    data_dir.mkdir(mode=0o777)
    data_dir.chmod(0o777)
    with up(data_dir, **ODD_SHELL) as (process, found):
        assert list(found) == ["api", "redis", "database", "console"]
        assert mode(data_dir) == 0o700
        assert others_may(data_dir) == []
        passwords = {str(urlsplit(found[name]).password) for name in ("redis", "database")}
        assert len(passwords) == 2
        assert min(map(len, passwords)) >= 32
        for pid in descendants(process.pid):
            shown = " ".join(psutil.Process(pid).cmdline())
            assert not [each for each in passwords if each in shown]

        exported = command("env", cwd=folder)
        assert exported.returncode == 0, exported.stderr
        names = dict(line.split("=", 1) for line in exported.stdout.splitlines())
        assert shlex.split(names["export JOBTRAIL_REDIS_URL"]) == [found["redis"]]
        assert shlex.split(names["export JOBTRAIL_DATABASE_URL"]) == [found["database"]]
        assert json.loads(command("env", "--json", cwd=folder).stdout) == found

        for words in (
            ("append", "--tenant", "1"),
            ("lag",),
            ("migrate",),
            ("verify", "rows"),
            ("replay", "status"),
        ):
            ran = command(*words, cwd=folder, PGSSLMODE="require", PGOPTIONS="-c x=1")
            assert ran.returncode == 0, (words, ran.stderr)
        of_one = ("status", "--tenant", "1", "a1")
        eventually(lambda: "DONE" in command(*of_one, cwd=folder).stdout, 30)

        process.send_signal(signal.SIGKILL)
        process.wait(ENDING)
        gone = command("env", cwd=folder)
        assert (gone.returncode, gone.stdout) == (1, "")
        assert gone.stderr.count("\n") == 1
        assert "JOBTRAIL_REDIS_URL is not set" in command("lag", cwd=folder).stderr
    log = (folder / "up.err").read_text()
    assert not [each for each in passwords if each in log]


def test_error_of_an_earlier_address__names_the_up_that_runs_here(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBTRAIL_DATA_DIR", str(home))
    errors = {"REDIS": redis.ConnectionError("refused"), "DATABASE": psycopg.Error("refused")}
    for server, error in errors.items():
        line = str(line_for(error))
        monkeypatch.setenv(f"JOBTRAIL_{server}_URL", "earlier")
        assert with_running_up(line) == line
        with published(home) as publisher:
            publisher.publish(RunningUp(ADDRESSES, "dev", None))
            assert with_running_up(line) == (
                f"{line}; a jobtrail up runs here with another one, for which:"
                ' eval "$(jobtrail env)"'
            )
            monkeypatch.setenv(f"JOBTRAIL_{server}_URL", getattr(ADDRESSES, server.lower()))
            assert with_running_up(line) == line


def test_servers__let_nobody_in_without_their_password(
    own_redis: RedisFactory, own_postgres: PostgresFactory
) -> None:
    server, database = own_redis(), own_postgres()
    for url in (f"redis://127.0.0.1:{server.port}/0", login(server.url, "default", "x" * 43)):
        with connect(url) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
    for address in (
        f"postgresql://jobtrail@127.0.0.1:{database.port}/jobtrail",
        login(database.url, "jobtrail", "x" * 43),
        login(database.url, "postgres", "x" * 43),
    ):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(address, passfile="/dev/null")
    assert "trust" not in (database.data_dir / "cluster" / "pg_hba.conf").read_text()
    for each in (server, database):
        assert others_may(each.data_dir) == []
        assert mode(each.data_dir / "password") == 0o600


def test_postgres__data_of_a_version_that_asked_for_no_password__asks_for_one(
    own_postgres: PostgresFactory,
) -> None:
    server = own_postgres()
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE words AS SELECT 'kept' AS word")
    server.stop()
    (server.data_dir / "password").unlink()
    rules = server.data_dir / "cluster" / "pg_hba.conf"
    rules.write_text("host all jobtrail 127.0.0.1/32 trust\n")
    old = server.url

    server.start()

    assert server.url != old
    for address in (old, f"postgresql://jobtrail@127.0.0.1:{server.port}/jobtrail"):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(address, passfile="/dev/null")
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT word FROM words").fetchone() == ("kept",)


@pytest.mark.parametrize("kind", [EmbeddedRedis, EmbeddedPostgres])
def test_server__password_survives_restarts_and_is_the_folders_own(
    home: Path, kind: type[EmbeddedRedis | EmbeddedPostgres]
) -> None:
    (home / "password").write_text("cut off\n")
    with kind(home) as server:
        url = server.url
    with kind(home) as server:
        assert urlsplit(server.url).password == urlsplit(url).password


@pytest.mark.parametrize("name", [".jobtrail", "redis", "postgres", "redis/password", "up.json"])
def test_up__symbolic_link_planted__is_refused(home: Path, name: str) -> None:
    target = home / "elsewhere"
    target.mkdir()
    data_dir = home / ".jobtrail"
    planted = data_dir if name == ".jobtrail" else data_dir / name
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.symlink_to(target)
    with up(data_dir) as (process, found):
        assert process.wait(ENDING) == 1
        assert not found
    said = (home / "up.err").read_text().splitlines()[-1]
    assert "symbolic link" in said
    assert list(target.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes another user's folder")
def test_private_folder__another_users__is_refused(home: Path) -> None:
    theirs = home / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    with pytest.raises(NotPrivate, match="belongs to another user"):
        private_folder(theirs)
    (home / "up.json").write_text("{}")
    os.chown(home / "up.json", 12345, 12345)
    with pytest.raises(NotPrivate, match="belongs to another user"):
        running(home)


def test_private_folder__open_to_others__is_closed(home: Path) -> None:
    for each in (0o777, 0o755, 0o710):
        (home / "data").mkdir(exist_ok=True)
        (home / "data").chmod(each)
        private_folder(home / "data")
        assert mode(home / "data") == 0o700


def test_open_private__file_open_to_others__is_closed(home: Path) -> None:
    file = home / "log"
    file.write_text("x")
    file.chmod(0o666)
    os.close(open_private(file, os.O_RDONLY))
    assert mode(file) == 0o600


def test_addresses__are_found_while_their_publisher_lives(home: Path) -> None:
    assert running(home) is None
    with published(home) as publisher:
        assert running(home) is None
        publisher.publish(RunningUp(ADDRESSES, "dev", None))
        assert running(home) == ADDRESSES
        assert mode(home / "up.json") == 0o600
        with pytest.raises(CommandError, match="in use"), published(home):
            pass
    assert running(home) is None
    assert (home / "up.json").read_bytes() == b""


def test_one_url_alone__no_other_is_looked_for(home: Path) -> None:
    """Servers of two deployments are never mixed."""
    with published(home) as publisher:
        publisher.publish(RunningUp(ADDRESSES, "dev", None))
        settings = {"JOBTRAIL_DATA_DIR": str(home), "JOBTRAIL_REDIS_URL": "redis://127.0.0.1:1/0"}
        ran = command("verify", "rows", cwd=home, **settings)
    assert ran.returncode == 1
    assert "JOBTRAIL_DATABASE_URL is not set" in ran.stderr

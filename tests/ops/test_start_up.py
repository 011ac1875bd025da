"""Imports of a command before its work, and the checks that must still be made."""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import typer
from typer.main import get_command
from typer.testing import CliRunner

from ops.cli import app
from ops.command_line.lazy_group import lazy_group
from ops.commands import COMMANDS
from ops.devstack import EmbeddedRedis
from streams.connection import connect
from streams.servers.quick_read import QUICK_SECONDS, read_keys
from tests.support.processes import frozen
from tests.support.servers import RedisFactory, login
from tests.support.waiting import ENDING

SLOW = set(
    "api asyncio consumers cryptography granian importlib.metadata jwt msgspec opentelemetry"
    " projections prometheus_client psycopg pydantic redis sql ssl starlette structlog uvloop"
    " workers".split()
)
"""Packages that take long to import, and which no list of commands and no `status` needs."""

LISTING = """
import json, sys
from jobtrail_command import main
sys.argv = ["jobtrail", *sys.argv[1:]]
try:
    main()
finally:
    sys.stderr.write(json.dumps(sorted(sys.modules)))
"""


def imported(*words: str, **environ: str) -> set[str]:
    """Run a command, and return the modules that it has imported at its end."""
    usual = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
    ran = subprocess.run(
        [sys.executable, "-c", LISTING, *words],
        env=usual | environ,
        capture_output=True,
        check=True,
        timeout=ENDING,
    )
    return set(json.loads(ran.stderr))


def write_job(client: redis.Redis) -> None:
    client.set("tenant:42:job:a1:status", '{"status":"PROCESSING","attempt":1}')


@pytest.mark.parametrize(
    "words",
    [("--help",), ("--version",), ("replay", "status", "--help"), ("verify", "--help")],
    ids=" ".join,
)
def test_words_about_the_command_itself__import_nothing_slow(words: tuple[str, ...]) -> None:
    assert not imported(*words) & SLOW


def test_completion__imports_nothing_slow() -> None:
    listed = imported(_JOBTRAIL_COMPLETE="complete_bash", COMP_WORDS="jobtrail ", COMP_CWORD="1")
    assert not listed & SLOW


def test_status__imports_no_client_library_and_no_validator(
    redis_url: str, redis_client: redis.Redis
) -> None:
    write_job(redis_client)
    exported = {"JOBTRAIL_API_URL": "http://127.0.0.1:8000", "JOBTRAIL_DATABASE_URL": "host=x"}
    listed = imported("status", "--tenant", "42", "a1", JOBTRAIL_REDIS_URL=redis_url, **exported)
    assert not listed & SLOW
    as_json = imported(
        *("status", "--tenant", "42", "a1", "--json"), JOBTRAIL_REDIS_URL=redis_url, **exported
    )
    assert not as_json & (SLOW | {"rich"})


def test_one_command__imports_no_other(redis_url: str) -> None:
    listed = imported("lag", "--json", JOBTRAIL_REDIS_URL=redis_url)
    assert not listed & {"api", "granian", "sql", "starlette", "uvloop", "workers"}


def loaded(name: str) -> Any:
    commands: Any = vars(get_command(app))["commands"]
    return commands[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_list_of_commands__has_what_the_real_command_says(name: str) -> None:
    command = loaded(name)
    assert command.name == name
    assert inspect.cleandoc(command.help).split("\n\n")[0].replace("\n", " ") == COMMANDS[name].help
    assert command.hidden == COMMANDS[name].hidden


def test_help_from_the_list__is_that_of_the_real_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    from_list = CliRunner().invoke(app, ["--help"]).output
    lazy = lazy_group(COMMANDS)
    monkeypatch.setattr(lazy, "get_command", lambda *words: loaded(words[-1]))
    eager = typer.Typer(name="jobtrail", cls=lazy, help=app.info.help, no_args_is_help=True)
    eager.info.context_settings = app.info.context_settings
    eager.registered_callback = app.registered_callback
    assert CliRunner().invoke(eager, ["--help"]).output == from_list
    assert "Read one job's projected status." in from_list
    assert "│ demo" not in from_list


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert f" {name} [OPTIONS]" in shown.output


def test_unknown_command__names_the_nearest() -> None:
    shown = CliRunner().invoke(app, ["stat"])
    assert shown.exit_code == 2
    assert "Did you mean 'status'?" in shown.output


def test_words_are_still_converted_and_judged() -> None:
    for words, said in (
        (["dead", "list", "--limit", "many"], "Invalid value for '--limit'"),
        (["status", "--tenant"], "Option '--tenant' requires an argument"),
        (["status", "--json=yes"], "Option '--json' does not take a value"),
    ):
        shown = CliRunner().invoke(app, words)
        assert shown.exit_code == 2
        assert said in shown.output


KEYS = ("tenant:42:job:a1:status", "tenant:42:job:a1:progress")
FOUND = [b'{"status":"PROCESSING","attempt":1}', None]


def test_quick_read__of_a_primary(redis_url: str, redis_client: redis.Redis) -> None:
    write_job(redis_client)
    assert read_keys(redis_url, KEYS) == FOUND
    assert read_keys(redis_url, KEYS[1:]) == [None]


def test_quick_read__of_a_large_value(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.set(KEYS[0], b"\r\n$1\r\n" * 100_000)
    assert read_keys(redis_url, KEYS) == [b"\r\n$1\r\n" * 100_000, None]


def test_quick_read__of_another_database_and_user(
    redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.acl_setuser(
        "reader", enabled=True, passwords=["+p@ss/word"], commands=["+mget", "+select", "+hello"],
        keys=["*"],
    )  # fmt: skip
    try:
        url = login(redis_url, "reader", "p%40ss%2Fword")
        with connect(f"{redis_url.rpartition('/')[0]}/3") as other:
            write_job(other)
        assert read_keys(f"{url.rpartition('/')[0]}/3", KEYS) == FOUND
        assert read_keys(url, KEYS) == [None, None]
        assert read_keys(login(redis_url, "reader", "wrong"), KEYS) is None
    finally:
        redis_client.acl_deluser("reader")


@pytest.fixture
def stopped(own_redis: RedisFactory) -> Iterator[EmbeddedRedis]:
    with own_redis(persist=False) as server, frozen(server.pid):
        yield server


def test_quick_read__of_a_server_that_hangs__is_soon_left_to_the_client(
    stopped: EmbeddedRedis,
) -> None:
    assert read_keys(stopped.url, KEYS) is None
    assert QUICK_SECONDS <= 1.0


@pytest.mark.parametrize(
    "url",
    [
        *("redis://127.0.0.1:1/0", "http://x", "", "unix:///nowhere", "rediss://127.0.0.1:1"),
        *("redis://nobody.invalid", "redis://127.0.0.1:1?client_name=me"),
    ],
)
def test_quick_read__of_what_is_not_plain__is_left_to_the_client(url: str) -> None:
    assert read_keys(url, KEYS) is None


def test_quick_read__of_what_refuses__is_left_to_the_client(redis_url: str) -> None:
    assert read_keys(login(redis_url, "nobody", "nothing"), KEYS) is None


@pytest.mark.parametrize(
    "answer",
    [
        *(b":1\r\n:1\r\n", b"*-1\r\n*-1\r\n", b"*2\r\n*0\r\n:1\r\n*2\r\n$-1\r\n$-1\r\n"),
        b"*4\r\n+role\r\n+master\r\n+mode\r\n+standalone\r\n:1\r\n",
        b"*4\r\n+role\r\n+master\r\n+mode\r\n+standalone\r\n*0\r\n",
    ],
)
def test_quick_read__of_a_server_that_is_no_redis__is_left_to_the_client(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        assert read_keys(f"redis://127.0.0.1:{server.getsockname()[1]}", KEYS) is None
        serving.join(ENDING)


def test_quick_read__of_a_replica__is_left_to_the_client(open_redis: RedisFactory) -> None:
    primary, replica = open_redis(persist=False), open_redis(persist=False)
    with connect(replica.url) as client:
        client.replicaof("127.0.0.1", str(primary.port))
    assert read_keys(primary.url, KEYS) == [None, None]
    assert read_keys(replica.url, KEYS) is None

"""Real servers for every test: one of each a session (an xdist worker has its own)."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import redis
import structlog
from hypothesis import settings

from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from ops.devstack.private import new_password, write_password
from streams.connection import connect
from tests.support.clusters import RedisCluster, redis_cluster
from tests.support.environment import make_usual
from tests.support.replication import OpenRedis
from tests.support.servers import (
    PostgresFactory,
    RedisFactory,
    cloned_database,
    copy_folder,
    create_template,
    migrate,
    server_folder,
)
from tests.support.thorough import THOROUGH, examples
from tests.support.waiting import ENDING

make_usual()

# A client would read the certificates of all authorities anew, which takes longer than a request.
_transports = vars(import_module("httpx._transports.default"))
_transports["create_ssl_context"] = cache(_transports["create_ssl_context"])

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("any machine", deadline=None, max_examples=examples(100))
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the thorough tests unless asked for, before any fixture is set up."""
    if not THOROUGH and item.get_closest_marker("thorough"):
        pytest.skip("thorough tests, which .ci/run adds: set JOBTRAIL_TEST_THOROUGH=1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of test processes: a third of a test's time is waiting for others."""
    return max(2, len(os.sched_getaffinity(0)) * 3 // 2)


@pytest.fixture(autouse=True)
def no_logging_left() -> Iterator[None]:
    """Take off what a command that ran in this process logs to: its stream ends with the test."""
    yield
    root = logging.getLogger()
    for handler in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        root.removeHandler(handler)
    if structlog.is_configured():
        structlog.reset_defaults()
        for module in list(sys.modules.values()):
            # A logger that was used keeps the configuration of that time.
            getattr(vars(module).get("_LOG"), "__dict__", {}).pop("bind", None)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder for servers' data."""
    with server_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """The session's Redis; a test that stops or kills one takes `own_redis`."""
    with server_folder() as folder, EmbeddedRedis(folder, persist=False) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The URL of an empty Redis."""
    with connect(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of an empty Redis; replies are bytes."""
    with redis.Redis.from_url(
        redis_url, decode_responses=False, protocol=2, socket_timeout=ENDING
    ) as client:
        yield client


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """The session's PostgreSQL; a test that stops or kills one takes `own_postgres`."""
    with server_folder() as folder, EmbeddedPostgres(folder, fast=True) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_server(postgres_server: EmbeddedPostgres) -> EmbeddedPostgres:
    """The session's PostgreSQL with the template database, to which migrations were applied."""
    create_template(postgres_server)
    return postgres_server


@pytest.fixture
def database_url(migrated_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database with all migrations and no rows."""
    with cloned_database(migrated_server) as url:
        yield url


@pytest.fixture
def own_redis() -> Iterator[RedisFactory]:
    """Starts servers of the test's own, to stop and kill; stopped in the end."""
    with ExitStack() as stack:
        password = new_password()  # one for all: those that replicate change their roles

        def start(*, persist: bool = True) -> EmbeddedRedis:
            folder = stack.enter_context(server_folder())
            write_password(folder, password)
            return stack.enter_context(EmbeddedRedis(folder, persist=persist))

        yield start


@pytest.fixture
def open_redis() -> Iterator[RedisFactory]:
    """Starts servers of the test's own that ask for no password."""
    with ExitStack() as stack:

        def start(*, persist: bool = True) -> EmbeddedRedis:
            folder = stack.enter_context(server_folder())
            return stack.enter_context(OpenRedis(folder, persist=persist))

        yield start


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """A cluster of the module's own: three primaries, and a replica of the first."""
    with redis_cluster() as found:
        yield found


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """The data dir of a stopped PostgreSQL with migrations applied, to copy."""
    with server_folder() as folder:
        with EmbeddedPostgres(folder, fast=True) as server:
            migrate(server)
        yield folder


@pytest.fixture
def own_postgres(postgres_folder: Path) -> Iterator[PostgresFactory]:
    """Starts servers of the test's own, to stop and kill; stopped in the end."""
    with ExitStack() as stack:

        def start() -> EmbeddedPostgres:
            folder = stack.enter_context(server_folder())
            copy_folder(postgres_folder, folder)
            return stack.enter_context(EmbeddedPostgres(folder, fast=True))

        yield start

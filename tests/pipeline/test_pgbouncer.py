"""Everything works through PgBouncer, pooling sessions or transactions, with one login or more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from ops.devstack import EmbeddedPostgres
from projections.history.retention import drop_before
from sql import migrate, sessions
from sql.migrate import Migration, apply
from tests.pipeline.conftest import Start
from tests.support.battery import Battery
from tests.support.logins import new_login
from tests.support.pgbouncer import Mode, as_login, pgbouncer
from tests.support.servers import database_url as url_of
from tests.support.servers import drop_database


class Logins(NamedTuple):
    """URLs of one database, as `deploy/README.md` has them."""

    owner: str
    writer: str
    reader: str


@pytest.fixture
def logins(migrated_server: EmbeddedPostgres) -> Iterator[Logins]:
    """An empty database with an owner, a writer and a reader of its own."""
    name = f"logins_{uuid4().hex}"
    url = url_of(migrated_server, name)
    with psycopg.connect(migrated_server.url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        with new_login(migrated_server, url, "owner", "CREATEROLE") as owner:
            role = urlsplit(owner).username or ""
            connection.execute(
                SQL("ALTER DATABASE {} OWNER TO {}").format(Identifier(name), Identifier(role))
            )
            with (
                new_login(migrated_server, url, "writer", f"IN ROLE {role}") as writer,
                new_login(migrated_server, url, "reader", "IN ROLE jobtrail_api") as reader,
            ):
                connection.execute(
                    SQL("GRANT jobtrail_ops TO {} WITH INHERIT FALSE, SET TRUE").format(
                        Identifier(urlsplit(reader).username or "")
                    )
                )
                yield Logins(owner, writer, reader)
    drop_database(migrated_server, name)


BOTH_MODES = pytest.mark.parametrize(
    "mode", [pytest.param("session", marks=pytest.mark.thorough), "transaction"]
)
"""Runs a test in the mode that asks more of a client; a thorough run takes the other one too."""


@BOTH_MODES
def test_everything_works__one_login(
    start: Start, redis_url: str, database_url: str, tmp_path: Path, mode: Mode
) -> None:
    # Fewer server sessions than clients, so that they change hands.
    with pgbouncer(database_url, mode, pool_size=5 if mode == "transaction" else 20) as through:
        assert apply(through) == []
        Battery(start, redis_url, through, database_url).run(tmp_path)


@BOTH_MODES
def test_everything_works__owner_writer_and_reader(
    start: Start, redis_url: str, logins: Logins, tmp_path: Path, mode: Mode
) -> None:
    assert apply(logins.owner)
    size = 5 if mode == "transaction" else 20
    with pgbouncer(logins.writer, mode, pool_size=size, others=[logins.reader]) as through:
        reader = as_login(through, urlsplit(logins.reader).username or "")
        Battery(start, redis_url, through, logins.owner, api_url=reader).run(tmp_path)
    # What the writer made is the owner's as well.
    later = Migration("9000_more", "ALTER TABLE job_events ADD COLUMN more int")
    with pytest.MonkeyPatch.context() as patch:
        ours = [*migrate.migrations(), later]
        patch.setattr(migrate, "migrations", lambda: ours)
        assert apply(logins.owner) == ["9000_more"]
    with sessions.connect(logins.owner, "test") as connection:
        assert drop_before(connection, date(2100, 1, 1))

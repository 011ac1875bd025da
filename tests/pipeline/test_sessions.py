"""Sessions say what they need, whatever the role, the database and the shell would have them be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from ops.devstack import EmbeddedPostgres
from sql import sessions
from sql.migrate import apply
from tests.pipeline.conftest import Start, environ
from tests.support import forked
from tests.support.battery import Battery
from tests.support.servers import database_url as url_of
from tests.support.servers import drop_database

ODD = {
    "DateStyle": "German, DMY",
    "TimeZone": "Asia/Kathmandu",
    "IntervalStyle": "sql_standard",
    "standard_conforming_strings": "off",
    "search_path": "elsewhere",
    "bytea_output": "escape",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "row_security": "off",
    "statement_timeout": "20ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "50ms",
    "transaction_timeout": "30ms",
    "extra_float_digits": "-15",
    "synchronous_commit": "off",
    "client_encoding": "UHC",
}
"""Settings of a role in its database, none of which is what the code relies on."""

PAST = (
    "-c search_path=public -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
    " -c lock_timeout=0 -c transaction_timeout=0 -c idle_session_timeout=0 -c row_security=on"
    " -c default_transaction_read_only=off"
)
"""The options of the test's own connections."""

SHELL = {
    "PGOPTIONS": "-c datestyle=German -c search_path=elsewhere -c default_transaction_read_only=on",
    "PGCLIENTENCODING": "UHC",
    "PGDATESTYLE": "SQL, DMY",
    "PGTZ": "Asia/Kathmandu",
    "PGSERVICE": "none-of-this-name",
    "PGSSLMODE": "require",
    "PGCHANNELBINDING": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGAPPNAME": "shell",
    "PGHOST": "192.0.2.1",
    "PGREQUIREAUTH": "scram-sha-256",
}
"""Variables that libpq reads, each of which would change or stop a session."""


def set_for_role(url: str, settings: dict[str, str], *, role: bool = True) -> None:
    """Let new sessions begin with other settings: the role's in this database, or all roles'."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = Identifier(connection.info.dbname)
        user = Identifier(connection.info.user)
        whose = (
            SQL("ROLE {} IN DATABASE {}").format(user, name)
            if role
            else SQL("DATABASE {}").format(name)
        )
        for setting, value in settings.items():
            what = Identifier(*setting.split("."))
            connection.execute(SQL("ALTER {} SET {} = {}").format(whose, what, Literal(value)))


@pytest.fixture
def plain_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"odd_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    yield url_of(postgres_server, name)
    drop_database(postgres_server, name)


def test_everything_works__role_and_shell_with_odd_settings(
    start: Start, redis_url: str, plain_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_for_role(plain_url, ODD)
    past = f"{plain_url}?options={quote(PAST)}&client_encoding=UTF8"
    with monkeypatch.context() as shell:
        for name, value in SHELL.items():
            shell.setenv(name, value)
        assert apply(plain_url)
    Battery(start, redis_url, plain_url, past, shell=SHELL).run(tmp_path)


@pytest.mark.parametrize("encoding", ["UHC", "EUC_KR", "LATIN1", "SQL_ASCII"])
@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
def test_session__odd_encoding_and_dates__reads_and_writes_what_was_meant(
    database_url: str, encoding: str, style: str
) -> None:
    if encoding == "JOHAB":
        encoding = "MULE_INTERNAL" if style == "German" else "WIN1252"
    set_for_role(
        database_url, {"client_encoding": encoding, "DateStyle": style}, role=style != "German"
    )
    text = "한글 — 😀 ẞ"
    with sessions.connect(database_url, "test") as connection:
        row = connection.execute(
            "SELECT %s::text, octet_length(%s), timestamptz '2026-02-01 03:04:05+09',"
            " '1 hour'::interval::text",
            (text, text),
        ).fetchone()
    assert row is not None
    assert row[:2] == (text, len(text.encode()))
    assert row[2].isoformat() == "2026-01-31T18:04:05+00:00"
    assert row[3] == "01:00:00"


def test_pool__odd_settings__are_not_those_of_its_transactions(database_url: str) -> None:
    set_for_role(database_url, ODD)

    async def read() -> tuple[object, ...] | None:
        pool = sessions.pool(database_url, "test", min_size=0, max_size=1)
        async with pool, pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "SELECT 'é한', now(), current_setting('search_path'),"
                " current_setting('row_security'), current_setting('app.tenant_id'),"
                " current_setting('transaction_isolation'), current_setting('synchronous_commit')"
            )
            return await cursor.fetchone()

    row = asyncio.run(read())
    assert row is not None
    assert row[0] == "é한"
    assert row[2:] == ("jobtrail, public, pg_temp", "on", "", "read committed", "on")


def test_session__settings_that_the_url_names__are_kept(database_url: str) -> None:
    options = quote("-csearch_path=pg_catalog --work-mem=7MB -c x.y=a\\ b")
    url = f"{database_url}?options={options}"
    with sessions.connect(url, "test") as connection:
        row = connection.execute(
            "SELECT current_setting('search_path'), current_setting('work_mem'),"
            " current_setting('x.y')"
        ).fetchone()
    assert row == ("pg_catalog", "7MB", "a b")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_KR"])
def test_database_of_another_encoding__is_refused_in_one_line(
    postgres_server: EmbeddedPostgres, redis_url: str, encoding: str
) -> None:
    name = f"odd_{uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(
            SQL(
                "CREATE DATABASE {} ENCODING {} LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
            ).format(Identifier(name), Literal(encoding))
        )
    try:
        settings = {"redis_url": redis_url, "database_url": url_of(postgres_server, name)}
        for words in (["migrate"], ["doctor", "--json"]):
            done = forked.run(words, environ(settings))
            said = (done.stdout + done.stderr).decode()
            assert done.returncode == 1
            assert f"has the encoding {encoding}" in " ".join(said.split())
            assert "Traceback" not in said
    finally:
        drop_database(postgres_server, name)

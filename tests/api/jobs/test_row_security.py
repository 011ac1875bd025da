"""Row-level security for the API: with any query, a tenant gets its own rows only."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from ops.devstack import EmbeddedPostgres
from projections.decoding import decode
from projections.reading import history as history_reading
from projections.reading import jobs as jobs_reading
from projections.rows.writer import JobRows
from sql import migrate, queries, sessions
from streams.entry_ids import EntryId
from streams.events import dump_json
from tests.api.conftest import Asker
from tests.support.servers import PostgresFactory, login
from tests.support.servers import database_url as url_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio

TABLES = ("jobs", "job_events", "job_facets")
NOW_MS = 1_790_000_000_000


@pytest.fixture
def two_tenants(database_url: str) -> str:
    """The URL of a database in which tenants `t` and `u` have one job each."""
    fill(database_url)
    return database_url


def fill(url: str) -> None:
    """Insert one job for each of the tenants `t` and `u`, with a label, a type and a history."""
    rows = JobRows(lambda: sessions.connect(url, "test"))
    for ms in (1_000, NOW_MS):
        for tenant in ("t", "u"):
            event = {"type": "queued", "id": f"of-{tenant}", "labels": {"a": "b"}, "job_type": "x"}
            rows.apply([decode(tenant, EntryId(ms, 0), [b"event", dump_json(event)])])
    rows.close()


def as_role(url: str, role: str) -> str:
    """Return the URL with which a login starts as another role."""
    return f"{url}?options=-crole%3D{role}"


@contextmanager
def reader(url: str) -> Iterator[psycopg.Connection]:
    """Connect and become the API's role."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET ROLE jobtrail_api")
        yield connection


@pytest.fixture
def role(database_url: str) -> Iterator[str]:
    """A role that the login may take and that is not a member of any other role."""
    name = f"role_{uuid4().hex}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SQL("CREATE ROLE {}").format(Identifier(name)))
        connection.execute(SQL("GRANT {} TO CURRENT_USER").format(Identifier(name)))
        yield name
        connection.execute(SQL("DROP OWNED BY {}").format(Identifier(name)))
        connection.execute(SQL("DROP ROLE {}").format(Identifier(name)))


async def test_queries_without_where(
    ask: Asker, two_tenants: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the conditions on the tenant, every query still returns own rows only."""
    stripped = {name: without_tenant(text) for name, text in queries("reading").items()}
    stripped.pop("become_reader")
    assert not any("%(tenant)s" in text for text in stripped.values())
    for module in (jobs_reading, history_reading):
        monkeypatch.setattr(module, "_QUERIES", stripped)
    for tenant, other in (("t", "u"), ("u", "t")):
        async with ask(headers={"x-tenant-id": tenant}, database_url=two_tenants) as client:
            for query in (
                "",
                "?status=PENDING",
                "?job_type=x",
                "?label.a=b",
                "?updated_since=1970-01-01T00:00:00Z",
            ):
                items = (await client.get(f"/api/v1/jobs/{query}")).json()["items"]
                assert [item["job_id"] for item in items] == [f"of-{tenant}"], query
            assert (await client.get(f"/api/v1/jobs/of-{tenant}/")).status_code == 200
            history = await client.get(f"/api/v1/jobs/of-{tenant}/history/")
            assert len(history.json()["items"]) == 2
            for path in (f"of-{other}/", f"of-{other}/history/"):
                assert (await client.get(f"/api/v1/jobs/{path}")).status_code == 404


def without_tenant(text: str) -> str:
    """Return a query without its conditions on the tenant."""
    text = text.replace("(state, tenant, kind)", "(state, kind)")
    text = text.replace("(%(state)s, %(tenant)s, %(kind)s", "(%(state)s, %(kind)s")
    text = text.replace("(state, tenant, kind, listed_at, id)", "(state, kind, listed_at, id)")
    return re.sub(r"tenant = %\(tenant\)s AND ", "", text)


async def test_with_the_own_login(ask: Asker, two_tenants: str, role: str) -> None:
    """A login that may not take the role jobtrail_api reads as itself and is bound too."""
    with psycopg.connect(two_tenants, autocommit=True) as connection:
        for table in TABLES:
            connection.execute(
                SQL("GRANT SELECT ON {} TO {}").format(Identifier(table), Identifier(role))
            )
    async with ask(database_url=as_role(two_tenants, role)) as client:
        items = (await client.get("/api/v1/jobs/")).json()["items"]
    assert [item["job_id"] for item in items] == ["of-t"]


def test_role__what_it_is() -> None:
    """The names are here and in the migration, so that renaming one of them is noticed."""
    assert "rolname = 'jobtrail_api'" in queries("reading")["become_reader"]


def test_role__attributes__none_that_go_round_policies(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcanlogin, rolcreaterole, rolcreatedb,"
            " rolreplication,"
            " (SELECT count(*) FROM pg_class WHERE relowner = r.oid),"
            " (SELECT count(*) FROM pg_auth_members WHERE member = r.oid)"
            " FROM pg_roles AS r WHERE rolname = 'jobtrail_api'"
        ).fetchone()
    assert found == (False, False, False, False, False, False, 0, 0)


def test_role__without_a_tenant__sees_nothing(two_tenants: str) -> None:
    with reader(two_tenants) as connection:
        for value in (None, "", "nobody"):
            if value is not None:
                connection.execute("SELECT set_config('app.tenant_id', %s, false)", (value,))
            for table in TABLES:
                rows = connection.execute(SQL("SELECT * FROM {}").format(Identifier(table)))
                assert rows.fetchall() == []


def test_role__with_a_tenant__sees_that_one_everywhere(two_tenants: str) -> None:
    with reader(two_tenants) as connection:
        connection.execute("SELECT set_config('app.tenant_id', 'u', false)")
        for table in TABLES:
            found = connection.execute(SQL("SELECT tenant FROM {}").format(Identifier(table)))
            assert {tenant for (tenant,) in found} == {"u"}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO jobs (tenant) VALUES ('t')",
        "UPDATE jobs SET status = 'x'",
        "DELETE FROM jobs",
        "TRUNCATE jobs",
        "INSERT INTO job_events (tenant) VALUES ('t')",
        "DELETE FROM job_events",
        "DELETE FROM job_facets",
        "SELECT * FROM job_events_default",
        "SELECT * FROM jobtrail_migrations",
        "SELECT * FROM replaced_states",
        "SELECT 1 FROM jobs FOR UPDATE",
        "CREATE TABLE mine (x int)",
        "ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY own_tenant ON jobs",
    ],
)
def test_role__anything_but_reading_its_tables__is_refused(
    two_tenants: str, statement: Any
) -> None:
    with reader(two_tenants) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_role__partitions_by_their_names__are_refused(two_tenants: str) -> None:
    with psycopg.connect(two_tenants, autocommit=True) as connection:
        found = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent = 'job_events'::regclass"
        )
        partitions = [name for (name,) in found]
    assert len(partitions) >= 2
    with reader(two_tenants) as connection:
        for name in partitions:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(SQL("SELECT * FROM {}").format(Identifier(name)))


@pytest.mark.parametrize(
    "opened",
    [
        "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE job_facets DISABLE ROW LEVEL SECURITY",
        "CREATE POLICY everything ON jobs FOR SELECT USING (true)",
    ],
)
async def test_policies_that_do_not_bind(
    ask: Asker, two_tenants: str, capsys: pytest.CaptureFixture[str], opened: Any
) -> None:
    """If the policies admitted other tenants' rows, nothing is served."""
    with psycopg.connect(two_tenants, autocommit=True) as connection:
        connection.execute(opened)
    async with ask(database_url=two_tenants) as client:
        answer = await client.get("/api/v1/jobs/")
    assert answer.status_code == 503
    assert "of-" not in answer.text
    assert "durable_reads_refused" in "".join(capsys.readouterr())


async def test_superuser(
    ask: Asker, own_postgres: PostgresFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """A superuser reads as jobtrail_api, and reads nothing if that role is missing."""
    server = own_postgres()
    fill(server.url)
    url = let_superuser_in(server)
    async with ask(database_url=url) as client:
        items = (await client.get("/api/v1/jobs/")).json()["items"]
        assert [item["job_id"] for item in items] == ["of-t"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY jobtrail_api")
        connection.execute("DROP ROLE jobtrail_api")
    async with ask(database_url=url) as client:
        assert (await client.get("/api/v1/jobs/")).status_code == 503
    assert "row-level security does not apply to the role postgres" in "".join(capsys.readouterr())


def let_superuser_in(server: EmbeddedPostgres) -> str:
    """Allow the server's superuser to log in, and yield the URL."""
    rules = server.data_dir / "cluster" / "pg_hba.conf"
    with rules.open("a") as file:
        file.write("host all postgres 127.0.0.1/32 trust\n")
    os.kill(server.pid, signal.SIGHUP)
    url = login(server.url, "postgres", "any")

    def lets_in() -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(url):
            return True
        return False

    eventually(lets_in)
    return url


def test_migration__two_databases_at_once__both_succeed(own_postgres: PostgresFactory) -> None:
    """Roles belong to the server: two migrations create the same one at the same time."""
    server = own_postgres()
    names = [f"other{n}" for n in range(4)]
    with psycopg.connect(server.url, autocommit=True) as connection:
        forget_roles(connection)
        for name in names:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    with ThreadPoolExecutor(len(names)) as pool:
        urls = [url_of(server, name) for name in names]
        applied = list(pool.map(migrate.apply, urls))
    assert applied == [[migration.name for migration in migrate.migrations()]] * len(names)
    for url in urls:
        with reader(url) as connection:
            assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


def test_migration__login_that_may_make_no_roles__goes_on_and_says_what_to_run(
    own_postgres: PostgresFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    server = own_postgres()
    with psycopg.connect(server.url, autocommit=True) as connection:
        forget_roles(connection)
        connection.execute("CREATE ROLE plain")
        connection.execute("GRANT plain TO CURRENT_USER")
        connection.execute("CREATE DATABASE plain OWNER plain")
    url = as_role(url_of(server, "plain"), "plain")
    assert migrate.apply(url) == [migration.name for migration in migrate.migrations()]
    assert "CREATE ROLE jobtrail_api NOLOGIN; GRANT" in "".join(capsys.readouterr())
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


def forget_roles(connection: psycopg.Connection) -> None:
    """Restore the server's state before any migration created a role."""
    found = connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'jobtrail\\_%'")
    for (name,) in found.fetchall():
        # Who drops what a role may must be able to do what it may.
        connection.execute(
            SQL("GRANT {} TO CURRENT_USER WITH INHERIT TRUE").format(Identifier(name))
        )
        connection.execute(SQL("DROP OWNED BY {}").format(Identifier(name)))
        connection.execute(SQL("DROP ROLE {}").format(Identifier(name)))

"""`jobtrail old-tables`: for old tables of any schema and any names."""

from __future__ import annotations

import json

import psycopg
from typer.testing import CliRunner, Result

from ops.cli import app


def run(database_url: str, *words: str) -> Result:
    environ = {"JOBTRAIL_DATABASE_URL": f"{database_url}?options=-csearch_path%3Dschool"}
    return CliRunner().invoke(app, ["old-tables", *words], env=environ)


def done(result: Result) -> list[str]:
    return [report["done"] for report in json.loads(result.stdout)]


def test_tables_of_another_schema_name_and_shape(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA school")
        lost = run(database_url, "build")
        assert 'relation "students" does not exist: name it with --students' in str(lost.exception)
        connection.execute(
            "CREATE TABLE school.pupils (tenant_id int, name text, parent_phone text,"
            " ps_number text, deleted_at timestamptz);"
            "CREATE TABLE school.aijob (tenant_id int, job_id text, status text);"
            "CREATE TABLE school.clips (session_id int, status text)"
        )
    built = run(database_url, "build", "--students", "pupils", "--video", "clips", "--json")
    assert sorted(done(built)) == ["built"] * 6 + ["no such column"]
    assert built.exit_code == 1
    assert "1 not built" in str(built.exception)
    dropped = run(database_url, "drop", "--json")
    assert sorted(done(dropped)) == ["", *["dropped"] * 6]
    assert dropped.exit_code == 0

"""The list of the columns of `jobs`, compared with a migrated database."""

from __future__ import annotations

import re

import psycopg
import pytest

from projections.reading.jobs import StoredRow
from projections.rows.columns import COLUMNS, JOB_LISTS, KEY_LENGTH, NAMES
from projections.state import JobState
from sql import queries

SET_AT_INSERT = {"listed_at"}


def columns(database_url: str, condition: str) -> dict[str, str]:
    """Return the types of columns of `jobs` by name, in the order of the table."""
    query = (
        "SELECT column_name, udt_name FROM information_schema.columns"
        f" WHERE table_name = 'jobs' AND {condition} ORDER BY ordinal_position"
    )
    with psycopg.connect(database_url) as connection:
        return dict(connection.execute(query.encode()).fetchall())


def test_columns_are_those_of_the_table(database_url: str) -> None:
    table = columns(database_url, "is_generated = 'NEVER'")
    assert {column.name: column.type for column in COLUMNS} == {
        name: type_ for name, type_ in table.items() if name not in SET_AT_INSERT
    }


def test_leading_columns_are_the_primary_key(database_url: str) -> None:
    query = (
        "SELECT attname::text FROM pg_index JOIN pg_attribute"
        " ON attrelid = indrelid AND attnum = ANY (indkey)"
        " WHERE indrelid = 'jobs'::regclass AND indisprimary ORDER BY attnum"
    )
    with psycopg.connect(database_url) as connection:
        assert [name for (name,) in connection.execute(query)] == [*NAMES[:KEY_LENGTH]]


def test_every_fact_of_a_state_is_read_from_a_column() -> None:
    read = {column.name for column in COLUMNS if column.read}
    moments = {"created", "started"}
    names = {f"{name}_at" if name in moments else name for name in JobState._fields}
    # The entry that won is among the provenances.
    assert read == names - {"entry_id"} | {"positions"}


def test_lists_read_columns_of_the_table(database_url: str) -> None:
    assert {*StoredRow._fields} <= {*columns(database_url, "true")}


@pytest.mark.parametrize("file", ["rows", "rebuild"])
def test_writers_statements_take_the_columns_from_the_list(file: str) -> None:
    """A statement that names most columns itself would miss a new one."""
    for name, text in queries(file).items():
        named = [column for column in NAMES if re.search(rf"\b{column}\b,|, {column}\b", text)]
        assert len(named) < len(NAMES) / 2, name


@pytest.mark.parametrize("file", ["rows", "rebuild"])
def test_writers_statements_have_no_unknown_list(file: str) -> None:
    assert not any(re.search(r"\{\w+\}", text) for text in queries(file, JOB_LISTS).values())

"""Errors of servers behind the operators' endpoints: outages are a 503, wrong commands are not."""

from __future__ import annotations

import psycopg
import pytest
import redis
from psycopg_pool import PoolTimeout

from api.http.problems import TryLater
from api.operators.gate import _result

pytestmark = pytest.mark.anyio


async def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "server"),
    [
        (redis.ConnectionError("refused"), "redis"),
        (redis.TimeoutError("no reply"), "redis"),
        (redis.exceptions.BusyLoadingError("loading"), "redis"),
        (redis.exceptions.OutOfMemoryError("full"), "redis"),
        (redis.ResponseError("MISCONF disk"), "redis"),
        (redis.exceptions.NoPermissionError("NOPERM"), "redis"),
        (psycopg.OperationalError("refused"), "postgresql"),
        (psycopg.errors.QueryCanceled("too slow"), "postgresql"),
        (PoolTimeout("no connection"), "postgresql"),
        (psycopg.errors.UndefinedTable("not migrated"), "postgresql"),
        (psycopg.errors.InsufficientPrivilege("no such role"), "postgresql"),
    ],
    ids=repr,
)
async def test_server_that_cannot_be_used_is_a_503_with_its_name(
    error: Exception, server: str
) -> None:
    with pytest.raises(TryLater) as raised:
        await _result(_raise(error))
    assert f'"missing":["{server}"]'.encode() in raised.value.response.body


@pytest.mark.parametrize(
    "error",
    [
        redis.ResponseError("ERR unknown command"),
        redis.DataError("not encodable"),
        psycopg.errors.SyntaxError("at end of input"),
        psycopg.errors.UndefinedColumn("no such column"),
        psycopg.ProgrammingError("the query has 1 placeholders"),
    ],
    ids=repr,
)
async def test_error_of_this_program_is_not_an_outage(error: Exception) -> None:
    with pytest.raises(type(error)):
        await _result(_raise(error))

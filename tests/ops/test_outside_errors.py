"""The lines for errors of servers."""

from __future__ import annotations

import psycopg

from ops.outside_errors import line_for


def test_full_pool_of_pgbouncer_is_named_with_its_remedy() -> None:
    line = line_for(psycopg.errors.ProtocolViolation("query_wait_timeout"))
    assert line is not None
    assert "pool size" in line
    assert "away" not in line

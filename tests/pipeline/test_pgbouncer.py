"""Everything works through PgBouncer, pooling sessions or transactions, with one login or more."""

from __future__ import annotations

from pathlib import Path

import pytest

from sql.migrate import apply
from tests.pipeline.conftest import Start
from tests.support.battery import Battery
from tests.support.pgbouncer import Mode, pgbouncer


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_everything_works__one_login(
    start: Start, redis_url: str, database_url: str, tmp_path: Path, mode: Mode
) -> None:
    # Fewer server sessions than clients, so that they change hands.
    with pgbouncer(database_url, mode, pool_size=5 if mode == "transaction" else 20) as through:
        assert apply(through) == []
        Battery(start, redis_url, through, database_url).run(tmp_path)

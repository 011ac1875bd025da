"""The API takes no more of the database's connections than the budget counts with."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg

from tests.pipeline.conftest import Start

POOL = 2
ASKING = 16


def test_a_crowd_of_readers_takes_the_pools_connections_and_no_more(
    start: Start, servers: dict[str, str]
) -> None:
    api = start("api", auth="dev", api_port="0", api_pool_size=str(POOL), **servers)
    assert api.stdout is not None
    url = api.stdout.readline().decode().removeprefix("api: ").strip()
    stop, open_at_once = threading.Event(), list[int]()

    def watch() -> None:
        with psycopg.connect(servers["database_url"], autocommit=True) as connection:
            while not stop.is_set():
                row = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'jobtrail-api'"
                    " AND datname = current_database()"
                ).fetchone()
                open_at_once.append(0 if row is None else row[0])

    def read(reader: int) -> int:
        # Of two tenants: one alone may not have all connections.
        with httpx.Client(base_url=url, headers={"x-tenant-id": str(reader % 2)}) as client:
            return sum(client.get("/api/v1/jobs/").status_code == 200 for _ in range(20))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(ASKING) as readers:
            answered = sum(readers.map(read, range(ASKING)))
    finally:
        stop.set()
        watcher.join()
    assert answered == ASKING * 20
    assert max(open_at_once) == POOL

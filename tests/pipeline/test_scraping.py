"""Real processes, scraped as Prometheus does."""

from __future__ import annotations

from functools import partial

import psycopg
import redis

from streams.appender import EventAppender
from tests.pipeline.conftest import Start
from tests.support.processes import listening
from tests.support.scraping import scrape, value
from tests.support.waiting import eventually


def test_real_consumers_are_scraped(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    running = {
        group: start("consume", group, **servers, metrics_port="0") for group in ("status", "rows")
    }
    urls = {
        group: f"http://127.0.0.1:{eventually(partial(_port, process.pid))}/metrics"
        for group, process in running.items()
    }
    EventAppender(redis_client).append_many(
        ("42", {"type": "done", "id": f"a{number}"}) for number in range(50)
    )

    def applied(group: str) -> bool:
        said = scrape(urls[group])
        return value(said, "jobtrail_events_applied_total", group=group) == 50

    for group in running:
        eventually(partial(applied, group))
        said = scrape(urls[group])
        assert value(said, "jobtrail_consumer_running", group=group) == 1
        assert value(said, "jobtrail_projection_delay_seconds_count", group=group) == 50
    eventually(lambda: sum("jobtrail_sweeper" in scrape(url) for url in urls.values()) == 1)
    with psycopg.connect(servers["database_url"]) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (50,)


def test_api_tells_the_backlog_while_no_consumer_runs(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    api = start("api", **servers, auth="dev", api_port="0")
    line = (api.stdout.readline() if api.stdout else b"").decode()
    url = f"{line.removeprefix('api: ').strip()}/metrics"

    def waiting(number: int) -> bool:
        said = scrape(url)
        return all(
            value(said, "jobtrail_entries_waiting", group=group) == number
            and value(said, "jobtrail_entries_pending", group=group) == 0
            for group in ("status", "rows")
        )

    eventually(partial(waiting, 0), 30, "no backlog")
    redis_client.xadd("tenant:42:events", {"event": '{"type":"done","id":"a1"}'})
    eventually(partial(waiting, 1), 30, "a backlog of one")


def _port(pid: int) -> int | None:
    return next((port for _, port in listening(pid)), None)

"""The questions of the API to Redis in threads, beside a node of a cluster that does not answer."""

from __future__ import annotations

import time

from consumers import metrics
from consumers.delivery.groups import ConsumerGroup
from ops.operator_view import REDIS_SECONDS, RedisOperatorView
from streams.appender import GROUPS, EventAppender
from streams.cluster import keys_of
from streams.connection import connect
from streams.settings import Settings
from streams.wire import ask
from tests.support.clusters import redis_cluster
from tests.support.processes import frozen

TENANTS = [f"tenant-{number}" for number in range(12)]


def test_silent_node__delays_no_figures_of_the_other_nodes() -> None:
    with redis_cluster(replicas=0) as cluster, connect(cluster.url) as client:
        keys = keys_of(client)
        EventAppender(client).append_many((name, {"type": "done", "id": "a1"}) for name in TENANTS)
        for group in GROUPS:
            ConsumerGroup(client, group, "c1").register()
        for name in TENANTS:
            ask(client, "ZADD", keys.dead_tenants(), 1, name)
            ask(client, "XADD", keys.dead(name), "*", "group", "rows")
        # Not the one with the list of the tenants that have dead letters.
        silent = next(
            node for node in cluster.primaries if node is not cluster.owner(keys.dead_tenants())
        )
        served = [name for name in TENANTS if cluster.owner(keys.stream(name)) is not silent]
        with frozen(silent.pid):
            began = time.monotonic()
            view = RedisOperatorView.of(Settings(redis_url=cluster.url))
            facts = dict(zip(TENANTS, view.tenants(TENANTS), strict=True))
            assert f"127.0.0.1:{silent.port} does not answer" in view.health()["description"]
            view.publish_backlog(60)
            dead = view.dead_letters.tenants(100)
            assert time.monotonic() - began < REDIS_SECONDS  # of one command
        assert [name for name in TENANTS if facts[name]] == served
        assert sorted(name for name, _ in dead) == sorted(served)
        assert waiting() == {"status": len(served), "rows": len(served)}


def waiting() -> dict[str, float]:
    """Return the published backlog by group."""
    return {
        sample.labels["group"]: sample.value
        for family in metrics.WAITING.collect()
        for sample in family.samples
    }

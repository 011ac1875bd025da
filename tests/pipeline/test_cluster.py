"""Everything on a cluster, with slots moved, nodes replaced and a primary killed in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from streams.appender import EventAppender
from streams.cluster import keys_of
from streams.connection import connect
from streams.entry_ids import EntryId
from streams.wire import ask
from tests.ops.test_cli import jobtrail
from tests.pipeline.conftest import Start
from tests.support.acceptance import appending, is_done, run_every_command, seen, stored
from tests.support.clusters import EMBEDDED, HASTY_MS, Flavour, RedisCluster, redis_cluster
from tests.support.deployment import Deployment, deploy
from tests.support.event_stream import Stream
from tests.support.valkey import valkey_server
from tests.support.waiting import eventually

TENANTS = [f"tenant-{number}" for number in range(9)]


@pytest.fixture(scope="module", params=["embedded", "valkey 9"])
def cluster(request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    flavour = EMBEDDED if request.param == "embedded" else Flavour([str(valkey_server("9"))])
    with redis_cluster(replicas=3, timeout_ms=HASTY_MS, flavour=flavour) as found:
        yield found


@pytest.mark.thorough
def test_everything__with_slots_moved_and_nodes_replaced_in_the_middle(
    start: Start, cluster: RedisCluster, database_url: str
) -> None:
    run = partial(jobtrail, redis_url=cluster.url, database_url=database_url)
    deployed = deploy(start, cluster.url, database_url, auth="dev")
    acknowledged: dict[str, list[EntryId]] = {name: [] for name in TENANTS}
    moved, _, lost = (_tenant_of(cluster, number) for number in range(3))

    def more() -> None:
        before = {name: len(ids) for name, ids in acknowledged.items()}
        for name in TENANTS:
            eventually(
                lambda name=name: len(acknowledged[name]) > before[name] + 2,  # type: ignore[misc]
                20,
                "durable appends",
            )

    with (
        appending(cluster.url, acknowledged),
        Stream(deployed.url, f"/api/v1/events?tenant={lost}") as live,
        Stream(deployed.url, f"/api/v1/events?tenant={moved}") as live_moved,
    ):
        more()
        cluster.move(f"tenant:{{{moved}}}:events", cluster.primaries[1])
        more()
        cluster.replace(1)
        more()
        with _primary_replaced(cluster, lost):
            _are_served(deployed, cluster, lost)
        more()
        with connect(cluster.url) as client:
            for name in TENANTS:
                EventAppender(client).append(name, {"type": "done", "id": "last-1"})
        for name in TENANTS:
            eventually(partial(is_done, deployed, name, "last-1"), 60, "the last state")
        for each in (live, live_moved):
            assert seen(each, "last-1")["status"] == "DONE"
    for name in TENANTS:
        assert set(acknowledged[name]) <= stored(cluster.url, name)

    assert httpx.get(f"{deployed.url}/readyz", timeout=30).status_code == 200
    run_every_command(run, lost, "last-1")
    _requeue(cluster, run, moved)
    for page in ("overview", "tenants", "jobs", "dead", "stalled"):
        answer = deployed.ask(f"/api/v1/ops/{page}/", headers={"X-Tenant-ID": lost}, timeout=30)
        assert answer.status_code == 200, answer.text
    tail = start("tail", "--tenant", lost, "--from", "0", redis_url=cluster.url)
    assert tail.stdout is not None
    assert b"busy-" in tail.stdout.readline()


def _requeue(cluster: RedisCluster, run: Any, tenant: str) -> None:
    """Have an entry that is no event become a dead letter, and requeue it."""
    with connect(cluster.url) as client:
        ask(client, "XADD", keys_of(client).stream(tenant), "*", "event", b"none")

    def listed() -> list[Any]:
        ran = run("dead", "list", "--json")
        assert ran.returncode == 0, ran.stderr
        found: list[Any] = json.loads(ran.stdout)
        return found

    eventually(listed, 60, "a dead letter")
    ran = run("dead", "requeue", "--tenant", tenant, "--all")
    assert ran.returncode == 0, ran.stderr


def _tenant_of(cluster: RedisCluster, number: int) -> str:
    owners = {name: cluster.owner(f"tenant:{{{name}}}:events") for name in TENANTS}
    return next(name for name, node in owners.items() if node is cluster.primaries[number])


@contextmanager
def _primary_replaced(cluster: RedisCluster, tenant: str) -> Iterator[None]:
    """Kill a primary for the block, whose replica is promoted after it.

    The killed node becomes a replica, which durable appends wait for.
    """
    node = cluster.owner(f"tenant:{{{tenant}}}:events")
    replica = cluster.replicas[cluster.primaries.index(node)]
    replica.ask("CONFIG", "SET", "cluster-replica-validity-factor", 0)
    replica.ask("CONFIG", "SET", "cluster-replica-no-failover", "yes")
    node.kill()
    yield
    replica.ask("CONFIG", "SET", "cluster-replica-no-failover", "no")
    eventually(lambda: cluster.owner(f"tenant:{{{tenant}}}:events") is replica, 30, "a failover")
    node.start()


def _are_served(deployed: Deployment, cluster: RedisCluster, lost: str) -> None:
    """Append to tenants of the other primaries, also without ready marks, and read it."""
    node = cluster.owner(f"tenant:{{{lost}}}:events")
    others = [name for name in TENANTS if cluster.owner(f"tenant:{{{name}}}:events") is not node]
    with connect(cluster.url) as client:
        for name in others:
            EventAppender(client).append(name, {"type": "done", "id": "meanwhile-1"})
            raw = b'{"type":"done","id":"meanwhile-2"}'
            ask(client, "XADD", keys_of(client).stream(name), "*", "event", raw)
    for name in others:
        for job in ("meanwhile-1", "meanwhile-2"):
            eventually(partial(is_done, deployed, name, job), 20, "other nodes' tenants")

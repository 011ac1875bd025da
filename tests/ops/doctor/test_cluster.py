"""The doctor on a real Redis Cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ops.doctor.cluster import checks
from ops.doctor.cluster.checks import coverage, replicated, slots, untagged
from ops.doctor.deployment import Deployment
from ops.doctor.key_types import unexpected_keys
from ops.doctor.redis_checks import largest_command, persistence, redis_version, redis_writes
from streams.cluster import keys_of
from streams.discovery import all_streams
from streams.settings import Settings
from streams.wire import ask
from tests.support.clusters import RedisCluster
from tests.support.waiting import eventually


@pytest.fixture
def deployment(cluster: RedisCluster) -> Iterator[Deployment]:
    with Deployment(Settings(redis_url=cluster.url)) as found:
        yield found


def test_servers__are_checked_each(cluster: RedisCluster, deployment: Deployment) -> None:
    assert redis_version(deployment).ok
    assert persistence(deployment).found == "appendonly no"
    assert redis_writes(deployment).found == "taken"
    cluster.primaries[1].ask("CONFIG", "SET", "proto-max-bulk-len", 1_048_576)
    found = largest_command(deployment)
    assert not found.ok
    assert f"127.0.0.1:{cluster.primaries[1].port}: 1048576 bytes" in found.found
    cluster.primaries[1].ask("CONFIG", "SET", "proto-max-bulk-len", 2 * 1_048_576)


def test_full_coverage__is_named_by_node(cluster: RedisCluster, deployment: Deployment) -> None:
    verdict = coverage(deployment)
    assert verdict is not None
    assert verdict.ok
    cluster.primaries[2].ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    verdict = coverage(deployment)
    cluster.primaries[2].ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    assert verdict is not None
    assert not verdict.ok
    assert f"127.0.0.1:{cluster.primaries[2].port}" in verdict.found


def test_primaries_without_a_replica__are_named(
    cluster: RedisCluster, deployment: Deployment
) -> None:
    verdict = replicated(deployment)
    assert verdict is not None
    assert not verdict.ok
    first, *others = (f"127.0.0.1:{node.port}" for node in cluster.primaries)
    assert first not in verdict.found
    assert all(each in verdict.found for each in others)


def test_names_without_a_hash_tag__are_found(deployment: Deployment) -> None:
    verdict = untagged(deployment)
    assert verdict is not None
    assert verdict.ok
    client = deployment.client
    ask(client, "XADD", keys_of(client).stream("42"), "*", "event", b"{}")
    ask(client, "XADD", "tenant:42:events", "*", "event", b"{}")
    ask(client, "SET", keys_of(client).dead("43"), "x")
    verdict = untagged(deployment)
    assert verdict is not None
    assert not verdict.ok
    assert verdict.found == "tenant:42:events"
    assert [(key.tenant, key.type) for key in unexpected_keys(client)] == [("43", "string")]


def test_stream_that_a_worker_creates_meanwhile__is_not_reported(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many scans a check makes, each finds one more stream."""
    scans = iter(range(100))
    client = deployment.client

    def scan(*arguments: Any, **options: Any) -> Iterator[bytes]:
        stream = keys_of(client).stream(f"new{next(scans)}")
        ask(client, "XADD", stream, "*", "event", b"{}")
        return all_streams(*arguments, **options)

    ask(client, "DEL", "tenant:42:events")
    monkeypatch.setattr(checks, "all_streams", scan)
    verdict = untagged(deployment)
    assert verdict is not None
    assert (verdict.ok, verdict.found) == (True, "none")


def test_full_coverage_that_is_not_readable__is_a_warning(
    cluster: RedisCluster, deployment: Deployment
) -> None:
    cluster.primaries[1].ask("ACL", "SETUSER", "default", "-config")
    verdict = coverage(deployment)
    cluster.primaries[1].ask("ACL", "SETUSER", "default", "+config")
    assert verdict is not None
    assert (verdict.ok, verdict.warns) == (True, True)
    assert verdict.found == f"not readable on 127.0.0.1:{cluster.primaries[1].port}"


def test_slots_without_a_node__are_counted(cluster: RedisCluster, deployment: Deployment) -> None:
    verdict = slots(deployment)
    assert verdict is not None
    assert verdict.ok
    cluster.primaries[0].ask("CLUSTER", "DELSLOTS", 7)
    cluster.primaries[1].ask("CLUSTER", "DELSLOTS", 7)

    def missing() -> bool:
        found = slots(deployment)
        return found is not None and found.found == "1 without a node"

    eventually(missing, 10)

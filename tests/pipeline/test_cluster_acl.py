"""The users of `deploy/redis/users.acl` on a cluster: each can do its work there, too.

Also on the oldest Redis, with TLS, and on Valkey.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from streams.appender import EventAppender
from streams.connection import connect
from tests.ops.test_cli import jobtrail
from tests.pipeline.conftest import Start
from tests.pipeline.test_redis_acl import rules
from tests.support.certificates import certificate
from tests.support.clusters import Flavour, RedisCluster, redis_cluster
from tests.support.debian import debian_command
from tests.support.deployment import deploy
from tests.support.event_stream import Stream
from tests.support.servers import server_folder
from tests.support.valkey import valkey_server
from tests.support.waiting import eventually

TENANTS = [f"tenant-{number}" for number in range(9)]


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("debian, tls", marks=pytest.mark.thorough),
        pytest.param("valkey", marks=pytest.mark.thorough),
    ]
)
def flavour(request: pytest.FixtureRequest) -> Iterator[Flavour]:
    if request.param == "embedded":
        yield Flavour()
    elif request.param == "valkey":
        yield Flavour([str(valkey_server())])
    else:
        with server_folder() as folder:
            yield Flavour(debian_command("redis-server"), certificate(folder))


@pytest.fixture
def cluster(flavour: Flavour) -> Iterator[RedisCluster]:
    with redis_cluster(replicas=0, flavour=flavour) as found:
        for node in found.primaries:
            for line in rules().splitlines()[1:]:  # not the default user, as which nodes are asked
                node.ask("ACL", "SETUSER", *line.split()[1:])
        yield found


def test_all_pieces__do_their_work_under_their_users(
    start: Start, cluster: RedisCluster, database_url: str
) -> None:
    def url(user: str) -> str:
        return cluster.url.replace("://", f"://{user}:{user}@")

    def as_user(command: str, *words: str, **settings: str) -> object:
        user = "jobtrail-console" if command == "api" else "jobtrail-consumer"
        return start(command, *words, **{**settings, "redis_url": url(user)})

    deployed = deploy(as_user, cluster.url, database_url, auth="dev")
    event = {"type": "progress", "id": "a1", "extra": {"text": "x" * 4_000}}
    for user, size in (("jobtrail-worker", None), ("jobtrail-worker-shedding", 10_000)):
        with connect(url(user)) as client:
            appender = EventAppender(client, max_stream_bytes=size)
            appender.append_many(((name, event) for name in TENANTS * 5), durable=True)
            appender.append_many([(name, {"type": "done", "id": "a1"}) for name in TENANTS])
    for name in TENANTS[:3]:
        eventually(partial(_is_known, deployed.url, name), 60)
        with Stream(deployed.url, f"/api/v1/jobs/a1/progress/events?tenant={name}") as live:
            assert live.rest()[-1].data["status"] == "DONE"
    for words in (
        ("lag",),
        ("dead", "requeue", "--tenant", "first", "--all"),
        ("trim",),
        ("replay", "status", "--reset"),
        ("verify", "status"),
    ):
        ran = jobtrail(*words, redis_url=url("jobtrail-ops"), database_url=database_url)
        assert ran.returncode == 0, (words, ran.stderr)
    assert httpx.get(f"{deployed.url}/readyz", timeout=30).json()["status"] == "ready"
    for node in cluster.primaries:
        assert node.ask("ACL", "LOG") == []


def _is_known(url: str, tenant: str) -> bool:
    headers = {"x-tenant-id": tenant}
    return httpx.get(f"{url}/api/v1/jobs/a1/progress/", headers=headers, timeout=30).is_success

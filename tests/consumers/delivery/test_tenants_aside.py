"""Tenants that are set aside while their node is lost."""

from __future__ import annotations

import redis
from structlog.testing import capture_logs

from consumers.delivery.tenants_aside import LOG_SECONDS, TenantsAside


def test_each_error_is_logged__and_the_same_one_once_a_minute() -> None:
    now = [0.0]
    aside = TenantsAside("status", enabled=True, clock=lambda: now[0])
    lost, refused = redis.ConnectionError("node 1"), redis.exceptions.NoPermissionError("no")
    with capture_logs() as lines:
        for error in (lost, refused, lost):
            assert aside.add(["a", "b"], error)
        now[0] = LOG_SECONDS
        assert aside.add(["a"], lost)
    seen = [(line["error"], line["tenants"], line["tenant"]) for line in lines]
    assert seen == [("node 1", 2, "a"), ("no", 2, "a"), ("node 1", 1, "a")]


def test_single_server_or_bad_data__nobody_is_set_aside() -> None:
    single = TenantsAside("status", enabled=False)
    assert not single.add(["a"], redis.ConnectionError("away"))
    cluster = TenantsAside("status", enabled=True)
    assert not cluster.add(["a"], redis.ResponseError("WRONGTYPE no set"))
    assert cluster.take_due() == []

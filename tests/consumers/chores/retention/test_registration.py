"""Removal of a group that the server refuses on a stream: the group stays registered."""

from __future__ import annotations

import pytest
import redis

from consumers.chores.retention.registration import deregister
from consumers.delivery.group_states import registered_groups
from streams.connection import connect
from streams.keys import Keys
from tests.support.servers import login

KEYS = Keys()


def test_group_stays_registered_while_the_server_refuses_its_removal(
    redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.xgroup_create(KEYS.stream("42"), "audit", "0", mkstream=True)
    redis_client.set(KEYS.stream("43"), "of another type")
    redis_client.sadd(KEYS.groups(), "audit")
    redis_client.acl_setuser(
        "limited",
        enabled=True,
        passwords=["+secret"],
        keys=["*"],
        commands=["+@all", "-xgroup|destroy"],
    )
    try:
        with connect(login(redis_url, "limited", "secret")) as limited:
            with pytest.raises(redis.exceptions.NoPermissionError):
                deregister(limited, "audit")
            assert registered_groups(redis_client, KEYS) == ["audit"]
    finally:
        redis_client.acl_deluser("limited")
    assert deregister(redis_client, "audit") == 1
    assert registered_groups(redis_client, KEYS) == []

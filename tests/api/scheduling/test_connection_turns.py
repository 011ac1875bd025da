"""Turns at connections: nobody's reads keep those of others away."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from psycopg_pool import PoolTimeout, TooManyRequests

from api.scheduling.connection_turns import Turns

pytestmark = pytest.mark.anyio

SOON = 0.01
LONG = 30.0


@pytest.mark.parametrize(("size", "share"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (100, 50)])
async def test_share__of_any_size__is_half(size: int, share: int) -> None:
    turns = Turns(size, most_waiting=1)
    async with AsyncExitStack() as stack:
        for _ in range(share):
            await stack.enter_async_context(turns.turn("greedy", SOON))
        with pytest.raises(PoolTimeout):
            await stack.enter_async_context(turns.turn("greedy", SOON))
        for _ in range(size - share):
            await stack.enter_async_context(turns.turn("other", SOON))
    assert turns.waiting == 0


async def test_waiting__tenants_are_served_in_rotation() -> None:
    turns, order = Turns(1, most_waiting=9), list[str]()

    async def read(tenant: str) -> None:
        async with turns.turn(tenant, LONG):
            order.append(tenant)

    async with turns.turn("a", LONG):
        waiting = [asyncio.create_task(read(tenant)) for tenant in "aaabbc"]
        while turns.waiting < len(waiting):
            await asyncio.sleep(0)
    await asyncio.gather(*waiting)

    assert "".join(order) == "abcaba"


async def test_too_many_of_one_tenant_wait__only_its_next_one_is_refused() -> None:
    turns = Turns(1, most_waiting=1)
    async with turns.turn("a", LONG):
        waiting = [asyncio.create_task(_pass(turns, tenant)) for tenant in "ab"]
        while turns.waiting < len(waiting):
            await asyncio.sleep(0)
        with pytest.raises(TooManyRequests):
            await _pass(turns, "a")
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("served", [False, True], ids=["waiting", "served in the same moment"])
async def test_cancelled__its_turn_is_free(served: bool) -> None:  # noqa: FBT001 - a parameter
    turns = Turns(1, most_waiting=9)
    async with turns.turn("a", LONG):
        cancelled, other = (asyncio.create_task(_pass(turns, tenant)) for tenant in "bc")
        while turns.waiting < 2:
            await asyncio.sleep(0)
        if not served:
            cancelled.cancel()
    if served:
        cancelled.cancel()
    assert isinstance((await asyncio.gather(cancelled, return_exceptions=True))[0], BaseException)
    await other
    await _pass(turns, "a")
    assert turns.waiting == 0


async def _pass(turns: Turns, tenant: str) -> None:
    async with turns.turn(tenant, LONG):
        pass

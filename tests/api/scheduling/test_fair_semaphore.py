"""The fair semaphore: one tenant's reads do not starve those of others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from api.scheduling.fair_semaphore import FairSemaphore, PermitTimeout, QueueFull

pytestmark = pytest.mark.anyio

SOON = 0.01
LONG = 30.0


@pytest.mark.parametrize(("size", "share"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (100, 50)])
async def test_share__of_any_size__is_half(size: int, share: int) -> None:
    semaphore = FairSemaphore(size, max_waiting=1)
    async with AsyncExitStack() as stack:
        for _ in range(share):
            await stack.enter_async_context(semaphore.permit("greedy", SOON))
        with pytest.raises(PermitTimeout):
            await stack.enter_async_context(semaphore.permit("greedy", SOON))
        for _ in range(size - share):
            await stack.enter_async_context(semaphore.permit("other", SOON))
    assert semaphore.waiting == 0


async def test_waiting__tenants_are_served_in_rotation() -> None:
    semaphore, order = FairSemaphore(1, max_waiting=9), list[str]()

    async def read(tenant: str) -> None:
        async with semaphore.permit(tenant, LONG):
            order.append(tenant)

    async with semaphore.permit("a", LONG):
        waiting = [asyncio.create_task(read(tenant)) for tenant in "aaabbc"]
        while semaphore.waiting < len(waiting):
            await asyncio.sleep(0)
    await asyncio.gather(*waiting)

    assert "".join(order) == "abcaba"


async def test_too_many_of_one_tenant_wait__only_its_next_one_is_refused() -> None:
    semaphore = FairSemaphore(1, max_waiting=1)
    async with semaphore.permit("a", LONG):
        waiting = [asyncio.create_task(_pass(semaphore, tenant)) for tenant in "ab"]
        while semaphore.waiting < len(waiting):
            await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await _pass(semaphore, "a")
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("served", [False, True], ids=["waiting", "served in the same moment"])
async def test_cancelled__its_turn_is_free(served: bool) -> None:  # noqa: FBT001 - a parameter
    semaphore = FairSemaphore(1, max_waiting=9)
    async with semaphore.permit("a", LONG):
        cancelled, other = (asyncio.create_task(_pass(semaphore, tenant)) for tenant in "bc")
        while semaphore.waiting < 2:
            await asyncio.sleep(0)
        if not served:
            cancelled.cancel()
    if served:
        cancelled.cancel()
    assert isinstance((await asyncio.gather(cancelled, return_exceptions=True))[0], BaseException)
    await other
    await _pass(semaphore, "a")
    assert semaphore.waiting == 0


async def _pass(semaphore: FairSemaphore, tenant: str) -> None:
    async with semaphore.permit(tenant, LONG):
        pass

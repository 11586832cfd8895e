"""Shared by the tests of the store and what feeds it."""

import asyncio

import pytest


@pytest.fixture
def settled():
    """Wait in the event loop until a probe is true."""

    async def wait(probe, *, deadline=5.0):
        async with asyncio.timeout(deadline):
            while not probe():  # noqa: ASYNC110  # the probe is any condition
                await asyncio.sleep(0.01)

    return wait

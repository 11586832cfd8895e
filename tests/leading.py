"""Parts of a controller without an election."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any


class AlwaysLeading:
    """What a controller has for a lease that was not told, or not yet, that another has taken it."""

    leading = True
    left = 3600.0
    idle = 0.0


@contextlib.asynccontextmanager
async def running(part: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """It runs beside the block, and has ended after it."""
    task = asyncio.create_task(part)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

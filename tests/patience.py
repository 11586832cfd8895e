"""How long is waited for what must come.

A deadline is written for a machine that has nothing else to do; here a busy one gets several times as long. It only says
when something counts as hung: what is waited for ends the wait, so patience costs nothing where all is well. Nothing
that a test asserts may depend on how soon something came.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from towpath.lab.process import patience

T = TypeVar("T")
os.environ.setdefault("TOWPATH_PATIENCE", "8")  # what a test starts inherits it


def longer(seconds: float) -> float:
    """So many seconds as a busy machine needs."""
    return seconds * patience()


def within(seconds: float) -> asyncio.Timeout:
    """``asyncio.timeout`` for something that takes so long on a machine with nothing else to do."""
    return asyncio.timeout(longer(seconds))


async def eventually(
    probe: Callable[[], object], *, deadline: float = 5, what: str = "", interval: float = 0.01
) -> None:
    """Wait, the loop running, until a probe is true."""
    clock = asyncio.get_running_loop().time
    end = clock() + longer(deadline)
    while not (last := probe()):
        assert clock() < end, f"still {last!r}: {what}"
        await asyncio.sleep(interval)


async def asked(probe: Callable[[], Awaitable[T]], *, deadline: float = 30, what: str = "", interval: float = 0.1) -> T:
    """Ask what takes a request, again and again, until the answer is true; that answer."""
    clock = asyncio.get_running_loop().time
    end = clock() + longer(deadline)
    while not (last := await probe()):
        assert clock() < end, f"still {last!r}: {what}"
        await asyncio.sleep(interval)
    return last

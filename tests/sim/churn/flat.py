"""Whether memory stays as it is: what Python holds is counted, block by block, and what the process has of the machine."""

import gc
import sys
from collections.abc import Sequence
from statistics import mean

from msgspec import Struct

from towpath.lab.bench.usage import resident


class Held(Struct, frozen=True):
    """What a process holds at one moment."""

    blocks: int
    """Pieces of memory that objects are in."""
    resident: float
    """MB."""


def held() -> Held:
    """What this process holds, once all that nobody refers to is gone."""
    gc.collect()
    return Held(sys.getallocatedblocks(), resident())


def growth(values: Sequence[float]) -> float:
    """How much more there is in the last quarter than in the one before it, on average."""
    quarter = len(values) // 4
    return mean(values[-quarter:]) - mean(values[-2 * quarter : -quarter])

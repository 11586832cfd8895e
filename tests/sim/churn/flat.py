"""Whether memory stays as it is: what Python holds is counted, block by block, and what the process has of the machine."""

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from msgspec import Struct


class Held(Struct, frozen=True):
    """What a process holds at one moment."""

    blocks: int
    """Pieces of memory that objects are in."""
    resident: float
    """MB."""


def held() -> Held:
    """What this process holds, once all that nobody refers to is gone."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return Held(sys.getallocatedblocks(), int(resident.split()[1]) / 1024)


def growth(values: Sequence[float]) -> float:
    """How much more there is in the last quarter than in the one before it, on average."""
    quarter = len(values) // 4
    return mean(values[-quarter:]) - mean(values[-2 * quarter : -quarter])

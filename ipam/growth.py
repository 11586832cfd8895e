"""When a node gets another block: before its addresses are used up, and how many at once."""

from msgspec import Struct


class Stock(Struct, frozen=True):
    """Addresses that a node's pods can get, in all, and how many they have or need."""

    total: int
    demand: int

    def is_ample(self, *, percent: int) -> bool:
        """Whether less than that part is in use."""
        return self.demand * 100 < percent * self.total

    def blocks_short(self, size: int, *, percent: int, free: int = 0) -> int:
        """How many blocks of so many addresses it takes until less than ``percent`` are in use, and ``free`` or more are not; 0: none."""
        shortfall = free - (self.total - self.demand)
        if shortfall <= 0 and self.is_ample(percent=percent):
            return 0
        beyond = self.demand * 100 - percent * self.total
        return max(1, -(-shortfall // size), beyond // (percent * size) + 1)

"""The addresses of pools for load balancers: which pool serves a service, and which of its addresses is free next.

Every address of such a pool can be given out, its first and last too: no subnet with a broadcast has them. Of IPv6 those
that end in zeros stay free, for they are routers' in some subnet (RFC 4291 section 2.6.1).
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping

from towpath.model.balanced import Balanced
from towpath.model.blocks import is_open
from towpath.model.cluster import IPPool
from towpath.model.net import Address, Family, Prefix, family_of, overlaps
from towpath.model.spans import merged, span

_ZEROS = (1 << 32) - 1
"""The part of an IPv6 address that is not to be all zeros: so it is written with ``::`` at its end."""


class Places:
    """The places of one pool. ``reserved``: whatever nobody gets."""

    def __init__(self, pool: IPPool, *, reserved: Iterable[Prefix]) -> None:
        cidr = pool.spec.cidr
        self.pool = pool
        self._mine = span(cidr)
        self._base = cidr.network_address
        self._ranges = merged(span(one)[1:] for one in reserved if overlaps(one, cidr))
        self._firsts = [first for first, _ in self._ranges]
        self._taken: set[int] = set()
        self._next = self._mine.first

    def take(self, address: Address) -> None:
        """Somebody has it, or will have."""
        self._taken.add(int(address))

    def is_kept(self, address: Address) -> bool:
        """Whether an address is given to nobody new."""
        number = int(address)
        return self._end_of_range(number) is not None or self._is_routers(number)

    def first_free(self) -> Address | None:
        """The lowest address that is free."""
        number = self._next
        while number <= self._mine.last:
            end = self._end_of_range(number)
            if end is not None:
                number = end + 1
            elif number in self._taken or self._is_routers(number):
                number += 1
            else:
                break
        self._next = number  # what is taken in a plan stays so
        return None if number > self._mine.last else self._base + (number - self._mine.first)

    @property
    def free(self) -> int:
        """How many are free."""
        mine = self._mine
        size = mine.last - mine.first + 1
        size -= sum(min(last, mine.last) - max(first, mine.first) + 1 for first, last in self._ranges)
        if mine.family is Family.IPV6:
            size -= mine.last // (_ZEROS + 1) - (mine.first - 1) // (_ZEROS + 1)
        return max(
            0, size - sum(mine.first <= one <= mine.last and self._end_of_range(one) is None for one in self._taken)
        )

    def _end_of_range(self, number: int) -> int | None:
        at = bisect_right(self._firsts, number) - 1
        return self._ranges[at][1] if at >= 0 and self._ranges[at][1] >= number else None

    def _is_routers(self, number: int) -> bool:
        return self._mine.family is Family.IPV6 and not number & _ZEROS


def serves(pool: IPPool, service: Balanced, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a pool is for a service: its labels match, and those of its namespace."""
    spec = pool.spec
    return (spec.service_selector is None or spec.service_selector.matches(service.labels)) and (
        spec.namespace_selector is None or spec.namespace_selector.matches(namespaces.get(service.namespace, {}))
    )


def gives(pool: IPPool) -> bool:
    """Whether a service gets an address of a pool that it does not ask for."""
    return is_open(pool) and pool.spec.assignment_mode == "Automatic"


def places_of(pools: Collection[IPPool], *, reserved: Collection[Prefix]) -> dict[Family, list[Places]]:
    """The places of each pool for load balancers by family, each family in the order of names."""
    found: dict[Family, list[Places]] = {family: [] for family in Family}
    for pool in sorted(pools, key=lambda one: one.name):
        if pool.spec.for_services:
            found[family_of(pool.spec.cidr)].append(Places(pool, reserved=reserved))
    return found

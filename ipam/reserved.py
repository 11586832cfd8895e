"""Addresses that no pod gets, because an IPReservation says so: as whole numbers, merged, and which object keeps each.

What is kept is never cut into blocks as a whole, nor given out of a block that has other addresses beside it. A pod that
had such an address before goes on with it, and its node says so.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from towpath.model.cluster import IPReservation
from towpath.model.memo import remembered
from towpath.model.net import Address, Family, Prefix, host_prefix
from towpath.model.reason import Reason, Refusal, Why, listed
from towpath.model.spans import Span, merged, span


class Reserved:
    """All that is kept."""

    def __init__(self, reservations: Mapping[str, IPReservation]) -> None:
        self._sources = tuple(
            (span(cidr), cidr, Why("IPReservation", name, f"spec.reservedCIDRs[{place}]"))
            for name, one in sorted(reservations.items())
            for place, cidr in enumerate(one.spec.reserved_cidrs)
        )
        self.spans = tuple(_merged([one for one, _, _ in self._sources]))
        """What it comes to: in order, none touching another."""

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __contains__(self, address: Address) -> bool:
        wanted = span(host_prefix(address))
        return any(_holds(one, wanted) for one in self.spans)

    def gaps(self, around: Span) -> Iterator[Span]:
        """What of a range is left."""
        first = around.first
        for one in self.spans:
            if one.family is around.family and one.last >= first and one.first <= around.last:
                if one.first > first:
                    yield Span(around.family, first, one.first - 1)
                first = one.last + 1
        if first <= around.last:
            yield Span(around.family, first, around.last)

    def inside(self, prefix: Prefix) -> tuple[tuple[Prefix, Why], ...]:
        """The reservations that share addresses with a prefix, and where each is written."""
        wanted = span(prefix)
        return tuple((cidr, why) for one, cidr, why in self._sources if _touches(one, wanted))

    def refusals(self, addresses: Iterable[Address], *, are: str) -> Iterator[Refusal]:
        """That these addresses are taken all the same, one a reservation; ``are``: what of, ``the addresses of …``."""
        wanted = [(one, span(host_prefix(one))) for one in addresses]
        for around, cidr, why in self._sources:
            taken = [str(one) for one, own in wanted if _holds(around, own)]
            if taken:
                yield Refusal(Reason.RESERVED_ADDRESS, f"{listed(taken)} of {cidr} {are}", why)


@remembered
def reserved(reservations: Mapping[str, IPReservation]) -> Reserved:
    """What the reservations of a snapshot keep."""
    return Reserved(reservations)


def _merged(spans: Collection[Span]) -> Iterator[Span]:
    for family in Family:
        ranges = merged((one.first, one.last) for one in spans if one.family is family)
        yield from (Span(family, first, last) for first, last in ranges)


def _holds(around: Span, one: Span) -> bool:
    return around.family is one.family and around.first <= one.first and one.last <= around.last


def _touches(one: Span, other: Span) -> bool:
    return one.family is other.family and one.first <= other.last and other.first <= one.last


NOTHING = Reserved({})

"""The main table of one family, read whole and sorted by whose each route is."""

import asyncio
from collections.abc import Collection

from msgspec import Struct

from towpath.model.net import Family
from towpath.routes.kernel import Kernel
from towpath.routes.route import PROTOCOL, Spec


class Reading(Struct, frozen=True):
    """What the kernel holds."""

    ours: dict[bytes, Spec]
    strays: dict[bytes, tuple[Spec, ...]]
    """Ours by protocol, at another metric."""
    joined: set[bytes]
    """Prefixes at which somebody has a second route at our metric beside ours."""
    foreign: list[tuple[bytes, Spec]]
    """Empty where only ours were read."""


async def read_table(kernel: Kernel, family: Family, *, metric: int, full: bool, mixed: Collection[bytes]) -> Reading:
    """Read a family, piece by piece so that the loop goes on. ``mixed``: what is known to be joined.

    Not ``full``: routes of ours alone, which does not show who joined them; then what is known stays so.
    """
    ours: dict[bytes, Spec] = {}
    strays: dict[bytes, tuple[Spec, ...]] = {}
    joined: set[bytes] = set()
    taken: set[bytes] = set()
    foreign: list[tuple[bytes, Spec]] = []
    for routes in kernel.routes(family, protocol=0 if full else PROTOCOL):
        for route in routes:
            wire, spec = route.wire, route.spec
            if route.protocol != PROTOCOL:
                foreign.append((wire, spec))
                if spec.metric == metric:
                    taken.add(wire)
            elif spec.metric != metric:
                strays[wire] = (*strays.get(wire, ()), spec)
            elif wire in ours:
                joined.add(wire)
            else:
                ours[wire] = spec
        await asyncio.sleep(0)
    joined.update(wire for wire in (taken if full else mixed) if wire in ours)
    return Reading(ours, strays, joined, foreign)

"""How much room pools have: the blocks that are left of each, for how long they last, and who is told before they end.

What counts is what a node can still get. Pools that serve the same nodes are one to them, so one of them alone may be full.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from towpath.ipam.byneed import by_themselves, candidates
from towpath.ipam.ledger import Ledger
from towpath.ipam.pools import Pools, takes_part
from towpath.model.blocks import is_open
from towpath.model.cluster import Node
from towpath.model.kinds.ipam import IPAMConfigurationSpec
from towpath.model.memo import remembered
from towpath.model.net import Family
from towpath.model.reason import Reason, Refusal, Why, listed

STAGES = (10, 5, 2, 0)
"""Percent of the blocks that are left when people are told, and told again."""
SPACING = 600.0
"""Seconds between two looks that are remembered."""
WINDOW = 7 * 86400.0
"""Seconds that the rate is taken over, at most."""
AT_LEAST = 3600.0
"""Seconds without which there is no rate."""
_DAY = 86400.0


class Room(Struct, frozen=True):
    """Blocks of one pool: all that can be cut, and those that are free. Of a pool for load balancers addresses in their place."""

    blocks: int
    left: int

    @property
    def taken(self) -> int:
        """Those that are not free."""
        return self.blocks - self.left


def rooms(ledger: Ledger) -> dict[str, Room]:
    """Of the pools in force that nodes get blocks from, by name."""
    return {
        name: Room(blocks=space.places - space.closed, left=space.left)
        for name, space in sorted(ledger.spaces.items())
        if not ledger.cluster.pools[name].spec.for_services
    }


def running_low(ledger: Ledger) -> Iterator[tuple[str, Refusal]]:
    """Each node that little is left for, with each of its pools. Where the cluster assigns, nobody asks for blocks of pools."""
    found, cluster = rooms(ledger), ledger.cluster
    if cluster.ipam.block_source == "PodCIDRs" or all(stage_of([one]) is None for one in found.values()):
        return
    for pools, nodes in _served(cluster.nodes, ledger.pools, cluster.ipam).items():
        stage = stage_of([found[name] for name in pools])
        if stage is None:
            continue
        beside = [f"IPPool/{name}" for name in pools]
        of = f" of {listed(beside)}, which serve the same nodes" if len(pools) > 1 else ""
        left = f"{stage} % of its blocks or less are left" if stage else "none of its blocks is left"
        message = f"{left.replace('its', 'the') if of else left}{of}: add a pool for these nodes before they need more"
        for pool in pools:
            refusal = Refusal(Reason.POOL_RUNNING_LOW, message, Why("IPPool", pool, "spec.cidr"))
            yield from ((node, refusal) for node in nodes)


def stage_of(found: Iterable[Room]) -> int | None:
    """Percent that at most are left; None: more than anybody has to know."""
    rooms = tuple(found)
    blocks, left = sum(one.blocks for one in rooms), sum(one.left for one in rooms)
    return next((percent for percent in reversed(STAGES) if left * 100 <= percent * blocks), None)


@remembered
def _served(
    nodes: Mapping[str, Node], pools: Pools, configuration: IPAMConfigurationSpec
) -> Mapping[tuple[str, ...], tuple[str, ...]]:
    """By pools that give out new blocks: the nodes that get theirs from just these."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, node in nodes.items():
        if takes_part(node, configuration):
            for family in Family:
                key = tuple(pool.name for pool in candidates(node, family, pools))
                others = ((pool.name,) for pool in by_themselves(node, family, pools))
                for one in filter(None, (key, *others)):
                    found.setdefault(one, []).append(name)
            for pool in pools.beside(node):
                if is_open(pool):
                    found.setdefault((pool.name,), []).append(name)
    return {key: tuple(names) for key, names in found.items()}


class Trend:
    """How fast blocks of pools are taken, by what was seen so far. Times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, int]]] = {}
        """By pool: times, and how many blocks were taken."""

    def note(self, found: Mapping[str, Room], *, now: float) -> None:
        """Remember a look; of pools that are gone nothing stays."""
        before = {name: [one for one in self._seen.get(name, ()) if now - one[0] <= WINDOW] for name in found}
        for name, seen in before.items():
            if not seen or now - seen[-1][0] >= SPACING:
                seen.append((now, found[name].taken))
        self._seen = before

    def days_left(self, pool: str, room: Room, *, now: float) -> float | None:
        """Days until no block is left if it goes on so; None: it does not, or it is not known yet."""
        seen = self._seen.get(pool)
        if not seen or now - seen[0][0] < AT_LEAST:
            return None
        began, taken = seen[0]
        more = room.taken - taken
        return room.left * (now - began) / more / _DAY if more > 0 else None

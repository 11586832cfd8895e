"""Block-origin validation (RULES: what is accepted): the blocks in force say who may originate which prefix.

Judged like route origins by ROAs, with the block objects as the authority. What a path claims is its *claim*: the node
whose address is its next hop (iBGP), or the AS that originated it (eBGP, and iBGP where the next hop is no node:
``passed_on``). An ``Owner`` holds a node's name and AS, and a claim, being a ``str`` or an ``int``, is in it or not.
"""

from collections.abc import Iterable, Mapping

from towpath.bgp.attributes import Attributes
from towpath.bgp.ranges import Ranges
from towpath.model.net import Family, Prefix, host_prefix
from towpath.model.reason import Reason
from towpath.model.speaker import NodeOrigin

Owner = tuple[str, int | None]
Claim = str | int | None


def addresses(nodes: Mapping[str, NodeOrigin]) -> dict[Prefix, Owner]:
    """The nodes' own addresses as prefixes, and whose each is; of two nodes with one address the first in name order has it."""
    found: dict[Prefix, Owner] = {}
    for name, origin in sorted(nodes.items()):
        for address in origin.addresses:
            found.setdefault(host_prefix(address), (name, origin.as_number))
    return found


def passed_on(attributes: Attributes, *, inside_as: int, insiders: frozenset[bytes]) -> int | None:
    """The AS that an internal path claims whose next hop is no node of ours: somebody passes on what came from outside.

    One without AS numbers was originated in our own AS (RFC 6811 section 2). For that a router speaks that offers to carry the
    packets itself and that we know as one (``insiders``, packed addresses), whoever passed its path on, as a reflector of ours
    does. Any other address is what a node that lies would have reflected.
    """
    if attributes.path.length:
        return attributes.path.origin
    return inside_as if attributes.next_hop in insiders else None


def judge_address(owner: Owner, claim: Claim, *, ebgp: bool) -> Reason | None:
    """The verdict on a node's own address as a prefix; None: the nodes have no say.

    An internal path whose next hop is the node leads to itself, and so nowhere.
    """
    if ebgp or isinstance(claim, int):
        return Reason.ORIGIN_VALID if claim is not None and claim == owner[1] else Reason.ORIGIN_INVALID
    if claim is None:
        return None
    return Reason.NEXT_HOP_INVALID if claim == owner[0] else Reason.ORIGIN_INVALID


class Origins:
    """Blocks and pools of one family; made anew when either changes."""

    def __init__(
        self,
        family: Family,
        *,
        blocks: Mapping[Prefix, str],
        nodes: Mapping[str, NodeOrigin],
        pools: Iterable[Prefix],
    ) -> None:
        self._size = family.bits // 8
        owners: dict[str, Owner] = {name: (name, origin.as_number) for name, origin in nodes.items()}
        self.blocks: Ranges[Owner] = Ranges(
            family, {prefix: owners.get(name, (name, None)) for prefix, name in blocks.items()}
        )
        self.pools: Ranges[bool] = Ranges(family, dict.fromkeys(pools, True))

    def judge(self, wire: bytes, claim: Claim) -> Reason | None:
        """Valid, Invalid or Unknown; None: neither in a pool nor in a block, so the blocks have no say."""
        first = int.from_bytes(wire[1:].ljust(self._size, b"\0"), "big")
        owner = self.blocks.covering_at(first, wire[0])
        if owner is not None:
            return Reason.ORIGIN_VALID if claim is not None and claim in owner else Reason.ORIGIN_INVALID
        if self.pools.covering_at(first, wire[0]) is None:
            return None
        if any(claim is None or claim not in other for other in self.blocks.inside(wire)):
            return Reason.ORIGIN_INVALID
        return Reason.ORIGIN_UNKNOWN

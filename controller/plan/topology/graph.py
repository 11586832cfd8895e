"""What a picture of a cluster shows: nodes by kind, routers, the sessions between them, and who has what of the pools.

Nodes that nothing tells apart but their names are one group: same AS, same subnets, same routers, reflectors or not. What is
drawn between groups is how many of the possible sessions there are, so that a thousand nodes make no bigger picture than ten.
"""

from collections.abc import Mapping

from msgspec import Struct

from towpath.model.net import Prefix, parts


class Block(Struct, frozen=True):
    """A block of a node; ``in_use`` and ``capacity`` are None where its node has not reported."""

    cidr: Prefix
    pool: str
    """Empty: it lies in no pool."""
    state: str
    in_use: int | None = None
    capacity: int | None = None


class Node(Struct, frozen=True):
    """One node."""

    name: str
    addresses: tuple[str, ...]
    blocks: tuple[Block, ...]


class Group(Struct, frozen=True):
    """Nodes that have everything in common but their names, addresses and blocks."""

    as_number: int
    subnets: tuple[str, ...]
    """Empty where only the nodes' own addresses are known."""
    reflector: bool
    nodes: tuple[Node, ...]


class Router(Struct, frozen=True, order=True):
    """A BGP speaker that is no node: one AS, and an address of each family that nodes peer with."""

    as_number: int
    addresses: tuple[str, ...]


class Sessions(Struct, frozen=True):
    """Sessions between the members of two groups, or of a group and a router, counted."""

    count: int
    pairs: int
    """Pairs of members with a session, of ``possible`` ones."""
    possible: int
    external: bool
    """eBGP."""
    withheld: int
    up: int | None
    """Established ones by the reports of the nodes; None: none of them has reported."""


class Pool(Struct, frozen=True):
    """A pool, and how many of its blocks are somebody's."""

    name: str
    cidr: Prefix
    block_length: int
    disabled: bool
    deleted: bool
    """It stays until its last block is gone."""
    how: tuple[str, ...]
    """What becomes of packets of its pods, but for what is so unless a pool says otherwise."""
    blocks: int

    @property
    def possible(self) -> int:
        """How many blocks it can be cut into."""
        return parts(self.cidr, length=self.block_length)


class Topology(Struct, frozen=True):
    """A cluster to be drawn."""

    routers: tuple[Router, ...]
    groups: tuple[Group, ...]
    """Reflectors first, then by AS and the name of the first node."""
    to_routers: Mapping[tuple[int, int], Sessions]
    """By the places of a group and a router."""
    between: Mapping[tuple[int, int], Sessions]
    """By the places of two groups, the lower first; of one group twice: among its own nodes."""
    tunnels: Mapping[tuple[int, int], tuple[str, ...]]
    """By the places of two groups, the lower first, the devices by which nodes of one send to nodes of the other."""
    pools: tuple[Pool, ...]

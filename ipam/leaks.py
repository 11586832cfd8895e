"""Records of host-local that nobody has any more, and addresses in use that it has no record of: judged from what is seen.

A plugin that was killed, a sandbox that its runtime forgot, a node whose disk was full: host-local goes on keeping the
address, and a small block fills up with nobody. One that is nobody's whenever it is looked at for fifteen minutes is gone.
The other way round is worse, for the next pod would get an address that is in use.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from towpath.ipam.hostlocal import Record, is_pods
from towpath.model.net import Address, Prefix

GONE_AFTER = 900.0
"""Seconds for which an address must have been nobody's, in every look between."""


class Seen(Struct, frozen=True):
    """What a look at the node found."""

    records: Collection[Record]
    blocks: Collection[Prefix]
    """The node's own."""
    pods: frozenset[Address]
    """What the API says that pods of this node have."""
    kernel: frozenset[Address]
    """What a host route leads to, or a neighbour has."""


class LeakWatch:
    """How long records have been nobody's. Times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._gone: Mapping[Record, float] = {}

    def look(self, seen: Seen, *, now: float) -> frozenset[Record]:
        """Those that are gone. A record of another container for the same address is another one."""
        since = self._gone
        self._gone = {one: since.get(one, now) for one in nobodys(seen)}
        return frozenset(one for one, at in self._gone.items() if now - at >= GONE_AFTER)

    def forget(self) -> None:
        """Nobody can say whose addresses are: all times begin again."""
        self._gone = {}


def beside(records: Collection[Record], *, own: Collection[Record], attached: Collection[Address]) -> Seen:
    """What is to be seen of a network beside that of all pods: neither the API nor the kernel knows who has an address there.

    Whoever has one is a container that has one of pods' own network too, for that comes first and goes last; ``own``: the
    records of that. ``attached``: addresses that are written on pods.
    """
    containers = {one.container for one in own if is_pods(one)}
    alive = frozenset(one.address for one in records if one.container in containers)
    return Seen(records=records, blocks=(), pods=alive.union(attached), kernel=frozenset())


def nobodys(seen: Seen) -> Iterable[Record]:
    """Records that stand for a pod, where there is none at this moment."""
    held = seen.pods | seen.kernel
    return (one for one in seen.records if is_pods(one) and one.address not in held)


def unrecorded(seen: Seen) -> frozenset[Address]:
    """Addresses of the node's blocks that the kernel leads to somebody and that host-local has given to nobody.

    The API alone does not count: after a boot it goes on naming addresses of pods that are to start anew.
    """
    known = {one.address for one in seen.records}
    return frozenset(one for one in seen.kernel - known if any(one in block for block in seen.blocks))

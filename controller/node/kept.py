"""What reservations ask of one node and it cannot do: addresses that are in use all the same, by pods or by the node itself."""

from collections.abc import Iterable, Iterator

from towpath.ipam.hostlocal import HostLocal
from towpath.ipam.reserved import NOTHING, reserved
from towpath.model.cluster import Cluster
from towpath.model.encapsulation import own_endpoints
from towpath.model.net import Address
from towpath.model.reason import Refusal


class Kept:
    """What is reserved, as of the last look, beside what this node has given out."""

    def __init__(self, node: str, local: HostLocal) -> None:
        self._node = node
        self._local = local
        self._own: tuple[Address, ...] = ()
        """The node's own addresses in tunnels."""
        self.reserved = NOTHING

    def look(self, cluster: Cluster) -> None:
        """Another picture."""
        self.reserved = reserved(cluster.reservations)
        self._own = tuple(own_endpoints(cluster, self._node).values())

    @property
    def refusals(self) -> Iterator[Refusal]:
        """One for each reservation and kind of owner."""
        if self.reserved:
            yield from self._of(self._local.in_use(), "are addresses of pods, until these end")
            own = (*self._own, *(one.ip for one in self._local.gateways()))
            yield from self._of(own, "is the node's own in a tunnel or on a bridge, while it has the block")

    def _of(self, addresses: Iterable[Address], are: str) -> Iterator[Refusal]:
        return self.reserved.refusals(addresses, are=are)

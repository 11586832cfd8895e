"""Nodes to which the way takes less than their tunnel is sent: over IPv6 nobody cuts packets up, and Linux does not tell the pods.

The kernel knows what routers have said. It is asked only after one has said something, and while something is wrong.
"""

from collections.abc import Mapping

from towpath.model.cluster import Cluster
from towpath.model.encapsulation import encapsulation
from towpath.model.net import Address, Family, family_of
from towpath.routes import paths


class Narrow:
    """Of one node's tunnels, as its objects were judged last."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._ends: Mapping[Address, str] = {}
        """The nodes at the other ends, by their addresses."""
        self._sent: int | None = None
        """How large packets to them are at most; None: that is not known."""
        self._ways: object = None
        self._seen: object = None
        self._known: Mapping[str, int] = {}

    def judge(self, cluster: Cluster, *, sent: int | None) -> Mapping[str, int]:
        """Those nodes, and how large packets to them may be, as of the last look; the next one is at these tunnels."""
        self._sent = sent
        ways = encapsulation(cluster, self._node).ways
        if self._ways is not ways:
            self._ways = ways
            ends = ((way.node, way.owner.name) for each in ways.values() for way in each if way.device)
            self._ends = {at: name for at, name in ends if at is not None and family_of(at) is Family.IPV6}
        return {name: mtu for name, mtu in self._known.items() if sent is not None and mtu < sent}

    def look(self) -> bool:
        """Ask the kernel of this thread's namespace; whether it is other than before."""
        before, ends, sent = self._known, self._ends, self._sent
        seen = (paths.times_told(), ends, sent)
        if seen != self._seen or before:
            self._seen = seen
            found = paths.known(ends) if seen[0] and sent is not None else {}
            self._known = {ends[at]: mtu for at, mtu in found.items() if sent is not None and mtu < sent}
        return self._known != before

"""Which BGPPeers contradict one another on some node, kept up to date: a change costs what it touches, not the cluster.

The answers are those of the pure function that makes a node's sessions, asked for each node; here is only what is asked
again when something changed. A node is asked again if it changed, if a BGPPeer that it runs or that points at it
changed, or if a node at the other end of one of its sessions did.
"""

import asyncio
from collections.abc import Iterable, Mapping

from towpath.bgp.nodes import Nodes, NodeView, applies, assembled, node_view, points_at
from towpath.bgp.peering import peer_warnings
from towpath.model.cluster import BGPConfiguration, Cluster
from towpath.model.delta import exchanged
from towpath.model.kinds.bgp import BGPConfigurationSpec
from towpath.model.kinds.peer import BGPPeerSpec
from towpath.model.reason import Refusal

AT_A_TIME = 20
"""Nodes that are asked before others get their turn in the event loop."""
MANY = 50
"""Changed nodes from which on it is cheaper to ask all."""


class PeerReview:
    """Remembers the last cluster and what each of its nodes said."""

    def __init__(self) -> None:
        self._cluster = Cluster()
        self._views: dict[str, NodeView] = {}
        self._nodes = Nodes({}, {})
        self._said: dict[str, tuple[Refusal, ...]] = {}

    async def look(self, cluster: Cluster) -> Mapping[str, tuple[Refusal, ...]]:
        """Of each node that runs into one: the contradictions. If it is cancelled, the next call begins anew."""
        if not (cluster.peers or self._said):
            self._cluster, self._views, self._nodes = Cluster(), {}, Nodes({}, {})
            return self._said
        before, self._cluster = self._cluster, Cluster()
        stale = self._stale(before, cluster)
        said = {name: one for name, one in self._said.items() if name in self._views and name not in stale}
        for count, name in enumerate(sorted(stale), 1):
            if found := peer_warnings(cluster, name, nodes=self._nodes):
                said[name] = found
            if count % AT_A_TIME == 0:
                await asyncio.sleep(0)
        self._cluster, self._said = cluster, said
        return said

    def concerns(self, peer: str, node: str) -> bool:
        """Whether a node has to do with a BGPPeer, as of the last look."""
        spec, view = self._cluster.peers.get(peer), self._views.get(node)
        return spec is not None and view is not None and _touches(spec.spec, view)

    def _stale(self, before: Cluster, now: Cluster) -> set[str]:
        """The nodes to ask again, with their views made anew."""
        if _specs(before.configurations) != _specs(now.configurations) or not before.peers:
            self._views = {name: node_view(now, name) for name in sorted(now.routing_nodes)}
            self._nodes = assembled(self._views.values())
            return set(self._views)
        changed: dict[str, list[NodeView]] = {}
        for name, old, new in exchanged(before.routing_nodes, now.routing_nodes):
            views = [self._views.pop(name)] if old is not None else []
            if new is not None:
                self._views[name] = node_view(now, name)
                views.append(self._views[name])
            if views[1:] != views[:1]:
                changed[name] = views
        if changed:
            self._nodes = assembled(self._views[name] for name in sorted(self._views))
        if len(changed) > MANY:
            return set(self._views)
        stale = changed.keys() & self._views.keys()
        for _, old_peer, new_peer in exchanged(before.peers, now.peers):
            both = [one.spec for one in (old_peer, new_peer) if one is not None]
            if both[1:] != both[:1]:
                stale |= {name for name, view in self._views.items() if any(_touches(spec, view) for spec in both)}
        specs = [one.spec for one in now.peers.values()]
        for views in changed.values():
            stale |= self._partners(views, specs)
        return stale

    def _partners(self, views: list[NodeView], specs: Iterable[BGPPeerSpec]) -> set[str]:
        """Nodes that have, or had, a session with a node."""
        found: set[str] = set()
        for spec in specs:
            if any(points_at(spec, view) for view in views):
                found |= {name for name, view in self._views.items() if applies(spec, view)}
            if any(applies(spec, view) for view in views):
                found |= {name for name, view in self._views.items() if points_at(spec, view)}
        return found


def _specs(configurations: Mapping[str, BGPConfiguration]) -> dict[str, BGPConfigurationSpec]:
    """Without what changes when somebody writes a status."""
    return {name: one.spec for name, one in configurations.items()}


def _touches(spec: BGPPeerSpec, view: NodeView) -> bool:
    return applies(spec, view) or points_at(spec, view)

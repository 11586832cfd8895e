"""Who talks to whom: all BGP sessions of one node, as the objects ask for them (RULES: who talks to whom, 1 to 13).

Every node computes its own side from the same objects; both sides follow the same rules in the same order, so they
agree without asking each other. Objects count in name order, never in the order in which they came.

The mesh follows ``nodeToNodeMeshEnabled`` alone, also with ``clusterRoutes: Kubernetes``, which merely needs none.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.agreement import Agreement
from towpath.bgp.duplicates import Chosen, first_of_each, unless_duplicate
from towpath.bgp.explicit import Explicit
from towpath.bgp.interfaces import NOBODY, NOBODY_FOUND, on_interface, with_router
from towpath.bgp.mesh import mesh
from towpath.bgp.nodes import (
    BGP_PORT,
    Nodes,
    NodeView,
    applies,
    in_order,
    is_global,
    means,
    node_views,
    perhaps_with,
    timer_levels,
)
from towpath.bgp.parameters import session_name, ways
from towpath.bgp.passwords import one_password_each, passwords
from towpath.bgp.workloads import FIELD as WORKLOADS
from towpath.bgp.workloads import asked, at_home, of_family, peering_addresses, with_workload
from towpath.model.cluster import BGPPeer, Cluster
from towpath.model.kinds.peer import BGPPeerSpec
from towpath.model.net import Address, Family, family_of
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.speaker import Scope, Session
from towpath.model.workload import Workload

CONTRADICTIONS = frozenset({Reason.DUPLICATE_PEER, Reason.MISMATCH, Reason.PASSWORD_CONFLICT})
"""Reasons of warnings about objects that do not fit together: everybody sees them who has the objects."""
_CONTRADICTED = frozenset({"BGPPeer", "BGPConfiguration"})


class Sessions(Struct, frozen=True):
    """The sessions of a node, withheld ones included, and what is wrong with the objects they come from."""

    sessions: tuple[Session, ...] = ()
    warnings: tuple[Refusal, ...] = ()


def sessions(
    cluster: Cluster,
    node: str,
    *,
    nodes: Nodes | None = None,
    gateways: tuple[Address, ...] = (),
    routers: Mapping[str, Address] = NOBODY_FOUND,
    workloads: Iterable[Workload] = (),
) -> Sessions:
    """All sessions of ``node``; ``nodes``: the cluster's views where they are at hand.

    ``gateways``: those of the node's own default routes, which nobody else knows. ``routers``: link-local addresses of
    the neighbours that it has found, by interface. ``workloads``: pods, of which those of other nodes mean nothing here.
    A node without RoutingNode has no sessions, and a warning says so.
    """
    nodes = nodes or node_views(cluster)
    me = nodes.by_name.get(node)
    if me is None:
        why = Why("RoutingNode", node)
        return Sessions(warnings=(Refusal(Reason.NO_ADDRESS, "the node has no RoutingNode yet: no sessions", why),))
    return _Plan(cluster, nodes=nodes, me=me, gateways=gateways, routers=routers, workloads=workloads).made()


def peer_warnings(cluster: Cluster, node: str, *, nodes: Nodes) -> tuple[Refusal, ...]:
    """What ``sessions`` warns of where BGPPeers contradict one another, as the objects alone show it.

    Of the mesh and of the other halves of sessions only that is looked at which may contradict a BGPPeer: where all
    passwords are one, nothing. So all nodes of a large cluster can be gone through.
    """
    me = nodes.by_name[node]
    found = _Plan(cluster, nodes=nodes, me=me, gateways=None, routers=NOBODY_FOUND, workloads=()).contradictions()
    return tuple(one for one in found if one.reason in CONTRADICTIONS and one.object.kind in _CONTRADICTED)


class _Plan:
    """One node's sessions in the making; lives for one call."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        nodes: Nodes,
        me: NodeView,
        gateways: tuple[Address, ...] | None,
        routers: Mapping[str, Address],
        workloads: Iterable[Workload],
    ) -> None:
        """``gateways`` None: nobody knows them here, and sessions with them are left out."""
        self._cluster = cluster
        self._gateways = gateways
        self._routers = routers
        self._peering = peering_addresses(cluster, me)
        self._workloads = at_home(cluster, me.name, workloads) if asked(cluster, me) else []
        self._config = cluster.bgp
        self._nodes = nodes
        self._me = me
        self._peers = in_order(cluster.peers)
        self._several = len(passwords(cluster)) > 1
        self._timer_levels = timer_levels(cluster, me.name)
        self._warnings: dict[Refusal, None] = {}
        self._session = Explicit(cluster, nodes=nodes, me=me, warn=self._warn).session

    def made(self) -> Sessions:
        explicit = self._agreed(self._chosen((*self._explicit(), *self._reverse())))
        mesh = self._mesh()
        if doubtful := {
            session_name("Mesh", str(address)) for address, _ in explicit if address in self._nodes.by_address
        }:
            mesh = [unless_duplicate(one, explicit) if one.name in doubtful else one for one in mesh]
        everything = [*(with_router(one, self._routers) for one in explicit.values()), *mesh]
        if self._config.shutdown:
            leaving = Why("BGPConfiguration", "default", "spec.shutdown")
            everything = [
                replace(one, state="Withheld", reason=Reason.SHUTDOWN, why=(*one.why, leaving))
                if one.state == "Active"
                else one
                for one in everything
            ]
        return Sessions(self._one_password_each(everything), tuple(self._warnings))

    def contradictions(self) -> tuple[Refusal, ...]:
        explicit = self._agreed(self._chosen((*self._explicit(), *(self._reverse() if self._several else ()))))
        if self._several and not self._config.shutdown:
            with_peers = {
                node.name for address, _ in explicit if (node := self._nodes.by_address.get(address)) is not None
            }
            mesh = self._mesh(with_peers)
            everything = [*explicit.values(), *(unless_duplicate(one, explicit) for one in mesh)]
            self._one_password_each(everything)
        return tuple(self._warnings)

    def _chosen(self, asked: Iterable[tuple[Session, BGPPeer]]) -> Chosen:
        made, refused = first_of_each(asked)
        self._warnings.update(dict.fromkeys(refused))
        return made

    def _agreed(self, chosen: Chosen) -> dict[tuple[Address, int], Session]:
        """The sessions, with a warning for each on which the other side does not agree."""
        agreement = Agreement(self._cluster, nodes=self._nodes, me=self._me)
        for session, peer in chosen.values():
            if message := agreement.mismatch(session, peer):
                self._warn(Reason.MISMATCH, message, session.why[0])
        return {key: session for key, (session, _) in chosen.items()}

    def _mesh(self, among: Collection[str] | None = None) -> list[Session]:
        """Sessions with all other nodes of the mesh, or with those of these names."""
        return mesh(
            config=self._config,
            nodes=self._nodes,
            me=self._me,
            levels=self._timer_levels,
            warn=self._warn,
            among=among,
        )

    def _explicit(self) -> Iterator[tuple[Session, BGPPeer]]:
        for peer in self._peers:
            if not applies(peer.spec, self._me):
                continue
            scope: Scope = "Global" if is_global(peer.spec) else "Node"
            if peer.spec.peer_ip is not None:
                session = self._by_address(scope, peer)
                if session is not None:
                    yield session, peer
            if peer.spec.peer_from is not None and peer.spec.peer_from.interface is not None:
                yield self._on_interface(scope, peer, peer.spec.peer_from.interface), peer
            elif peer.spec.peer_from is not None and self._gateways is not None:
                yield from ((session, peer) for session in self._to_gateways(scope, peer))
            if peer.spec.local_workload_selector is not None:
                yield from ((session, peer) for session in self._to_workloads(peer))
            for other in self._selected(peer.spec):
                for family in ways(peer.spec, self._common(other)):
                    session = self._session(
                        scope,
                        peer,
                        address=other.addresses[family],
                        port=other.listen_port,
                        remote_as=self._as_by_selector(peer.spec, other),
                        field="spec.peerSelector",
                    )
                    yield session, peer

    def _common(self, other: NodeView) -> list[Family]:
        """The families in which this node and another have an address."""
        return [family for family in other.addresses if family in self._me.addresses]

    def _selected(self, spec: BGPPeerSpec) -> Iterator[NodeView]:
        selector = spec.peer_selector
        if selector is not None:
            yield from (
                other for other in self._nodes if other is not self._me and selector.selects(other.name, other.labels)
            )

    def _as_by_selector(self, spec: BGPPeerSpec, other: NodeView) -> int:
        """The AS that a selected node has on this session: where the rule holds on both nodes, so does its localASNumber."""
        both = (
            spec.peer_selector is not None
            and spec.peer_selector.selects(self._me.name, self._me.labels)
            and applies(spec, other)
        )
        return int(spec.local_as_number or other.as_number) if both else other.as_number

    def _by_address(self, scope: Scope, peer: BGPPeer) -> Session | None:
        assert peer.spec.peer_ip is not None
        assert peer.spec.as_number is not None
        address = peer.spec.peer_ip.address
        if address in self._me.addresses.values():
            return None
        node = self._nodes.by_address.get(address)
        of_node = node.listen_port if node is not None and node.as_number == peer.spec.as_number else BGP_PORT
        session = self._session(
            scope,
            peer,
            address=address,
            port=peer.spec.peer_ip.port or of_node,
            remote_as=int(peer.spec.as_number),
            field="spec.peerIP",
        )
        written = peer.spec.peer_ip.port
        return session if written is None else replace(session, name=session_name(scope, str(address), port=written))

    def _to_gateways(self, scope: Scope, peer: BGPPeer) -> Iterator[Session]:
        """A session with each gateway of a default route, in the families in which this node has an address."""
        assert peer.spec.as_number is not None
        gateways = self._gateways or ()
        over = ways(peer.spec, {family_of(one): None for one in gateways if family_of(one) in self._me.addresses})
        found = [one for one in gateways if family_of(one) in over]
        if not found:
            self._warn(
                Reason.NO_ADDRESS,
                "no default gateway is known that this node could peer with",
                Why("BGPPeer", peer.name, "spec.peerFrom"),
            )
        for address in found:
            node = self._nodes.by_address.get(address)
            if node is self._me:
                continue
            yield self._session(
                scope,
                peer,
                address=address,
                port=BGP_PORT,
                remote_as=int(peer.spec.as_number),
                field="spec.peerFrom",
            )

    def _to_workloads(self, peer: BGPPeer) -> Iterator[Session]:
        """A session with each selected pod of this node, in the families in which both it and the node have an address for that."""
        selector, why = peer.spec.local_workload_selector, Why("BGPPeer", peer.name, WORKLOADS)
        assert selector is not None
        assert peer.spec.as_number is not None
        if not self._peering:
            fields = "localWorkloadPeeringIPV4 nor localWorkloadPeeringIPV6"
            self._warn(Reason.NO_ADDRESS, f"neither {fields} is set: no pod has anybody to peer with", why)
            return
        for workload in self._workloads:
            if not selector.matches(workload.labels):
                continue
            addresses = of_family(workload)
            over = ways(peer.spec, [family for family in addresses if family in self._peering])
            if not over:
                message = f"pod {workload.key} has no address of this node's blocks in a family that pods peer in"
                self._warn(Reason.NO_ADDRESS, message, why)
            for family in over:
                session = self._session(
                    "Workload",
                    peer,
                    address=addresses[family],
                    port=BGP_PORT,
                    remote_as=int(peer.spec.as_number),
                    field=WORKLOADS,
                    own={**self._me.addresses, **self._peering},
                )
                yield with_workload(session, workload)

    def _on_interface(self, scope: Scope, peer: BGPPeer, interface: str) -> Session:
        """The session with the router at the other end of an interface, whoever that is, in all families of this node unless some are named."""
        assert peer.spec.as_number is not None
        session = self._session(
            scope,
            peer,
            address=NOBODY,
            port=BGP_PORT,
            remote_as=int(peer.spec.as_number),
            field="spec.peerFrom.interface",
        )
        enabled = self._config.unnumbered.enabled
        if not enabled:
            message = "a peer on an interface needs unnumbered.enabled in the BGPConfiguration named default"
            self._warn(Reason.UNNUMBERED_DISABLED, message, session.why[0])
        families = session.families if peer.spec.address_families else tuple(self._me.addresses)
        return on_interface(session, interface, families=families, enabled=enabled)

    def _reverse(self) -> Iterator[tuple[Session, BGPPeer]]:
        """Sessions with nodes whose own session, of those that they have with us the first in order, asks for the other half."""
        for family, own in self._me.addresses.items():
            asking = [one for one in perhaps_with(self._cluster.peers, own) if means(one.spec, self._me, family)]
            if not asking:
                continue
            for origin in self._nodes:
                if origin is self._me or family not in origin.addresses:
                    continue
                common = self._common(origin)
                fitting = (one for one in asking if one.spec.peer_ip is not None or family in ways(one.spec, common))
                peer = next((one for one in fitting if applies(one.spec, origin)), None)
                if peer is None or peer.spec.reverse_peering != "Auto":
                    continue
                session = self._session(
                    "Reverse",
                    peer,
                    address=origin.addresses[family],
                    port=origin.listen_port,
                    remote_as=int(peer.spec.local_as_number or origin.as_number),
                    field="spec.reversePeering",
                )
                yield session, peer

    def _one_password_each(self, everything: list[Session]) -> tuple[Session, ...]:
        if not self._several:
            return tuple(everything)
        made, refused = one_password_each(everything)
        self._warnings.update(dict.fromkeys(refused))
        return made

    def _warn(self, reason: Reason, message: str, why: Why) -> None:
        self._warnings[Refusal(reason, message, why)] = None

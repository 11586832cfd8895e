"""Who talks to whom: all BGP sessions of one node, as the objects ask for them (RULES: who talks to whom, 1 to 13).

Every node computes its own side from the same objects; both sides follow the same rules in the same order, so they
agree without asking each other. Objects count in name order, never in the order in which they came.

The mesh follows ``nodeToNodeMeshEnabled`` alone, also with ``clusterRoutes: Kubernetes``, which merely needs none.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.agreement import Agreement
from towpath.bgp.duplicates import Chosen, first_of_each, unless_duplicate
from towpath.bgp.interfaces import NOBODY, NOBODY_FOUND, on_interface, with_router
from towpath.bgp.mesh import mesh
from towpath.bgp.nodes import (
    BGP_PORT,
    Nodes,
    NodeView,
    applies,
    in_order,
    is_global,
    listens,
    means,
    node_views,
    timer_levels,
)
from towpath.bgp.parameters import (
    all_paths,
    hops,
    limit,
    restart_time,
    session_families,
    session_name,
    timers,
    ways,
    withheld_for,
)
from towpath.bgp.passwords import one_password_each, passwords
from towpath.bgp.references import unknown_filters
from towpath.bgp.role import COUNTERPART
from towpath.model.cluster import BGPPeer, Cluster
from towpath.model.kinds.peer import BGPPeerSpec, Role
from towpath.model.net import Address, Family, family_of
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.speaker import Scope, Session

LEAST_MAX_PREFIX = 1000
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
) -> Sessions:
    """All sessions of ``node``; ``nodes``: the cluster's views where they are at hand.

    ``gateways``: those of the node's own default routes, which nobody else knows. ``routers``: link-local addresses of
    the neighbours that it has found, by interface.
    A node without RoutingNode has no sessions, and a warning says so.
    """
    nodes = nodes or node_views(cluster)
    me = nodes.by_name.get(node)
    if me is None:
        why = Why("RoutingNode", node)
        return Sessions(warnings=(Refusal(Reason.NO_ADDRESS, "the node has no RoutingNode yet: no sessions", why),))
    return _Plan(cluster, nodes=nodes, me=me, gateways=gateways, routers=routers).made()


def peer_warnings(cluster: Cluster, node: str, *, nodes: Nodes) -> tuple[Refusal, ...]:
    """What ``sessions`` warns of where BGPPeers contradict one another, as the objects alone show it.

    Of the mesh and of the other halves of sessions only that is looked at which may contradict a BGPPeer: where all
    passwords are one, nothing. So all nodes of a large cluster can be gone through.
    """
    me = nodes.by_name[node]
    found = _Plan(cluster, nodes=nodes, me=me, gateways=None, routers=NOBODY_FOUND).contradictions()
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
    ) -> None:
        """``gateways`` None: nobody knows them here, and sessions with them are left out."""
        self._cluster = cluster
        self._gateways = gateways
        self._routers = routers
        self._config = cluster.bgp
        self._nodes = nodes
        self._me = me
        self._peers = in_order(cluster.peers)
        self._timer_levels = timer_levels(cluster, me.name)
        self._other_limit = limit(self._config.max_prefixes, max(LEAST_MAX_PREFIX, 4 * len(cluster.blocks)))
        self._warnings: dict[Refusal, None] = {}

    def made(self) -> Sessions:
        explicit = self._agreed(self._chosen((*self._explicit(), *self._reverse())))
        doubtful = {session_name("Mesh", str(address)) for address, _ in explicit}
        everything = [
            *(with_router(one, self._routers) for one in explicit.values()),
            *(unless_duplicate(one, explicit) if one.name in doubtful else one for one in self._mesh()),
        ]
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
        several = len(passwords(self._cluster)) > 1
        explicit = self._agreed(self._chosen((*self._explicit(), *(self._reverse() if several else ()))))
        if several and not self._config.shutdown:
            with_peers = {
                node.name: node for address, _ in explicit if (node := self._nodes.by_address.get(address)) is not None
            }
            mesh = self._mesh(with_peers.values())
            everything = [*explicit.values(), *(unless_duplicate(one, explicit) for one in mesh)]
            self._one_password_each(everything)
        return tuple(self._warnings)

    def _chosen(self, asked: Iterable[tuple[Session, BGPPeer]]) -> Chosen:
        made, refused = first_of_each(asked)
        self._warnings.update(dict.fromkeys(refused))
        return made

    def _agreed(self, chosen: Chosen) -> dict[tuple[Address, int], Session]:
        """The sessions, with a warning for each on which the other side does not agree."""
        agreement = Agreement(self._cluster, nodes=self._nodes, me=self._me, peers=self._peers)
        for session, peer in chosen.values():
            if message := agreement.mismatch(session, peer):
                self._warn(Reason.MISMATCH, message, session.why[0])
        return {key: session for key, (session, _) in chosen.items()}

    def _mesh(self, among: Iterable[NodeView] | None = None) -> Iterator[Session]:
        """Sessions with all other nodes of the mesh, or with these."""
        return mesh(
            self._nodes if among is None else among,
            config=self._config,
            nodes=self._nodes,
            me=self._me,
            levels=self._timer_levels,
            warn=self._warn,
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
        for family in self._me.addresses:
            asking = [peer for peer in self._peers if means(peer.spec, self._me, family)]
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

    def _session(
        self, scope: Scope, peer: BGPPeer, *, address: Address, port: int, remote_as: int, field: str
    ) -> Session:
        spec = peer.spec
        family = family_of(address)
        own = self._me.addresses.get(family)
        node = self._nodes.by_address.get(address)
        local_as = int((None if scope == "Reverse" else spec.local_as_number) or self._me.as_number)
        hold, keepalive, retry = timers(self._timer_levels, spec)
        reason = withheld_for(spec, own)
        cluster_id = self._me.cluster_id if remote_as == local_as else None
        families = session_families(spec, address)
        role = self._role(scope, peer, external=remote_as != local_as)
        why = Why("BGPPeer", peer.name, field)
        return Session(
            name=session_name(scope, str(address)),
            scope=scope,
            peer_address=address,
            peer_port=port,
            remote_as=remote_as,
            local_as=local_as,
            local_address=own if spec.source_address == "UseNodeIP" else None,
            passive=spec.passive or (node is not None and listens(own, address)),
            families=families,
            hold_time=hold,
            keepalive_time=keepalive,
            connect_retry_time=retry,
            restart_time=restart_time(self._config, spec.max_restart_time),
            import_policy=spec.import_policy,
            max_prefix=limit(spec.max_prefixes, 0) if spec.max_prefixes else self._other_limit,
            allow_local_as=0 if scope == "Reverse" else spec.num_allowed_local_as_numbers or 0,
            multihop=hops(spec, node) if remote_as != local_as else None,
            ttl_security=spec.ttl_security,
            reachable_by=None if scope == "Reverse" else spec.reachable_by,
            shutdown_message=spec.shutdown.message if spec.shutdown else "",
            peer_node=node.name if node else None,
            filters=self._filters(peer),
            add_paths=all_paths(spec, self._config, ends=(self._me, node), internal=remote_as == local_as),
            advertise=spec.advertise,
            next_hop=spec.next_hop_mode or ("Keep" if spec.keep_original_next_hop else "Auto"),
            shared_subnet=self._me.shared(address),
            next_hop_beside=self._beside(peer, address, families),
            cluster_id=cluster_id,
            route_reflector_client=cluster_id is not None and (node is None or node.cluster_id != cluster_id),
            role=role,
            strict_role=role is not None and spec.strict_role,
            password_ref=spec.password.secret_key_ref if spec.password else None,
            state="Withheld" if reason else "Active",
            reason=reason,
            why=(why, Why("RoutingNode", node.name)) if node else (why,),
        )

    def _beside(self, peer: BGPPeer, address: Address, families: tuple[Family, ...]) -> Address | None:
        """Our next hop in the family that the session does not run over; where there is none, a warning says so."""
        beside = next((family for family in families if family is not family_of(address)), None)
        if beside is None or address == NOBODY:
            return None  # what is found on an interface takes IPv4 routes by our link-local address
        own = self._me.addresses.get(beside)
        if own is None:
            self._warn(
                Reason.NO_ADDRESS,
                f"this node has no IPv{beside:d} address: it announces nothing of that family to {address}",
                Why("BGPPeer", peer.name, "spec.addressFamilies"),
            )
        return own

    def _role(self, scope: Scope, peer: BGPPeer, *, external: bool) -> Role | None:
        """Our role; the other half of a session has the counterpart. Within an AS there is none (RFC 9234 section 4)."""
        role = peer.spec.role
        if role is None or external:
            return COUNTERPART[role] if role is not None and scope == "Reverse" else role
        self._warn(
            Reason.INTERNAL_SESSION,
            "a role is for sessions with another AS: this node's is internal, and has none",
            Why("BGPPeer", peer.name, "spec.role"),
        )
        return None

    def _filters(self, peer: BGPPeer) -> tuple[str, ...]:
        """The peer's filters, with a warning for each that does not exist."""
        self._warnings.update(dict.fromkeys(unknown_filters(self._cluster, peer)))
        return peer.spec.filters

    def _one_password_each(self, everything: list[Session]) -> tuple[Session, ...]:
        made, refused = one_password_each(everything)
        self._warnings.update(dict.fromkeys(refused))
        return made

    def _warn(self, reason: Reason, message: str, why: Why) -> None:
        self._warnings[Refusal(reason, message, why)] = None

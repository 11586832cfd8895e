"""One session that a BGPPeer asks for, with all that the object, its node and the cluster say of it. Who peers: ``peering``."""

from collections.abc import Callable, Mapping

from towpath.bgp.interfaces import NOBODY
from towpath.bgp.nodes import Nodes, NodeView, listens, timer_levels
from towpath.bgp.parameters import (
    all_paths,
    hops,
    limit,
    restart_time,
    session_families,
    session_name,
    timers,
    withheld_for,
)
from towpath.bgp.references import unknown_filters
from towpath.bgp.role import COUNTERPART
from towpath.model.cluster import BGPPeer, Cluster
from towpath.model.kinds.peer import Role
from towpath.model.net import Address, Family, family_of
from towpath.model.reason import Reason, Why
from towpath.model.speaker import Scope, Session

LEAST_MAX_PREFIX = 1000


class Explicit:
    """What is the same for all sessions of one node. ``warn`` hears of what is wrong with what is asked."""

    def __init__(
        self, cluster: Cluster, *, nodes: Nodes, me: NodeView, warn: Callable[[Reason, str, Why], None]
    ) -> None:
        self._cluster = cluster
        self._config = cluster.bgp
        self._nodes = nodes
        self._me = me
        self._warn = warn
        self._timer_levels = timer_levels(cluster, me.name)
        self._other_limit = limit(self._config.max_prefixes, max(LEAST_MAX_PREFIX, 4 * len(cluster.blocks)))

    def session(
        self,
        scope: Scope,
        peer: BGPPeer,
        *,
        address: Address,
        port: int,
        remote_as: int,
        field: str,
        own: Mapping[Family, Address] | None = None,
    ) -> Session:
        """With the peer at this address, or ``NOBODY``; ``own``: our addresses on it, where those are not the node's."""
        spec = peer.spec
        ours = self._me.addresses if own is None else own
        mine = ours.get(family_of(address))
        node = self._nodes.by_address.get(address)
        local_as = int((None if scope == "Reverse" else spec.local_as_number) or self._me.as_number)
        hold, keepalive, retry = timers(self._timer_levels, spec)
        reason = withheld_for(spec, mine)
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
            local_address=mine if spec.source_address == "UseNodeIP" or own is not None else None,
            passive=spec.passive or (node is not None and listens(mine, address)),
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
            next_hop_beside=self._beside(peer, address, families, ours),
            cluster_id=cluster_id,
            route_reflector_client=cluster_id is not None and (node is None or node.cluster_id != cluster_id),
            role=role,
            strict_role=role is not None and spec.strict_role,
            password_ref=spec.password.secret_key_ref if spec.password else None,
            state="Withheld" if reason else "Active",
            reason=reason,
            why=(why, Why("RoutingNode", node.name)) if node else (why,),
        )

    def _beside(
        self, peer: BGPPeer, address: Address, families: tuple[Family, ...], ours: Mapping[Family, Address]
    ) -> Address | None:
        """Our next hop in the family that the session does not run over; where there is none, a warning says so."""
        beside = next((family for family in families if family is not family_of(address)), None)
        if beside is None or address == NOBODY:
            return None  # what is found on an interface takes IPv4 routes by our link-local address
        own = ours.get(beside)
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
        for unknown in unknown_filters(self._cluster, peer):
            self._warn(unknown.reason, unknown.message, unknown.object)
        return peer.spec.filters

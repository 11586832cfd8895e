"""The mesh: iBGP, as a rule, between every two nodes that have an address of a family and of which none is a reflector (rule 1)."""

from collections.abc import Callable, Iterable, Iterator

from towpath.bgp.nodes import Nodes, NodeView
from towpath.bgp.parameters import NODE_HOPS, limit, restart_time, session_name, timers
from towpath.model.kinds.bgp import BGPConfigurationSpec, Timers
from towpath.model.reason import Reason, Why
from towpath.model.speaker import Session

MAX_PREFIX = 256
LARGE = 100
_FIELD = "spec.nodeToNodeMeshEnabled"


def mesh(
    among: Iterable[NodeView],
    *,
    config: BGPConfigurationSpec,
    nodes: Nodes,
    me: NodeView,
    levels: tuple[Timers, ...],
    warn: Callable[[Reason, str, Why], None],
) -> Iterator[Session]:
    """The mesh sessions of ``me`` with those of these nodes that have a part in it; ``levels``: the timers that hold for it, the more particular first."""
    if not config.node_to_node_mesh_enabled or me.reflector:
        return
    others = [other for other in among if other is not me and not other.reflector]
    if len(others) >= LARGE:
        warn(
            Reason.LARGE_MESH,
            f"the mesh has {len(others) + 1} nodes; above {LARGE}, route reflectors or clusterRoutes Kubernetes cost less",
            Why("BGPConfiguration", "default", _FIELD),
        )
    hold, keepalive, retry = timers(levels, None)
    reference = config.node_mesh_password
    most = limit(config.max_prefixes, MAX_PREFIX)
    why = Why("BGPConfiguration", "default", _FIELD)
    for family, own in me.addresses.items():
        own_text = str(own)
        for other in others:
            address = other.addresses.get(family)
            if address is None or address == own:
                continue
            holder = nodes.by_address[address]
            if holder is not other:
                message = f"{address} is the address of node {holder.name} already"
                warn(Reason.DUPLICATE_PEER, message, Why("RoutingNode", other.name, "spec.bgp"))
                continue
            text = str(address)
            yield Session(
                name=session_name("Mesh", text),
                scope="Mesh",
                peer_address=address,
                peer_port=other.listen_port,
                remote_as=other.as_number,
                local_as=me.as_number,
                local_address=own,
                passive=text > own_text,
                families=(family,),
                hold_time=hold,
                keepalive_time=keepalive,
                connect_retry_time=retry,
                restart_time=restart_time(config, config.node_mesh_max_restart_time),
                import_policy="Filtered",
                max_prefix=most,
                multihop=NODE_HOPS if other.as_number != me.as_number else None,
                peer_node=other.name,
                advertise=config.mesh_advertise,
                shared_subnet=me.shared(address),
                password_ref=reference.secret_key_ref if reference else None,
                why=(why, Why("RoutingNode", other.name)),
            )

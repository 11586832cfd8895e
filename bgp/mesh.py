"""The mesh: iBGP, as a rule, between every two nodes that have an address of a family and of which none is a reflector (rule 1)."""

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.nodes import Nodes, NodeView
from towpath.bgp.parameters import NODE_HOPS, limit, restart_time, session_name, timers
from towpath.model.kinds.bgp import BGPConfigurationSpec, Timers
from towpath.model.memo import remembered
from towpath.model.net import Address, Family
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
    seen = _seen(nodes)
    restart = restart_time(config, config.node_mesh_max_restart_time)
    password = reference.secret_key_ref if reference else None
    for family, own in me.addresses.items():
        own_text, subnet, peers = str(own), me.subnets.get(family), seen[family]
        low, high = (int(subnet.network_address), int(subnet.broadcast_address)) if subnet is not None else (1, 0)
        apart: dict[tuple[int, int], Session] = {}
        nearby: dict[tuple[int, int], Session] = {}
        for other in others:
            name = other.name
            peer = peers.get(name)
            if peer is None or (text := peer.text) == own_text:
                continue
            if peer.holder is not other:
                message = f"{text} is the address of node {peer.holder.name} already"
                warn(Reason.DUPLICATE_PEER, message, Why("RoutingNode", name, "spec.bgp"))
                continue
            passive, beside = text > own_text, low <= peer.number <= high
            shapes = nearby if beside else apart
            like = shapes.get(peer.speaks)
            if like is None:
                port, as_number = peer.speaks
                like = shapes[peer.speaks] = Session(
                    name=peer.session,
                    scope="Mesh",
                    peer_address=peer.address,
                    peer_port=port,
                    remote_as=as_number,
                    local_as=me.as_number,
                    local_address=own,
                    passive=passive,
                    families=(family,),
                    hold_time=hold,
                    keepalive_time=keepalive,
                    connect_retry_time=retry,
                    restart_time=restart,
                    import_policy="Filtered",
                    max_prefix=most,
                    multihop=NODE_HOPS if as_number != me.as_number else None,
                    peer_node=name,
                    advertise=config.mesh_advertise,
                    shared_subnet=subnet if beside else None,
                    password_ref=password,
                    why=peer.why,
                )
            # in a large mesh most sessions are like others but for the peer, and a copy costs a fifth
            yield replace(
                like, name=peer.session, peer_address=peer.address, passive=passive, peer_node=name, why=peer.why
            )


class _Seen(Struct, frozen=True):
    """A node in one family as all others see it: found out once, however many of them plan their sessions."""

    address: Address
    number: int
    text: str
    speaks: tuple[int, int]
    """The port that it listens on, and its AS."""
    session: str
    """The name of a session with it."""
    holder: NodeView
    """The node that the address is, where two have it."""
    why: tuple[Why, ...]


@remembered
def _seen(nodes: Nodes) -> dict[Family, dict[str, _Seen]]:
    """All nodes of each family, by name."""
    mesh = Why("BGPConfiguration", "default", _FIELD)
    found: dict[Family, dict[str, _Seen]] = {family: {} for family in Family}
    for node in nodes:
        why, speaks = (mesh, Why("RoutingNode", node.name)), (node.listen_port, node.as_number)
        for family, address in node.addresses.items():
            text = str(address)
            found[family][node.name] = _Seen(
                address=address,
                number=int(address),
                text=text,
                speaks=speaks,
                session=session_name("Mesh", text),
                holder=nodes.by_address[address],
                why=why,
            )
    return found

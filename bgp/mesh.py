"""The mesh: iBGP, as a rule, between every two nodes that have an address of a family and of which none is a reflector (rule 1).

A plan of a thousand nodes goes through every pair of them, twice. So what is told of a node is found out once for all others
(``_Seen``), those that speak alike stand together in the order of their addresses, and a session is a copy of one like it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable
from operator import attrgetter

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.nodes import Nodes, NodeView
from towpath.bgp.parameters import NODE_HOPS, limit, restart_time, session_name, timers
from towpath.model.kinds.bgp import BGPConfigurationSpec, Timers
from towpath.model.memo import remembered
from towpath.model.net import Address, Family, Prefix
from towpath.model.reason import Reason, Why
from towpath.model.speaker import Session

MAX_PREFIX = 256
LARGE = 100
_FIELD = "spec.nodeToNodeMeshEnabled"


def mesh(
    *,
    config: BGPConfigurationSpec,
    nodes: Nodes,
    me: NodeView,
    levels: tuple[Timers, ...],
    warn: Callable[[Reason, str, Why], None],
    among: Collection[str] | None = None,
) -> list[Session]:
    """The mesh sessions of ``me``; ``levels``: the timers that hold for it, the more particular first.

    ``among``: the names of the nodes with which they are asked for, where not with all.
    """
    if not config.node_to_node_mesh_enabled or me.reflector:
        return []
    seen = _all_seen(nodes)
    if seen.nodes > LARGE:
        warn(
            Reason.LARGE_MESH,
            f"the mesh has {seen.nodes} nodes; above {LARGE}, route reflectors or clusterRoutes Kubernetes cost less",
            Why("BGPConfiguration", "default", _FIELD),
        )
    hold, keepalive, retry = timers(levels, None)
    reference = config.node_mesh_password
    most = limit(config.max_prefixes, MAX_PREFIX)
    restart = restart_time(config, config.node_mesh_max_restart_time)
    password = reference.secret_key_ref if reference else None
    made: list[Session] = []
    for family, own in me.addresses.items():
        own_text, subnet = str(own), me.subnets.get(family)
        for peer in seen.doubles[family]:
            if peer.text != own_text and (among is None or peer.name in among):
                message = f"{peer.text} is the address of node {peer.holder} already"
                warn(Reason.DUPLICATE_PEER, message, Why("RoutingNode", peer.name, "spec.bgp"))
        for (port, as_number), alike in seen.alike[family].items():
            for peers, beside in _by_subnet(alike, subnet):
                some = peers if among is None else [one for one in peers if one.name in among]
                if not some:
                    continue
                first = some[0]
                like = Session(
                    name=first.session,
                    scope="Mesh",
                    peer_address=first.address,
                    peer_port=port,
                    remote_as=as_number,
                    local_as=me.as_number,
                    local_address=own,
                    passive=False,
                    families=(family,),
                    hold_time=hold,
                    keepalive_time=keepalive,
                    connect_retry_time=retry,
                    restart_time=restart,
                    import_policy="Filtered",
                    max_prefix=most,
                    multihop=NODE_HOPS if as_number != me.as_number else None,
                    peer_node=first.name,
                    advertise=config.mesh_advertise,
                    shared_subnet=beside,
                    password_ref=password,
                    why=first.why,
                )
                made += [
                    replace(
                        like,
                        name=one.session,
                        peer_address=one.address,
                        passive=one.text > own_text,
                        peer_node=one.name,
                        why=one.why,
                    )
                    for one in some
                    if one.text != own_text
                ]
    return made


class _Seen(Struct, frozen=True):
    """A node in one family as all others see it: found out once, however many of them plan their sessions."""

    name: str
    address: Address
    number: int
    text: str
    session: str
    """The name of a session with it."""
    holder: str
    """The node that the address is, where two have it."""
    why: tuple[Why, ...]


class _AllSeen(Struct, frozen=True):
    """The nodes that have a part in the mesh."""

    nodes: int
    alike: dict[Family, dict[tuple[int, int], list[_Seen]]]
    """By the port that they listen on and their AS, in the order of their addresses."""
    doubles: dict[Family, list[_Seen]]
    """Those whose address is another's."""


_NUMBER = attrgetter("number")


def _by_subnet(peers: list[_Seen], subnet: Prefix | None) -> Iterable[tuple[list[_Seen], Prefix | None]]:
    """Peers in the order of their addresses, those in the subnet apart, with it."""
    if subnet is None:
        return [(peers, None)]
    start = bisect_left(peers, int(subnet.network_address), key=_NUMBER)
    end = bisect_right(peers, int(subnet.broadcast_address), key=_NUMBER)
    return [([*peers[:start], *peers[end:]], None), (peers[start:end], subnet)]


@remembered
def _all_seen(nodes: Nodes) -> _AllSeen:
    because = Why("BGPConfiguration", "default", _FIELD)
    taking_part = [node for node in nodes if not node.reflector]
    alike: dict[Family, dict[tuple[int, int], list[_Seen]]] = {family: {} for family in Family}
    doubles: dict[Family, list[_Seen]] = {family: [] for family in Family}
    for node in taking_part:
        why = (because, Why("RoutingNode", node.name))
        for family, address in node.addresses.items():
            text, holder = str(address), nodes.by_address[address]
            one = _Seen(
                name=node.name,
                address=address,
                number=int(address),
                text=text,
                session=session_name("Mesh", text),
                holder=holder.name,
                why=why,
            )
            if holder is node:
                alike[family].setdefault((node.listen_port, node.as_number), []).append(one)
            else:
                doubles[family].append(one)
    for groups in alike.values():
        for some in groups.values():
            some.sort(key=_NUMBER)
    return _AllSeen(len(taking_part), alike, doubles)

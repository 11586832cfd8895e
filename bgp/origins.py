"""What the speaker of a node should be doing, whole: sessions, announcements, and whose every block and address is."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.advertise import address_announcements, block_announcements, is_used
from towpath.bgp.interfaces import NOBODY_FOUND
from towpath.bgp.nodes import Nodes, NodeView, log_severity, node_views, router_id
from towpath.bgp.peering import sessions
from towpath.bgp.references import named_filters, tagged
from towpath.bgp.services import configured, covering
from towpath.bgp.workloads import peering_addresses
from towpath.model.blocks import in_force
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.encapsulation import encapsulation, tunnels
from towpath.model.kinds.bgp import DEFAULT_AS, SecretKey
from towpath.model.memo import remembered
from towpath.model.net import Address, Prefix, zone_of
from towpath.model.reason import Reason, Refusal
from towpath.model.secret import Secret
from towpath.model.speaker import Listen, NodeOrigin, Session, Settings, SpeakerState
from towpath.model.workload import Workload


class SpeakerPlan(Struct, frozen=True):
    """What a speaker should be doing, and what is wrong with what the objects ask of it."""

    state: SpeakerState
    warnings: tuple[Refusal, ...] = ()


def speaker_plan(
    cluster: Cluster,
    node: str,
    *,
    secrets: Mapping[SecretKey, Secret],
    forwarding_preserved: bool,
    provisional: bool,
    severed: tuple[str, ...],
    own_addresses: tuple[Address, ...],
    gateways: tuple[Address, ...],
    routers: Mapping[str, Address] = NOBODY_FOUND,
    workloads: Iterable[Workload] = (),
) -> SpeakerPlan:
    """The plan of ``node``'s speaker. A session whose password is not in ``secrets`` is withheld.

    ``gateways`` are those of its default routes, as its kernel has them; ``routers`` the neighbours that it has found, by
    interface; ``workloads`` the pods that it may peer with.
    """
    blocks = in_force(cluster.blocks)
    nodes = node_views(cluster)
    asked = sessions(cluster, node, nodes=nodes, gateways=gateways, routers=routers, workloads=workloads)
    planned = {
        session.name: session if session.password_ref is None else _with_secret(session, secrets)
        for session in asked.sessions
    }
    facts = settings(cluster, node, nodes=nodes, own_addresses=own_addresses)
    interfaces = {
        session.interface for session in planned.values() if session.interface is not None and session.state == "Active"
    }
    state = SpeakerState(
        settings=replace(
            facts,
            forwarding_preserved=forwarding_preserved,
            provisional=provisional,
            severed=tuple(sorted(severed)),
            listen=(*facts.listen, *_listen_on_links(facts, interfaces)),
        ),
        sessions=planned,
        passwords={
            session.name: secrets[session.password_ref]
            for session in planned.values()
            if session.password_ref is not None and session.state == "Active"
        },
        announcements=address_announcements(cluster, node) | block_announcements(cluster, node, blocks=blocks),
        blocks=block_owners(blocks),
        nodes=node_origins(nodes),
        filters=named_filters(cluster, planned),
        tunnels=_tunnels(cluster, node) if tunnels(cluster.pools) and any(map(_passes_on, planned.values())) else {},
    )
    _, unknown = tagged(cluster, node)
    return SpeakerPlan(state, (*asked.warnings, *unknown))


def _passes_on(session: Session) -> bool:
    """Whether what comes by a session may be told to internal peers, and may be of blocks: of clients, and of nodes of another AS."""
    return session.cluster_id is not None or (session.ebgp and session.peer_node is not None)


@remembered
def _tunnels(cluster: Cluster, node: str) -> dict[Prefix, str]:
    """The blocks that a node reaches by tunnels, and the device of each."""
    ways = chain.from_iterable(encapsulation(cluster, node).ways.values())
    return {way.block.spec.cidr: way.device for way in ways if way.device}


def settings(
    cluster: Cluster, node: str, *, nodes: Nodes | None = None, own_addresses: tuple[Address, ...] = ()
) -> Settings:
    """What the objects say of the speaker as a whole; ``own_addresses`` are those that its kernel has besides."""
    me = (nodes or node_views(cluster)).by_name.get(node)
    config = cluster.bgp
    local_as = me.as_number if me else int(config.as_number or DEFAULT_AS)
    addresses = set(own_addresses)
    if me is not None:
        addresses |= {*me.addresses.values(), *peering_addresses(cluster, me).values()}
    return Settings(
        node=node,
        local_as=local_as,
        router_id=router_id(cluster, node),
        listen=_listen(cluster, me),
        maximum_paths=config.multipath.maximum_paths,
        own_addresses=tuple(sorted(addresses, key=lambda one: (one.version, int(one), zone_of(one)))),
        pools=tuple(sorted((pool.spec.cidr for pool in cluster.pools.values()), key=_by_family)),
        internal_routers=internal_routers(cluster, local_as),
        unexported=tuple(
            sorted((pool.spec.cidr for pool in cluster.pools.values() if pool.spec.disable_bgp_export), key=_by_family)
        ),
        tagged=tagged(cluster, node)[0],
        node_addresses=config.advertise_node_addresses,
        services=covering((*(entry.prefix for entry in configured(config).entries), *cluster.service_ranges)),
        normal_priority=(config.ipv4_normal_route_priority, config.ipv6_normal_route_priority),
        log_severity=log_severity(cluster, node),
    )


def origins(cluster: Cluster) -> tuple[dict[Prefix, str], dict[str, NodeOrigin]]:
    """Who owns each block in force, and how paths of each node are known: what block-origin validation asks."""
    return block_owners(in_force(cluster.blocks)), node_origins(node_views(cluster))


def internal_routers(cluster: Cluster, as_number: int) -> tuple[Address, ...]:
    """The addresses of routers in an AS that BGPPeers name: peers of any node, and no nodes themselves."""
    nodes = node_views(cluster).by_address
    named = (
        peer.spec.peer_ip.address
        for peer in cluster.peers.values()
        if peer.spec.peer_ip and peer.spec.as_number == as_number
    )
    return tuple(
        sorted({one for one in named if one not in nodes}, key=lambda one: (one.version, int(one), zone_of(one)))
    )


@remembered
def block_owners(blocks: Mapping[Prefix, IPAMBlock]) -> dict[Prefix, str]:
    """The owner of each block that is used; one in quarantine is nobody's."""
    return {prefix: block.spec.node for prefix, block in blocks.items() if is_used(block)}


@remembered
def node_origins(nodes: Nodes) -> dict[str, NodeOrigin]:
    """The addresses and AS of every node."""
    return {view.name: NodeOrigin(addresses=tuple(view.addresses.values()), as_number=view.as_number) for view in nodes}


def _with_secret(session: Session, secrets: Mapping[SecretKey, Secret]) -> Session:
    if session.state == "Withheld" or session.password_ref in secrets:
        return session
    return replace(session, state="Withheld", reason=Reason.SECRET_MISSING)


def _listen(cluster: Cluster, me: NodeView | None) -> tuple[Listen, ...]:
    if me is None:
        return ()
    if cluster.bgp.bind_mode == "NodeIP":
        own = (*me.addresses.values(), *peering_addresses(cluster, me).values())
        return tuple(Listen(address, me.listen_port) for address in dict.fromkeys(own))
    return (Listen(None, me.listen_port),)


def _listen_on_links(facts: Settings, interfaces: Collection[str]) -> Iterator[Listen]:
    """Where only the node's own addresses are listened on: the link-local ones of the interfaces that peers are on."""
    if not any(listen.address is None for listen in facts.listen):
        for port in sorted({listen.port for listen in facts.listen}):
            for address in facts.own_addresses:
                if zone_of(address) in interfaces:
                    yield Listen(address, port)


def _by_family(prefix: Prefix) -> tuple[int, int, int]:
    return prefix.version, int(prefix.network_address), prefix.prefixlen

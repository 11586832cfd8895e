"""Two edge nodes alone peer with the router and speak for the whole mesh: pods elsewhere are reached through them."""

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_network

import pytest

from tests.netns.path.cluster import cluster
from towpath.lab import facts
from towpath.lab.addressing import CLIENT, RACKS, TOR, TOR_AS
from towpath.lab.api import custom
from towpath.lab.probe import Flow
from towpath.lab.process import wait_for
from towpath.lab.topology import Lab, Shape
from towpath.model.net import Address, Family, Prefix, family_of

EDGES = ("node1", "node2")
INNER = ("node3", "node4")
ANYWHERE = {Family.IPV4: "198.18.0.1/32", Family.IPV6: "2001:db8:e::1/128"}
EVERYTHING = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}


def peers(lab: Lab, *nodes: str, **spec: object) -> None:
    """Only these nodes peer with the router."""
    for family in lab.families:
        wanted = {
            "peerIP": str(RACKS["a"].address(family, TOR)),
            "asNumber": TOR_AS,
            "nodeSelector": f"kubernetes.io/hostname in ({', '.join(nodes)})",
            **spec,
        }
        lab.api.apply(custom("BGPPeer", f"tor-a-{family.key}", wanted))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Four nodes, a pod each."""
    with cluster(Shape(nodes=4)) as made:
        yield made


def gateways(lab: Lab, prefix: Prefix) -> set[str]:
    """The nodes by which the router reaches a block."""
    route = lab.tor.routes().get(prefix)
    at = {str(address): node for node in lab.nodes for address in lab.node_addresses(node)}
    return {at[gateway] for gateway in route.gateways} if route else set()


def test_the_router_learns_all_blocks_from_the_edge_nodes_alone(lab: Lab) -> None:
    """With nextHopMode Self every block leads to the edge nodes, and packets pass; Auto names the owners on a shared subnet."""
    peers(lab, *EDGES, advertise="Cluster", nextHopMode="Self")
    owners = facts.blocks(lab)

    # each edge node speaks for the other as well: from outside the two are alike
    wait_for(
        lambda: all(gateways(lab, prefix) == set(EDGES) for prefix in owners),
        deadline=40,
        what="all blocks lead to the edge nodes",
    )

    def sessions() -> int:
        found = lab.tor.protocols().values()
        return sum(protocol.established and protocol.kind == "BGP" for protocol in found)

    wait_for(lambda: sessions() == len(EDGES) * len(lab.families), deadline=20, what="nobody else has a session")
    facts.wait_reachable(lab)
    peers(lab, *EDGES, advertise="Cluster", nextHopMode="Auto")
    wait_for(
        lambda: all(gateways(lab, prefix) == {owner} for prefix, owner in owners.items()),
        deadline=40,
        what="the owners themselves",
    )
    facts.wait_reachable(lab)


def test_one_edge_node_is_enough(lab: Lab) -> None:
    """When one stops peering, everything goes through the other; when none may speak for others, only its own block is left."""
    peers(lab, "node2", advertise="Cluster", nextHopMode="Self")
    owners = facts.blocks(lab)
    wait_for(
        lambda: all(gateways(lab, prefix) == {"node2"} for prefix in owners), deadline=40, what="all by one edge node"
    )
    facts.wait_reachable(lab)
    peers(lab, "node2", advertise="Own", nextHopMode="Self")
    own = {prefix for prefix, owner in owners.items() if owner == "node2"}
    wait_for(lambda: lab.tor.routes().keys() == own, deadline=40, what="only its own blocks")
    assert {family_of(prefix) for prefix in own} == set(lab.families)


def outside(lab: Lab, *, everything: bool) -> None:
    """A filter, for both directions: the network of the client, and the default route if ``everything``."""
    rule = {"action": "Accept", "matchOperator": "Equal"}
    spec = {}
    for family in lab.families:
        ranges = (str(CLIENT.subnet(family)), *([EVERYTHING[family]] if everything else []))
        for way in ("import", "export"):
            spec[f"{way}V{family.value}"] = [{**rule, "cidr": cidr} for cidr in ranges]
    lab.api.apply(custom("BGPFilter", "outside", spec))


def told_by_the_router(lab: Lab, *prefixes: Prefix, by: dict[Family, Address] | None = None) -> None:
    """The router tells its peers these prefixes, with itself as the next hop or with another."""
    told = "".join(f"if net.type = NET_IP{each.value} then bgp_next_hop = {hop}; " for each, hop in (by or {}).items())
    export = f"export filter {{ if source != RTS_STATIC then reject; {told}accept; }}; }};\n}}"
    before, _, _ = lab.tor.file.read_text().partition("# told\n")
    lab.tor.configure(
        re.sub(r"export (none|filter \{.*\}); \};\n\}", lambda _: export, before)
        + "# told\n"
        + "".join(
            f"protocol static s{at} {{ {family_of(prefix).key}; route {prefix} blackhole; }}\n"
            for at, prefix in enumerate(prefixes)
        )
    )


def lead(lab: Lab, nodes: Iterable[str], prefixes: Iterable[Prefix], to: dict[Family, set[Address]]) -> bool:
    """Whether routes of ours on all these nodes lead to exactly these next hops."""
    for node in nodes:
        routes = facts.kernel_routes(lab, node)
        for prefix in prefixes:
            route = routes.get(prefix, {})
            hops = route.get("nexthops", [route] if "gateway" in route else [])
            if {hop["gateway"] for hop in hops} != {str(address) for address in to[family_of(prefix)]}:
                return False
    return True


def test_the_router_names_another_one_on_the_segment(lab: Lab) -> None:
    """Packets go straight there. A node that is named itself takes no such route; off the segment its kernel must know the way."""
    beside = lab.network.host("beside")
    lab.network.plug(lab.host("switch-a"), beside)
    for family, cidr in ANYWHERE.items():
        beside.address(cidr, dev="lo")
        beside.address(str(RACKS["a"].interface(family, 5)), dev="eth0")
        beside.ip(f"-{family.value}", "route", "add", "default", "via", str(RACKS["a"].address(family, TOR)))
    prefixes = [ip_network(cidr) for cidr in ANYWHERE.values()]
    router, third, far = (
        {each: RACKS[rack].address(each, at) for each in ANYWHERE} for rack, at in (("a", TOR), ("a", 5), ("b", 77))
    )
    first = dict(zip(lab.families, lab.node_addresses("node1"), strict=True))
    rule = {"action": "Accept", "matchOperator": "Equal"}
    spec = {f"importV{family.value}": [{**rule, "cidr": cidr}] for family, cidr in ANYWHERE.items()}

    def wait(nodes: Iterable[str], to: dict[Family, Address], what: str) -> None:
        wanted = {family: {address} for family, address in to.items()} or {family: set() for family in ANYWHERE}
        wait_for(lambda: lead(lab, nodes, prefixes, wanted), deadline=40, what=what)

    lab.api.apply(custom("BGPFilter", "anywhere", spec))
    peers(lab, *EDGES, filters=["anywhere"])
    told_by_the_router(lab, *prefixes, by=third)
    wait(EDGES, third, "the third router")
    pods = [pod.name for pod in lab.pods.values() if pod.node in EDGES]
    flows = [Flow(pod, beside.name, str(prefix.network_address)) for pod in pods for prefix in prefixes]
    facts.wait_reachable(lab, flows)

    told_by_the_router(lab, *prefixes, by=first)
    wait(["node2"], first, "a node as any next hop")
    wait(["node1"], {}, "it is not the way itself")

    for node in EDGES:
        for family in lab.families:
            lab.host(node).ip(f"-{family.value}", "route", "del", "default")
    told_by_the_router(lab, *prefixes, by=far)
    wait(EDGES, {}, "a next hop that nobody reaches")
    for node in EDGES:
        for family in lab.families:
            lab.host(node).ip(f"-{family.value}", "route", "add", str(far[family]), "via", str(router[family]))
    wait(EDGES, router, "the way to the next hop")
    for node in EDGES:
        for family in lab.families:
            lab.host(node).ip(f"-{family.value}", "route", "del", str(far[family]))
        lab.configure_underlay(node)
    told_by_the_router(lab)
    lab.network.remove_host(beside.name)


def test_edge_nodes_tell_the_others_what_they_accepted_from_outside(lab: Lab) -> None:
    """By iBGP, as far as a filter names it: by both edge nodes, by the one that is left, or by the router itself (Auto)."""
    client = [CLIENT.subnet(family) for family in lab.families]
    default = [ip_network(EVERYTHING[family]) for family in lab.families]
    at = {
        family: {node: lab.node_addresses(node)[number] for node in EDGES} for number, family in enumerate(lab.families)
    }
    both = {family: set(found.values()) for family, found in at.items()}
    second = {family: {found["node2"]} for family, found in at.items()}
    router = {family: {RACKS["a"].address(family, TOR)} for family in lab.families}
    nobody: dict[Family, set[Address]] = {family: set() for family in lab.families}

    def wait(nodes: Iterable[str], prefixes: Iterable[Prefix], to: dict[Family, set[Address]], what: str) -> None:
        wait_for(lambda: lead(lab, nodes, prefixes, to), deadline=40, what=what)

    for node in INNER:
        for family in lab.families:
            lab.host(node).ip(f"-{family.value}", "route", "del", "default")
    outside(lab, everything=False)
    told_by_the_router(lab, *client, *default)
    peers(lab, *EDGES, advertise="Cluster", nextHopMode="Self", filters=["outside"])
    inner = {"peerSelector": f"kubernetes.io/hostname in ({', '.join(EDGES)})", "nodeSelector": "all()"}
    inner |= {"advertise": "All", "nextHopMode": "Self", "filters": ["outside"]}
    lab.api.apply(custom("BGPPeer", "inner", inner))
    wait(EDGES, client, router, "the edge nodes go to the router")
    wait(INNER, client, both, "the others by both edge nodes")
    assert lead(lab, lab.nodes, default, nobody)
    facts.wait_reachable(lab)

    outside(lab, everything=True)
    wait(INNER, default, both, "the default route, which the filter names now")

    peers(lab, "node2", advertise="Cluster", nextHopMode="Self", filters=["outside"])
    wait([*INNER, "node1"], [*client, *default], second, "all by the edge node that is left")
    wait(["node2"], [*client, *default], router, "it goes to the router, and not in a circle")
    facts.wait_reachable(lab)

    lab.api.apply(custom("BGPPeer", "inner", {**inner, "nextHopMode": "Auto"}))
    wait([*INNER, "node1"], client, router, "the router, which is on the same subnet")
    peers(lab, *EDGES, shutdown={})
    wait(lab.nodes, [*client, *default], nobody, "nothing, since nobody has a session with the router")

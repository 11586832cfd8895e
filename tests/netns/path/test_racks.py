"""Two racks, an AS and two top-of-rack routers each: no filter for each other's blocks, and one router is enough."""

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from ipaddress import ip_network
from itertools import chain
from typing import Any

import pytest

from tests.names import own
from tests.netns.engine.rig import Bird
from tests.netns.path.cluster import cluster
from towpath.lab import facts
from towpath.lab.addressing import CLIENT, RACKS, TOR_AS
from towpath.lab.api import collection, custom
from towpath.lab.process import wait_for
from towpath.lab.topology import Lab, Shape
from towpath.model.net import Address, Family, Prefix

NODE_AS = {"a": 64601, "b": 64602}
ROUTER_AS = {"a": 65101, "b": 65102}
ROUTERS = {"a1": 2, "a2": 3, "b1": 2, "b2": 3}
"""Their numbers on the segment of their rack."""
SPINE = {Family.IPV4: "100.64.0.{}/24", Family.IPV6: "fd64::{}/64"}
"""Where the routers meet, and the one in front of the client, which is the last."""
ON_SPINE = {"a1": 1, "a2": 2, "b1": 3, "b2": 4, "tor": 9}
EVERYTHING = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
NAMES = {Family.IPV4: "v4", Family.IPV6: "v6"}


def on_spine(router: str, family: Family) -> str:
    return SPINE[family].format(ON_SPINE[router]).partition("/")[0]


def in_rack(router: str, family: Family) -> Address:
    return RACKS[router[0]].address(family, ROUTERS[router])


class Fabric:
    """The routers of the racks, which peer with the nodes of their rack, with each other and with the one of the client."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.birds: dict[str, Bird] = {}
        self.rack_of = {node: place.rack for node, place in lab.state.nodes.items()}
        spine = lab.network.switch("spine")
        for router, number in ON_SPINE.items():
            host = lab.host("tor") if router == "tor" else lab.network.host(router)
            lab.network.plug(spine, host, "spine")
            host.address(*(text.format(number) for text in SPINE.values()), dev="spine")
            if router != "tor":
                rack = RACKS[router[0]]
                lab.network.plug(lab.host(f"switch-{router[0]}"), host)
                host.address(*(str(rack.interface(each, ROUTERS[router])) for each in lab.families), dev="eth0")
        for router in ROUTERS:
            self.start(router)
        lab.tor.configure(self._border())

    def start(self, router: str) -> None:
        """BIRD: everything that it learns is told to everybody, and is in its kernel."""
        mine = ROUTER_AS[router[0]]
        lab = self.lab
        neighbours: dict[str, str] = {}
        for at, family in enumerate(lab.families):
            say = f"{family.key} {{ import all; export where source = RTS_BGP; next hop self ebgp; }};"
            for node, rack in self.rack_of.items():
                if rack == router[0]:
                    address = lab.node_addresses(node)[at]
                    neighbours[f"{node}_{NAMES[family]}"] = (
                        f"local {in_rack(router, family)} as {mine}; neighbor {address} as {NODE_AS[rack]}; {TIMES} "
                        f"{family.key} {{ import all; export where {WHOLE}; }};"
                    )
            for other in ON_SPINE:
                if other[0] != router[0]:
                    other_as = TOR_AS if other == "tor" else ROUTER_AS[other[0]]
                    neighbours[f"{other}_{NAMES[family]}"] = (
                        f"local {on_spine(router, family)} as {mine}; neighbor {on_spine(other, family)} as {other_as}; "
                        f"{TIMES} {say}"
                    )
        self.birds[router] = Bird(
            lab.host(router),
            lab.root,
            router_id=f"100.64.0.{ON_SPINE[router]}",
            neighbours=neighbours,
            more="\n".join(
                f"protocol kernel k{each.value} {{ merge paths on; {each.key} {{ import none; export where source = RTS_BGP; }}; }}"
                for each in lab.families
            ),
        )

    def tell(self, what: str) -> None:
        """From now on nodes are told what BIRD's expression allows."""
        for bird in self.birds.values():
            text = bird.config.read_text()
            for old in (WHOLE, DEFAULT):
                text = text.replace(f"export where {old};", f"export where {what};")
            bird.config.write_text(text)
            answer = bird.ask("configure")
            assert "Reconfigur" in answer, answer

    def _border(self) -> str:
        """In front of the client: it originates its network and the default route."""
        lines = [
            f'log "{self.lab.root / "tor" / "bird.log"}" all;\ndebug protocols {{ states }};\nrouter id 100.64.0.9;',
            "protocol device { scan time 1; }",
        ]
        for family in self.lab.families:
            lines.append(
                f"protocol kernel k{family.value} {{ merge paths on; {family.key} {{ import none; export where source = RTS_BGP; }}; }}\n"
                f"protocol static s{family.value} {{ {family.key}; route {CLIENT.subnet(family)} blackhole; "
                f"route {EVERYTHING[family]} blackhole; }}"
            )
            lines += [
                f"protocol bgp {router}_{NAMES[family]} {{ local {on_spine('tor', family)} as {TOR_AS}; "
                f"neighbor {on_spine(router, family)} as {ROUTER_AS[router[0]]}; {TIMES} "
                f"{family.key} {{ import all; export where source = RTS_STATIC; }}; }}"
                for router in ROUTERS
            ]
        return "\n".join(lines) + "\n"

    def cut(self, router: str) -> None:
        """A router dies: no packet leaves it, and none that it is sent goes on."""
        for device in ("eth0", "spine"):
            self.lab.host(router).ip("link", "set", "dev", device, "down")
        self.birds[router].process.kill()  # nobody hears of it

    def close(self) -> None:
        for bird in self.birds.values():
            bird.process.kill()


TIMES = "connect retry time 1; connect delay time 1; error wait time 1,2; hold time 9; graceful restart off;"
WHOLE = "(source = RTS_BGP)"
"""What nodes are told; in brackets, so that it is known from what routers tell each other."""
DEFAULT = "net ~ [ 0.0.0.0/0 ] || net ~ [ ::/0 ]"


def peer_with_routers(lab: Lab, routers: Iterable[str], **changes: object) -> None:
    """The nodes of the routers' rack peer with them, or those that ``nodeSelector`` says."""
    for family in lab.families:
        for router in routers:
            spec = {
                "peerIP": str(in_rack(router, family)),
                "asNumber": ROUTER_AS[router[0]],
                "nodeSelector": f"rack == '{router[0]}'",
                "numAllowedLocalASNumbers": 1,
                "filters": ["outside"],
                "advertise": "Own",
                **changes,
            }
            lab.api.apply(custom("BGPPeer", f"{router}-{family.key}", spec))


def objects(lab: Lab) -> None:
    """Every node has its rack's AS and peers with the routers of its rack, instead of with the one of the client."""
    rule = {"action": "Accept", "matchOperator": "Equal"}
    outside = {
        f"importV{family.value}": [
            {**rule, "cidr": str(CLIENT.subnet(family))},
            {**rule, "cidr": EVERYTHING[family]},
        ]
        for family in lab.families
    }
    lab.api.apply(custom("BGPFilter", "outside", outside))
    for node, place in lab.state.nodes.items():
        number = {"towpath.io/as-number": str(NODE_AS[place.rack])}
        lab.api.patch(f"{collection('Node')}/{node}", {"metadata": {"annotations": number}})
    for family in lab.families:
        for rack in RACKS:
            lab.api.delete("BGPPeer", f"tor-{rack}-{family.key}")
    peer_with_routers(lab, ROUTERS)


def gateways(lab: Lab, node: str, prefix: Prefix) -> set[str]:
    """By which next hops a node reaches a prefix, by a route of ours."""
    route = facts.kernel_routes(lab, node).get(prefix, {})
    return {hop["gateway"] for hop in route.get("nexthops", [route] if "gateway" in route else [])}


@pytest.fixture(scope="module")
def racks() -> Iterator[tuple[Lab, Fabric]]:
    """Two nodes a rack, a pod each; no mesh; nodes have no other way out of their segment than what they learn."""
    shape = Shape(nodes=4, rack_b=2, configuration={"timers": {"connectRetryTime": "1s", "holdTime": "9s"}})
    with cluster(shape, prefix=own("tprk")) as lab, contextlib.closing(Fabric(lab)) as fabric:
        objects(lab)
        lab.api.patch(f"{collection('BGPConfiguration')}/default", {"spec": {"nodeToNodeMeshEnabled": False}})
        for node in lab.nodes:
            for family in lab.families:
                lab.host(node).ip(f"-{family.value}", "route", "del", "default")
        yield lab, fabric


def spread(lab: Lab, wanted: dict[str, set[str]], *, prefixes: tuple[Prefix, ...] | None = None) -> bool:
    """Whether every node reaches the blocks of the other rack, or these prefixes, by these routers of its own rack."""
    owners = facts.blocks(lab)
    for node, place in lab.state.nodes.items():
        far = [block for block, owner in owners.items() if lab.state.nodes[owner].rack != place.rack]
        for prefix in prefixes if prefixes is not None else far:
            by = {str(in_rack(router, Family(prefix.version))) for router in wanted[place.rack]}
            if gateways(lab, node, prefix) != by:
                return False
    return True


BOTH = {"a": {"a1", "a2"}, "b": {"b1", "b2"}}


def test_racks_reach_each_other_by_both_routers(racks: tuple[Lab, Fabric]) -> None:
    """Blocks of the other rack are valid by the AS they come from, of the own rack too; ECMP; the client needs a filter."""
    lab, _ = racks
    wait_for(partial(spread, lab, BOTH), deadline=60, what="ECMP to the other rack")
    outside = tuple(CLIENT.subnet(family) for family in lab.families)
    wait_for(partial(spread, lab, BOTH, prefixes=outside), deadline=40, what="ECMP to the client")
    facts.wait_reachable(lab, deadline=40)


def way_to_the_other_rack(lab: Lab, wanted: dict[str, set[str]]) -> None:
    """Nodes have a route to the other rack's segment by these routers of their own, as an administrator gives them one."""
    for node, place in lab.state.nodes.items():
        far = RACKS["b" if place.rack == "a" else "a"]
        for family in lab.families:
            hops = [("nexthop", "via", str(in_rack(router, family))) for router in sorted(wanted.get(place.rack, ()))]
            lab.host(node).ip(f"-{family.value}", "route", "flush", str(far.subnet(family)))
            if hops:
                lab.host(node).ip(
                    f"-{family.value}", "route", "add", str(far.subnet(family)), *chain.from_iterable(hops)
                )


def test_a_mesh_across_racks_goes_straight_to_the_owner(racks: tuple[Lab, Fabric]) -> None:
    """eBGP between the racks' nodes, and routers that tell the default route alone: next hops off the link are resolved by the
    way that each node has to the other rack, again when it is another. Without one packets go by the default route."""
    lab, fabric = racks
    lab.api.patch(f"{collection('BGPConfiguration')}/default", {"spec": {"nodeToNodeMeshEnabled": True}})
    sessions = 5 * len(lab.families)
    wait_for(lambda: all(facts.connections(lab, node) == sessions for node in lab.nodes), deadline=60, what="a mesh")
    # the shorter paths are the mesh's, but nobody knows the way to their next hops
    wait_for(partial(spread, lab, BOTH), deadline=40, what="ECMP to the other rack by the routers")
    fabric.tell(DEFAULT)
    wait_for(lambda: not across(lab), deadline=40, what="nothing to the other rack but the default route")
    facts.wait_reachable(lab, deadline=40)
    for ways in (BOTH, {"a": {"a2"}, "b": {"b1"}}):
        way_to_the_other_rack(lab, ways)
        wait_for(partial(spread, lab, ways), deadline=40, what="the owners, by the way to their rack")
        facts.wait_reachable(lab, deadline=40)
    way_to_the_other_rack(lab, {})
    wait_for(lambda: not across(lab), deadline=40, what="the default route again")
    facts.wait_reachable(lab, deadline=40)
    fabric.tell(WHOLE)
    lab.api.patch(f"{collection('BGPConfiguration')}/default", {"spec": {"nodeToNodeMeshEnabled": False}})
    sessions = 2 * len(lab.families)
    wait_for(lambda: all(facts.connections(lab, node) == sessions for node in lab.nodes), deadline=60, what="no mesh")
    wait_for(partial(spread, lab, BOTH), deadline=40, what="ECMP to the other rack")


def test_one_node_of_a_rack_passes_on_what_the_routers_tell(racks: tuple[Lab, Fabric]) -> None:
    """Next hops unchanged: a node without a router takes the other rack's blocks by the AS that they come from."""
    lab, _ = racks
    edge, inner = (node for node, place in lab.state.nodes.items() if place.rack == "a")
    only = {
        name: f"kubernetes.io/hostname == '{node}'" for name, node in (("nodeSelector", inner), ("peerSelector", edge))
    }
    lab.api.apply(custom("BGPPeer", "edge", {**only, "advertise": "Cluster"}))
    peer_with_routers(lab, ("a1", "a2"), nodeSelector=f"kubernetes.io/hostname == '{edge}'", advertise="Cluster")
    far = [block for block, owner in facts.blocks(lab).items() if lab.state.nodes[owner].rack == "b"]

    def passed_on() -> bool:
        ways = {block: gateways(lab, inner, block) for block in far}
        routers = {
            Family(block.version): {str(in_rack(each, Family(block.version))) for each in BOTH["a"]} for block in far
        }
        return facts.connections(lab, inner) == len(lab.families) and all(
            len(found) == 1 and found <= routers[Family(block.version)] for block, found in ways.items()
        )

    wait_for(passed_on, deadline=60, what="one of the routers, as the edge node uses it")
    facts.wait_reachable(lab, facts.flows(lab, client=False), deadline=40)
    # its deletion would be one of many in this half minute, and believed only after another
    lab.api.apply(custom("BGPPeer", "edge", {**only, "shutdown": {}}))
    peer_with_routers(lab, ("a1", "a2"))
    wait_for(partial(spread, lab, BOTH), deadline=60, what="ECMP to the other rack")


def test_the_default_route_alone_is_enough(racks: tuple[Lab, Fabric]) -> None:
    """Routers tell nothing else: a filter names it, both routers are used, and everybody is reached."""
    lab, fabric = racks
    fabric.tell(DEFAULT)
    everything = tuple(ip_network(text) for text in EVERYTHING.values())
    wait_for(partial(spread, lab, BOTH, prefixes=everything), deadline=40, what="the default route by both")
    wait_for(lambda: not foreign(lab), deadline=40, what="no other route to another rack")
    facts.wait_reachable(lab, deadline=40)
    fabric.tell(WHOLE)
    wait_for(partial(spread, lab, BOTH), deadline=40, what="ECMP to the other rack")


def across(lab: Lab) -> dict[str, Any]:
    """Nodes that have a route of ours to a block of the other rack."""
    rack_of = {node: place.rack for node, place in lab.state.nodes.items()}
    owners = facts.blocks(lab)
    return {
        node: some
        for node in lab.nodes
        if (some := [one for one in facts.kernel_routes(lab, node) if rack_of[owners.get(one, node)] != rack_of[node]])
    }


def foreign(lab: Lab) -> dict[str, Any]:
    """Nodes that have a route of ours to somebody else's block."""
    owners = facts.blocks(lab)
    return {
        node: some
        for node in lab.nodes
        if (some := [block for block in facts.kernel_routes(lab, node) if owners.get(block, node) != node])
    }


def test_one_router_of_a_rack_dies(racks: tuple[Lab, Fabric]) -> None:
    """When its sessions have timed out everything goes through the other one."""
    lab, fabric = racks
    fabric.cut("a1")
    left = {"a": {"a2"}, "b": {"b1", "b2"}}
    wait_for(partial(spread, lab, left), deadline=60, what="only the other router")
    facts.wait_reachable(lab, deadline=60)

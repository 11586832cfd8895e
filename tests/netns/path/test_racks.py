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
from tests.netns.path.cluster import cluster, watched
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
            say = f'{family.key} {{ import all; export where source = RTS_BGP || proto = "rack"; next hop self; }};'
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
                ['protocol direct rack { ipv4; ipv6; interface "eth0"; }']
                + [
                    f"protocol kernel k{each.value} {{ merge paths on; {each.key} {{ import none; export where source = RTS_BGP; }}; }}"
                    for each in lab.families
                ]
            ),
        )

    def tell(self, what: str) -> None:
        """From now on nodes are told what BIRD's expression allows."""
        for bird in self.birds.values():
            text = bird.config.read_text()
            for old in (WHOLE, DEFAULT, RACKS_ALONE):
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
        self.birds.pop(router).process.kill()  # nobody hears of it

    def close(self) -> None:
        for bird in self.birds.values():
            bird.process.kill()


TIMES = "connect retry time 1; connect delay time 1; error wait time 1,2; hold time 9; graceful restart off;"
WHOLE = "(source = RTS_BGP)"
"""What nodes are told; in brackets, so that it is known from what routers tell each other."""
DEFAULT = "net ~ [ 0.0.0.0/0 ] || net ~ [ ::/0 ]"
RACKS_ALONE = "net ~ [ {} ] || net ~ [ {} ]".format(
    *(", ".join(str(rack.subnet(family)) for rack in RACKS.values()) for family in Family)
)
"""The networks of the nodes of other racks."""


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
            *({**rule, "cidr": str(rack.subnet(family))} for rack in RACKS.values()),
        ]
        for family in lab.families
    }
    lab.api.apply(custom("BGPFilter", "outside", outside))
    for node, place in lab.state.nodes.items():
        number = {"towpath.io/as-number": str(NODE_AS[place.rack])}
        lab.api.patch(f"{collection('Node')}/{node}", {"metadata": {"annotations": number}})
    for family in lab.families:
        for rack in RACKS:
            # four deletions at once would be believed only after half a minute
            nobody = {"spec": {"nodeSelector": "rack == 'nobody'"}}
            lab.api.patch(f"{collection('BGPPeer')}/tor-{rack}-{family.key}", nobody)
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
LEFTOVER = ("203.0.113.192/26", "proto", "179", "metric", "1179")
"""A route that an agent has left behind, as far as another one can tell."""


def test_racks_reach_each_other_by_both_routers(racks: tuple[Lab, Fabric]) -> None:
    """Blocks of the other rack are valid by the AS they come from, of the own rack too; ECMP; the client needs a filter."""
    lab, _ = racks
    wait_for(partial(spread, lab, BOTH), deadline=60, what="ECMP to the other rack")
    outside = tuple(CLIENT.subnet(family) for family in lab.families)
    wait_for(partial(spread, lab, BOTH, prefixes=outside), deadline=40, what="ECMP to the client")
    facts.wait_reachable(lab, deadline=40)


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
    nobody = dict.fromkeys(only, "kubernetes.io/hostname == 'nobody'")
    lab.api.apply(custom("BGPPeer", "edge", {**nobody, "advertise": "Cluster"}))
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


def foreign(lab: Lab) -> dict[str, Any]:
    """Nodes that have a route of ours to somebody else's block."""
    owners = facts.blocks(lab)
    return {
        node: some
        for node in lab.nodes
        if (some := [block for block in facts.kernel_routes(lab, node) if owners.get(block, node) != node])
    }


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


def meshed(lab: Lab) -> bool:
    """Whether every node has its sessions with two routers and three nodes."""
    return all(facts.connections(lab, node) == 5 * len(lab.families) for node in lab.nodes)


def across_by(lab: Lab, fabric: Fabric, what: str) -> None:
    """A mesh of all nodes, whose next hops in the other rack are off the link, and routers that tell nodes this alone.

    Nothing leads to the other rack but what they tell: no route of others', and no prefix that they tell besides.
    """
    lab.api.patch(f"{collection('BGPConfiguration')}/default", {"spec": {"nodeToNodeMeshEnabled": True}})
    wait_for(partial(meshed, lab), deadline=60, what="a mesh")
    fabric.tell(what)
    prefixes = {
        WHOLE: [CLIENT.subnet(family) for family in lab.families],
        RACKS_ALONE: [rack.subnet(family) for family in lab.families for rack in RACKS.values()],
        DEFAULT: [ip_network(text) for text in EVERYTHING.values()],
    }
    others = tuple(chain.from_iterable(some for told, some in prefixes.items() if told != what))
    nobody: dict[str, set[str]] = {rack: set() for rack in RACKS}
    wait_for(partial(spread, lab, nobody, prefixes=others), deadline=40, what=f"the routers tell {what} alone")
    wait_for(partial(spread, lab, BOTH), deadline=40, what="the owners, by what the routers tell")
    facts.wait_reachable(lab, facts.flows(lab, client=what == DEFAULT), deadline=40)


def test_a_mesh_across_racks_by_the_routers_default_route(racks: tuple[Lab, Fabric]) -> None:
    """eBGP between the racks' nodes: next hops off the link are reached by a default route that the routers tell by BGP.

    A way that the node has to the other rack is closer, until it is gone. When both processes of a node start anew, its
    routes to the other rack stay as they are.
    """
    lab, fabric = racks
    across_by(lab, fabric, DEFAULT)
    way_to_the_other_rack(lab, {"a": {"a2"}, "b": {"b1"}})
    wait_for(partial(spread, lab, {"a": {"a2"}, "b": {"b1"}}), deadline=40, what="the owners, by the way to their rack")
    facts.wait_reachable(lab, deadline=40)
    way_to_the_other_rack(lab, {})
    wait_for(partial(spread, lab, BOTH), deadline=40, what="the default route again")
    # the routers keep no routes of a node that restarts, so packets to it may be lost; its own routes have no reason to move
    lab.kill("node1/agent", "node1/speaker")
    lab.host("node1").ip("route", "add", *LEFTOVER, "via", str(in_rack("a1", Family.IPV4)))
    with watched(lab, "node1") as moved:
        lab.start("node1/agent", "node1/speaker")
        wait_for(partial(meshed, lab), deadline=60, what="a mesh")
        goes = "a route of ours that nobody wants goes once the new speaker has heard everybody out"
        wait_for(lambda: not lab.host("node1").ip("route", "show", *LEFTOVER), deadline=60, what=goes)
        others = [event for event in moved().get("node1", ()) if event.prefix != LEFTOVER[0]]
    assert others == []
    wait_for(partial(spread, lab, BOTH), deadline=40, what="the owners, as before")


def test_a_mesh_across_racks_by_routes_to_the_racks(racks: tuple[Lab, Fabric]) -> None:
    """The same by routes to the nodes' networks, without any default route."""
    across_by(*racks, RACKS_ALONE)


def test_one_router_of_a_rack_dies(racks: tuple[Lab, Fabric]) -> None:
    """When its sessions have timed out everything goes through the other one: what is behind next hops off the link, and without."""
    lab, fabric = racks
    across_by(lab, fabric, DEFAULT)
    fabric.cut("a1")
    left = {"a": {"a2"}, "b": {"b1", "b2"}}
    wait_for(partial(spread, lab, left), deadline=60, what="the owners, by the default route of the other router")
    facts.wait_reachable(lab, deadline=60)
    fabric.tell(WHOLE)
    lab.api.patch(f"{collection('BGPConfiguration')}/default", {"spec": {"nodeToNodeMeshEnabled": False}})
    outside = tuple(CLIENT.subnet(family) for family in lab.families)
    wait_for(partial(spread, lab, left, prefixes=outside), deadline=60, what="the client by the other router")
    wait_for(partial(spread, lab, left), deadline=60, what="only the other router")
    facts.wait_reachable(lab, deadline=60)

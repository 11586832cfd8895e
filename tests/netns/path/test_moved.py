"""A node that moves to another subnet, with its pods: who was reached by a tunnel is on the link now, and the other way round."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from tests.cluster.streams import streaming
from tests.names import own
from tests.netns.path.cluster import cluster, router_drops_pods, wait_large
from tests.netns.path.mtu import between
from tests.netns.path.test_vxlan import DEVICES, LARGEST, ways
from towpath.lab import facts, objects
from towpath.lab.addressing import node_number
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Nodes 1 and 2 in one subnet, node 3 in another."""
    with cluster(Shape(nodes=3, rack_b=1, pool={"vxlanMode": "CrossSubnet"}), prefix=own("tpmo")) as made:
        yield made


def move(lab: Lab, node: str, *, rack: str) -> None:
    """Carry a machine that runs to another rack: it gets addresses there, and its Node object says so."""
    place = lab.state.nodes[node] = replace(lab.state.nodes[node], rack=rack)
    host, number = lab.host(node), node_number(place.index)
    host.ip("link", "del", "dev", "eth0")
    lab.network.plug(lab.host(f"switch-{rack}"), host)
    host.ip("link", "set", "dev", "eth0", "address", f"02:00:00:00:00:{number:02x}")
    lab.configure_underlay(node)
    lab.tor.configure(lab._tor_configuration())
    lab.api.apply(objects.node(node, lab.node_addresses(node), rack=rack))
    lab.save()


@pytest.mark.parametrize("rack", ["a", "b"])
def test_routes_follow_a_node_to_another_subnet(lab: Lab, rack: str) -> None:
    """On all nodes, its own included; pods keep their addresses, and connections that are open go on."""
    with streaming(between(lab, *lab.pods.values())) as streams:
        move(lab, "node3", rack=rack)
        racks = {node: place.rack for node, place in lab.state.nodes.items()}
        for node in lab.nodes:
            wanted = {
                f"{other} {family.key}": DEVICES[family] if racks[other] != racks[node] else "eth0"
                for other in lab.nodes
                for family in lab.families
                if other != node
            }
            wait_for(lambda node=node, wanted=wanted: ways(lab, node) == wanted, deadline=60, what=f"{node}: {wanted}")  # type: ignore[misc]  # bound now
        streams.go_on()
    with router_drops_pods(lab):
        wait_large(lab, size=LARGEST)
    facts.wait_reachable(lab, deadline=60)
    facts.wait_sessions(lab)
    facts.wait_healthy(lab)

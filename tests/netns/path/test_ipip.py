"""A pool that asks for IP-in-IP, on whatever kernel this machine has."""

from collections.abc import Iterator

import pytest

from tests.netns.path.cluster import cluster, router_drops_pods, said_tunnels
from towpath.lab import facts
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.encapsulation import IPIP, IPIP_DEVICE
from towpath.model.net import Family
from towpath.routes.machine import knows_kind


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A node in each of two subnets."""
    shape = Shape(nodes=2, rack_b=1, families=(Family.IPV4,), controllers=1, pool={"ipipMode": "CrossSubnet"})
    with cluster(shape) as made:
        yield made


def test_where_kernels_have_none_vxlan_takes_its_place(lab: Lab) -> None:
    """Each node says that its kernel lacks it, and all go by VXLAN; elsewhere by IP-in-IP. No router sees a pod's address."""
    with lab.host("node1").entered():
        known = knows_kind(IPIP)
    device = IPIP_DEVICE if known else "tp-vx4-4096"
    for node in lab.nodes:
        others = {prefix for prefix, owner in facts.blocks(lab).items() if owner != node}
        wait_for(
            lambda node=node, others=others: (
                {route["dev"] for prefix, route in facts.kernel_routes(lab, node).items() if prefix in others}
                == {device}
            ),
            deadline=30,
            what=f"{node} goes by {device}",
        )
    with router_drops_pods(lab):
        facts.wait_reachable(lab, facts.flows(lab, client=False))
    wanted = ((device,), () if known else (IPIP,))
    wait_for(lambda: set(said_tunnels(lab).values()) == {wanted}, deadline=60, what="the nodes say what they have")

    def lacking() -> list[str]:
        return [
            condition["message"]
            for status in facts.reports(lab).values()
            for condition in status.get("conditions", ())
            if condition["type"] == "KernelLacks" and condition["status"] == "True"
        ]

    said = [] if known else ["the kernel knows no devices of kind ipip: VXLAN is used in its place"] * 2
    wait_for(lambda: lacking() == said, deadline=60, what="the nodes say so")

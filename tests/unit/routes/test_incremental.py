"""A plan made after another one is the plan that is made alone: what did not change is taken over, and nothing else."""

import copy
from ipaddress import ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from towpath.model.cluster import BGPConfiguration, Cluster, IPAMBlock, IPPool, RoutingNode
from towpath.model.kinds.bgp import BGPConfigurationSpec
from towpath.model.kinds.ipam import VXLAN, IPAMBlockSpec, IPPoolSpec
from towpath.model.kinds.node import NodeBGP, RoutingNodeSpec, RoutingNodeStatus
from towpath.model.net import block_name
from towpath.model.resource import Meta, Resource
from towpath.routes.devices.plan import tunnel_plan
from towpath.routes.plan import static_routes


def _node(name: str, number: int, six: bool, says: RoutingNodeStatus | None) -> RoutingNode:
    bgp = NodeBGP(
        ipv4_address=ip_interface(f"192.0.2.{number}/25"),
        ipv6_address=ip_interface(f"2001:db8::{number}/64") if six else None,
    )
    return RoutingNode("RoutingNode", Meta(name), RoutingNodeSpec(bgp), says)


def _block(place: int, six: bool, node: str, state: str) -> IPAMBlock:
    prefix = ip_network(f"fd00:244::{place * 64:x}/122" if six else f"10.244.{place}.0/24")
    return IPAMBlock("IPAMBlock", Meta(block_name(prefix)), IPAMBlockSpec(prefix, node, state=state))  # type: ignore[arg-type]  # drawn from its values


def _pools(four: str, six: str, group: bool) -> tuple[IPPool, ...]:
    vxlan = VXLAN(discovery="Multicast", group=ip_interface("239.1.1.1").ip) if group else VXLAN()
    mode = {"ipip": {"ipip_mode": "Always"}}.get(four, {"vxlan_mode": four})
    return (
        IPPool("IPPool", Meta("four"), IPPoolSpec(ip_network("10.244.0.0/16"), vxlan=vxlan, **mode)),  # type: ignore[arg-type]  # one of the modes
        IPPool("IPPool", Meta("six"), IPPoolSpec(ip_network("fd00:244::/64"), vxlan_mode=six, vxlan=vxlan)),  # type: ignore[arg-type]  # drawn from its values
    )


NAMES = st.sampled_from("abcdef")
SAYS = st.sampled_from(
    [
        None,
        RoutingNodeStatus(tunnels=("tp-vx4-4096", "tp-ipip")),
        RoutingNodeStatus(tunnels=("tp-vx4-4096",), lacks=("ipip",)),
    ]
)
NODES = st.builds(_node, NAMES, st.sampled_from([1, 2, 3, 129, 130]), st.booleans(), SAYS)
BLOCKS = st.builds(_block, st.integers(0, 7), st.booleans(), NAMES, st.sampled_from(["Active", "Quarantined"]))
POOLS = st.builds(
    _pools,
    st.sampled_from(["Never", "CrossSubnet", "Always", "ipip"]),
    st.sampled_from(["Never", "Always"]),
    st.sampled_from([False, False, True]),
)
HOST_GATEWAY = BGPConfiguration("BGPConfiguration", Meta("default"), BGPConfigurationSpec(cluster_routes="Kubernetes"))
STEPS = st.lists(NODES | BLOCKS | POOLS | NAMES | st.booleans(), min_size=8, max_size=24)


def _worlds(steps: list[object]) -> list[Cluster]:
    """A cluster after each step: something came or is another, or a node went; what did not change is the same object."""
    found = [
        Cluster(
            routing_nodes={"a": _node("a", 1, True, None)},
            pools={one.name: one for one in _pools("Always", "Always", False)},
        )
    ]
    for step in steps:
        last = found[-1]
        blocks, nodes, pools = dict(last.blocks), dict(last.routing_nodes), last.pools
        configurations = last.configurations
        match step:
            case Resource(kind="RoutingNode"):
                nodes[step.name] = step
            case Resource(kind="IPAMBlock"):
                blocks[step.name] = step
            case tuple():
                pools = {one.name: one for one in step}
            case bool():
                configurations = {"default": HOST_GATEWAY} if step else {}
            case name:
                nodes.pop(str(name), None)
                blocks = {key: one for key, one in blocks.items() if one.spec.node != name}
        found.append(Cluster(configurations=configurations, pools=pools, blocks=blocks, routing_nodes=nodes))
    return found


@settings(deadline=None)
@given(STEPS)
def test_each_plan_is_the_one_made_alone(steps):
    """Nodes, blocks and pools come, change and go: devices, entries, routes and refusals are those of a first look."""
    worlds = _worlds(steps)
    alone = [(tunnel_plan(one, "a"), static_routes(one, "a")) for one in map(copy.deepcopy, worlds)]
    assert [(tunnel_plan(one, "a"), static_routes(one, "a")) for one in worlds] == alone

"""What a node makes of the MTUs that others report."""

from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.agent.worlds import cluster, pool
from towpath.controller.node import narrow, preflight
from towpath.model.kinds.node import RoutingNodeStatus
from towpath.routes.kernel import LinkAddress
from towpath.routes.preflight import Machine

V4, V6 = ("tp-vx4-4096",), ("tp-vx4-4096", "tp-vx6-7")


@pytest.mark.parametrize(
    ("mine", "theirs", "mtu", "told"),
    [
        (0, (), 1500, False),
        (0, (), 9000, True),
        (50, V4, 1450, False),
        (50, (), 1500, False),
        (0, V6, 1430, False),
        (70, V4, 1450, False),
        (50, V4, 1500, True),
        (0, None, 1500, False),
        (20, ("tp-ipip",), 1480, False),
        (50, ("tp-ipip",), 1480, False),
        (20, ("tp-ipip", *V4), 1450, False),
        (20, ("tp-ipip",), 1500, True),
    ],
)
async def test_pods_may_differ_by_what_their_tunnels_need(mine, theirs, mtu, told, monkeypatch) -> None:
    """Nodes take up a pool's encapsulation one after the other: only where the network below differs something is wrong."""
    monkeypatch.setattr(preflight.socket, "if_nameindex", lambda: [(2, "eth0")])
    monkeypatch.setattr(preflight, "look", lambda **_: Machine(mtus={"eth0": 1500}))
    own = LinkAddress(2, ip_address("10.0.0.1"), ip_interface("10.0.0.1/24"))
    made = preflight.Preflight(
        "a",
        proc_sys=Path("/none"),
        host_root=Path("/none"),
        addresses=lambda: [own],
        interfaces=lambda _: (),
        overhead=lambda: mine,
    )
    await made.look()
    world = cluster()
    other = replace(world.routing_nodes["b"], status=RoutingNodeStatus(mtu=mtu, tunnels=theirs))
    found = made.problems(replace(world, routing_nodes={**world.routing_nodes, "b": other}))
    assert any(one.reason == "MTUMismatch" for one in found) is told


def test_the_kernel_is_asked_of_ways_when_there_is_news(monkeypatch) -> None:
    """Not before a router has said anything, nor again while it says nothing new; as long as something is wrong always."""
    told, asked = 0, []
    takes = {ip_address("fd00::2"): 1500}
    monkeypatch.setattr(narrow.paths, "times_told", lambda: told)
    monkeypatch.setattr(
        narrow.paths, "known", lambda ends: asked.append(set(ends)) or {one: takes[one] for one in ends}
    )
    made, world = narrow.Narrow("a"), cluster(pools={"v6": pool("v6", "fd00:244::/112", vxlan_mode="Always")})
    nodes = {}
    for name, one in world.routing_nodes.items():
        bgp = replace(one.spec.bgp, ipv6_address=one.status.ipv6_address)
        nodes[name] = replace(one, spec=replace(one.spec, bgp=bgp), status=RoutingNodeStatus(tunnels=("tp-vx6-4096",)))
    world = replace(world, routing_nodes=nodes)
    assert not made.look()
    assert made.judge(world, sent=1500) == {}
    assert not made.look()
    assert asked == []
    told = 1
    for _ in range(2):
        assert not made.look()
        assert asked == [set(takes)]
    told, takes[ip_address("fd00::2")] = 2, 1400
    assert made.look()
    assert made.judge(world, sent=1500) == {"b": 1400}
    assert made.judge(world, sent=1400) == {}
    made.judge(world, sent=1500)
    assert not made.look()
    takes[ip_address("fd00::2")] = 1500
    assert made.look()
    assert made.judge(world, sent=1500) == {}
    assert made.judge(world, sent=None) == {}
    assert not made.look()

"""VXLAN among thousands of nodes: devices, neighbours, forwarding entries and routes from nothing, and for one node more.

Measured is what brings the kernel to what is planned, as the agent does it; the plan itself apart.
"""

import asyncio
import resource
import statistics
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.rig import rig
from towpath.lab.netns import Host
from towpath.model.cluster import Cluster, IPAMBlock, IPPool, RoutingNode
from towpath.model.kinds.ipam import IPAMBlockSpec, IPPoolSpec
from towpath.model.kinds.node import NodeBGP, RoutingNodeSpec
from towpath.model.net import block_name
from towpath.model.resource import Meta
from towpath.routes.devices.devices import Devices
from towpath.routes.devices.plan import TunnelPlan, tunnel_plan
from towpath.routes.programmer import Programmer, Settings

COUNTS = (1_000, 5_000)
MORE = 7
_BLOCKS, _NODES = IPv4Address("10.0.0.0"), IPv4Address("172.16.0.1")


def tunnels(counts: tuple[int, ...] = COUNTS) -> Iterator[Result]:
    """Seconds from nothing, milliseconds for one node more (the median of some), of the plan likewise; MB."""
    for count in counts:
        with rig() as here:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            cold, more, planned = asyncio.run(_kept(here.dut, count))
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        yield alone(f"tunnels to {count} nodes, from nothing", ours=cold, unit="s")
        yield alone(f"tunnels, one more of {count}", ours=1000 * more, unit="ms")
        yield alone(f"tunnels, plan of one more of {count}", ours=1000 * planned, unit="ms")
        yield alone(f"tunnels to {count} nodes, memory", ours=grown / 1024, unit="MB")


async def _kept(host: Host, count: int) -> tuple[float, float, float]:
    devices, programmer = Devices(), Programmer()
    with host.entered():
        await devices.start()
        await programmer.start()
    cluster = _more(Cluster(pools={"v4": _POOL}), range(count + 1))
    plan = tunnel_plan(cluster, "node-0")
    cold = await _brought(devices, programmer, plan)
    more, planned = [], []
    for number in range(count + 1, count + 1 + MORE):
        cluster = _more(cluster, range(number, number + 1))
        began = time.perf_counter()
        plan = tunnel_plan(cluster, "node-0")
        planned.append(time.perf_counter() - began)
        more.append(await _brought(devices, programmer, plan))
    devices.close()
    programmer.close()
    return cold, statistics.median(more), statistics.median(planned)


async def _brought(devices: Devices, programmer: Programmer, plan: TunnelPlan) -> float:
    """Seconds until all of a plan is in the kernel."""
    began = time.perf_counter()
    await devices.desire(plan.devices, plan.entries, complete=True)
    programmer.desire(plan.routes, settings=Settings())
    while programmer.status().installed < len(plan.routes):  # noqa: ASYNC110
        await asyncio.sleep(0.0005)  # the loop works meanwhile
    took = time.perf_counter() - began
    await asyncio.sleep(0.2)
    return took


_POOL = IPPool("IPPool", Meta("v4"), IPPoolSpec(IPv4Network("10.0.0.0/8"), vxlan_mode="Always"))


def _more(cluster: Cluster, numbers: range) -> Cluster:
    """With further nodes, a block each; the others are the same objects."""
    blocks, nodes = dict(cluster.blocks), dict(cluster.routing_nodes)
    for number in numbers:
        name, cidr = f"node-{number}", IPv4Network((_BLOCKS + 64 * number, 26))
        blocks[block_name(cidr)] = IPAMBlock("IPAMBlock", Meta(block_name(cidr)), IPAMBlockSpec(cidr, name, pool="v4"))
        spec = RoutingNodeSpec(NodeBGP(ipv4_address=IPv4Interface(f"{_NODES + number}/12")))
        nodes[name] = RoutingNode("RoutingNode", Meta(name), spec)
    return Cluster(pools=cluster.pools, blocks=blocks, routing_nodes=nodes)

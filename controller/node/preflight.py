"""The machine under the agent, looked at now and then, and judged by what the objects ask of this node."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from towpath.controller.node.gate import families
from towpath.controller.node.narrow import Narrow
from towpath.controller.secrets import references
from towpath.ipam.attachment import attached_to
from towpath.model.blocks import node_addresses
from towpath.model.cluster import Cluster
from towpath.model.net import Address
from towpath.model.reason import Refusal
from towpath.routes.devices.plan import mtu_below
from towpath.routes.kernel import LinkAddress
from towpath.routes.machine import look
from towpath.routes.preflight import Machine, Wanted, devices_with, pod_mtu, problems

EVERY = 30.0
"""Seconds between two looks: what is looked at, people change."""


class Preflight:
    """``addresses``: those of this node's devices, as the programmer has them."""

    def __init__(
        self,
        node: str,
        *,
        proc_sys: Path,
        host_root: Path,
        addresses: Callable[[], Iterable[LinkAddress]],
        interfaces: Callable[[Cluster], Iterable[str]],
        overhead: Callable[[], int] = lambda: 0,
    ) -> None:
        """``interfaces``: those by which peers and other nodes are reached; ``overhead``: bytes that packets of pods grow by in tunnels."""
        self._node = node
        self._proc_sys = proc_sys
        self._host_root = host_root
        self._addresses = addresses
        self._interfaces = interfaces
        self._overhead = overhead
        self._machine = Machine()
        self._narrow = Narrow(node)

    async def look(self) -> bool:
        """Look at the machine, in a thread; whether it is other than before."""
        before = self._machine
        self._machine = await asyncio.to_thread(look, proc_sys=self._proc_sys, host=self._host_root)
        return await asyncio.to_thread(self._narrow.look) or self._machine != before

    def mtu(self, cluster: Cluster) -> int | None:
        """The MTU that pods get; None: no device of this node's addresses is known."""
        return pod_mtu(self._devices(cluster), overhead=self._overhead())

    def mtu_below(self, cluster: Cluster) -> int | None:
        """The MTU of the network that tunnels go through."""
        return pod_mtu(self._devices(cluster))

    def problems(self, cluster: Cluster) -> tuple[Refusal, ...]:
        """What people have to see to."""
        wanted = Wanted(
            node=self._node,
            families=families(cluster, self._node),
            bridged=attached_to(cluster, self._node).attachment.type == "bridge",
            passwords=bool(references(cluster)),
            device_mtus=self._devices(cluster),
            neighbours=self._neighbours(cluster),
            overhead=self._overhead(),
            narrow=self._narrow.judge(cluster, sent=self.mtu_below(cluster)),
        )
        return problems(self._machine, wanted)

    def _own(self, cluster: Cluster) -> list[Address]:
        own = cluster.routing_nodes.get(self._node)
        return [interface.ip for interface in node_addresses(own).values()] if own is not None else []

    def _devices(self, cluster: Cluster) -> dict[str, int]:
        names = dict(socket.if_nameindex())
        on = {one.local: names[one.index] for one in self._addresses() if one.index in names}
        return devices_with(self._own(cluster), on=on, beside=self._interfaces(cluster), mtus=self._machine.mtus)

    def _neighbours(self, cluster: Cluster) -> dict[str, int]:
        """Nodes with an address in the subnet of one of ours, and what their pods would get with the tunnels of this node."""
        own = set(self._own(cluster))
        subnets = [one.subnet.network for one in self._addresses() if one.local in own]
        found: dict[str, int] = {}
        for name, node in cluster.routing_nodes.items():
            below = mtu_below(node)
            if name == self._node or below is None:
                continue
            if any(one.ip in subnet for one in node_addresses(node).values() for subnet in subnets):
                # a pool that begins to encapsulate is no mistake of the network's, though some nodes are sooner than others
                found[name] = below - self._overhead()
        return found

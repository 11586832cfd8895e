"""What the agent of a node is composed of, as it sees them: where its picture comes from, kernel, speaker and CNI."""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from towpath.bgp.services import Entries
from towpath.controller.kindstore import Problem
from towpath.controller.node.gate import Addressing
from towpath.controller.node.living import Living
from towpath.model.cluster import Cluster
from towpath.model.kinds.node import BlockReport, RouteReport, RoutingNodeStatus
from towpath.model.links import NodeLink
from towpath.model.net import Address, Interface, Prefix
from towpath.model.reason import Refusal, Why
from towpath.model.speaker import Report, SpeakerState
from towpath.model.workload import Workload
from towpath.routes.devices.device import Link
from towpath.routes.ruleset import Rules
from towpath.routes.shim import Shim


class Source(Protocol):
    """The store that follows the cluster, or the folder."""

    @property
    def complete(self) -> bool:
        """Whether every kind has been listed once."""

    def unreachable_for(self) -> float:
        """Seconds without any answer; 0 while the answer is fresh."""

    def cluster(self) -> Cluster:
        """The present picture."""

    def problems(self) -> tuple[Problem, ...]:
        """Objects that were not accepted and lists that were not believed."""


Taken = Mapping[Address, Address | None]
"""The node's own addresses in tunnels that pods have, each with what it sends with meanwhile; None: with nothing of use."""


class KernelState(Struct, frozen=True):
    """What the programmer says of the kernel."""

    in_sync: bool
    routes: RouteReport
    problems: tuple[Refusal, ...]


class Kernel(Protocol):
    """The routes of this node, and the addresses that are its own without a device."""

    @property
    def started(self) -> bool:
        """Whether the kernel was read."""

    async def start(self) -> None:
        """Read the kernel; ``OSError``: try again."""

    async def desire(self, cluster: Cluster, *, live: bool, taken: Taken) -> None:
        """The tunnels and routes that objects give. Not ``live``: no blackhole is added, and nothing is deleted.

        ``OSError``: try again.
        """

    def blackholed(self, prefixes: Iterable[Prefix]) -> frozenset[Prefix]:
        """Those of the prefixes that the kernel drops, because of us, where no pod takes them."""

    def state(self) -> KernelState:
        """As it stands."""

    def own_addresses(self) -> tuple[Address, ...]:
        """All addresses on this node's devices."""

    def gateways(self) -> tuple[Address, ...]:
        """Gateways of this node's default routes."""

    def routers(self) -> Mapping[str, Address]:
        """Routers that were found at the ends of interfaces, by interface."""

    def tunnels(self) -> tuple[Link, ...]:
        """What the tunnel devices that stand take packets by, those that are not wanted any more included."""

    def underlay(self, cluster: Cluster) -> Collection[str]:
        """The interfaces by which other nodes are reached."""

    def severed(self) -> tuple[str, ...]:
        """Names of sessions whose interface has no carrier."""

    def found(self, cluster: Cluster) -> RoutingNodeStatus | None:
        """This node's addresses as the kernel has them, with prefix length."""


class Tunnelled(Protocol):
    """Somebody who is told which devices of ours stand, and by which interfaces their packets leave."""

    def __call__(self, names: Collection[str], /, *, below: Collection[str]) -> None:
        """The present ones."""


class Services(Protocol):
    """What is known of services and their endpoints."""

    def want(self, entries: Entries) -> None:
        """These ranges are announced; without any, services are not followed."""

    @property
    def settled(self) -> bool:
        """Whether it is known what there is, or that it cannot be known."""

    def routes(self) -> Mapping[Prefix, tuple[Why, ...]]:
        """The prefixes that this node announces, and why: the same object as before while nothing changed."""


class Workloads(Protocol):
    """The pods of this node that may be peered with."""

    @property
    def settled(self) -> bool:
        """Whether it is known what pods there are, or that it cannot be known."""

    @property
    def workloads(self) -> Mapping[str, Workload]:
        """By namespace and name: the same object as before while nothing changed."""


class Inhabitants(Protocol):
    """The pods of this node that have addresses of their own."""

    @property
    def settled(self) -> bool:
        """Whether it is known what pods there are, or that it cannot be known."""

    @property
    def living(self) -> Collection[Living] | None:
        """All of them; None where it is not known."""


class Firewall(Protocol):
    """Our own table of packet filters."""

    async def desire(self, rules: Rules) -> str:
        """Do what these rules say; why no source is translated although they say so. ``OSError``: try again."""


class Speaker(Protocol):
    """The link to the speaker."""

    @property
    def connected(self) -> bool:
        """Whether a speaker is there."""

    @property
    def report(self) -> Report | None:
        """Its latest report in this connection."""

    def tell(self, state: SpeakerState) -> None:
        """What it should be doing; whether the kernel's routes outlived its last instance (the F-bit) is filled in."""


class Pods(Protocol):
    """The CNI configuration and what it has given out."""

    def served(self, blocks: Iterable[Prefix]) -> frozenset[Prefix]:
        """Those of the blocks that the configuration of this boot has."""

    def in_use(self, blocks: Iterable[Prefix]) -> frozenset[Prefix]:
        """Those of the blocks that a pod has an address of."""

    def addresses(self) -> Collection[Address]:
        """The addresses that pods have on the network of all pods."""

    @property
    def standing(self) -> bool:
        """Whether there is a configuration of ours in this boot, so that pods of before it matter no more."""

    @property
    def heeding(self) -> bool:
        """Whether something is to be done when pods of before come to be known, or go."""

    def take_over(self, cluster: Cluster) -> bool:
        """Give no pod what others have of this node's blocks since before they were served; whether it is done.

        ``OSError``: try again.
        """

    def hold(self, addresses: Collection[Address]) -> frozenset[Address]:
        """Give these to no pod, for they are the node's own; those of them that pods have. ``OSError``: try again."""

    def spare(self, cluster: Cluster, block: Prefix, *, fresh: bool) -> Address | None:
        """An address of a block that the node may have itself: the one that is held for it already, else, if ``fresh``, a free one."""

    def attached_otherwise(self, cluster: Cluster, blocks: Collection[Prefix]) -> frozenset[Prefix]:
        """Those of the blocks in which pods live that were attached in another way than new ones would be."""

    def desire(self, cluster: Cluster, addressing: Addressing) -> bool:
        """Write the configuration where it differs; whether the disk took all that is wanted."""

    @property
    def problems(self) -> tuple[Refusal, ...]:
        """What people have to see to: disks, plugins, other networks."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """What keeps pods from starting although the blocks are there."""

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What pools ask of pods on this node and do not get."""

    def usage(
        self, cluster: Cluster, blocks: Collection[Prefix], *, draining: Collection[Prefix], idle: Collection[Prefix]
    ) -> tuple[BlockReport, ...]:
        """How full each block is; of ``idle`` ones nothing is free."""


class PodBridge(Protocol):
    """The segment that pods share where they are attached to one. ``OSError``: try again."""

    def desire(self, gateways: Collection[Interface], *, mtu: int | None) -> None:
        """The device is there, with these addresses; its ports stay."""

    def dismiss(self) -> None:
        """Remove the device unless pods hang on it."""

    def seen(self) -> object:
        """How it stands: another value where it is to be looked at again."""


class PodShim(Protocol):
    """The node's own device beside those of its pods, where they are on its network. ``OSError``: try again."""

    def links(self) -> Mapping[str, NodeLink]:
        """The node's interfaces by name."""

    def knows(self, kind: str) -> bool:
        """Whether the kernel has devices of a kind."""

    def desire(self, wanted: Shim | None) -> None:
        """The device is as wanted, with its routes; None: there is none."""

    def seen(self) -> object:
        """How it stands: another value where it is to be looked at again."""

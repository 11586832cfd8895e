"""What the agent of a node is composed of, as it sees them: where its picture comes from, kernel, speaker and CNI."""

from collections.abc import Collection, Mapping
from typing import Protocol

from msgspec import Struct

from towpath.controller.node.gate import Addressing
from towpath.model.cluster import Cluster
from towpath.model.kinds.node import BlockReport, RouteReport, RoutingNodeStatus
from towpath.model.net import Address, Prefix
from towpath.model.reason import Refusal
from towpath.model.speaker import Report, Session, SpeakerState


class Source(Protocol):
    """The store that follows the cluster, or the folder."""

    @property
    def complete(self) -> bool:
        """Whether every kind has been listed once."""

    @property
    def last_contact(self) -> float | None:
        """When somebody answered last, on the event loop's clock; None: never."""

    def cluster(self) -> Cluster:
        """The present picture."""

    def problems(self) -> tuple[Refusal, ...]:
        """Objects that were not accepted and lists that were not believed."""


class KernelState(Struct, frozen=True):
    """What the programmer says of the kernel."""

    blackholes: frozenset[Prefix]
    """Blackhole routes of ours that are in the kernel."""
    in_sync: bool
    routes: RouteReport
    problems: tuple[Refusal, ...]


class Kernel(Protocol):
    """The routes of this node, through the programmer."""

    async def start(self) -> bool:
        """Read the kernel; whether routes of ours were found in it."""

    async def desire(self, cluster: Cluster, *, live: bool, sessions: Mapping[str, Session]) -> None:
        """The routes that objects give. Not ``live``: no blackhole is added, and nothing is deleted. ``OSError``: try again."""

    def state(self) -> KernelState:
        """As it stands."""

    def own_addresses(self) -> tuple[Address, ...]:
        """All addresses on this node's devices."""

    def severed(self) -> tuple[str, ...]:
        """Names of sessions whose interface has no carrier."""

    def found(self, cluster: Cluster) -> RoutingNodeStatus | None:
        """This node's addresses as the kernel has them, with prefix length."""


class Speaker(Protocol):
    """The link to the speaker."""

    @property
    def connected(self) -> bool:
        """Whether a speaker is there."""

    @property
    def report(self) -> Report | None:
        """Its latest report in this connection."""

    def desire(self, state: SpeakerState) -> None:
        """What it should be doing; differences are sent."""


class Pods(Protocol):
    """The CNI configuration and what it has given out."""

    def desire(self, cluster: Cluster, addressing: Addressing) -> bool:
        """Write the configuration where it differs; whether there is one. ``OSError``: try again."""

    def usage(self, blocks: Collection[Prefix], *, draining: Collection[Prefix]) -> tuple[BlockReport, ...]:
        """How full each block is."""

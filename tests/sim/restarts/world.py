"""A node whose parts die, and its peers: the agent's steps, the link, the speaker's table, and helpers that keep routes.

Processes are values here, and what happens between them happens one piece at a time, in whatever order a test says.
"""

import asyncio
from ipaddress import ip_address, ip_interface

import msgspec

from tests.unit.agent.test_node import Kernel, Parts, Pods, Workloads, no_services
from tests.unit.agent.worlds import FakeApi, cluster
from tests.unit.bgp_table.test_outbound import messages
from tests.unit.bgp_table.world import END
from towpath.bgp.ports import Loss, LossKind, Negotiated, PeerRestart
from towpath.bgp.table import Table
from towpath.bgp.update import multiprotocol, prefixes, split
from towpath.controller.node.agent import NodeAgent
from towpath.controller.secrets import Passwords
from towpath.model.cluster import BGPPeer, Cluster, RoutingNode
from towpath.model.kinds.node import NodeBGP, RoutingNodeSpec
from towpath.model.kinds.peer import BGPPeerSpec
from towpath.model.kinds.values import ASNumber, PeerIP
from towpath.model.net import Family, Prefix, family_of, from_wire
from towpath.model.resource import Meta
from towpath.model.speaker import Session, SpeakerState, apply_state, diff_state

OWN = {Family.IPV4: ip_address("10.0.0.1"), Family.IPV6: ip_address("fd00::1")}


def picture() -> Cluster:
    """Nodes a and b with a block of each family, and a router."""
    router = BGPPeerSpec(peer_ip=PeerIP(ip_address("10.0.0.254"), None), as_number=ASNumber(65000))
    nodes = {
        name: RoutingNode(
            kind="RoutingNode",
            meta=Meta(name=name),
            spec=RoutingNodeSpec(
                bgp=NodeBGP(ipv4_address=ip_interface(f"10.0.0.{n}/24"), ipv6_address=ip_interface(f"fd00::{n}/64"))
            ),
        )
        for n, name in enumerate(("a", "b"), 1)
    }
    peers = {"tor": BGPPeer(kind="BGPPeer", meta=Meta(name="tor"), spec=router)}
    return cluster(peers=peers, routing_nodes=nodes)


class Helper:
    """A peer as RFC 4724 has it, and BIRD: stale routes go with End-of-RIB, and when the session is lost before that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.routes: dict[Prefix, tuple[bytes, bytes]] = {}
        self.stale: set[Prefix] = set()
        self.up = False
        self.moved: list[str] = []
        """Routes that were deleted or replaced, and why."""

    def hear(self, stream: bytes) -> None:
        """UPDATEs of the session."""
        for body in messages(stream):
            withdrawn, block, announced = split(body)
            parts = multiprotocol(block)
            for family, end in END.items():
                if body == end:
                    self._drop({one for one in self.stale if family_of(one) is family}, "End-of-RIB without it")
            for wire in prefixes(Family.IPV4, withdrawn):
                self._drop({from_wire(Family.IPV4, wire)}, "withdrawn")
            for wire in prefixes(Family.IPV6, parts.unreach.packed if parts.unreach else b""):
                self._drop({from_wire(Family.IPV6, wire)}, "withdrawn")
            for wire in prefixes(Family.IPV4, announced):
                self._learn(from_wire(Family.IPV4, wire), (parts.rest, b""))
            if parts.reach is not None:
                for wire in prefixes(Family.IPV6, parts.reach.packed):
                    self._learn(from_wire(Family.IPV6, wire), (parts.rest, parts.reach.next_hop))

    def lost(self) -> None:
        """The connection is gone."""
        if self.up:
            self._drop(set(self.stale), "lost again before it was told again")
            self.stale = set(self.routes)
            self.up = False

    def _learn(self, prefix: Prefix, how: tuple[bytes, bytes]) -> None:
        if self.routes.get(prefix, how) != how:
            self.moved.append(f"{prefix} replaced")
        self.routes[prefix] = how
        self.stale.discard(prefix)

    def _drop(self, gone: set[Prefix], why: str) -> None:
        for prefix in sorted(gone & self.routes.keys(), key=str):
            self.moved.append(f"{prefix} deleted: {why}")
            del self.routes[prefix]
        self.stale -= gone


class Process:
    """A speaker: its table and how far each session is."""

    def __init__(self) -> None:
        self.table = Table(kick=lambda _: None, clock=asyncio.get_running_loop().time)
        self.state: SpeakerState | None = None
        self.confirmed: dict[str, Negotiated] = {}
        """Sessions that the peer has and we have not."""
        self.up: set[str] = set()


class Node:
    """Agent and speaker of node a, each there or dead; kernel, disk and peers outlive them."""

    def __init__(self, *, disk: bool) -> None:
        self.cluster = picture()
        self.disk = self.cluster if disk else None
        self.standing: set[Prefix] = set()
        self.answers = True
        """The API server is there."""
        self.helpers: dict[str, Helper] = {}
        self.parts: Parts | None = None
        self.agent: NodeAgent | None = None
        self.speaker: Process | None = None
        self.busy = False
        self.sent: SpeakerState | None = None

    # processes

    async def start_agent(self) -> None:
        """Start it unless it runs."""
        if self.agent is None:
            self.parts = Parts()
            self.parts.present, self.parts.standing = self.cluster, self.standing
            self.parts.complete, self.parts.away = self.answers, 0.0 if self.answers else 1.0
            self.agent = NodeAgent(
                "a",
                source=self.parts,
                kernel=Kernel(self.parts),
                speaker=self.parts,
                pods=Pods(),
                workloads=Workloads(),
                services=no_services(),
                firewall=self.parts.firewall,
                passwords=Passwords(FakeApi(), namespace="ns", file=None),
                saved=self.disk,
                alone=False,
            )

    def kill_agent(self) -> None:
        """It is gone, and what it knew."""
        if self.parts is not None:
            self.standing = self.parts.standing
        self.agent = self.parts = None
        self._unlink()

    async def step(self, *, busy: bool = False) -> None:
        """One step of the agent; what it has seen of the API is on disk afterwards.

        A ``busy`` kernel has no new blackhole when the step ends; two in a row is not what an agent waits for.
        """
        if self.agent is not None and self.parts is not None:
            self.busy = self.parts.refuses = busy and not self.busy
            self.parts.complete = self.parts.complete or self.answers
            self.parts.away = 0.0 if self.answers else self.parts.away + 1.0
            await self.agent.step()
            if self.agent.picture is not None and self.agent.picture.live:
                self.disk = self.agent.picture.cluster

    async def start_speaker(self) -> None:
        """Start it unless it runs."""
        self.speaker = self.speaker or Process()

    def kill_speaker(self) -> None:
        """It is gone, and its connections."""
        self.speaker = None
        self._unlink()
        for helper in self.helpers.values():
            helper.lost()

    # the link

    def _unlink(self) -> None:
        self.sent = None

    async def deliver(self) -> None:
        """The link takes what the agent wants of the speaker now; a new connection is given the whole."""
        wanted = self.agent.state if self.agent is not None else None
        if self.speaker is None or wanted is None:
            return
        wanted = msgspec.structs.replace(
            wanted, settings=msgspec.structs.replace(wanted.settings, forwarding_preserved=True)
        )
        if self.sent is None or self.speaker.state is None:
            state = wanted
        else:
            state = apply_state(self.speaker.state, diff_state(self.sent, wanted))
        self.sent = wanted
        before, self.speaker.state = self.speaker.state, state
        for name in (before.sessions if before else {}).keys() - state.sessions.keys():
            self.lose(name)
        self.speaker.table.apply(state)
        for name in state.sessions:
            self.helpers.setdefault(name, Helper(name))

    # sessions

    async def come_up(self, number: int) -> None:
        """One session comes one piece on: the peer has it, with what is behind our KEEPALIVE; then we have it."""
        speaker = self.speaker
        if speaker is None or speaker.state is None or not speaker.state.sessions:
            return
        name = sorted(speaker.state.sessions)[number % len(speaker.state.sessions)]
        helper = self.helpers[name]
        if name in speaker.confirmed:
            speaker.table.established(name, speaker.confirmed.pop(name))
            speaker.up.add(name)
        elif name not in speaker.up:
            negotiated = speaker.confirmed[name] = negotiate(speaker.state.sessions[name])
            helper.up = True
            helper.hear(speaker.table.opening(name, negotiated, 65536))

    async def talk(self, limit: int) -> None:
        """What sessions that are up have to say goes out."""
        if self.speaker is not None:
            for name in self.speaker.up:
                self.helpers[name].hear(self.speaker.table.pull(name, limit))

    def lose(self, name: str) -> None:
        """A connection ends, whatever state it is in."""
        if self.speaker is None:
            return
        if name in self.speaker.up:
            self.speaker.table.lost(name, Loss(LossKind.CONNECTION))
        self.speaker.up.discard(name)
        self.speaker.confirmed.pop(name, None)
        self.helpers[name].lost()

    async def lose_one(self, number: int) -> None:
        """One of the connections ends."""
        if self.helpers:
            self.lose(sorted(self.helpers)[number % len(self.helpers)])

    # the whole

    async def settle(self) -> None:
        """Everything that runs, or is started, has its way."""
        self.answers = True
        await self.start_agent()
        await self.start_speaker()
        for _ in range(3):
            await self.step()
            await self.deliver()
            for number in range(2 * len(self.helpers)):
                await self.come_up(number // 2)
            await self.talk(65536)

    @property
    def moved(self) -> dict[str, list[str]]:
        """What peers saw move."""
        return {name: helper.moved for name, helper in self.helpers.items() if helper.moved}


def negotiate(session: Session) -> Negotiated:
    """What two OPENs with graceful restart agree on."""
    family = family_of(session.peer_address)
    return Negotiated(
        families=(family,),
        peer_router_id=1,
        peer_as=session.remote_as,
        local_as=session.local_as,
        local_address=OWN[family],
        peer_address=session.peer_address,
        hold_time=90,
        four_octet_as=True,
        message_size=4096,
        restart=PeerRestart(120, restarting=False, notification=True, preserved=(family,), families=(family,)),
    )

"""Speaker and kernel of one node, joined: what the speaker selected goes straight to the programmer.

This is the hot path through the agent; it waits for no step. The bridge is also what the steps see of both sides.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import ip_interface
from pathlib import Path
from typing import assert_never

import msgspec
import structlog

from towpath.bgp.link import LinkClient
from towpath.controller.node.endpoints import without_more
from towpath.controller.node.given import given_routes, local_routes
from towpath.controller.node.leading import Leading
from towpath.controller.node.parts import KernelState, Taken, Tunnelled
from towpath.controller.node.routers import RoutersFile
from towpath.controller.node.underlay import Seen, Underlay, refused_devices, silent_ends
from towpath.model.blocks import node_addresses
from towpath.model.cluster import Cluster
from towpath.model.kinds.node import RouteReport, RoutingNodeStatus
from towpath.model.net import Address, Family, Prefix, zone_of
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.speaker import (
    FromSpeaker,
    Hello,
    NextHopInterest,
    Notice,
    Report,
    Routes,
    SpeakerState,
    Sync,
    Whole,
    Withdrawn,
)
from towpath.routes import local
from towpath.routes.devices.device import Link
from towpath.routes.devices.devices import Devices
from towpath.routes.devices.plan import TunnelPlan, tunnel_plan
from towpath.routes.discovery.finder import Finder
from towpath.routes.kernel import LinkAddress
from towpath.routes.plan import unprogrammed
from towpath.routes.programmer import Programmer, Settings
from towpath.routes.route import StaticRoute

log = structlog.get_logger()
_SETTLES_WITHIN = 0.5
"""Seconds that a step waits for its blackholes; after that it goes on and is run again."""


class Bridge:
    """Both sides of one node. ``changed``: a step should look again; ``reported``: a status should; ``moved``: the network below is another."""

    def __init__(
        self,
        node: str,
        *,
        socket: Path,
        routers: Path,
        share: bool,
        mtu: Callable[[Cluster], int | None],
        tunnelled: Tunnelled,
        changed: Callable[[], None],
        moved: Callable[[], None],
        reported: Callable[[], None],
        noticed: Callable[[Notice], None],
    ) -> None:
        """``routers``: the file that keeps who was found at the ends of interfaces. ``share``: see ``Programmer``.

        ``mtu``: that of the network that tunnels go through. ``tunnelled`` is told which tunnels stand, before others are.
        """
        self._node = node
        self._changed = changed
        self._reported = reported
        self._noticed = noticed
        self._link = LinkClient(socket, received=self._frame, disconnected=self._disconnected)
        self._programmer = Programmer(
            on_metrics=self._metrics,
            on_severed=self._severed_now,
            on_gateways=changed,
            on_change=self._programmed,
            on_links=self._links_changed,
            share=share,
        )
        self._devices = Devices(changed=self._devices_changed)
        self._mtu = mtu
        self._tunnelled = tunnelled
        self._moved = moved
        self._underlay = Underlay(node, self._programmer.resolver)
        self._below: Seen = frozenset()
        """What the last step was made from of the network below."""
        self._guarded: tuple[Link, ...] = ()
        """The tunnels that stood when a step was last asked to look at them."""
        self._tunnels = TunnelPlan()
        self._finder = Finder(found=self._found_router, own=self._own_on_links, index=self._programmer.resolver.named)
        self._routers = RoutersFile(routers)
        self._severed: frozenset[str] = frozenset()
        self._asked: SpeakerState | None = None
        """What the node wants the speaker to do, and ``_told`` what was made of it for the speaker."""
        self._told: SpeakerState | None = None
        self._given: tuple[Cluster, object, Mapping[Prefix, StaticRoute]] | None = None
        """The routes that the objects of the last picture give, and what else they were made from."""
        self._instance: str | None = None
        self._preserved = False
        """Whether the kernel held routes of ours when this instance of the speaker began: the F-bit of its first OPENs."""
        self._live = self._synced = False
        self._reach: dict[Address, int | None] = {}
        self._leading = Leading()
        self._near: frozenset[Address] = frozenset()
        """Next hops at which neighbours are themselves."""
        self._awaited: frozenset[Prefix] = frozenset()
        """Blackholes that are wanted and were not in the kernel yet."""
        self._settled = asyncio.Event()
        self.report: Report | None = None
        self.started = False

    async def start(self) -> None:
        """Read the kernel, then listen to the speaker."""
        self._finder.recall(self._routers.load())
        await self._devices.start()
        self._guarded = self.tunnels()  # as the first step finds them
        self._preserved = await self._programmer.start()
        await self._link.start()
        self.started = True

    async def stop(self) -> None:
        """Let go of both; everything stays as it is."""
        self._finder.close()
        await self._link.stop()
        self._programmer.close()
        self._devices.close()

    # -- the speaker's side ---------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the speaker is there."""
        return self._link.connected

    def tell(self, state: SpeakerState) -> None:
        """What the speaker should be doing; the same object as before costs nothing."""
        if (
            state is self._asked
            and self._told is not None
            and self._preserved == self._told.settings.forwarding_preserved
        ):
            return
        self._asked = state
        peers = {one.name: one.peer_address for one in state.sessions.values() if one.state == "Active"}
        self._severed = self._programmer.carrier(peers)
        settings = msgspec.structs.replace(state.settings, forwarding_preserved=self._preserved)
        self._told = msgspec.structs.replace(state, settings=settings)
        self._link.desire(self._told)
        self._look_for_routers()

    def _look_for_routers(self) -> None:
        """Look on the interfaces of all sessions that have one; whose session is up stays as it is."""
        if self._asked is None:
            return  # nobody has said yet what is wanted: who was known before stays known
        sessions = self._asked.sessions.values()
        wanted = {one.name: one.interface for one in sessions if one.interface is not None and one.state == "Active"}
        if not wanted and not self._finder.routers:
            return
        up = {one.name for one in self.report.sessions if one.state == "Established"} if self.report else wanted
        interfaces: dict[str, bool] = {}
        for name, interface in wanted.items():
            interfaces[interface] = interfaces.get(interface, False) or name in up
        severed = {interface for name, interface in wanted.items() if name in self._severed}
        self._finder.desire(interfaces, severed=severed)
        self._routers.keep(self._finder.routers)

    def _greeted(self, instance: str) -> None:
        """A speaker is there. A fresh one beside an agent that runs on finds the kernel as its predecessor left it."""
        if self._instance not in (None, instance):
            self._preserved = self._programmer.status().installed > 0
            if self._asked is not None:
                self.tell(self._asked)
        self._instance = instance

    def _frame(self, frame: FromSpeaker) -> None:
        match frame:
            case Routes() | Withdrawn():
                self._programmer.learned(frame)
            case Whole():
                self._programmer.whole()
            case Sync():
                self._synced = frame.in_sync
                self._leading.hear(frame.heard)
                if frame.in_sync:
                    self._leading.trust()
                self._programmer.lead(self._leading.ways, near=self._near)
                self._programmer.heard(frame.heard)
                self._believe()
                self._reported()
            case NextHopInterest():
                self._near = frame.near
                self._leading.tell(frame.ways)
                self._programmer.lead(self._leading.ways, near=self._near)
                self._reach = self._programmer.metrics(frame.addresses)
                self._link.metrics(dict(self._reach), interfaces=self._programmer.interfaces())
            case Report():
                before, self.report = self.report, frame
                if before is None or _acted_on(before) != _acted_on(frame):
                    self._look_for_routers()
                    self._changed()
                else:
                    self._reported()
            case Notice():
                self._noticed(frame)
            case Hello():
                log.info("speaker.connected", instance=frame.instance)
                self.report, self._synced = None, False
                self._leading.begin()
                self._believe()
                self._programmer.begin()
                self._greeted(frame.instance)
                self._changed()
            case _ as never:
                assert_never(never)

    def _disconnected(self, reason: str) -> None:
        log.warning("speaker.lost", reason=reason, remedy="routes stay; connecting again")
        self.report, self._synced = None, False
        self._believe()
        self._reported()

    def _believe(self) -> None:
        """An absence counts only if the speaker is in sync and the objects are from the API."""
        self._programmer.synced(self._synced and self._live)

    # -- the kernel's side ----------------------------------------------------------------------------------------------

    async def desire(self, cluster: Cluster, *, live: bool, taken: Taken) -> None:
        """The tunnels and routes that objects give. Not ``live``: no address nor blackhole is added, and nothing is deleted."""
        configuration = cluster.bgp
        static = self._plan(
            cluster, taken if live else without_more(cluster, self._node, taken, has=self.own_addresses())
        )
        await self._devices.desire(self._tunnels.devices, self._tunnels.entries, complete=live)
        self._tunnelled(self._devices.names, below=self.underlay(cluster))
        blackholes = frozenset(prefix for prefix, route in static.items() if route.type == "blackhole")
        if not live:
            gone = blackholes - self._programmer.blackholed(blackholes)
            static = {prefix: route for prefix, route in static.items() if prefix not in gone}
            blackholes -= gone
        settings = Settings(
            metric=configuration.kernel_metric,
            ignored_interfaces=configuration.ignored_interfaces,
            excluded=unprogrammed(cluster),
        )
        self._programmer.desire(static, settings=settings, complete=live)
        own = [prefix.network_address for prefix in local_routes(cluster, self._node)]
        local.desire(own, complete=live)
        self._live = live
        self._believe()
        self._awaited = blackholes - self._programmer.blackholed(blackholes)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLES_WITHIN):
                while self._awaited:
                    self._settled.clear()
                    await self._settled.wait()

    def _plan(self, cluster: Cluster, taken: Taken) -> Mapping[Prefix, StaticRoute]:
        """The routes; made anew only where something is another than before."""
        beside = (taken, self._mtu(cluster), self._underlay.groups(cluster))
        self._below = self._underlay.seen(cluster)
        if self._given is None or self._given[0] is not cluster or self._given[1] != beside:
            self._tunnels = tunnel_plan(cluster, self._node, mtu=beside[1], without=taken, below=beside[2])
            self._given = (cluster, beside, given_routes(cluster, self._node, self._tunnels))
        return self._given[2]

    def _links_changed(self) -> None:
        """Most devices that come and go are those of pods: they are none of a step's business."""
        if self._given is not None and self._underlay.seen(self._given[0]) != self._below:
            self._moved()
            self._changed()

    def _devices_changed(self) -> None:
        self._reported()
        if self.tunnels() != self._guarded:
            self._guarded = self.tunnels()
            self._changed()

    def tunnels(self) -> tuple[Link, ...]:
        """What the tunnel devices that stand take packets by, those that are not wanted any more included."""
        return self._devices.links

    def overhead(self) -> int:
        """Bytes that packets of pods grow by in the tunnels of this node."""
        return max((device.link.overhead for device in self._tunnels.devices.values()), default=0)

    def blackholed(self, prefixes: Iterable[Prefix]) -> frozenset[Prefix]:
        """Those of the prefixes that the kernel drops, because of us, where no pod takes them."""
        return self._programmer.blackholed(prefixes)

    def state(self) -> KernelState:
        """How the kernel stands to what is wanted."""
        status, why = self._programmer.status(), Why("Node", self._node)
        return KernelState(
            in_sync=status.in_sync and self._synced,
            routes=RouteReport(desired=status.desired, installed=status.installed, conflicts=len(status.conflicts)),
            problems=(
                *(Refusal(one.reason, f"{one.prefix}: {one.message}", why) for one in status.conflicts),
                *(
                    Refusal(Reason.DISCOVERY_REFUSED, f"no router is looked for on {interface}: {said}", why)
                    for interface, said in self._finder.problems.items()
                ),
                *refused_devices(self._devices.problems, self._tunnels, node=why),
                *self._tunnels.refusals,
                *silent_ends(self._devices.silent, self._tunnels),
            ),
        )

    def own_addresses(self) -> tuple[Address, ...]:
        """All addresses of this node's devices; of link-local ones those of the interfaces that peers are looked for on."""
        addresses = {one.local for one in self._programmer.addresses() if not one.local.is_link_local}
        return tuple(sorted(addresses | self._own_on_links(), key=lambda one: (one.version, one.packed, zone_of(one))))

    def routers(self) -> Mapping[str, Address]:
        """Routers that were found, by interface."""
        return self._finder.routers

    def _own_on_links(self) -> frozenset[Address]:
        return self._programmer.link_local(self._finder.interfaces)

    def _found_router(self) -> None:
        self._routers.keep(self._finder.routers)
        self._changed()

    def gateways(self) -> tuple[Address, ...]:
        """Gateways of this node's default routes, others' routes alone."""
        return self._programmer.gateways()

    def interfaces(self, cluster: Cluster) -> Iterable[str]:
        """Those at whose ends peers are, and those by which other nodes are reached."""
        return {*self._finder.interfaces, *self.underlay(cluster)}

    def underlay(self, cluster: Cluster) -> Collection[str]:
        """Those by which other nodes are reached."""
        return self._underlay.interfaces(cluster)

    def link_addresses(self) -> Iterable[LinkAddress]:
        """The same with their devices and subnets."""
        return self._programmer.addresses()

    def severed(self) -> tuple[str, ...]:
        """Sessions whose interface has no carrier."""
        return tuple(sorted(self._severed))

    def found(self, cluster: Cluster) -> RoutingNodeStatus | None:
        """This node's addresses as the kernel has them; None where the node is not known."""
        routing_node = cluster.routing_nodes.get(self._node)
        if routing_node is None:
            return None
        wanted = {family: one.ip for family, one in node_addresses(routing_node).items()}
        seen = {
            one.local: ip_interface((one.local, one.subnet.network.prefixlen)) for one in self._programmer.addresses()
        }
        at = {family: seen.get(address) for family, address in wanted.items()}
        return RoutingNodeStatus(
            ipv4_address=at.get(Family.IPV4),
            ipv6_address=at.get(Family.IPV6),
            tunnels=self._devices.standing,
            lacks=self._devices.lacking,
        )

    def _metrics(self, metrics: Mapping[Address, int | None]) -> None:
        self._reach.update(metrics)
        self._link.metrics(dict(self._reach), interfaces=self._programmer.interfaces())

    def _severed_now(self, names: frozenset[str]) -> None:
        self._severed = names
        self._changed()

    def _programmed(self) -> None:
        """The programmer has come to rest. Steps look again only where they wait for a blackhole."""
        self._settled.set()
        self._devices.release()
        if self._awaited:
            self._awaited -= self._programmer.blackholed(self._awaited)
            if not self._awaited:
                self._changed()
        self._reported()


def _acted_on(report: Report) -> tuple[object, ...]:
    """What of a report a node does something about; the rest are numbers that it passes on."""
    standing = [(one.name, one.state) for one in report.sessions]
    return standing, report.foreign_paths, report.own_blocks, report.deaf, report.keyless

"""What lets pods have addresses: the CNI configuration of this boot, host-local's reserve on blocks that drain, and usage.

The configuration appears when every family with a pool for this node has a block and the plugins that it calls are there,
and stays: also when blocks run out or go, because a runtime without one cannot even delete pods. Where another network is
configured already it does not appear: who serves pods is for people to decide.
"""

import asyncio
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import structlog
from msgspec.structs import replace

from towpath.controller.node import parts
from towpath.controller.node.attaching import DeviceError, Segment, mtu_of, on_underlay
from towpath.controller.node.former import Former
from towpath.controller.node.gate import Addressing
from towpath.controller.node.ground import Grounds, by_node_of
from towpath.controller.node.kept import Kept
from towpath.controller.node.looks import look, mark, said
from towpath.controller.node.networks import Networks
from towpath.controller.node.records import Records
from towpath.ipam.allowance import Offer
from towpath.ipam.apart import Labels, kept_apart, pools_around, pools_here
from towpath.ipam.attachment import Attached, attached_to
from towpath.ipam.blocks import free
from towpath.ipam.cni import (
    EVERYBODY,
    PROGRAM,
    Places,
    called,
    conflist,
    ranges_of,
    served,
    standing,
    stands,
    strayed,
    subnet_of,
    waiting_in,
    write,
)
from towpath.ipam.hostlocal import HostLocal, Record
from towpath.ipam.neighbours import OtherNetwork, others
from towpath.ipam.plugins import Folders, Plugin, agreed
from towpath.ipam.reserved import reserved
from towpath.model.blocks import by_node, in_force, is_beside, pool_around
from towpath.model.cluster import Cluster
from towpath.model.encapsulation import own_endpoints
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.kinds.node import BlockReport
from towpath.model.net import Address, Prefix, block_name
from towpath.model.reason import Reason, Refusal, Why

log = structlog.get_logger()
_UNASKED = (
    f"{PROGRAM} does not exist, or is too old, and pools are for some pods only: none gets an address of these here"
)


class CNIPods:
    """The files of one node. ``mtu``: what its devices take, as the machine is now; None leaves it to the kernel."""

    def __init__(
        self,
        node: str,
        *,
        places: Places,
        plugins: Folders,
        bridge: parts.PodBridge,
        shim: parts.PodShim,
        networks: Path,
        before_first: Callable[[], None],
        former: Callable[[HostLocal], Former],
        mtu: Callable[[], int | None] = lambda: None,
        asking: Callable[[], frozenset[str]] = frozenset,
        namespaces: Callable[[], Mapping[str, Labels] | None] = dict,
    ) -> None:
        """``networks``: the folder for configurations of networks beside that of all pods.

        ``before_first`` is called before the first configuration of a boot is written, and ``OSError`` of it counts as one.
        ``asking``: the namespaces of pods that ask for addresses; ``namespaces``: the labels of all, where these matter, or None while they are not known.
        """
        self._node = node
        self._why = Why("Node", node)
        self._bridge = bridge
        self._grounds = Grounds(node, shim)
        self.networks = Networks(node, places=places, conf_dir=networks, grounds=self._grounds)
        self._before_first = before_first
        self._places = places
        self._folders = plugins
        self._mtu = mtu
        self._asking = asking
        self._namespaces = namespaces
        self.offer: Offer | None = None
        """What the node has to give, as of the last step that could tell."""
        self._unasked = ""
        """That pools for some pods only are of no use here."""
        self._plugins: tuple[Plugin, ...] | None = None
        """What the plugins said; None before they were asked."""
        self._refused: dict[str, str] = {}
        """What the disk refused last: a sentence for each thing that was to be written."""
        self._unattached = ""
        """What the kernel refused last of what pods hang on."""
        self._others: tuple[OtherNetwork, ...] = ()
        self._calls: frozenset[str] = called(conflist((), {}, data_dir=places.data_dir))
        """The plugins of the configuration that is wanted."""
        self._refusals: tuple[Refusal, ...] = ()
        """What pools ask of pods and do not get, as of the last step."""
        self._local = HostLocal(places.data_dir)
        self._records = Records(self._local)
        self._segment = Segment(self._records, bridge)
        self._kept = Kept(node, self._local)
        self._former = former(self._local)
        self._version = (0, 0)
        self._marks: tuple[tuple[int, tuple[str, ...]], ...] = ()
        self._seen: object = None

    async def look_at_plugins(self) -> bool:
        """Put missing plugins in place and ask all what they understand; whether it all went well.

        Programs are run, and that takes its time: in a thread.
        """
        looked = await asyncio.to_thread(look, self._folders)
        self._plugins = looked.plugins
        self._refused.pop("plugins", None)
        if looked.refused:
            self._refused["plugins"] = looked.refused
        return not looked.refused and not self._missing(self._calls | self.networks.calls)

    def changed(self) -> bool:
        """Whether pods came or went since this was asked last: nobody tells us, so the folder is looked at."""
        before, self._version = self._version, (self._local.version(), self.networks.version())
        return self._version != before

    def disturbed(self) -> bool:
        """Whether somebody has changed the folders of configurations or plugins, or what pods hang on, since this was asked last."""
        before = self._marks, self._seen
        self._marks = tuple(map(mark, (self._places.conf_dir, self.networks.conf_dir, self._folders.target)))
        self._seen = self._bridge.seen(), self._grounds.seen()
        return (self._marks, self._seen) != before

    def served(self, blocks: Iterable[Prefix]) -> frozenset[Prefix]:
        """Those of the blocks that the configurations of this boot have, whichever process wrote them."""
        starts = (*served(self._places), *self.networks.served())
        return frozenset(block for block in blocks if any(start in block for start in starts))

    def in_use(self, blocks: Iterable[Prefix]) -> frozenset[Prefix]:
        """Those of the blocks that a pod has an address of."""
        wanted = tuple(blocks)
        return self._records.in_use(wanted) | (self.networks.in_use(wanted) if wanted else frozenset())

    def addresses(self) -> Collection[Address]:
        """The addresses that pods have on the network of all pods."""
        return self._local.in_use()

    @property
    def socket(self) -> Path:
        """Where our program asks."""
        return self._places.socket

    def records(self) -> list[Record]:
        """Who has which address."""
        return self._local.records()

    @property
    def standing(self) -> bool:
        """Whether there is a configuration of ours in this boot."""
        return stands(self._places)

    @property
    def heeding(self) -> bool:
        """Whether something is to be done when pods of before come to be known, or go."""
        return not self.standing or self._former.heeding

    def take_over(self, cluster: Cluster) -> bool:
        """Give no pod what others have of this node's blocks since before they were served; whether it is done."""
        own = (one.spec for one in by_node(in_force(cluster.blocks)).get(self._node, ()))
        blocks = [spec.cidr for spec in own if not is_beside(spec, cluster.pools)]
        return self._former.take(cluster, blocks, served=self.served(blocks), first=not self.standing)

    def hold(self, addresses: Collection[Address]) -> frozenset[Address]:
        """Give these to no pod, for they are the node's own; those of them that pods have."""
        return self._local.hold(addresses)

    def spare(self, cluster: Cluster, block: Prefix, *, fresh: bool) -> Address | None:
        """An address of a block that the node may have itself: the one that is held for it already, else, if ``fresh``, a free one."""
        subnet = subnet_of(block, pool=self._subnet(cluster, block))
        ranges = free(block, pool=subnet, endpoint=True, kept=reserved(cluster.reservations))
        return self._local.spare(ranges, fresh=fresh)

    def desire(self, cluster: Cluster, addressing: Addressing) -> bool:
        """Bring the files to what the confirmed blocks say; whether all that is wanted was written."""
        self._kept.look(cluster)
        try:
            subnet = functools.partial(self._subnet, cluster)
            self._records.reserve(
                usable=addressing.usable,
                draining=addressing.draining,
                own=self._own(cluster),
                subnet=subnet,
                strayed=strayed(
                    self._places, own=self._own(cluster), offered=self.offer.ranges if self.offer is not None else ()
                ),
            )
            self.networks.reserve(cluster, addressing, own=self._own(cluster))
            self._refused.pop("records", None)
        except OSError as error:
            self._refused["records"] = f"host-local's records in {self._places.data_dir} refuse: {said(error)}"
        self._others = others(self._places)
        self._unattached = ""
        try:
            self._configure(cluster, addressing)
            self.networks.desire(cluster, addressing, plugins=self._plugins or ())
            self._refused.pop("configuration", None)
        except DeviceError as error:
            self._unattached = str(error)
        except OSError as error:
            self._refused["configuration"] = f"the CNI configuration cannot be written: {said(error)}"
        return not (self._refused or self._unattached)

    def _own(self, cluster: Cluster) -> list[Prefix]:
        """The blocks that this node may have pods in."""
        found = (one.spec for one in by_node(in_force(cluster.blocks)).get(self._node, ()))
        return [spec.cidr for spec in found if spec.state != "Quarantined"]

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What pools and reservations ask of pods on this node and do not get."""
        return (*self._refusals, *self._kept.refusals)

    @property
    def problems(self) -> tuple[Refusal, ...]:
        """What people have to see to: full or read-only disks, plugins that are not there, other networks."""
        missing = self._missing(self._calls | self.networks.calls)
        return (
            *(Refusal(Reason.DISK_REFUSED, message, self._why) for _, message in sorted(self._refused.items())),
            *((Refusal(Reason.KERNEL_REFUSED, self._unattached, self._why),) if self._unattached else ()),
            *(Refusal(Reason.PLUGIN_MISSING, message, self._why) for message in missing),
            *(Refusal(Reason.ADDRESS_OUTSIDE, message, self._why) for message in self._former.strangers),
            *((Refusal(Reason.PLUGIN_MISSING, self._unasked, self._why),) if self._unasked else ()),
            *(Refusal(Reason.PLUGIN_MISSING, one.older, self._why) for one in self._plugins or () if one.older),
            *(Refusal(Reason.OTHER_NETWORK_PLUGIN, self._besides(one), self._why) for one in self._others),
        )

    @property
    def lacking(self) -> tuple[str, ...]:
        """What keeps pods from starting although the blocks are there."""
        found = list(self._missing(called(standing(self._places)) or self._calls))
        if not stands(self._places):
            waiting = self._unattached or self._former.lacking or "the CNI configuration is not written yet"
            found.append(self._refused.get("configuration", waiting))
        elif any(one.first for one in self._others):
            found.append("another network's CNI configuration comes before ours")
        return tuple(found)

    def _besides(self, other: OtherNetwork) -> str:
        name = f"{other.file} configures the network {other.name or 'without a name'}"
        if not stands(self._places):
            return f"{name}: ours is not written while it is there, remove it to have pods in ours"
        if other.first:
            return f"{name}, and comes before ours: new pods are attached by it until it is removed"
        return f"{name}, and comes after ours: new pods are not attached by it, and it can be removed"

    def _configure(self, cluster: Cluster, addressing: Addressing) -> None:
        way = attached_to(cluster, self._node)
        with on_underlay():
            self._grounds.look(cluster)
        mtu, refusals = mtu_of(way, machine=self._mtu(), grounds=self._grounds)
        self._refusals = (*refusals, *self._grounds.refusals)
        self._calls = called(conflist((), {}, data_dir=self._places.data_dir, way=way.attachment))
        if self._plugins is None:
            return  # which version they understand is not known yet
        before, missing = called(standing(self._places)), self._missing(self._calls)
        if not before and (self._others or missing or not self._former.done):
            return  # pods would not work, work otherwise than people have them now, or get addresses of others
        if before and before != self._calls and (missing or not addressing.complete):
            self._wait_with(way, missing)
            self._segment.keep()
        else:
            self._segment.make_for(addressing.usable, bridged=way.attachment.type == "bridge", mtu=mtu)
        known = (*addressing.usable, *addressing.idle)
        lost = any(not any(start in cidr for cidr in known) for start in served(self._places))
        # while a family lacks its block, what stands is changed only to take away what is no longer ours
        if not (addressing.complete or (addressing.usable and lost)):
            return
        if missing and before != self._calls:
            return  # what stands works
        if way.attachment.by_master and not self._has_ground(cluster, addressing):
            return  # likewise, as far as anything does
        programs = [one for one in self._plugins if not one.trouble and one.name == PROGRAM]
        asks = {one.name for one in programs}
        around = pools_around(cluster, addressing.usable)
        for_all = [cidr for cidr in addressing.usable if cidr not in around or around[cidr].spec.is_common]
        made = functools.partial(
            conflist,
            pools=cluster.pools,
            data_dir=self._places.data_dir,
            way=way.attachment,
            versions=agreed([one for one in self._plugins if one.name in self._calls | asks]),
            mtu=mtu,
            endpoints=own_endpoints(cluster, self._node),
            grounds=self._grounds.grounds,
            by_node=by_node_of(cluster, self._node, self._grounds.grounds) if way.attachment.on_underlay else (),
            kept=self._kept.reserved,
            agent=self._places.socket if asks else None,
        )
        specs = {cidr: _spec(cluster, cidr) for cidr in addressing.usable}
        labels = self._namespaces()
        apart = (
            waiting_in(self._places) if labels is None else kept_apart(pools_here(cluster, self._node, specs), labels)
        )
        waiting = self._asking() | apart
        every = ranges_of(made(blocks=specs.values()))
        wanted = made(
            blocks=[specs[cidr] for cidr in for_all or specs],  # without any for all they are for those who ask alone
            waiting=waiting if for_all else {EVERYBODY},
            others=[one["rangeStart"] for one in every],
        )
        understands_all = any(not one.older for one in programs)
        self._unasked = "" if understands_all or (asks and for_all) or specs.keys() == set(for_all) else _UNASKED
        if not (understands_all or for_all):
            return  # everybody would get what is for some
        if not before:
            self._before_first()
        if write(wanted, self._places):
            log.info("cni.written", blocks=[str(cidr) for cidr in addressing.usable], file=str(self._places.link))
        self.offer = Offer(self._node, cluster, every)

    def attached_otherwise(self, cluster: Cluster, blocks: Collection[Prefix]) -> frozenset[Prefix]:
        """Those of the blocks in which pods live that were attached in another way than new ones would be.

        The node's own address in a block says that its pods hang on the bridge.
        """
        bridged = {one.network for one in self._local.gateways()}
        on_bridge = attached_to(cluster, self._node).attachment.type == "bridge"
        other = [block for block in blocks if (block in bridged) is not on_bridge]
        return self._records.in_use(other)

    def _wait_with(self, way: Attached, missing: Collection[str]) -> None:
        """Say why pods are still attached as before; what is missing of programs is told by itself."""
        if not missing:
            message = (
                f"new pods are attached as before there, until there is a block of each family without pods:"
                f" a block goes over to {way.attachment.type} as a whole"
            )
            why = Why("IPPool", way.pool, "spec.attachment.type")
            self._refusals = (*self._refusals, Refusal(Reason.ATTACHMENT_PENDING, message, why))

    def _has_ground(self, cluster: Cluster, addressing: Addressing) -> bool:
        """Whether every pool that new pods would get addresses of has its place on a network of the node."""
        pools = (pool_around(_spec(cluster, cidr), cluster.pools) for cidr in addressing.usable)
        return all(pool is None or pool.name in self._grounds.grounds for pool in pools)

    def _subnet(self, cluster: Cluster, cidr: Prefix) -> Prefix | None:
        """The subnet that pods of a block live in, their block itself being None; where it is not known any, so that all of the block counts."""
        pool = pool_around(_spec(cluster, cidr), cluster.pools)
        if pool is not None and pool.spec.attachment.on_underlay:
            return self._grounds.subnet(pool.name) or cidr.supernet(new_prefix=0)
        return pool.spec.cidr if pool else None

    def _missing(self, calls: Collection[str]) -> tuple[str, ...]:
        """What is wrong with those of the plugins that are called."""
        return tuple(one.trouble for one in self._plugins or () if one.trouble and one.name in calls)

    def usage(
        self, cluster: Cluster, blocks: Collection[Prefix], *, draining: Collection[Prefix], idle: Collection[Prefix]
    ) -> tuple[BlockReport, ...]:
        """How full each block is, the draining ones after the others; of ``idle`` ones nothing is free."""
        beside = frozenset(cidr for cidr in (*blocks, *draining) if is_beside(_spec(cluster, cidr), cluster.pools))
        bridged = attached_to(cluster, self._node).attachment.type == "bridge"
        reports = self._records.usage(
            [cidr for cidr in (*blocks, *idle) if cidr not in beside],
            draining=[cidr for cidr in draining if cidr not in beside],
            subnet=lambda cidr: None if bridged else self._subnet(cluster, cidr),
            endpoints=own_endpoints(cluster, self._node),
            kept=reserved(cluster.reservations),
        )
        others = self.networks.usage(
            cluster, [cidr for cidr in blocks if cidr in beside], draining=[cidr for cidr in draining if cidr in beside]
        )
        return (*(replace(one, capacity=one.in_use) if one.cidr in idle else one for one in reports), *others)


def _spec(cluster: Cluster, cidr: Prefix) -> IPAMBlockSpec:
    return cluster.blocks[block_name(cidr)].spec

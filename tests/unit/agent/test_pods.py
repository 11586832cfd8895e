"""The CNI files of a node, as the steps of the agent write them."""

import json
from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import msgspec
import pytest

from tests.unit.agent.worlds import block, cluster, pool
from tests.unit.ipam.notes import note
from tests.unit.ipam.plugins import plugin
from tests.unit.ipam.world import reservation
from towpath.controller.node.former import Former
from towpath.controller.node.gate import Addressing
from towpath.controller.node.living import Living
from towpath.controller.node.pods import CNIPods
from towpath.ipam.cni import Places
from towpath.ipam.hostlocal import HostLocal
from towpath.ipam.plugins import NEEDED, Folders
from towpath.model.cluster import Cluster, IPPool
from towpath.model.kinds.attachment import Attachment
from towpath.model.links import NodeLink
from towpath.model.net import Interface
from towpath.model.reason import Reason
from towpath.model.selector import parse_selector
from towpath.routes.shim import Shim

V4, V6 = ip_network("10.244.0.0/26"), ip_network("fd00:244::/122")
MORE = ip_network("10.244.0.128/26")
AWAY = ip_address("10.244.0.198")
BLOCKS = {one.name: one for one in (block(str(V4), "a"), block(str(V6), "a"), block(str(MORE), "a"))}
WORLD = cluster(blocks=BLOCKS)
ALL = Addressing(usable=(V4, V6), complete=True)


@pytest.fixture
def where(tmp_path: Path) -> Places:
    """The folders of a node that has all plugins."""
    for name in NEEDED:
        plugin(tmp_path / "bin" / name, "0.4.0", "1.0.0")
    (tmp_path / "net.d").mkdir()
    return Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d")


def folders(where: Places) -> Folders:
    return Folders(target=where.conf_dir.with_name("bin"), record=where.conf_dir.with_name("record"))


class Bridge:
    """The pods' segment, which takes notes."""

    def __init__(self) -> None:
        self.gateways: list[str] | None = None
        self.mtu: int | None = None
        self.pods = 0

    def desire(self, gateways: Collection[Interface], *, mtu: int | None) -> None:
        self.gateways, self.mtu = sorted(map(str, gateways)), mtu

    def dismiss(self) -> None:
        if not self.pods:
            self.gateways = None

    def seen(self) -> object:
        return self.gateways, self.pods


class Shims:
    """The node's interfaces and its shim, which takes notes."""

    def __init__(self, **links: NodeLink) -> None:
        self.there = links
        self.kinds = {"macvlan", "ipvlan"}
        self.wanted: Shim | None = None

    def links(self) -> Mapping[str, NodeLink]:
        return self.there

    def knows(self, kind: str) -> bool:
        return kind in self.kinds

    def desire(self, wanted: Shim | None) -> None:
        self.wanted = wanted

    def seen(self) -> object:
        return self.wanted


class Inhabitants:
    """The pods of the node."""

    def __init__(self, *living: Living) -> None:
        self.settled = True
        self.living = living


def former(where: Places, there: Inhabitants | None = None) -> Callable[[HostLocal], Former]:
    notes, pods = where.run_dir.with_name("notes"), there or Inhabitants()
    return lambda local: Former(local, pods=pods, notes=notes, booted=lambda: 500.0, clock=lambda: 0.0)


async def pods(
    where: Places,
    bridge: Bridge | None = None,
    *,
    mtu: int | None = None,
    shim: Shims | None = None,
    there: Inhabitants | None = None,
    namespaces: Callable[[], Mapping[str, Mapping[str, str]] | None] = dict,
) -> CNIPods:
    """As a new process has them once it has asked the plugins, and knows which pods there are."""
    made = CNIPods(
        "a",
        places=where,
        plugins=folders(where),
        bridge=bridge or Bridge(),
        shim=shim or Shims(),
        networks=where.conf_dir.with_name("networks"),
        before_first=lambda: None,
        former=former(where, there),
        mtu=lambda: mtu,
        namespaces=namespaces,
    )
    await made.look_at_plugins()
    made.take_over(WORLD)
    return made


def starts(where: Places) -> list[str]:
    found = json.loads(where.link.read_text())["plugins"][0]["ipam"]["ranges"]
    return [entry["rangeStart"] for ranges in found for entry in ranges]


def told(made: CNIPods) -> dict[Reason, str]:
    return {one.reason: one.message for one in made.problems}


def other(where: Places, name: str, *, kind: str = "calico") -> Path:
    path = where.conf_dir / name
    path.write_text(json.dumps({"cniVersion": "0.3.1", "name": "theirs", "plugins": [{"type": kind}]}))
    return path


async def test_what_serves_is_known_from_the_files_alone(where: Places) -> None:
    """A new process knows which blocks the last one served; after a boot, or with a damaged file, none."""
    assert (await pods(where)).served([V4, V6]) == frozenset()
    assert (await pods(where)).desire(WORLD, ALL)
    assert (await pods(where)).served([V4, V6, MORE]) == {V4, V6}
    where.file.write_text("{")
    assert (await pods(where)).served([V4, V6]) == frozenset()


async def test_a_lost_block_leaves_the_configuration_of_an_earlier_process(where: Places) -> None:
    """Also while a family lacks its block, what is not ours any more goes."""
    (await pods(where)).desire(WORLD, ALL)
    (await pods(where)).desire(WORLD, Addressing(usable=(V4, MORE), complete=False))
    assert starts(where) == ["10.244.0.2", "10.244.0.128"]


async def test_the_last_block_stays_in_the_configuration(where: Places) -> None:
    """A runtime without configuration cannot delete pods."""
    (await pods(where)).desire(WORLD, ALL)
    (await pods(where)).desire(WORLD, Addressing())
    assert starts(where) == ["10.244.0.2", "fd00:244::2"]


@pytest.mark.parametrize("fate", ["gone", "of another node", "in quarantine"])
async def test_of_a_block_that_is_lost_without_another_nobody_gets_an_address(where: Places, fate: str) -> None:
    """It stays in the configuration, which cannot do without; somebody else's pods have its addresses by then. It may come back."""
    assert (await pods(where)).desire(WORLD, ALL)
    mine = live_in(where, "10.244.0.9")
    others = {
        "gone": (),
        "of another node": (block(str(V4), "b"),),
        "in quarantine": (block(str(V4), "a", state="Quarantined"),),
    }[fate]
    left = cluster(blocks={one.name: one for one in others})
    made = await pods(where)
    made.desire(left, Addressing())
    assert starts(where) == ["10.244.0.2", "fd00:244::2"]
    free = {str(one) for one in V4.hosts()} - {"10.244.0.1", "10.244.0.9"}
    held = {path.name for path in mine.parent.iterdir() if path.read_text().startswith("towpath-drain")}
    assert free <= held
    assert mine.read_bytes() == b"somebody\r\neth0"
    assert made.desire(WORLD, ALL)
    assert {path.name for path in mine.parent.iterdir()} == {"10.244.0.9", "lock"}


async def test_without_its_plugins_there_is_no_configuration(where: Places) -> None:
    """The missing one is named, and the configuration appears with it; one that stands stays, and the node is not ready."""
    missing = folders(where).target / "portmap"
    missing.unlink()
    made = await pods(where)
    made.desire(WORLD, ALL)
    assert not where.link.is_symlink()
    assert told(made) == {Reason.PLUGIN_MISSING: f"{missing} does not exist"}
    assert made.lacking == (f"{missing} does not exist", "the CNI configuration is not written yet")
    plugin(missing, "1.0.0")
    assert await made.look_at_plugins()
    assert made.desire(WORLD, ALL)
    assert (made.lacking, made.problems) == ((), ())
    missing.unlink()
    assert not await made.look_at_plugins()
    made.desire(WORLD, ALL)
    assert made.lacking == (f"{missing} does not exist",)
    assert where.link.exists()


async def test_before_the_plugins_were_asked_nothing_is_written(where: Places) -> None:
    """What they understand decides the version."""
    made = CNIPods(
        "a",
        places=where,
        plugins=folders(where),
        bridge=Bridge(),
        shim=Shims(),
        networks=where.conf_dir.with_name("networks"),
        before_first=lambda: None,
        former=former(where),
    )
    made.take_over(WORLD)
    made.desire(WORLD, ALL)
    assert not where.link.is_symlink()


async def test_another_network_is_left_alone(where: Places) -> None:
    """Ours is not written beside it, whichever comes first; once it is gone ours is there."""
    theirs = other(where, "99-calico.conflist")
    made = await pods(where)
    made.desire(WORLD, ALL)
    assert not where.link.is_symlink()
    assert told(made) == {
        Reason.OTHER_NETWORK_PLUGIN: f"{theirs} configures the network theirs: ours is not written while it is there, remove it to have pods in ours"
    }
    assert made.lacking == ("the CNI configuration is not written yet",)
    theirs.unlink()
    made.desire(WORLD, ALL)
    assert starts(where) == ["10.244.0.2", "fd00:244::2"]
    assert (made.lacking, made.problems) == ((), ())


@pytest.mark.parametrize(("name", "lacking"), [("05-cilium.conflist", 1), ("20-flannel.conflist", 0)])
async def test_another_network_beside_ours_is_told(where: Places, name: str, lacking: int) -> None:
    """Ours stays. One that comes before it takes new pods: the node is not ready for ours then."""
    made = await pods(where)
    made.desire(WORLD, ALL)
    theirs = other(where, name)
    made.desire(WORLD, ALL)
    assert where.link.exists()
    order = (
        "before ours: new pods are attached by it until it is removed"
        if lacking
        else "after ours: new pods are not attached by it, and it can be removed"
    )
    assert told(made)[Reason.OTHER_NETWORK_PLUGIN] == f"{theirs} configures the network theirs, and comes {order}"
    assert len(made.lacking) == lacking


async def test_changes_by_others_are_seen(where: Places) -> None:
    """A file that comes or goes in the folders of configurations or plugins is reason to look again."""
    made = await pods(where)
    made.disturbed()
    assert not made.disturbed()
    theirs = other(where, "20-flannel.conflist")
    assert made.disturbed()
    theirs.unlink()
    assert made.disturbed()
    (folders(where).target / "ptp").unlink()
    assert made.disturbed()


def attached_by(attachment: Attachment):
    """The world with both pools of this attachment."""
    pools = {"v4": pool("v4", "10.244.0.0/16", attachment=attachment)}
    pools["v6"] = pool("v6", "fd00:244::/112", attachment=attachment)
    blocks = {one.name: one for one in (block(str(cidr), "a", pool=name) for cidr, name in ((V4, "v4"), (V6, "v6")))}
    return cluster(blocks=blocks, pools=pools)


BRIDGED = attached_by(Attachment(type="bridge"))


def device(where: Places) -> dict:
    return json.loads(where.link.read_text())["plugins"][0]


async def test_on_a_bridge_the_node_has_an_address_in_each_block(where: Places) -> None:
    """The device is there, with the addresses that pods get as their gateways, before the configuration says so."""
    bridge = Bridge()
    assert (await pods(where, bridge, mtu=1500)).desire(BRIDGED, ALL)
    assert (bridge.gateways, bridge.mtu) == (["10.244.0.1/26", "fd00:244::1/122"], 1500)
    assert device(where)["type"] == "bridge"
    ranges = device(where)["ipam"]["ranges"]
    assert [(one["subnet"], one["gateway"], one["rangeStart"]) for (one,) in ranges] == [
        ("10.244.0.0/26", "10.244.0.1", "10.244.0.2"),
        ("fd00:244::/122", "fd00:244::1", "fd00:244::2"),
    ]


def live_in(where: Places, address: str) -> Path:
    """A pod that has an address."""
    record = where.data_dir / "towpath" / address
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text("somebody\r\neth0")
    return record


async def test_a_block_goes_over_as_a_whole(where: Places) -> None:
    """One with pods of the other attachment is not served in the new way, and what stands goes on until another is there."""
    bridge = Bridge()
    made = await pods(where, bridge)
    cables = attached_by(Attachment())
    made.desire(cables, ALL)
    pod = live_in(where, "10.244.0.1")
    assert made.attached_otherwise(cables, [V4, V6]) == frozenset()
    assert made.attached_otherwise(BRIDGED, [V4, V6]) == {V4}
    waiting = Addressing(usable=(V6,), idle=(V4,))
    assert made.desire(BRIDGED, waiting)
    assert (device(where)["type"], bridge.gateways) == ("ptp", None)
    assert starts(where) == ["10.244.0.2", "fd00:244::2"]
    assert [(one.reason, str(one.object)) for one in made.refusals] == [
        (Reason.ATTACHMENT_PENDING, "IPPool/v4 spec.attachment.type")
    ]
    pod.unlink()
    assert made.attached_otherwise(BRIDGED, [V4, V6]) == frozenset()
    assert made.desire(BRIDGED, ALL)
    assert (device(where)["type"], made.refusals) == ("bridge", ())
    assert bridge.gateways == ["10.244.0.1/26", "fd00:244::1/122"]
    assert made.in_use([V4, V6]) == frozenset(), "the node's own addresses are no pods'"
    assert [one.capacity for one in made.usage(BRIDGED, [V4, V6], draining=[], idle=[])] == [61, 62]


async def test_the_bridge_stays_for_the_blocks_of_its_pods(where: Places) -> None:
    """A pool goes back to cables: new pods get them in other blocks, and the bridge goes with its last pod."""
    bridge = Bridge()
    (await pods(where, bridge)).desire(BRIDGED, ALL)
    pod = live_in(where, "10.244.0.7")
    bridge.pods = 1
    cables = attached_by(Attachment())
    cables.blocks[block(str(MORE), "a").name] = block(str(MORE), "a", pool="v4")
    made = await pods(where, bridge)
    assert made.attached_otherwise(cables, [V4, V6, MORE]) == {V4}
    for _ in range(2):
        assert made.desire(cables, Addressing(usable=(MORE, V6), idle=(V4,), complete=True))
        assert (device(where)["type"], starts(where)) == ("ptp", ["10.244.0.128", "fd00:244::2"])
        assert bridge.gateways == ["10.244.0.1/26"]
    live_in(where, "fd00:244::1")
    assert made.attached_otherwise(cables, [V6]) == frozenset(), "it is attached in the new way"
    pod.unlink()
    made.desire(cables, Addressing(usable=(V4, MORE, V6), complete=True))
    assert bridge.gateways == ["10.244.0.1/26"], "its cable is still there"
    bridge.pods = 0
    made.desire(cables, Addressing(usable=(V4, MORE, V6), complete=True))
    assert bridge.gateways is None


async def test_a_block_of_pods_that_are_attached_otherwise_is_not_lost(where: Places) -> None:
    """It is this node's: while the new way lacks a block, nothing is taken out of what stands."""
    made = await pods(where)
    made.desire(attached_by(Attachment()), ALL)
    live_in(where, "10.244.0.9")
    made.desire(BRIDGED, Addressing(usable=(V6,), idle=(V4,)))
    assert starts(where) == ["10.244.0.2", "fd00:244::2"]


async def test_the_plugin_of_another_attachment_is_missing(where: Places) -> None:
    """What stands stays and works, and the plugin is named."""
    made = await pods(where)
    made.desire(attached_by(Attachment()), ALL)
    missing = folders(where).target / "bridge"
    missing.unlink()
    await made.look_at_plugins()
    made.desire(BRIDGED, ALL)
    assert device(where)["type"] == "ptp"
    assert told(made) == {Reason.PLUGIN_MISSING: f"{missing} does not exist"}
    assert made.lacking == ()


@pytest.mark.parametrize(("asked", "machine", "given"), [(1400, 1500, 1400), (9000, 1500, 1500), (9000, None, 9000)])
async def test_pods_get_no_larger_packets_than_the_devices_take(where: Places, asked: int, machine, given: int) -> None:
    """The plugins would say nothing: what a pool asks for beyond that is told on the pool, and not done."""
    made = await pods(where, mtu=machine)
    made.desire(attached_by(Attachment(mtu=asked)), ALL)
    assert device(where)["mtu"] == given
    assert [str(one.object) for one in made.refusals] == ([] if asked == given else ["IPPool/v4 spec.attachment.mtu"])


async def test_of_idle_blocks_nothing_is_free(where: Places) -> None:
    """As many addresses as pods have: whoever counts what is free finds none."""
    made = await pods(where)
    made.desire(WORLD, ALL)
    (where.data_dir / "towpath").mkdir(parents=True)
    (where.data_dir / "towpath" / "10.244.0.7").write_text("somebody\r\neth0")
    (report,) = made.usage(WORLD, [], draining=[], idle=[V4])
    assert (report.in_use, report.capacity) == (1, 1)
    assert ip_address("10.244.0.7") in report.cidr


async def test_a_kernel_that_refuses_the_bridge(where: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands is left as it is, the node says so, and it is tried again."""
    bridge = Bridge()
    made = await pods(where, bridge)
    made.desire(attached_by(Attachment()), ALL)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, "tp-br0: Operation not supported")

    with monkeypatch.context() as patch:
        patch.setattr(bridge, "desire", refuse)
        assert not made.desire(BRIDGED, ALL)
    assert device(where)["type"] == "ptp"
    assert told(made) == {Reason.KERNEL_REFUSED: "pods cannot be attached to a bridge: tp-br0: Operation not supported"}
    assert made.desire(BRIDGED, ALL)
    assert (device(where)["type"], told(made)) == ("bridge", {})


BESIDE = Attachment(type="macvlan", master="eth0", mode="bridge", gateway=ip_address("10.0.0.254"))
ON_NETWORK = cluster(
    pools={"v4": pool("v4", "10.0.0.64/26", attachment=BESIDE)},
    blocks={one.name: one for one in (block("10.0.0.64/28", "a"),)},
)
OWN = ip_network("10.0.0.64/28")
LINK = NodeLink(1400, addresses=(ip_interface("10.0.0.1/24"),))


async def test_pods_on_the_network_of_the_node(where: Places) -> None:
    """The shim leads to the node's block; both are as they were while the master is away, and gone with the last block."""
    shim = Shims(eth0=LINK)
    made = await pods(where, shim=shim)
    assert made.desire(ON_NETWORK, Addressing(usable=(OWN,), complete=True))
    assert shim.wanted is not None
    assert (shim.wanted.master, dict(shim.wanted.routes)) == ("eth0", {OWN: ip_address("10.0.0.1")})
    device = json.loads(where.link.read_text())["plugins"][0]
    assert (device["type"], device["mtu"]) == ("macvlan", 1400)
    before, shim.there = shim.wanted, {}
    assert made.desire(ON_NETWORK, Addressing(usable=(OWN,), complete=True))
    assert (shim.wanted, json.loads(where.link.read_text())["plugins"][0]) == (before, device)
    assert [str(one.object) for one in made.refusals] == ["IPPool/v4 spec.attachment.master"]
    assert made.desire(WORLD, ALL)
    assert shim.wanted is None


async def test_without_ground_no_pod_is_served(where: Places) -> None:
    """A network that is not there gives no configuration, and the pool says so."""
    made = await pods(where, shim=Shims(eth1=LINK))
    made.desire(ON_NETWORK, Addressing(usable=(OWN,), complete=True))
    assert not where.link.exists()
    assert [one.reason for one in made.refusals] == [Reason.ATTACHMENT_MASTER]


async def test_a_kernel_that_refuses_the_shim(where: Places) -> None:
    """Somebody's ipvlan on the master: it is said of the pool, and pods have their addresses."""

    class Busy(Shims):
        def desire(self, wanted: Shim | None) -> None:
            if wanted is not None:
                raise OSError(16, "tp-shim: Device or resource busy")

    made = await pods(where, shim=Busy(eth0=LINK))
    made.desire(ON_NETWORK, Addressing(usable=(OWN,), complete=True))
    assert where.link.exists()
    (said,) = made.refusals
    assert (said.reason, said.message) == (
        Reason.ATTACHMENT_MASTER,
        "the node cannot reach pods on it: tp-shim: Device or resource busy",
    )


async def test_a_kernel_that_has_no_such_devices(where: Places) -> None:
    """It is said of the pool, and there is no configuration with which every pod would fail; once it has them all is well."""

    class Lacking(Shims):
        lacks = True

        def desire(self, wanted: Shim | None) -> None:
            if wanted is not None and self.lacks:
                raise OSError(95, "tp-shim: Operation not supported")
            super().desire(wanted)

    shim = Lacking(eth0=LINK)
    made = await pods(where, shim=shim)
    routed = Attachment(type="ipvlan", master="eth0", mode="l3")
    world = cluster(
        pools={"v4": pool("v4", "10.244.0.0/16", attachment=routed)},
        blocks={one.name: one for one in (block(str(V4), "a"),)},
    )
    made.desire(world, Addressing(usable=(V4,), complete=True))
    assert not where.link.exists()
    (said,) = made.refusals
    assert (said.reason, str(said.object)) == (Reason.KERNEL_LACKS, "IPPool/v4 spec.attachment.type")
    shim.lacks = False
    assert made.desire(world, Addressing(usable=(V4,), complete=True))
    device = json.loads(where.link.read_text())["plugins"][0]
    assert (device["type"], device["master"], device["mode"], device["mtu"]) == ("ipvlan", "eth0", "l3", 1400)
    assert [one["subnet"] for each in device["ipam"]["ranges"] for one in each] == ["10.244.0.0/16"]
    assert device["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}]
    assert made.refusals == ()


async def test_the_whole_of_a_draining_block_is_held_back(where: Places) -> None:
    """Also while its network is not there: each of its addresses may have been a pod's."""
    made = await pods(where)
    made.desire(ON_NETWORK, Addressing(draining=(OWN,)))
    held = {path.name for path in (where.data_dir / "towpath").iterdir()} - {"lock"}
    assert held == {str(address) for address in OWN}


async def test_what_is_reserved_is_in_no_range_and_a_pod_that_has_it_is_told_of(where: Places) -> None:
    """The reservation comes and goes under a node that runs: ranges, room and what is said follow."""
    made, kept = await pods(where), reservation("10.244.0.0/30", "10.244.0.62/31")
    made.desire(WORLD, ALL)
    record = live_in(where, "10.244.0.3")
    reserved = cluster(blocks=BLOCKS, reservations={kept.name: kept})
    assert made.desire(reserved, ALL)
    assert starts(where) == ["10.244.0.4", "fd00:244::2"]
    (one,) = made.usage(reserved, [V4], draining=[], idle=[])
    assert (one.in_use, one.capacity) == (1, 59)
    (said,) = made.refusals
    assert (said.reason, str(said.object)) == (Reason.RESERVED_ADDRESS, "IPReservation/kept spec.reservedCIDRs[0]")
    assert said.message == "10.244.0.3 of 10.244.0.0/30 are addresses of pods, until these end"
    record.unlink()
    assert made.refusals == ()
    assert made.desire(WORLD, ALL)
    assert starts(where) == ["10.244.0.2", "fd00:244::2"]


async def test_a_reserved_address_that_the_node_has_itself_is_told_of(where: Places) -> None:
    """In a tunnel or on the bridge of its pods it is the node's while it has the block."""
    kept = reservation("10.244.0.0/31")
    tunnelled = pool("v4", "10.244.0.0/16", vxlan_mode="Always")
    made = await pods(where, Bridge())
    made.desire(cluster(blocks=BLOCKS, pools={"v4": tunnelled}, reservations={kept.name: kept}), Addressing())
    assert ["10.244.0.0 of 10.244.0.0/31" in one.message for one in made.refusals] == [True]
    made.desire(msgspec.structs.replace(BRIDGED, reservations={kept.name: kept}), ALL)
    assert ["10.244.0.1 of 10.244.0.0/31" in one.message for one in made.refusals] == [True]


async def test_no_pod_gets_an_address_before_it_is_known_who_has_some(where: Places) -> None:
    """The configuration waits for the list of pods; then what they have of the blocks stands in host-local first."""
    there = Inhabitants(Living("a/p", (V4[5], ip_address("192.0.2.1")), 600.0))
    there.settled = False
    made = await pods(where, there=there)
    assert not made.take_over(WORLD)
    made.desire(WORLD, ALL)
    assert not where.link.is_symlink()
    assert made.lacking == ("which pods are on the node already is not known yet",)
    assert made.heeding
    there.settled = True
    assert made.take_over(WORLD)
    assert HostLocal(where.data_dir).in_use() == (V4[5],)
    made.desire(WORLD, ALL)
    assert (made.standing, made.lacking) == (True, ())
    assert made.heeding, "the going of that pod frees its address"
    there.living = ()
    assert made.take_over(WORLD)
    assert HostLocal(where.data_dir).in_use() == ()


async def test_a_pod_with_an_address_of_another_node_keeps_its_node_waiting(where: Places) -> None:
    """The condition names it; once it is gone the node serves."""
    there = Inhabitants(Living("a/p", (AWAY,), 600.0))
    note(where.run_dir.with_name("notes"), "c1", f"{AWAY}/32")
    made = await pods(where, there=there)
    made.desire(WORLD, ALL)
    assert not where.link.is_symlink()
    sentence = "pod a/p has 10.244.0.198, of no block"
    assert (told(made), made.lacking) == ({Reason.ADDRESS_OUTSIDE: sentence}, (sentence,))
    there.living = ()
    made.take_over(WORLD)
    made.desire(WORLD, ALL)
    assert (made.standing, told(made), made.lacking) == (True, {}, ())


TEAM = ip_network("10.245.0.0/26")


def for_some(where: Places, *own: str, pools: Mapping[str, IPPool]) -> Cluster:
    """A world with these pools and blocks; the node has our program."""
    plugin(folders(where).target / "towpath-ipam", "1.0.0")
    return cluster(pools=pools, blocks={one.name: one for one in (block(cidr, "a") for cidr in own)})


async def test_what_is_for_some_is_not_in_the_configuration(where: Places) -> None:
    """Without the agent nobody gets an address of it, and those whom it is for wait; a new process knows that it serves."""
    team = pool("team", str(ip_network("10.245.0.0/24")), namespace_selector=parse_selector("team == 'a'"))
    world = for_some(where, str(V4), str(TEAM), pools={"v4": pool("v4", "10.244.0.0/16"), "team": team})
    labels: dict[str, Mapping[str, str]] | None = {"mine": {"team": "a"}, "others": {}}
    made = await pods(where, namespaces=lambda: labels)
    assert made.desire(world, Addressing(usable=(V4, TEAM), complete=True))
    ipam = json.loads(where.link.read_text())["plugins"][0]["ipam"]
    assert (starts(where), ipam["waiting"], ipam["type"]) == (["10.244.0.2"], ["mine"], "towpath-ipam")
    assert made.offer is not None
    assert [one["rangeStart"] for one in made.offer.ranges] == ["10.244.0.2", "10.245.0.2"]
    other = await pods(where, namespaces=lambda: None)
    assert other.served([V4, TEAM]) == {V4, TEAM}
    other.desire(world, Addressing(usable=(V4, TEAM), complete=True))
    assert json.loads(where.link.read_text())["plugins"][0]["ipam"]["waiting"] == ["mine"]


async def test_a_program_of_an_older_release_is_asked_for_what_it_knows(where: Places) -> None:
    """It would give anybody what is for some while the agent is away: only where that is all there is it is not called. Both are told."""
    team = pool("team", "10.245.0.0/24", namespace_selector=parse_selector("team == 'a'"))
    both = for_some(where, str(V4), str(TEAM), pools={"v4": pool("v4", "10.244.0.0/16"), "team": team})
    some = for_some(where, str(TEAM), pools={"team": team})
    program = plugin(folders(where).target / "towpath-ipam", "1.0.0", form=1)
    older = f"{program} is of an older towpath than the agent"
    made = await pods(where)
    made.desire(some, Addressing(usable=(TEAM,), complete=True))
    assert not where.link.is_symlink()
    sentences = [one.message for one in made.problems if one.reason is Reason.PLUGIN_MISSING]
    assert [any(words in one for one in sentences) for words in (older, "pools are for some pods only")] == [True, True]
    assert made.desire(both, Addressing(usable=(V4, TEAM), complete=True))
    assert json.loads(where.link.read_text())["plugins"][0]["ipam"]["type"] == "towpath-ipam"
    assert told(made)[Reason.PLUGIN_MISSING].startswith(older)


async def test_where_nothing_is_for_all_everybody_waits_without_the_agent(where: Places) -> None:
    """The ranges stand there for pods to be deleted by. Without our program there is no configuration, and the node says why."""
    team = pool("team", "10.245.0.0/24", namespace_selector=parse_selector("team == 'a'"))
    world = for_some(where, str(TEAM), pools={"team": team})
    made = await pods(where)
    assert made.desire(world, Addressing(usable=(TEAM,), complete=True))
    assert json.loads(where.link.read_text())["plugins"][0]["ipam"]["waiting"] == ["*"]
    where.link.unlink()
    (folders(where).target / "towpath-ipam").unlink()
    await made.look_at_plugins()
    made.desire(world, Addressing(usable=(TEAM,), complete=True))
    assert not where.link.is_symlink()
    assert "pools are for some pods only" in told(made)[Reason.PLUGIN_MISSING]

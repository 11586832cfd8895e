"""Networks that a node has beside that of all pods: when their configurations come and go, and what they gave out."""

import json
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.agent.test_gate import FINE
from tests.unit.agent.test_pods import ALL, V4, V6, Shims, folders, pods
from tests.unit.agent.test_pods import where as where  # noqa: PLC0414  # a fixture
from tests.unit.agent.worlds import block, cluster, pool
from tests.unit.ipam.plugins import plugin
from towpath.controller.node.gate import Addressing, Beside, addressing
from towpath.controller.node.ground import Grounds
from towpath.ipam.cni import Places
from towpath.ipam.hostlocal import OURS
from towpath.ipam.underlay import OUTSIDE_DHCP
from towpath.model.cluster import Cluster
from towpath.model.kinds.attachment import Attachment
from towpath.model.links import NodeLink
from towpath.model.reason import Reason

EDGE = Attachment(type="macvlan", master="eth1", mode="private", primary=False)
OWN, MORE = ip_network("10.9.0.0/28"), ip_network("10.9.0.16/28")
BESIDE = Addressing(usable=(V4, V6), complete=True, beside={"edge": Beside(usable=(OWN,))})
ETH1 = NodeLink(1400)


def world(*, way: Attachment = EDGE, there: bool = True) -> Cluster:
    """Pods' own networks, and another one where it is there."""
    plain = cluster()
    pools = {"edge": pool("edge", "10.9.0.0/24", block_size=28, attachment=way)} if there else {}
    blocks = [block(str(one), "a", pool="edge", primary=False) for one in (OWN, MORE)]
    return cluster(pools={**plain.pools, **pools}, blocks={**plain.blocks, **{one.name: one for one in blocks}})


def link(where: Places) -> Path:
    return where.conf_dir.with_name("networks") / "towpath-edge.conflist"


def starts(where: Places) -> list[str]:
    (device,) = json.loads(link(where).read_text())["plugins"]
    return [entry["rangeStart"] for ranges in device["ipam"]["ranges"] for entry in ranges]


def take(where: Places, address: str, *, network: str = "towpath-edge", whose: str = "c1") -> Path:
    folder = where.data_dir / network
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / address
    path.write_text(f"{whose}\r\nnet1")
    return path


async def test_a_configuration_comes_with_a_block_and_goes_with_the_pool(where: Places) -> None:
    """In a folder of its own; that of all pods is none the wiser."""
    made = await pods(where, shim=Shims(eth1=ETH1))
    assert made.desire(world(), ALL)
    assert not link(where).exists()
    before = where.link.read_text()
    assert made.desire(world(), BESIDE)
    assert (starts(where), where.link.read_text()) == (["10.9.0.2"], before)
    assert json.loads(link(where).read_text())["plugins"][0]["mtu"] == 1400
    assert list(where.conf_dir.iterdir()) == [where.link]
    assert made.desire(world(there=False), ALL)
    assert not link(where).is_symlink()
    assert where.link.read_text() == before


async def test_what_leads_nowhere_after_a_boot_is_taken_away(where: Places) -> None:
    """Multus reads nothing else of that folder while it is there; what others have in it stays."""
    link(where).parent.mkdir()
    theirs = link(where).with_name("theirs.conflist")
    theirs.symlink_to("/nowhere")
    foreign = link(where).with_name("towpath-other.conflist")
    foreign.symlink_to("/elsewhere")
    link(where).symlink_to(where.run_dir / "cni-conf" / link(where).name)
    made = await pods(where, shim=Shims(eth1=ETH1))
    assert made.desire(world(), ALL)
    assert sorted(link(where).parent.iterdir()) == sorted([theirs, foreign])
    assert made.desire(world(), BESIDE)
    assert starts(where) == ["10.9.0.2"]


async def test_while_its_interface_is_away_what_stands_stays(where: Places) -> None:
    """New pods are refused by the plugin, and it is said of the pool; a block that is lost is in no configuration."""
    shim = Shims(eth1=ETH1)
    made = await pods(where, shim=shim)
    both = Addressing(usable=(V4, V6), complete=True, beside={"edge": Beside(usable=(OWN, MORE))})
    assert made.desire(world(), both)
    assert starts(where) == ["10.9.0.2", "10.9.0.16"]
    shim.there = {}
    assert made.desire(world(), both)
    assert starts(where) == ["10.9.0.2", "10.9.0.16"]
    assert [(one.reason, str(one.object)) for one in made.refusals] == [
        (Reason.ATTACHMENT_MASTER, "IPPool/edge spec.attachment.master")
    ]
    assert made.desire(world(), BESIDE)
    assert not link(where).exists()
    shim.there = {"eth1": ETH1}
    assert made.desire(world(), BESIDE)
    assert (starts(where), made.refusals) == (["10.9.0.2"], ())


async def test_a_kernel_without_such_devices(where: Places) -> None:
    """No configuration with which every pod would fail; it is said of the pool."""
    shim = Shims(eth1=NodeLink(addresses=(ip_interface("10.9.1.1/16"),)))
    shim.kinds = {"macvlan"}
    made = await pods(where, shim=shim)
    assert made.desire(world(way=Attachment(type="ipvlan", master="eth1", mode="l2", primary=False)), BESIDE)
    assert [(one.reason, str(one.object)) for one in made.refusals] == [
        (Reason.KERNEL_LACKS, "IPPool/edge spec.attachment.type")
    ]
    assert not link(where).exists()


async def test_a_plugin_that_is_missing_is_missed_for_its_network_alone(where: Places) -> None:
    """Pods have their own network; the node says what is missing."""
    (where.conf_dir.with_name("bin") / "macvlan").unlink()
    made = await pods(where, shim=Shims(eth1=ETH1))
    assert made.desire(world(), BESIDE)
    assert (where.link.exists(), link(where).exists()) == (True, False)
    assert [one.reason for one in made.problems] == [Reason.PLUGIN_MISSING]
    assert made.lacking == ()


async def test_what_each_network_gave_out_is_its_own(where: Places) -> None:
    """The same agent counts pods of all pods' network and of the other; also where the other's pool is gone."""
    made = await pods(where, shim=Shims(eth1=ETH1))
    assert made.desire(world(), BESIDE)
    take(where, str(V4.network_address + 3), network="towpath")
    take(where, "10.9.0.5")
    take(where, "10.9.0.17")
    assert made.changed()
    for there in (True, False):
        found = made.usage(world(there=there), (V4, V6, OWN, MORE), draining=(), idle=())
        assert {(one.cidr, one.in_use, one.primary) for one in found} == {
            (V4, 1, True),
            (V6, 0, True),
            (OWN, 1, False),
            (MORE, 1, False),
        }
    assert made.in_use((V4, V6, OWN, MORE)) == {V4, OWN, MORE}
    assert made.served((V4, OWN, MORE)) == {V4, OWN}


async def test_one_pod_is_room_for_one(where: Places) -> None:
    """Where it has all of an interface, whatever the size of the block."""
    whole = Attachment(type="macvlan", master="eth1", mode="passthru", primary=False)
    made = await pods(where, shim=Shims(eth1=ETH1))
    (found,) = made.usage(world(way=whole), (OWN,), draining=(), idle=())
    assert (found.in_use, found.capacity) == (0, 1)


@pytest.mark.parametrize(("form", "first"), [(1, "macvlan"), (2, "towpath-ipam")])
async def test_who_has_all_of_an_interface_is_asked_where_our_program_can(where: Places, form: int, first: str) -> None:
    """It stands before the plugin. An older one would give the pod an address there, and the plugin then refuse it: it does not."""
    whole = Attachment(type="macvlan", master="eth1", mode="passthru", primary=False)
    plugin(folders(where).target / "towpath-ipam", "1.0.0", form=form)
    made = await pods(where, shim=Shims(eth1=ETH1))
    assert made.desire(world(way=whole), BESIDE)
    (file,) = (where.run_dir / "cni-conf").glob("towpath-edge.*")
    assert json.loads(file.read_text())["plugins"][0]["type"] == first


async def test_a_block_that_drains_gives_out_nothing(where: Places) -> None:
    """All its free addresses are reserved in the records of its network, and given back when it is in use again."""
    made = await pods(where, shim=Shims(eth1=ETH1))
    kept = take(where, "10.9.0.17")
    leaving = Addressing(usable=(V4, V6), complete=True, beside={"edge": Beside(usable=(OWN,), draining=(MORE,))})
    assert made.desire(world(), leaving)
    held = [one for one in kept.parent.iterdir() if one.read_text().startswith(OURS)]
    assert len(held) == 15
    found = {one.cidr: one for one in made.usage(world(), (OWN,), draining=(MORE,), idle=())}
    assert (found[MORE].in_use, found[MORE].drained) == (1, False)
    back = Addressing(usable=(V4, V6), complete=True, beside={"edge": Beside(usable=(OWN, MORE))})
    assert made.desire(world(), back)
    assert [one.name for one in kept.parent.iterdir() if one.name != "lock"] == [kept.name]


def test_the_node_waits_for_none_of_them() -> None:
    """Its blocks are no blocks of pods' own network, serve where the pool is there, and keep no node from ready."""
    blocks = [block(str(V4), "a"), block(str(V6), "a"), block(str(OWN), "a", pool="edge", primary=False)]
    found = addressing(world(), "a", blocks=blocks, standing=FINE)
    assert (found.usable, found.beside, found.complete) == ((V4, V6), {"edge": Beside(usable=(OWN,))}, True)
    alone = addressing(world(), "a", blocks=blocks[:2], standing=FINE)
    assert (alone.complete, alone.lacking, alone.beside) == (True, (), {})
    gone = addressing(world(there=False), "a", blocks=blocks, standing=FINE)
    assert (gone.usable, gone.beside, gone.complete) == ((V4, V6), {"edge": Beside()}, True)


@pytest.mark.parametrize(
    ("leased", "mode", "annotations", "said"),
    [
        (("192.0.2.1/24",), "private", {}, ["AttachmentDHCP IPPool/edge spec.cidr"]),
        (("192.0.2.1/24",), "private", {OUTSIDE_DHCP: "true"}, []),
        (("192.0.2.1/24",), "private", {OUTSIDE_DHCP: "no"}, ["AttachmentDHCP IPPool/edge spec.cidr"]),
        (("198.51.100.1/24",), "private", {}, []),
        (("fe80::1/64",), "private", {}, []),
        ((), "private", {}, []),
    ],
)
def test_a_dhcp_server_on_the_pods_network_is_told_of(
    leased: tuple[str, ...], mode: str, annotations: dict[str, str], said: list[str]
) -> None:
    """Of the subnet around the pool alone; the pool is used all the same; whoever has seen to it is told no more."""
    way = Attachment(type="macvlan", master="eth1", mode=mode, primary=False)
    mine = tuple(map(ip_interface, leased))
    grounds = Grounds("a", Shims(eth1=NodeLink(1500, addresses=mine, leased=mine)))
    found = world(way=way)
    pool = found.pools["edge"]
    pool = replace(
        pool,
        meta=replace(pool.meta, annotations=annotations),
        spec=replace(pool.spec, cidr=ip_network("192.0.2.128/25")),
    )
    grounds.look(replace(found, pools={**found.pools, "edge": pool}))
    assert [f"{one.reason} {one.object}" for one in grounds.refusals] == said
    assert "edge" in grounds.beside


@pytest.mark.parametrize(("asked", "taken", "given"), [(None, 1400, 1400), (1300, 1400, 1300), (9000, 1400, 1400)])
def test_the_mtu_is_never_more_than_the_interface_takes(asked: int | None, taken: int, given: int) -> None:
    """More than that is said of the pool."""
    way = Attachment(type="macvlan", master="eth1", mode="private", primary=False, mtu=asked)
    grounds = Grounds("a", Shims(eth1=NodeLink(taken, addresses=(ip_interface("192.0.2.1/24"),))))
    grounds.look(world(way=way))
    assert grounds.mtu_of(way) == given
    assert [one.reason for one in grounds.refusals] == ([Reason.ATTACHMENT_MTU] if asked == 9000 else [])


async def test_a_kind_of_device_that_a_kernel_lacked_is_asked_for_again() -> None:
    """Its module may have been installed since: after a minute, and not at every look, for each question runs modprobe."""
    now = [0.0]
    shim = Shims(eth1=ETH1)
    shim.kinds = set()
    grounds = Grounds("a", shim, clock=lambda: now[0])
    edge = world()
    grounds.look(edge)
    assert [one.reason for one in grounds.refusals] == [Reason.KERNEL_LACKS]
    shim.kinds = {"macvlan"}
    grounds.look(edge)
    assert [one.reason for one in grounds.refusals] == [Reason.KERNEL_LACKS]
    now[0] = 60.0
    grounds.look(edge)
    assert (grounds.refusals, set(grounds.beside)) == ((), {"edge"})
    shim.kinds = set()
    now[0] = 600.0
    grounds.look(edge)
    assert grounds.refusals == (), "pods live on such devices: it has them"

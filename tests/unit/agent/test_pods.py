"""The CNI files of a node, as the steps of the agent write them."""

import json
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.unit.agent.worlds import block, cluster
from tests.unit.ipam.plugins import plugin
from towpath.controller.node.gate import Addressing
from towpath.controller.node.pods import CNIPods
from towpath.ipam.cni import Places
from towpath.ipam.plugins import NEEDED, Folders
from towpath.model.reason import Reason

V4, V6 = ip_network("10.244.0.0/26"), ip_network("fd00:244::/122")
MORE = ip_network("10.244.0.128/26")
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


async def pods(where: Places) -> CNIPods:
    """As a new process has them once it has asked the plugins."""
    made = CNIPods("a", places=where, plugins=folders(where))
    await made.look_at_plugins()
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
    assert starts(where) == ["10.244.0.2", "10.244.0.130"]


async def test_the_last_block_stays_in_the_configuration(where: Places) -> None:
    """A runtime without configuration cannot delete pods."""
    (await pods(where)).desire(WORLD, ALL)
    (await pods(where)).desire(WORLD, Addressing())
    assert starts(where) == ["10.244.0.2", "fd00:244::2"]


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
    made = CNIPods("a", places=where, plugins=folders(where))
    made.desire(WORLD, ALL)
    assert not where.link.is_symlink()


async def test_another_network_is_left_alone(where: Places) -> None:
    """Ours is not written beside it, whichever comes first; once it is gone ours is there."""
    theirs = other(where, "99-calico.conflist")
    made = await pods(where)
    made.desire(WORLD, ALL)
    assert not where.link.is_symlink()
    assert told(made) == {
        Reason.OTHER_NETWORK_PLUGIN: f"{theirs} configures the network theirs: ours is not written while it is there"
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
    order = "before ours: new pods are attached" if lacking else "after ours: new pods are not attached"
    assert told(made)[Reason.OTHER_NETWORK_PLUGIN] == f"{theirs} configures the network theirs, and comes {order} by it"
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

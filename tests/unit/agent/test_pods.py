"""The CNI files of a node, as the steps of the agent write them."""

import json
from ipaddress import ip_network
from pathlib import Path

from tests.unit.agent.worlds import block, cluster
from towpath.controller.node.gate import Addressing
from towpath.controller.node.pods import CNIPods
from towpath.ipam.cni import Places

V4, V6 = ip_network("10.244.0.0/26"), ip_network("fd00:244::/122")
MORE = ip_network("10.244.0.128/26")
BLOCKS = {one.name: one for one in (block(str(V4), "a"), block(str(V6), "a"), block(str(MORE), "a"))}
WORLD = cluster(blocks=BLOCKS)


def places(tmp_path: Path) -> Places:
    return Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d")


def starts(where: Places) -> list[str]:
    found = json.loads(where.link.read_text())["plugins"][0]["ipam"]["ranges"]
    return [entry["rangeStart"] for ranges in found for entry in ranges]


async def test_what_serves_is_known_from_the_files_alone(tmp_path: Path) -> None:
    """A new process knows which blocks the last one served; after a boot, or with a damaged file, none."""
    where = places(tmp_path)
    assert CNIPods(where).served([V4, V6]) == frozenset()
    CNIPods(where).desire(WORLD, Addressing(usable=(V4, V6), complete=True))
    assert CNIPods(where).served([V4, V6, MORE]) == {V4, V6}
    where.file.write_text("{")
    assert CNIPods(where).served([V4, V6]) == frozenset()


async def test_a_lost_block_leaves_the_configuration_of_an_earlier_process(tmp_path: Path) -> None:
    """Also while a family lacks its block, what is not ours any more goes."""
    where = places(tmp_path)
    CNIPods(where).desire(WORLD, Addressing(usable=(V4, V6), complete=True))
    CNIPods(where).desire(WORLD, Addressing(usable=(V4, MORE), complete=False))
    assert starts(where) == ["10.244.0.2", "10.244.0.130"]


async def test_the_last_block_stays_in_the_configuration(tmp_path: Path) -> None:
    """A runtime without configuration cannot delete pods."""
    where = places(tmp_path)
    CNIPods(where).desire(WORLD, Addressing(usable=(V4, V6), complete=True))
    CNIPods(where).desire(WORLD, Addressing())
    assert starts(where) == ["10.244.0.2", "fd00:244::2"]

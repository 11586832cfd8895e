"""The CNI configuration as a value, and its two files."""

import json
from pathlib import Path

import pytest

from tests.unit.ipam.world import block, pool
from towpath.ipam.cni import Places, conflist, is_usable, remove, write
from towpath.model.kinds.attachment import Attachment

POOLS = {"a": pool("a", "10.99.0.0/24", blockSize=29), "b": pool("b", "fd99::/64", blockSize=125)}


def ranges(*blocks):
    """The ranges of a configuration for these blocks."""
    return conflist([one.spec for one in blocks], POOLS, data_dir=Path("/run/x"))["plugins"][0]["ipam"]["ranges"]


def test_a_range_has_the_pool_as_subnet_and_the_block_as_its_ends():
    """One range set a family, one range a block, in address order."""
    assert ranges(block("fd99::8/125", "n", pool="b"), block("10.99.0.16/29", "n"), block("10.99.0.8/29", "n")) == [
        [
            {"subnet": "10.99.0.0/24", "rangeStart": "10.99.0.8", "rangeEnd": "10.99.0.15", "gateway": "10.99.0.1"},
            {"subnet": "10.99.0.0/24", "rangeStart": "10.99.0.16", "rangeEnd": "10.99.0.23", "gateway": "10.99.0.1"},
        ],
        [{"subnet": "fd99::/64", "rangeStart": "fd99::8", "rangeEnd": "fd99::f", "gateway": "fd99::1"}],
    ]


def test_the_ends_of_the_pool_are_left_out():
    """Network, gateway and, in IPv4, broadcast address are nobody's."""
    assert [entry["rangeStart"] for entry in ranges(block("10.99.0.0/29", "n"))[0]] == ["10.99.0.2"]
    assert [entry["rangeEnd"] for entry in ranges(block("10.99.0.248/29", "n"))[0]] == ["10.99.0.254"]


def test_only_active_blocks_give_addresses():
    """Draining and quarantined ones are not in the ranges; without any the configuration is not usable."""
    blocks = [block("10.99.0.8/29", "n", state=state) for state in ("Draining", "Quarantined")]
    assert not is_usable(conflist([one.spec for one in blocks], POOLS, data_dir=Path("/run/x")))


def test_a_block_without_a_pool_is_its_own_subnet():
    """As long as host-local takes it: not /31, /32, /127, /128."""
    assert ranges(block("10.1.0.0/29", "n", pool=""))[0][0] == {
        "subnet": "10.1.0.0/29",
        "rangeStart": "10.1.0.2",
        "rangeEnd": "10.1.0.6",
        "gateway": "10.1.0.1",
    }
    assert ranges(block("10.1.0.0/31", "n", pool=""), block("fd00::/128", "n", pool="")) == []


def test_a_block_by_hand_that_names_no_pool_lies_in_the_one_around_it():
    """Subnet and gateway are the pool's, and so every address of the block is a pod's."""
    assert ranges(block("10.99.0.8/29", "n", pool=""))[0][0] == {
        "subnet": "10.99.0.0/24",
        "rangeStart": "10.99.0.8",
        "rangeEnd": "10.99.0.15",
        "gateway": "10.99.0.1",
    }


def test_on_a_bridge_each_block_is_a_subnet_with_the_node_as_its_gateway():
    """The whole configuration; the device and its addresses are the agent's, so the plugin is told to be no gateway."""
    blocks = [block("10.99.0.8/29", "n"), block("10.99.0.32/29", "n"), block("fd99::8/125", "n", pool="b")]
    assert conflist(
        [one.spec for one in blocks], POOLS, data_dir=Path("/run/x"), way=Attachment(type="bridge"), mtu=1400
    ) == {
        "cniVersion": "1.0.0",
        "name": "towpath",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "tp-br0",
                "isGateway": False,
                "hairpinMode": True,
                "ipMasq": False,
                "mtu": 1400,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/x",
                    "ranges": [
                        [
                            {
                                "subnet": "10.99.0.8/29",
                                "rangeStart": "10.99.0.10",
                                "rangeEnd": "10.99.0.14",
                                "gateway": "10.99.0.9",
                            },
                            {
                                "subnet": "10.99.0.32/29",
                                "rangeStart": "10.99.0.34",
                                "rangeEnd": "10.99.0.38",
                                "gateway": "10.99.0.33",
                            },
                        ],
                        [
                            {
                                "subnet": "fd99::8/125",
                                "rangeStart": "fd99::a",
                                "rangeEnd": "fd99::f",
                                "gateway": "fd99::9",
                            }
                        ],
                    ],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        ],
    }


def test_what_is_not_ours_is_not_removed(tmp_path):
    """A link of our name that leads elsewhere stays."""
    places = Places(run_dir=tmp_path / "run", conf_dir=tmp_path)
    places.link.symlink_to("/elsewhere")
    remove(places)
    assert places.link.is_symlink()


def test_the_link_is_new_at_every_change_and_dangles_without_the_file(tmp_path):
    """A runtime that watches its folder sees a rename; after a boot there is nothing behind the link."""
    places = Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d")
    configuration = conflist([block("10.99.0.8/29", "n").spec], POOLS, data_dir=places.data_dir)
    assert write(configuration, places)
    inode = places.link.lstat().st_ino
    assert not write(configuration, places)
    assert places.link.lstat().st_ino == inode
    grown = conflist(
        [block("10.99.0.8/29", "n").spec, block("10.99.0.16/29", "n").spec], POOLS, data_dir=places.data_dir
    )
    assert write(grown, places)
    assert places.link.lstat().st_ino != inode
    assert json.loads(places.link.read_text()) == grown
    assert [entry.name for entry in places.conf_dir.iterdir()] == ["10-towpath.conflist"]
    places.file.unlink()
    assert not places.link.exists()
    assert places.link.is_symlink()
    assert write(grown, places)


@pytest.mark.parametrize(
    ("versions", "version", "offered"),
    [
        (("0.3.1",), "0.3.1", None),
        (("0.4.0", "1.0.0"), "1.0.0", None),
        (("0.4.0", "1.0.0", "1.1.0"), "1.0.0", ["0.4.0", "1.0.0", "1.1.0"]),
        (("1.1.0",), "1.0.0", ["1.1.0"]),
    ],
)
def test_a_version_that_old_runtimes_cannot_read_is_only_offered(versions, version, offered):
    """``cniVersion`` is never above 1.0.0; ``cniVersions`` is there where there is more to choose from."""
    made = conflist([block("10.99.0.8/29", "n").spec], POOLS, data_dir=Path("/run/x"), versions=versions)
    assert (made["cniVersion"], made.get("cniVersions")) == (version, offered)


def test_several_pools_of_a_family_share_its_range_set():
    """A pod gets one address a family, from the first pool that has one left; each range has its own gateway."""
    pools = {**POOLS, "c": pool("c", "172.16.0.0/24", blockSize=29)}
    blocks = [block("172.16.0.8/29", "n", pool="c"), block("10.99.0.8/29", "n"), block("fd99::8/125", "n", pool="b")]
    found = conflist([one.spec for one in blocks], pools, data_dir=Path("/run/x"))["plugins"][0]
    assert [[(one["subnet"], one["gateway"]) for one in each] for each in found["ipam"]["ranges"]] == [
        [("10.99.0.0/24", "10.99.0.1"), ("172.16.0.0/24", "172.16.0.1")],
        [("fd99::/64", "fd99::1")],
    ]
    assert found["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]

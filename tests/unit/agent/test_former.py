"""Pods that were on a node before its blocks were served: their addresses stand in host-local, and go with them."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.unit.agent.worlds import block, cluster
from tests.unit.ipam.notes import note
from towpath.controller.node.former import LATE, Former, booted
from towpath.controller.node.living import Living
from towpath.ipam.hostlocal import ENDPOINT, FORMER, HostLocal

BLOCK, OTHER = ip_network("10.244.0.0/26"), ip_network("10.244.0.64/26")
ONE, TWO = ip_address("10.244.0.5"), ip_address("10.244.0.70")
BOOT = 500.0


class Pods:
    """The pods of the node."""

    def __init__(self, *living: Living) -> None:
        self.settled = True
        self.living: tuple[Living, ...] | None = living


def pod(address: object = ONE, *, started: float = 600.0) -> Living:
    return Living("a/p", (ip_address(str(address)),), started)


class World:
    """One node's files."""

    def __init__(self, tmp_path: Path, *pods: Living) -> None:
        self.pods = Pods(*pods)
        self.notes = tmp_path / "notes"
        self.local = HostLocal(tmp_path / "data")
        self.now = 0.0
        self.cluster = cluster()
        self.former = self.anew()

    def anew(self) -> Former:
        """As another process has it."""
        return Former(self.local, pods=self.pods, notes=self.notes, booted=lambda: BOOT, clock=lambda: self.now)

    def take(self, *blocks: object, served: tuple[object, ...] = (), first: bool = True) -> dict[str, str]:
        """Who has what afterwards."""
        wanted = [ip_network(str(one)) for one in blocks or (BLOCK,)]
        assert self.former.take(self.cluster, wanted, served=[ip_network(str(one)) for one in served], first=first)
        return self.there()

    def there(self) -> dict[str, str]:
        return {str(one.address): one.container for one in self.local.records()}


def test_a_pod_of_another_network_stands_under_its_container(tmp_path: Path) -> None:
    """As host-local itself would have written it, so that the DEL of the container frees the address."""
    world = World(tmp_path, pod())
    note(world.notes, "c1", "10.244.0.5/32")
    assert world.take() == {str(ONE): "c1"}
    assert (world.local.folder / str(ONE)).read_bytes() == b"c1\r\neth0"


def test_one_that_the_api_does_not_know_any_more_stands_too(tmp_path: Path) -> None:
    """It was deleted by force, and its container runs on."""
    world = World(tmp_path)
    note(world.notes, "c1", "10.244.0.5/32")
    note(world.notes, "elsewhere", "10.250.0.5/32")
    assert world.take() == {str(ONE): "c1"}


def test_pods_of_our_own_network_are_known_again_after_a_cleanup(tmp_path: Path) -> None:
    """host-local's records went with it, and they run on; nothing can have been detached without a configuration."""
    world = World(tmp_path, pod())
    note(world.notes, "c1", "10.244.0.5/32", network="towpath")
    assert world.take() == {str(ONE): "c1"}


def test_who_lived_before_the_boot_lives_no_more(tmp_path: Path) -> None:
    """The API server says for a while what was, and the notes are on disk: all addresses are free."""
    world = World(tmp_path, pod(started=BOOT - 1), pod("10.244.0.6", started=0))
    note(world.notes, "c1", "10.244.0.5/32", at=BOOT - 2)
    assert world.take() == {}


def test_a_pod_without_a_note_stands_until_it_is_gone(tmp_path: Path) -> None:
    """Nobody can say which container's DEL would free it: the API server says that the pod is gone, or has another address."""
    world = World(tmp_path, pod(), pod("10.244.0.6"))
    note(world.notes, "old", "10.244.0.6/32", at=BOOT - 2)
    assert world.take() == {str(ONE): FORMER, "10.244.0.6": FORMER}
    assert world.anew().heeding
    assert world.local.in_use() == (ONE, ip_address("10.244.0.6"))
    world.pods.living = (pod("10.244.0.6"), pod("10.244.0.7"))
    world.former = world.anew()
    assert world.take(served=(BLOCK,), first=False) == {"10.244.0.6": FORMER}
    world.pods.living = None
    assert world.take(served=(BLOCK,), first=False) == {"10.244.0.6": FORMER}, "unknown is not gone"
    world.pods.living = ()
    assert world.take(served=(BLOCK,), first=False) == {}
    assert not world.former.heeding


def test_while_another_network_serves_its_pods_are_followed(tmp_path: Path) -> None:
    """Who goes is taken out, and who comes is written down, also under an address of before; what the plugin wrote stays."""
    world = World(tmp_path, pod(), pod("10.244.0.6"))
    first = note(world.notes, "c1", "10.244.0.5/32")
    assert world.take() == {str(ONE): "c1", "10.244.0.6": FORMER}
    note(world.notes, "c2", "10.244.0.6/32")
    assert world.take() == {str(ONE): "c1", "10.244.0.6": "c2"}, "its note came later than the pod"
    first.unlink()
    note(world.notes, "c3", "10.244.0.7/32")
    (world.local.folder / "10.244.0.9").write_text("plugin's\r\neth0")
    world.pods.living = (pod("10.244.0.6"),)
    assert world.take() == {"10.244.0.6": "c2", "10.244.0.7": "c3", "10.244.0.9": "plugin's"}
    note(world.notes, "c4", "10.244.0.7/32", at=2000)
    assert world.take() == {"10.244.0.6": "c2", "10.244.0.7": "c4", "10.244.0.9": "plugin's"}


def test_who_was_just_being_attached_when_ours_came_stands_too(tmp_path: Path) -> None:
    """The other network's plugin was running: its note comes a moment later. Whoever our own DEL freed stays free."""
    world = World(tmp_path)
    note(world.notes, "c1", "10.244.0.5/32")
    assert world.take() == {str(ONE): "c1"}
    (world.local.folder / str(ONE)).unlink()
    note(world.notes, "late", "10.244.0.6/32")
    assert world.former.heeding
    assert world.take(served=(BLOCK,), first=False) == {"10.244.0.6": "late"}
    (world.local.folder / "10.244.0.6").unlink()
    assert world.take(served=(BLOCK,), first=False) == {}
    world.now = LATE + 1
    note(world.notes, "toolate", "10.244.0.7/32")
    assert not world.former.heeding
    assert world.take(served=(BLOCK,), first=False) == {}


def test_once_a_block_is_served_host_local_alone_says_who_lives_there(tmp_path: Path) -> None:
    """An address that was freed a moment ago, and that the API server still shows, stays free."""
    world = World(tmp_path, pod())
    note(world.notes, "c1", "10.244.0.5/32", network="towpath")
    assert world.take(served=(BLOCK,), first=False) == {}
    assert world.take(BLOCK, OTHER, served=(BLOCK,), first=False) == {}
    world.pods.living = (pod(TWO),)
    assert world.take(BLOCK, OTHER, served=(BLOCK,), first=False) == {}, "a block is looked at once"


def test_a_block_that_comes_later_brings_its_pods(tmp_path: Path) -> None:
    """Those that the API server knows; a note alone may be one of a container that our configuration detached."""
    world = World(tmp_path, pod(TWO))
    note(world.notes, "c2", "10.244.0.70/32")
    note(world.notes, "gone", "10.244.0.71/32")
    note(world.notes, "ours", "10.244.0.5/32", network="towpath")
    assert world.take(BLOCK, OTHER, served=(BLOCK,), first=False) == {str(TWO): "c2"}


def test_nothing_is_taken_over_before_the_pods_are_known(tmp_path: Path) -> None:
    """And nothing is served meanwhile; where nobody may say which pods there are, the notes have to do."""
    world = World(tmp_path)
    note(world.notes, "c1", "10.244.0.5/32")
    world.pods.settled, world.pods.living = False, None
    assert not world.former.take(world.cluster, [BLOCK], served=(), first=True)
    assert world.there() == {}
    world.pods.settled = True
    assert world.take() == {str(ONE): "c1"}


def test_what_a_container_has_stays_its_own_and_what_the_node_held_goes_to_the_pod(tmp_path: Path) -> None:
    """A pod had the address before the node took it for itself."""
    world = World(tmp_path, pod(), pod("10.244.0.6"))
    world.local.hold([ONE])
    assert world.there() == {str(ONE): ENDPOINT}
    (world.local.folder / "10.244.0.6").write_text("mine\r\neth0")
    note(world.notes, "c1", "10.244.0.5/32")
    note(world.notes, "c2", "10.244.0.6/32")
    assert world.take() == {str(ONE): "c1", "10.244.0.6": "mine"}
    assert world.local.hold([ONE]) == {ONE}


def test_when_the_machine_was_booted(tmp_path: Path) -> None:
    """As the kernel says."""
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2\nbtime 1700000000\nprocesses 5\n")
    assert booted(stat) == 1_700_000_000
    assert booted() > 0
    stat.write_text("cpu 1 2\n")
    with pytest.raises(OSError, match="does not say"):
        booted(stat)


def test_addresses_of_other_nodes_blocks_are_named(tmp_path: Path) -> None:
    """Those of our pools that another network gave to pods that are here; nobody else keeps the node waiting."""
    there = cluster(blocks={one.name: one for one in (block(str(BLOCK), "a"), block(str(OTHER), "b"))})
    world = World(tmp_path, *(pod(one) for one in (ONE, TWO, "10.244.9.9", "192.0.2.1", "10.244.0.72")))
    for number, address in enumerate((ONE, TWO, "10.244.9.9", "192.0.2.1", "10.244.0.73")):
        note(world.notes, f"c{number}", f"{address}/32")
    note(world.notes, "ours", "10.244.0.72/32", network="towpath")
    note(world.notes, "before", "10.244.0.74/32", at=BOOT - 1)
    world.cluster = there
    assert not world.former.take(there, [BLOCK], served=(), first=True)
    assert world.former.strangers == (
        "pod a/p has 10.244.0.70, of block 10.244.0.64/26 of node b",
        "pod a/p has 10.244.9.9, of no block",
    )
    assert str(ONE) in world.there(), "others are written down meanwhile"
    world.pods.living = None
    assert not world.former.take(there, [BLOCK], served=(), first=True)
    assert "container c4 has 10.244.0.73, of block 10.244.0.64/26 of node b" in world.former.strangers
    world.pods.living = (pod(),)
    assert world.former.take(there, [BLOCK], served=(), first=True)

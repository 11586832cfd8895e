"""Records of host-local that are nobody's, and addresses in use without one, as an agent finds them: with a clock of the test's own."""

from collections.abc import Collection
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from towpath.controller.node.leaks import EVERY, Leaks
from towpath.ipam.cni import NETWORK
from towpath.ipam.hostlocal import ENDPOINT, FORMER, FOUND, OURS, HostLocal
from towpath.ipam.leaks import GONE_AFTER
from towpath.model.net import Address
from towpath.model.reason import Reason
from towpath.model.speaker import Notice

EDGE = "towpath-edge"
ONE, TWO = ip_address("10.244.0.5"), ip_address("fd00:244::6")
THREE, FOUR, FIVE, SIX = (ip_address(f"10.9.0.{last}") for last in (3, 4, 5, 6))


class Node:
    """A node: what its API, its kernel and its records say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / NETWORK
        self.folder.mkdir()
        self.now = 0.0
        self.pods: frozenset[Address] | None = frozenset()
        self.routed: set[Address] = set()
        self.answers: set[Address] = set()
        """Who is a neighbour, and there."""
        self.stale: set[Address] = set()
        """Who was a neighbour."""
        self.asked: set[Address] = set()
        self.notices: list[Notice] = []
        self.attached: frozenset[Address] | None = frozenset()
        """What is written on pods of networks beside their own."""
        self.leaks = Leaks(
            "a",
            HostLocal(folder),
            pods=lambda: self.pods,
            blocks=lambda: [ip_network("10.244.0.0/26"), ip_network("fd00:244::/122")],
            neighbours=lambda: frozenset(self.answers | self.stale),
            holders=self._holders,
            noticed=self.notices.append,
            clock=lambda: self.now,
            networks=lambda: [HostLocal(folder, network=EDGE)],
            attached=lambda: self.attached,
        )

    def _holders(self, asked: Collection[Address]) -> frozenset[Address]:
        self.asked = set(asked)
        return frozenset(self.routed | (self.answers & self.asked))

    def give(self, address: Address, container: str = "sandbox", *, network: str = NETWORK) -> Path:
        record = self.folder.with_name(network) / str(address)
        record.parent.mkdir(exist_ok=True)
        record.write_text(f"{container}\r\neth0")
        return record

    async def look(self, *, seconds: float = 0.0) -> None:
        """Once, after so many seconds in which it was looked as often as it is."""
        end = self.now + seconds
        while self.now + EVERY < end:
            self.now += EVERY
            assert await self.leaks.look()
        self.now = end
        assert await self.leaks.look()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_what_is_nobodys_for_fifteen_minutes_is_freed(node: Node) -> None:
    """Both families, no sooner, and an event says of which container it was."""
    records = [node.give(ONE, "gone"), node.give(TWO, "gone")]
    await node.look()
    assert node.asked == {ONE, TWO}
    await node.look(seconds=GONE_AFTER - 1)
    assert all(one.exists() for one in records)
    await node.look(seconds=1)
    assert not any(one.exists() for one in records)
    assert [one.reason for one in node.notices] == [Reason.ADDRESS_FREED] * 2
    assert node.notices[0].message == "10.244.0.5 was kept for gone, which is gone"


@pytest.mark.parametrize("sign", ["pods", "routed", "answers"])
async def test_any_sign_of_a_pod_begins_the_time_anew(node: Node, sign: str) -> None:
    """A pod of the API, a route of the kernel, or somebody who answers; what a neighbour was is no sign."""
    record = node.give(ONE)
    node.stale.add(ONE)
    await node.look()
    setattr(node, sign, {ONE})
    await node.look(seconds=GONE_AFTER - 1)
    setattr(node, sign, set())
    await node.look(seconds=GONE_AFTER - 1)
    assert record.exists()
    await node.look(seconds=GONE_AFTER)
    assert not record.exists()


async def test_while_nobody_knows_which_pods_there_are_nothing_is_freed(node: Node) -> None:
    """The API server is away, or does not let the node list pods: the time begins when it is known again."""
    record = node.give(ONE)
    await node.look()
    node.pods = None
    await node.look(seconds=10 * GONE_AFTER)
    node.pods = frozenset()
    await node.look(seconds=GONE_AFTER - 1)
    assert record.exists()
    await node.look(seconds=GONE_AFTER)
    assert not record.exists()


async def test_what_nobody_knows_by_the_time_of_the_answers_is_not_freed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server goes away while the addresses are asked."""
    record = node.give(ONE)
    await node.look()
    node.now = 2 * GONE_AFTER

    def away(_: object) -> frozenset[Address]:
        node.pods = None
        return frozenset()

    monkeypatch.setattr(node.leaks, "_holders", away)
    assert await node.leaks.look()
    assert record.exists()


async def test_another_container_of_the_same_address_is_another(node: Node) -> None:
    """Its time begins with it, and it keeps the address also where it got it during the look that frees the former."""
    node.give(ONE, "first")
    await node.look()
    await node.look(seconds=GONE_AFTER - 1)
    record = node.give(ONE, "second")
    await node.look(seconds=1)
    assert record.read_text().startswith("second")
    gone = HostLocal(node.folder.parent).records()
    record.write_text("third\r\neth0")
    assert HostLocal(node.folder.parent).free(gone) == ()
    assert record.exists()


async def test_our_own_reservations_are_no_leaks(node: Node) -> None:
    """Of blocks that drain, and of addresses that are the node's."""
    records = [node.give(ONE, OURS), node.give(TWO, ENDPOINT)]
    await node.look()
    await node.look(seconds=2 * GONE_AFTER)
    assert node.asked == set()
    assert all(one.exists() for one in records)


@pytest.mark.parametrize("sign", ["routed", "answers"])
async def test_what_is_in_use_without_a_record_is_kept_from_others(node: Node, sign: str) -> None:
    """Seen twice, not once: a pod that goes has a route a moment longer than its record. It is freed as any other."""
    getattr(node, sign).add(ONE)
    await node.look()
    assert not (node.folder / str(ONE)).exists()
    await node.look(seconds=EVERY)
    assert (node.folder / str(ONE)).read_text().startswith(FOUND)
    (told,) = node.leaks.problems
    assert (told.reason, str(told.object)) == (Reason.ADDRESS_UNRECORDED, "Node/a")
    assert "10.244.0.5" in told.message
    getattr(node, sign).clear()
    await node.look(seconds=EVERY)
    await node.look(seconds=GONE_AFTER)
    assert node.leaks.problems == ()
    assert not (node.folder / str(ONE)).exists()


async def test_what_was_a_neighbour_and_what_only_the_api_names_is_not_kept(node: Node) -> None:
    """The kernel forgets no neighbour for long, and after a boot the API names addresses of pods that start anew."""
    node.stale.add(ONE)
    node.pods = frozenset({TWO})
    node.routed.add(ip_address("10.9.9.9"))
    for _ in range(3):
        await node.look(seconds=EVERY)
    assert list(node.folder.iterdir()) == []


async def test_a_kernel_that_cannot_be_read_is_asked_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is freed meanwhile."""
    record = node.give(ONE)
    await node.look()

    def refuse(_: object) -> frozenset[Address]:
        raise OSError(105, "No buffer space available")

    monkeypatch.setattr(node.leaks, "_holders", refuse)
    node.now = 2 * GONE_AFTER
    assert not await node.leaks.look()
    assert record.exists()


async def test_a_network_beside_pods_own_gets_back_what_is_nobodys(node: Node) -> None:
    """What a container has whose own address is gone: no sooner, and nobody else's; no kernel is asked of these."""
    node.pods = frozenset({ONE})
    node.give(ONE, "lives")
    gone, drain = (node.give(address, whose, network=EDGE) for address, whose in ((THREE, "gone"), (FIVE, OURS)))
    lives, noted = (node.give(address, whose, network=EDGE) for address, whose in ((FOUR, "lives"), (SIX, "dark")))
    node.attached = frozenset({SIX})
    await node.look()
    assert node.asked == set()
    await node.look(seconds=GONE_AFTER - 1)
    assert gone.exists()
    await node.look(seconds=1)
    assert [one.exists() for one in (gone, drain, lives, noted)] == [False, True, True, True]
    assert [one.message for one in node.notices] == ["10.9.0.3 of towpath-edge was kept for gone, which is gone"]
    node.attached = frozenset()
    await node.look(seconds=GONE_AFTER)
    await node.look(seconds=GONE_AFTER)
    assert (noted.exists(), lives.exists()) == (False, True)


@pytest.mark.parametrize("unknown", ["attached", "former", "found"])
async def test_nothing_is_guessed_of_networks_beside_pods_own(node: Node, unknown: str) -> None:
    """A pod whose own network is another's, one that another network attached, or one whose record is lost may be the one that has it."""
    record = node.give(THREE, "gone", network=EDGE)
    await node.look()
    node.pods = frozenset({ONE})
    if unknown == "attached":
        node.attached = None
    else:
        node.give(ONE, FORMER if unknown == "former" else FOUND)
    await node.look(seconds=3 * GONE_AFTER)
    assert record.exists()
    node.attached = frozenset()
    node.give(ONE, "known")
    await node.look(seconds=GONE_AFTER - 1)
    assert record.exists()
    await node.look(seconds=GONE_AFTER)
    assert not record.exists()

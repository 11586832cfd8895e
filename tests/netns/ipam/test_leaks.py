"""Leaks with the real plugins and a real kernel: a sandbox that went without a word, and an address in use without a record."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.names import own
from tests.unit.ipam.world import block, pool
from towpath.controller.node.leaks import EVERY, Leaks
from towpath.ipam.cni import BRIDGE, Places, conflist, write
from towpath.ipam.hostlocal import FOUND, HostLocal
from towpath.ipam.leaks import GONE_AFTER
from towpath.lab import pods
from towpath.lab.netns import Host, Network
from towpath.lab.process import wait_for
from towpath.model.kinds.attachment import Attachment
from towpath.model.net import Address, Family
from towpath.model.reason import Reason
from towpath.model.speaker import Notice
from towpath.routes.holders import holders, neighbours
from towpath.routes.podbridge import PodBridge

POOLS = {"a": pool("a", "10.99.0.0/24", blockSize=29), "b": pool("b", "fd99::/64", blockSize=124)}
BLOCKS = (block("10.99.0.8/29", "n"), block("fd99::/124", "n", pool="b"))
"""The second has the gateway of its pool in it, which is on the cable of every pod."""
HASTY = {"delay_first_probe_time": 1, "ucast_solicit": 1, "retrans_time_ms": 200}
"""A kernel that makes up its mind about a neighbour within two seconds in place of eight."""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(own("tpo")) as made:
        yield made


def on(node: Host, call: Callable[..., frozenset[Address]], *given: object) -> frozenset[Address]:
    with node.entered():
        return call(*given)


def later(node: Host) -> None:
    """As after a minute: what the kernel knows of neighbours is not of just now any more; and it is to be hasty."""
    devices = [one["ifname"] for one in node.ip_json("link") if one["ifname"] != "lo"]
    settings = {
        f"net/{family.key}/neigh/{device}/{name}": each
        for family in Family
        for device in devices
        for name, each in HASTY.items()
    }
    node.sysctl(**settings)
    for one in node.ip_json("neigh", "show", "nud", "reachable"):
        node.ip("neigh", "change", one["dst"], "dev", one["dev"], "nud", "stale")


def decided(node: Host) -> None:
    """The kernel waits for no neighbour any more."""
    waiting = ("nud", "delay", "nud", "probe", "nud", "incomplete")
    wait_for(lambda: not node.ip("neigh", "show", *waiting).strip(), deadline=60, what="answers of neighbours")


@pytest.mark.parametrize("kind", ["ptp", "bridge"])
async def test_leaked_addresses_come_back_and_those_in_use_are_given_to_nobody(
    kind: str, network: Network, tmp_path: Path
) -> None:
    """The API names no pod at all, so the kernel alone knows who lives: by its routes, or by who answers on the bridge."""
    node = network.host("node")
    places = Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d")
    records = HostLocal(places.data_dir)
    if kind == "bridge":
        for one in BLOCKS:
            records.take_gateway(one.spec.cidr)
        with node.entered():
            PodBridge(BRIDGE, proc=Path("/proc/sys/net")).desire(records.gateways(), mtu=None)
    way = Attachment(type=kind)  # type: ignore[arg-type]  # one of its two
    write(conflist([one.spec for one in BLOCKS], POOLS, data_dir=places.data_dir, way=way), places)
    add = partial(pods.add, node, folder=places.conf_dir)
    (gone, stays, unknown) = (add(network.host(name)) for name in ("gone", "stays", "unknown"))
    assert all(pods.ping(node, one.address(family), wait=3) for one in (gone, stays, unknown) for family in Family)
    network.remove_host("gone")
    lost = {unknown.address(family) for family in Family}
    for address in lost:
        (records.folder / str(address)).unlink()
    clock, notices = [0.0], list[Notice]()
    leaks = Leaks(
        "n",
        records,
        pods=frozenset,
        blocks=lambda: [one.spec.cidr for one in BLOCKS],
        neighbours=lambda: on(node, neighbours),
        holders=lambda asked: on(node, lambda: holders(asked, wait=lambda: decided(node))),
        noticed=notices.append,
        clock=lambda: clock[0],
    )

    async def look(*times: float) -> None:
        for clock[0] in times:
            later(node)
            assert await leaks.look()

    await look(0.0, EVERY, GONE_AFTER)
    assert {one.message for one in notices} == {
        f"{gone.address(family)} was kept for {gone.container}, which is gone" for family in Family
    }
    assert {one.reason for one in notices} == {Reason.ADDRESS_FREED}
    assert {one.address for one in records.records() if one.container == FOUND} == lost
    assert {one.address for one in records.records() if one.container == stays.container} == {
        stays.address(family) for family in Family
    }
    rest = 4 if kind == "ptp" else 1
    more = [add(network.host(f"more{number}")) for number in range(rest + 2)]
    taken = {one.address(family) for one in more for family in Family}
    assert not taken & lost
    assert gone.address(Family.IPV4) in taken
    pods.remove(node, network.hosts["unknown"], folder=places.conf_dir, container=unknown.container)
    network.remove_host("unknown")
    await look(2 * GONE_AFTER, 3 * GONE_AFTER)
    assert not lost & {one.address for one in records.records()}
    assert {one.address for one in records.records() if one.container in {each.container for each in more}} == taken

"""One suite for every kernel: what ``Devices`` relies on, on the real one and on the fake."""

import errno
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from tests.names import own
from tests.netns.path.checksums import leave_below
from tests.patience import eventually
from towpath.lab.fake_devices import FakeDevices
from towpath.lab.netns import Host, Network
from towpath.model.net import Address
from towpath.routes.devices.device import EVERYONE, Device, Forwarding, Neighbour, Vxlan
from towpath.routes.devices.netlink import NetlinkDevices
from towpath.routes.devices.port import AnswerEvent, Change, DeviceEvent, DeviceKernel, EntryEvent, Known

MAC, OTHER = "66:00:00:00:00:02", "66:00:00:00:00:03"
LOCAL: dict[int, Address] = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
REMOTE: dict[int, Address] = {4: ip_address("192.0.2.2"), 6: ip_address("2001:db8::2")}
INNER: dict[int, Address] = {4: ip_address("10.244.1.0"), 6: ip_address("fd00:244::40")}


def device(version: int, **changes: Any) -> Device:
    link = Vxlan(4096, 4789, LOCAL[version], "66:00:00:00:00:01")
    made = Device(f"tp-vx{version}-4096", link, (ip_address("10.244.0.0"), ip_address("fd00:244::")), mtu=1400)
    return replace(made, **changes)


class FakeWorld:
    """The fake, and the hands of others."""

    def __init__(self) -> None:
        self.fake = FakeDevices()
        self.kernel: DeviceKernel = self.fake

    def foreign(self, version: int) -> None:
        self.fake.others.append(device(version).link)

    def take_name(self, name: str) -> None:
        self.fake.take_name(name)

    def down(self, name: str) -> None:
        self.fake.spoil(name, up=False)

    def offload(self, name: str) -> None:
        self.fake.spoil(name, offloads=True)

    def forget(self, entry: Neighbour | Forwarding) -> None:
        self.fake.forget(entry)

    def number(self, _name: str) -> int:
        return 2

    def unanswered(self, name: str, address: Address) -> None:
        self.fake.answer(name, address, "lost")

    def write_down(self, name: str, address: Address) -> None:
        self.fake.answer(name, address, "fixed")


class RealWorld:
    """A namespace, and ``ip`` and ``bridge`` as the hands of others."""

    def __init__(self, host: Host, kernel: NetlinkDevices) -> None:
        self.host = host
        self.kernel: DeviceKernel = kernel

    def foreign(self, version: int) -> None:
        where = ("local", str(LOCAL[version]), "dstport", "4789", "nolearning")
        self.host.ip("link", "add", "theirs", "type", "vxlan", "id", "4096", *where)

    def take_name(self, name: str) -> None:
        self.host.ip("link", "add", name, "type", "bridge")

    def down(self, name: str) -> None:
        self.host.ip("link", "set", "dev", name, "down")

    def offload(self, name: str) -> None:
        leave_below(self.host, name)

    def forget(self, entry: Neighbour | Forwarding) -> None:
        if isinstance(entry, Neighbour):
            self.host.ip("neigh", "del", str(entry.address), "dev", entry.device)
        else:
            self.host.run("bridge", "fdb", "del", entry.mac, "dev", entry.device, "self")

    def number(self, name: str) -> int:
        (link,) = self.host.ip_json("link", "show", "dev", name)
        return int(link["ifindex"])

    def unanswered(self, name: str, address: Address) -> None:
        """It is: nobody is there."""

    def write_down(self, name: str, address: Address) -> None:
        self.host.ip("neigh", "replace", str(address), "lladdr", OTHER, "nud", "permanent", "dev", name)


World = FakeWorld | RealWorld


@pytest.fixture(params=["fake", "real"])
async def world(request) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld()
        return
    with Network(own("tpv")) as network:
        host, other = network.host("a"), network.host("b")
        network.link(host, "eth0", other, "eth0")
        host.address("192.0.2.1/24", "2001:db8::1/64", dev="eth0")
        with host.entered():
            kernel = NetlinkDevices()
        yield RealWorld(host, kernel)
        kernel.close()


def made(world: World, wanted: Device) -> int:
    """The device, as it should be; its number."""
    world.kernel.make(wanted)
    seen = world.kernel.device(wanted.name)
    assert seen is not None
    world.kernel.adjust(wanted, seen)
    return seen.index


@pytest.mark.parametrize("version", [4, 6])
def test_a_device_is_as_it_was_asked_for(world: World, version: int) -> None:
    """Its link is read back as it was given; addresses, MTU and the checksums follow; others are not seen."""
    wanted = device(version)
    index = made(world, wanted)
    seen = world.kernel.devices()[wanted.name]
    assert (seen.index, seen.ours, seen.link, seen.mtu, seen.up, seen.offloads) == (
        *(index, True, wanted.link, 1400, True, False),
    )
    assert seen.addresses == frozenset(wanted.addresses)
    fewer = replace(wanted, addresses=wanted.addresses[:1], mtu=1300)
    world.kernel.adjust(fewer, seen)
    changed = world.kernel.device(wanted.name)
    assert changed is not None
    assert (changed.mtu, changed.addresses) == (1300, frozenset(fewer.addresses))
    world.kernel.remove(changed)
    assert (world.kernel.device(wanted.name), world.kernel.devices()) == (None, {})
    world.kernel.remove(changed)  # it is gone already


def test_what_is_taken_is_refused(world: World) -> None:
    """A name that somebody has, and a number and port that another device has: nothing is done to those."""
    world.take_name("tp-vx4-4096")
    with pytest.raises(OSError, match="tp-vx4-4096") as name:
        world.kernel.make(device(4))
    seen = world.kernel.device("tp-vx4-4096")
    assert seen is not None
    assert (name.value.errno, seen.ours) == (errno.EEXIST, False)
    world.foreign(6)
    with pytest.raises(OSError, match="tp-vx6-4096") as number:
        world.kernel.make(device(6))
    assert number.value.errno == errno.EEXIST
    assert world.kernel.devices().keys() == {"tp-vx4-4096"}


GROUPS: dict[int, Address] = {4: ip_address("239.1.1.1"), 6: ip_address("ff05::7")}


def asking(world: World, version: int) -> Device:
    """A device with a group and the link-local address that others ask for."""
    below = world.number("eth0")
    link = replace(device(version).link, group=GROUPS[version], below=below)
    return device(version, link=link, link_local=ip_address("fe80::64:ff:fe00:1"))


@pytest.mark.parametrize("version", [4, 6])
def test_a_device_with_a_group(world: World, version: int) -> None:
    """It is read back as it was given, knows the group for everyone, and takes that again once it was forgotten."""
    wanted = asking(world, version)
    index = made(world, wanted)
    seen = world.kernel.devices()[wanted.name]
    assert (seen.link, seen.up, seen.link_locals) == (wanted.link, True, {wanted.link_local})
    assert seen.addresses == frozenset(wanted.addresses)
    assert world.kernel.known(seen) == Known({}, {EVERYONE: GROUPS[version]})
    everyone = Forwarding(wanted.name, EVERYONE, GROUPS[version], via=wanted.link.below)
    assert world.kernel.apply(index, [Change(everyone)]) == []
    assert world.kernel.known(seen) == Known({}, {EVERYONE: GROUPS[version]})
    assert world.kernel.apply(index, [Change(everyone, remove=True)]) == []
    assert world.kernel.known(seen) == Known({}, {})
    assert world.kernel.apply(index, [Change(everyone)]) == []
    assert world.kernel.known(seen) == Known({}, {EVERYONE: GROUPS[version]})


async def test_what_comes_of_asking_is_told(world: World) -> None:
    """Nobody answers; somebody writes a MAC down; it is removed again."""
    wanted = asking(world, 4)
    index = made(world, wanted)
    heard: list[object] = []
    world.kernel.watch(lambda: heard.extend(world.kernel.events()))
    for address in INNER.values():
        world.kernel.ask(index, [address])
        world.unanswered(wanted.name, address)
        await eventually(lambda address=address: AnswerEvent(wanted.name, address, "lost") in heard, deadline=20)
    world.write_down(wanted.name, INNER[4])
    await eventually(lambda: AnswerEvent(wanted.name, INNER[4], "fixed") in heard, deadline=10)
    assert world.kernel.known(world.kernel.devices()[wanted.name]).answers == {INNER[4]: "fixed", INNER[6]: "lost"}
    world.kernel.apply(index, [Change(Neighbour(wanted.name, INNER[4], ""), remove=True)])
    await eventually(lambda: AnswerEvent(wanted.name, INNER[4], None) in heard, deadline=10)


def test_both_families_share_number_and_port(world: World) -> None:
    """A node has one device over each; a second number beside them as well."""
    for version in (4, 6):
        made(world, device(version))
    made(world, device(4, name="tp-vx4-7", link=Vxlan(7, 4789, LOCAL[4], "66:00:00:00:00:01"), addresses=()))
    assert world.kernel.devices().keys() == {"tp-vx4-4096", "tp-vx6-4096", "tp-vx4-7"}


def entries(name: str, version: int) -> list[Neighbour | Forwarding]:
    return [*(Neighbour(name, one, MAC) for one in INNER.values()), Forwarding(name, MAC, REMOTE[version])]


@pytest.mark.parametrize("version", [4, 6])
def test_entries_are_set_replaced_and_removed(world: World, version: int) -> None:
    """Both families of neighbours, and forwarding to nodes of either; what is not there need not be removed."""
    wanted = device(version)
    index = made(world, wanted)
    seen = world.kernel.devices()[wanted.name]
    all_of_it = entries(wanted.name, version)
    assert world.kernel.apply(index, [Change(one) for one in all_of_it]) == []
    assert world.kernel.known(seen) == Known(dict.fromkeys(INNER.values(), MAC), {MAC: REMOTE[version]})
    moved = [
        Neighbour(wanted.name, INNER[4], OTHER),
        Forwarding(wanted.name, MAC, LOCAL[version] + 7),
        Forwarding(wanted.name, OTHER, REMOTE[version]),
    ]
    assert world.kernel.apply(index, [*map(Change, moved), Change(all_of_it[1], remove=True)]) == []
    now = Known({INNER[4]: OTHER}, {MAC: LOCAL[version] + 7, OTHER: REMOTE[version]})
    assert world.kernel.known(seen) == now
    gone = [Neighbour(wanted.name, INNER[4], ""), Forwarding(wanted.name, MAC, LOCAL[version])]
    assert world.kernel.apply(index, [Change(one, remove=True) for one in (*gone, *gone)]) == []
    assert world.kernel.known(seen) == Known({}, {OTHER: REMOTE[version]})


def test_a_device_that_is_gone_takes_no_entries(world: World) -> None:
    """Each is refused, and says so."""
    wanted = device(4)
    index = made(world, wanted)
    world.kernel.remove(world.kernel.devices()[wanted.name])
    (refused,) = world.kernel.apply(index, [Change(Neighbour(wanted.name, INNER[4], MAC))])
    assert refused[0].entry == Neighbour(wanted.name, INNER[4], MAC)
    assert refused[1]


async def test_what_others_do_is_told(world: World) -> None:
    """A device that goes down, whose checksums are left to others again or that is removed; an entry that is deleted."""
    wanted = device(4)
    index = made(world, wanted)
    world.kernel.apply(index, [Change(one) for one in entries(wanted.name, 4)])
    heard: list[object] = []
    world.kernel.watch(lambda: heard.extend(world.kernel.events()))
    heard.extend(world.kernel.events())

    async def told(event: object) -> None:
        await eventually(lambda: event in heard, deadline=10)
        heard.clear()

    world.forget(Neighbour(wanted.name, INNER[6], MAC))
    await told(EntryEvent(wanted.name, INNER[6], None, there=False))
    world.forget(Forwarding(wanted.name, MAC, REMOTE[4]))
    await told(EntryEvent(wanted.name, MAC, None, there=False))
    world.offload(wanted.name)
    await told(DeviceEvent(wanted.name))
    seen = world.kernel.device(wanted.name)
    assert seen is not None
    assert seen.offloads
    world.down(wanted.name)
    await told(DeviceEvent(wanted.name))
    world.kernel.remove(seen)
    await told(DeviceEvent(wanted.name))

"""The keeper of tunnel devices on a kernel in memory: whatever is there, it becomes what is wanted, and nothing else is touched."""

import errno
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from tests.patience import eventually
from towpath.lab.fake_devices import FakeDevices
from towpath.routes.devices import silence
from towpath.routes.devices.device import EVERYONE, Device, End, Entries, Forwarding, Ipip, Neighbour, Vxlan
from towpath.routes.devices.devices import Devices
from towpath.routes.devices.port import Known

NAME = "tp-vx4-4096"
LINK = Vxlan(4096, 4789, ip_address("192.0.2.1"), "66:00:00:00:00:01")
DEVICE = Device(NAME, LINK, (ip_address("10.244.0.0"),), mtu=1450)


def entries(*numbers: int, name: str = NAME) -> Entries:
    """Of the nodes with these numbers."""
    neighbours = [Neighbour(name, ip_address(f"10.244.{n}.0"), f"66:00:00:00:01:{n:02x}") for n in numbers]
    forwarding = [Forwarding(name, f"66:00:00:00:01:{n:02x}", ip_address(f"192.0.2.{n}")) for n in numbers]
    return Entries({one.address: one for one in neighbours}, {one.mac: one for one in forwarding})


def known(wanted: Entries) -> Known:
    return Known(
        {key: one.mac for key, one in wanted.neighbours.items()},
        {key: one.node for key, one in wanted.forwarding.items()},
    )


@pytest.fixture
def kernel() -> FakeDevices:
    return FakeDevices()


@pytest.fixture
async def keeper(kernel: FakeDevices) -> AsyncIterator[Devices]:
    made = Devices(lambda: kernel, linger=0)
    await made.start()
    yield made
    made.close()


async def desire(keeper: Devices, *devices: Device, complete: bool = True, **known: Entries) -> None:
    by_name = {name.replace("_", "-"): one for name, one in known.items()}
    await keeper.desire({one.name: one for one in devices}, by_name, complete=complete)


async def test_from_nothing(kernel: FakeDevices, keeper: Devices) -> None:
    """The device is there, and knows whom it should, before ``desire`` returns."""
    await desire(keeper, DEVICE, tp_vx4_4096=entries(2, 3))
    seen = kernel.there[NAME]
    assert (seen.link, seen.mtu, seen.offloads, seen.addresses) == (LINK, 1450, False, frozenset(DEVICE.addresses))
    assert kernel.entries[NAME] == known(entries(2, 3))
    assert (keeper.standing, keeper.problems) == ((NAME,), {})


async def test_one_node_more_is_two_entries(kernel: FakeDevices, keeper: Devices) -> None:
    """What is there already costs nothing."""
    await desire(keeper, DEVICE, tp_vx4_4096=entries(*range(2, 200)))
    before = kernel.changes
    await desire(keeper, DEVICE, tp_vx4_4096=entries(*range(2, 201)))
    assert kernel.changes - before == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"up": False},
        {"mtu": 1500},
        {"offloads": True},
        {"addresses": frozenset()},
        {"addresses": frozenset({ip_address("10.0.0.1")})},
        {"link": replace(LINK, port=8472)},
        {"link": replace(LINK, mac="66:00:00:00:00:09")},
        {"link": None},
    ],
    ids=str,
)
async def test_what_is_changed_is_put_right(kernel: FakeDevices, keeper: Devices, changes: dict[str, Any]) -> None:
    """In place where that can be, else the device is made anew, and knows the same as before."""
    await desire(keeper, DEVICE, tp_vx4_4096=entries(2))
    before = kernel.there[NAME]
    kernel.spoil(NAME, **changes)
    await eventually(lambda: replace(kernel.there[NAME], index=0) == replace(before, index=0))
    assert (kernel.there[NAME].index != before.index) is ("link" in changes)
    await eventually(lambda: kernel.entries[NAME] == known(entries(2)))


async def test_what_is_deleted_comes_back(kernel: FakeDevices, keeper: Devices) -> None:
    """A device with all that it knew, a neighbour, a forwarding entry; one that nobody wants goes."""
    await desire(keeper, DEVICE, tp_vx4_4096=entries(2, 3))
    kernel.remove(kernel.there[NAME])
    await eventually(lambda: NAME in kernel.there and kernel.entries[NAME] == known(entries(2, 3)))
    keeper.release()
    kernel.forget(next(iter(entries(2).neighbours.values())))
    kernel.forget(next(iter(entries(3).forwarding.values())))
    kernel.say(replace(next(iter(entries(2).forwarding.values())), node=ip_address("192.0.2.99")))
    kernel.say(next(iter(entries(7).neighbours.values())))
    await eventually(lambda: kernel.entries[NAME] == known(entries(2, 3)))


async def test_nothing_goes_before_no_route_needs_it(kernel: FakeDevices, keeper: Devices) -> None:
    """Entries and devices that are not wanted any more stay until ``release``; and while the objects are from memory."""
    await desire(keeper, DEVICE, tp_vx4_4096=entries(2, 3))
    await desire(keeper, DEVICE, tp_vx4_4096=entries(2))
    assert kernel.entries[NAME] == known(entries(2, 3))
    await desire(keeper, complete=False)
    keeper.release()
    await desire(keeper, DEVICE, tp_vx4_4096=entries(2))
    assert kernel.entries[NAME] == known(entries(2, 3))
    keeper.release()
    await eventually(lambda: kernel.entries[NAME] == known(entries(2)))
    await desire(keeper)
    assert NAME in kernel.there
    keeper.release()
    await eventually(lambda: NAME not in kernel.there)


async def test_what_an_earlier_process_left_is_known(kernel: FakeDevices) -> None:
    """A device is recognised by name and kind: what of it is right stays as it is, the rest goes."""
    for name in (NAME, "tp-vx6-9"):
        kernel.make(replace(DEVICE, name=name, link=replace(LINK, vni=int(name.rpartition("-")[2]))))
    kernel.adjust(DEVICE, kernel.there[NAME])
    for one in (*entries(2, 3).neighbours.values(), *entries(2, 3).forwarding.values()):
        kernel.say(one)
    index, before = kernel.there[NAME].index, kernel.changes
    keeper = Devices(lambda: kernel, linger=0)
    await keeper.start()
    await desire(keeper, DEVICE, tp_vx4_4096=entries(3))
    assert (kernel.there[NAME].index, kernel.changes) == (index, before)
    keeper.release()
    await eventually(lambda: kernel.there.keys() == {NAME} and kernel.entries[NAME] == known(entries(3)))
    await keeper.remove_all()
    assert kernel.there == {}
    keeper.close()


async def test_a_device_that_the_kernel_keeps_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants all of them gone must not believe that they are."""
    kernel = FakeDevices()
    kernel.make(DEVICE)
    keeper = Devices(lambda: kernel, linger=0)
    await keeper.start()

    def refuses(_: object) -> None:
        raise OSError(errno.EBUSY, "busy")

    with monkeypatch.context() as patched:
        patched.setattr(kernel, "remove", refuses)
        with pytest.raises(OSError, match=f"still there: {NAME}"):
            await keeper.remove_all()
    await keeper.remove_all()
    assert kernel.there == {}
    keeper.close()


async def test_others_devices_are_left_alone(kernel: FakeDevices, keeper: Devices) -> None:
    """A device of another kind that has our name, and one that has our number and port, are said to be in the way."""
    kernel.take_name(NAME)
    theirs = kernel.there[NAME]
    second = replace(DEVICE, name="tp-vx4-7", link=replace(LINK, vni=7))
    kernel.others.append(second.link)
    await desire(keeper, DEVICE, second, tp_vx4_4096=entries(2))
    keeper.release()
    said = {name: f"{reason}: {sentence}" for name, (reason, sentence) in keeper.problems.items()}
    assert said == {
        NAME: "DeviceRefused: tp-vx4-4096: a device of kind bridge has its name",
        "tp-vx4-7": "DeviceRefused: tp-vx4-7 cannot be made: another device has the VXLAN 7 on port 4789:"
        " remove that one, or give the pool another vxlan.vni or port",
    }
    assert keeper.standing == ()
    await keeper.remove_all()
    assert kernel.there == {NAME: theirs}
    kernel.remove(theirs)
    kernel.others.clear()
    await desire(keeper, DEVICE, second, tp_vx4_4096=entries(2))
    assert (keeper.standing, keeper.problems) == ((NAME, "tp-vx4-7"), {})


async def test_a_kernel_without_vxlan(kernel: FakeDevices) -> None:
    """It is said which kind of device is lacking."""
    keeper = Devices(lambda: FakeDevices(kinds=()), linger=0)
    await keeper.start()
    await desire(keeper, DEVICE)
    (problem,) = keeper.problems.values()
    assert problem == ("KernelLacks", "the kernel knows no devices of kind vxlan: load the module vxlan")
    keeper.close()


async def test_a_kernel_without_ipip() -> None:
    """It is said, also to other nodes, and what takes its place stands; a kernel that has it has nothing to say."""
    ipip = Device("tp-ipip", Ipip(ip_address("192.0.2.1")), DEVICE.addresses, mtu=1480)
    for kinds, lacking in ((("vxlan",), ("ipip",)), (("vxlan", "ipip"), ())):
        keeper = Devices(lambda kinds=kinds: FakeDevices(kinds=kinds), linger=0)
        await keeper.start()
        await desire(keeper, DEVICE, ipip)
        assert keeper.lacking == lacking
        said = {"tp-ipip": ("KernelLacks", "the kernel knows no devices of kind ipip: VXLAN is used in its place")}
        assert keeper.problems == (said if lacking else {})
        assert keeper.standing == ((NAME,) if lacking else ("tp-ipip", NAME))
        keeper.close()


GROUP = ip_address("239.1.1.1")
ASKING = replace(DEVICE, link=replace(LINK, group=GROUP, below=3), link_local=ip_address("fe80::1"))


def ends(*numbers: int, node: int = 0) -> Entries:
    """Of the nodes with these numbers, to be found by asking."""
    found = [
        End(NAME, ip_address(f"10.244.{n}.0"), f"66:00:00:00:01:{n:02x}", ip_address(f"192.0.2.{node or n}"))
        for n in numbers
    ]
    return Entries({}, {EVERYONE: Forwarding(NAME, EVERYONE, GROUP, via=3)}, {one.address: one for one in found})


async def test_a_device_that_asks(kernel: FakeDevices, keeper: Devices) -> None:
    """It has the link-local address that others ask for; once made it asks for some ends, so that all learn where it is."""
    await desire(keeper, ASKING, tp_vx4_4096=ends(*range(2, 99)))
    assert kernel.there[NAME].link_locals == {ASKING.link_local}
    asked = [(kernel.there[NAME].index, one) for one in ends(2, 3, 4, 5).ends]
    assert kernel.asked == asked
    await desire(keeper, ASKING, tp_vx4_4096=ends(*range(2, 100)))
    assert (kernel.asked, kernel.changes) == (asked, 0)
    kernel.remove(kernel.there[NAME])
    await eventually(lambda: len(kernel.asked) == 8)


@pytest.mark.parametrize("deed", ["forgotten", "altered", "link-local address", "written down"])
async def test_what_is_changed_of_a_device_that_asks_is_put_right(
    kernel: FakeDevices, keeper: Devices, deed: str
) -> None:
    """The entry for everyone, the link-local address, and a neighbour that somebody has written down."""
    await desire(keeper, ASKING, tp_vx4_4096=ends(2))
    keeper.release()
    address = next(iter(ends(2).ends))
    match deed:
        case "forgotten":
            kernel.forget(Forwarding(NAME, EVERYONE, GROUP))
        case "altered":
            kernel.say(Forwarding(NAME, EVERYONE, ip_address("192.0.2.99")))
        case "link-local address":
            kernel.spoil(NAME, link_locals=frozenset({ip_address("fe80::2")}))
        case _:
            kernel.answer(NAME, address, "fixed")
    await eventually(
        lambda: (
            kernel.entries[NAME] == Known({}, {EVERYONE: GROUP}, {})
            and ASKING.link_local in kernel.there[NAME].link_locals
        )
    )


async def test_what_was_learned_of_a_node_that_moved_is_forgotten(kernel: FakeDevices, keeper: Devices) -> None:
    """Its MAC is asked for anew; that of others is kept."""
    await desire(keeper, ASKING, tp_vx4_4096=ends(2, 3))
    moved = replace(ends(2, 3), ends={**ends(3).ends, **ends(2, node=77).ends})
    await desire(keeper, ASKING, tp_vx4_4096=moved)
    assert kernel.changes == 1
    assert kernel.entries[NAME] == Known({}, {EVERYONE: GROUP}, {})


async def test_ends_that_do_not_answer_are_told_of_after_a_while(
    kernel: FakeDevices, keeper: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often they are asked for meanwhile; one that answers, or is not wanted any more, is not spoken of."""
    monkeypatch.setattr(silence, "PATIENCE", 0.2)
    await desire(keeper, ASKING, tp_vx4_4096=ends(2, 3, 4))
    two, three, four = ends(2, 3, 4).ends
    for answer in ("lost", None, "lost"):
        for address in (two, three):
            kernel.answer(NAME, address, answer)
    kernel.answer(NAME, four, "found")
    await eventually(lambda: keeper.silent == {NAME: (two, three)})
    kernel.answer(NAME, two, "found")
    await eventually(lambda: keeper.silent == {NAME: (three,)})
    await desire(keeper, ASKING, tp_vx4_4096=ends(2, 4))
    assert keeper.silent == {}

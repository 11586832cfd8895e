"""A kernel's tunnel devices in memory: the same answers as the real one to the same changes, without a namespace.

Its hands are those of everybody else: ``spoil`` and friends do what an administrator or another program would do.
"""

import errno
import os
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from towpath.model.net import Address
from towpath.routes.devices.device import EVERYONE, Device, Forwarding, Link, Neighbour, Seen, Vxlan
from towpath.routes.devices.port import Answer, AnswerEvent, Change, DeviceEvent, EntryEvent, Event, Known, take


class FakeDevices:
    """Implements ``routes.devices.port.DeviceKernel``."""

    def __init__(self, *, kinds: Sequence[str] = ("vxlan", "ipip")) -> None:
        self.there: dict[str, Seen] = {}
        self.entries: dict[str, Known] = {}
        self.others: list[Link] = []
        """Of devices with other names."""
        self.changes = 0
        """Entries that were changed for us."""
        self.asked: list[tuple[int, Address]] = []
        """What was asked for, by the number of the device."""
        self._kinds = kinds
        self._next = 10
        self._events: list[Event] = []
        self._readable: Callable[[], None] | None = None

    # what the port asks

    def devices(self) -> dict[str, Seen]:
        """See ``routes.devices.port.DeviceKernel``."""
        return dict(self.there)

    def device(self, name: str) -> Seen | None:
        """See ``routes.devices.port.DeviceKernel``."""
        return self.there.get(name)

    def make(self, device: Device) -> None:
        """See ``routes.devices.port.DeviceKernel``."""
        link = device.link
        if link.kind not in self._kinds:
            raise OSError(errno.EOPNOTSUPP, f"{device.name}: {os.strerror(errno.EOPNOTSUPP)}")
        taken = [one.link for one in self.there.values() if one.link is not None] + self.others
        if device.name in self.there or any(_sole(one) == _sole(link) for one in taken):
            raise OSError(errno.EEXIST, f"{device.name}: {os.strerror(errno.EEXIST)}")
        self._appear(
            Seen(
                self._next,
                device.name,
                link.kind,
                link,
                frozenset(),
                device.mtu or 1500,
                up=True,
                offloads=isinstance(link, Vxlan),
            )
        )

    def _appear(self, seen: Seen) -> None:
        self._next += 1
        self.there[seen.name] = seen
        group = seen.link.group if isinstance(seen.link, Vxlan) else None
        self.entries[seen.name] = Known({}, {EVERYONE: group} if group is not None else {})
        self._happened(DeviceEvent(seen.name))

    def adjust(self, device: Device, seen: Seen) -> None:
        """See ``routes.devices.port.DeviceKernel``."""
        mtu = device.mtu if device.mtu is not None else seen.mtu
        self.there[device.name] = replace(
            self.there[device.name], mtu=mtu, up=True, offloads=False, addresses=frozenset(device.addresses)
        )
        if device.link_local is not None:
            self.there[device.name] = replace(self.there[device.name], link_locals=frozenset({device.link_local}))
        self._happened(DeviceEvent(device.name))

    def remove(self, seen: Seen) -> None:
        """See ``routes.devices.port.DeviceKernel``."""
        if self.there.pop(seen.name, None) is not None:
            del self.entries[seen.name]
            self._happened(DeviceEvent(seen.name))

    def known(self, seen: Seen) -> Known:
        """See ``routes.devices.port.DeviceKernel``."""
        found = self.entries[seen.name]
        return Known(dict(found.neighbours), dict(found.forwarding), dict(found.answers))

    def apply(self, index: int, changes: Sequence[Change]) -> list[tuple[Change, int]]:
        """See ``routes.devices.port.DeviceKernel``."""
        name = next((one.name for one in self.there.values() if one.index == index), None)
        if name is None:
            return [(change, errno.ENODEV) for change in changes if not change.remove]
        for change in changes:
            entry = change.entry
            self.changes += 1
            key: Address | str = entry.address if isinstance(entry, Neighbour) else entry.mac
            says: Address | str = entry.mac if isinstance(entry, Neighbour) else entry.node
            if isinstance(entry, Neighbour):
                self._say(AnswerEvent(name, entry.address, None))
            self._say(EntryEvent(name, key, None if change.remove else says, not change.remove))
        return []

    def ask(self, index: int, addresses: Iterable[Address]) -> None:
        """See ``routes.devices.port.DeviceKernel``."""
        self.asked += [(index, one) for one in addresses]

    def watch(self, readable: Callable[[], None]) -> None:
        """See ``routes.devices.port.DeviceKernel``."""
        self._readable = readable

    def events(self) -> Iterable[Event]:
        """See ``routes.devices.port.DeviceKernel``."""
        found, self._events = self._events, []
        return found

    def close(self) -> None:
        """See ``routes.devices.port.DeviceKernel``."""
        self._readable = None

    # what others do

    def take_name(self, name: str) -> None:
        """Somebody's bridge has a name of ours."""
        self._appear(Seen(self._next, name, "bridge", None, frozenset(), 1500, up=True, offloads=False))

    def spoil(self, name: str, **changes: object) -> None:
        """A device is changed by somebody: ``up``, ``mtu``, ``offloads``, ``addresses`` or ``link``."""
        self.there[name] = replace(self.there[name], **changes)
        self._happened(DeviceEvent(name))

    def forget(self, entry: Neighbour | Forwarding) -> None:
        """An entry is deleted by somebody."""
        key: Address | str = entry.address if isinstance(entry, Neighbour) else entry.mac
        self._say(EntryEvent(entry.device, key, None, there=False))

    def say(self, entry: Neighbour | Forwarding) -> None:
        """An entry is made, or altered, by somebody, as we would do it."""
        if isinstance(entry, Neighbour):
            self._say(EntryEvent(entry.device, entry.address, entry.mac, there=True))
        else:
            self._say(EntryEvent(entry.device, entry.mac, entry.node, there=True))

    def answer(self, name: str, address: Address, answer: Answer | None) -> None:
        """Asking for an address comes to this."""
        self._say(AnswerEvent(name, address, answer))

    def _say(self, event: EntryEvent | AnswerEvent) -> None:
        take(self.entries[event.name], event)
        self._happened(event)

    def _happened(self, event: Event) -> None:
        self._events.append(event)
        if self._readable is not None:
            self._readable()


def _sole(link: Link) -> tuple[object, ...]:
    """What only one device may be."""
    return (link.vni, link.port, link.local.version) if isinstance(link, Vxlan) else (link.local,)

"""The seam to the kernel's devices, neighbours and forwarding entries: what ``Devices`` asks of it, and what it tells.

``netlink.open_device_kernel`` is the real one, ``lab.fake_devices`` one in memory; the same contract tests run on both.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from towpath.model.net import Address
from towpath.routes.devices.device import Device, Forwarding, Neighbour, Seen

Key = Address | str
"""What an entry is known by on its device: an endpoint's address, or its MAC."""


Answer = Literal["found", "lost", "fixed"]
"""What came of asking for an address: its MAC, nothing, or nobody asks because somebody has written a MAC down."""


class Change(Struct, frozen=True):
    """One entry to set, or to remove."""

    entry: Neighbour | Forwarding
    remove: bool = False


class Known(Struct):
    """The entries of one device as they are. Neighbours of others are not among them."""

    neighbours: dict[Address, str]
    forwarding: dict[str, Address | None]
    """None: it says more than the node, which we never do."""
    answers: dict[Address, Answer] = {}
    """Of addresses that we have not written down; which are asked for just now, and were not before, are not among them."""


class DeviceEvent(Struct, frozen=True):
    """Something happened to a device with a name of ours, or one that had such a name, or to its addresses."""

    name: str


class EntryEvent(Struct, frozen=True):
    """An entry of such a device is like this now; ``says`` None and not ``there``: it is gone."""

    name: str
    key: Key
    says: str | Address | None
    there: bool


class AnswerEvent(Struct, frozen=True):
    """Asking for an address on such a device came to this; None: the kernel has forgotten it."""

    name: str
    address: Address
    answer: Answer | None


Event = DeviceEvent | EntryEvent | AnswerEvent


class DeviceKernel(Protocol):
    """One network namespace. What the kernel refuses is ``OSError``."""

    def devices(self) -> dict[str, Seen]:
        """The devices with names of ours."""

    def device(self, name: str) -> Seen | None:
        """One of them."""

    def make(self, device: Device) -> None:
        """Make a device and switch it on; it has no addresses yet. ``EEXIST``: its name, or its number and port, are taken."""

    def adjust(self, device: Device, seen: Seen) -> None:
        """Bring what can be changed in place to what it should be: MTU, up, checksums, addresses."""

    def remove(self, seen: Seen) -> None:
        """Remove a device; its entries, addresses and routes go with it."""

    def known(self, seen: Seen) -> Known:
        """The entries of a device."""

    def apply(self, index: int, changes: Sequence[Change]) -> list[tuple[Change, int]]:
        """Carry out changes of one device's entries in order; those that were refused, each with its error number."""

    def ask(self, index: int, addresses: Iterable[Address]) -> None:
        """Have the kernel ask on a device for addresses whose MAC it does not know; what comes of it is an event."""

    def watch(self, readable: Callable[[], None]) -> None:
        """Call ``readable`` from the running loop whenever ``events`` has something to give."""

    def events(self) -> Iterable[Event]:
        """Some of what happened since the last call, our own changes included; ``EventsLostError`` if some are lost."""

    def close(self) -> None:
        """Close the sockets."""


def take(known: Known, event: EntryEvent | AnswerEvent) -> None:
    """Take in what an event says."""
    if isinstance(event, AnswerEvent):
        if event.answer is not None:
            known.answers[event.address] = event.answer
        else:
            known.answers.pop(event.address, None)
        return
    entries: dict[object, object] = known.forwarding if isinstance(event.key, str) else known.neighbours  # type: ignore[assignment]  # by the key's type
    if event.there:
        entries[event.key] = event.says
    else:
        entries.pop(event.key, None)

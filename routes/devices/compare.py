"""How a device, and what it knows, differ from what is wanted, and what change makes an entry right."""

from ipaddress import IPv4Address

from towpath.routes.devices.device import Device, Entries, Forwarding, Neighbour, Seen
from towpath.routes.devices.port import Change, EntryEvent, Key, Known, take

NOWHERE = IPv4Address(0)
"""In place of the node in a forwarding entry that is to be removed."""


def fits(device: Device, seen: Seen) -> bool:
    """Whether nothing is to be changed in place."""
    return (
        seen.up
        and not seen.offloads
        and device.mtu in (None, seen.mtu)
        and seen.addresses == frozenset(device.addresses)
        and (device.link_local is None or device.link_local in seen.link_locals)
    )


def putting_right(name: str, wanted: Entries, key: Key) -> Change:
    """What makes an entry what is wanted."""
    if isinstance(key, str):
        forwarding = wanted.forwarding.get(key)
        return Change(forwarding) if forwarding else Change(Forwarding(name, key, NOWHERE), remove=True)
    neighbour = wanted.neighbours.get(key)
    return Change(neighbour) if neighbour else Change(Neighbour(name, key, ""), remove=True)


def note(known: Known, change: Change) -> None:
    """Take in a change that was carried out."""
    entry = change.entry
    if isinstance(entry, Neighbour):
        take(known, EntryEvent(entry.device, entry.address, entry.mac, not change.remove))
    else:
        take(known, EntryEvent(entry.device, entry.mac, entry.node, not change.remove))

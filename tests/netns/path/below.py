"""The network below a node's tunnels changes, as its distribution or an administrator changes it; the node is ``node1`` unless named."""

import contextlib
from collections.abc import Iterator

from towpath.lab import objects
from towpath.lab.addressing import RACKS, TOR, node_number
from towpath.lab.netns import Host
from towpath.lab.shape import NodePlace
from towpath.lab.topology import Lab
from towpath.model.net import Family

NODE = "node1"
SIDE = {Family.IPV4: "198.18.99.{}/30", Family.IPV6: "2001:db8:99::{}/64"}
"""A second link to the router."""


def configure(lab: Lab, device: str, number: int) -> None:
    """Give the node the addresses of this number and its default route."""
    host, rack = lab.host(NODE), RACKS["a"]
    for family in lab.families:
        nodad = ("nodad",) if family is Family.IPV6 else ()
        host.ip("addr", "replace", str(rack.interface(family, number)), "dev", device, *nodad)
        gateway = str(rack.address(family, TOR))
        host.ip(f"-{family.value}", "route", "replace", "default", "via", gateway, "dev", device)


def down_and_up(lab: Lab, old: str, new: str) -> None:
    """The link goes down, and comes back by another name or the same."""
    host = lab.host(NODE)
    host.ip("link", "set", "dev", old, "down")
    host.ip("link", "set", "dev", old, "name", new)
    host.ip("link", "set", "dev", new, "up")
    configure(lab, new, node_number(1))


def readdress(lab: Lab, number: int) -> None:
    """The node has the addresses of this number in place of those that it had, and its Node object says so."""
    host, rack = lab.host(NODE), RACKS["a"]
    for family in lab.families:  # first: the kernel takes those that were added after the first one away with it
        (link,) = host.ip_json(f"-{family.value}", "addr", "show", "dev", "eth0")
        for one in link["addr_info"]:
            if one["scope"] == "global":
                host.ip("addr", "del", f"{one['local']}/{one['prefixlen']}", "dev", "eth0")
    configure(lab, "eth0", number)
    addresses = tuple(rack.address(family, number) for family in lab.families)
    lab.api.apply(objects.node(NODE, addresses, rack="a"))


def move(lab: Lab, node: str, rack: str) -> None:
    """A node's cable is plugged into the switch of another rack, it has an address and the router there, and its Node object says so.

    Its pods come along. The router drops what it learned of it at the old place when that session times out.
    """
    place = lab.state.nodes[node]
    host, cable = lab.host(node), f"to-{node}"
    there = lab.host(f"switch-{rack}")
    for family in lab.families:
        host.ip(f"-{family.value}", "addr", "flush", "dev", "eth0", "scope", "global")
    lab.host(f"switch-{place.rack}").ip("link", "set", "dev", cable, "netns", there.netns)
    there.ip("link", "set", "dev", cable, "master", "bridge0", "up")
    lab.state.nodes[node] = NodePlace(node, place.index, rack)
    lab.configure_underlay(node)
    lab.api.apply(objects.node(node, lab.node_addresses(node), rack=rack))
    lab.tor.configure(lab.tor_configuration())
    lab.save()


@contextlib.contextmanager
def default_by_another(lab: Lab, *, mtu: int = 1500) -> Iterator[str]:
    """The default route leaves by another interface, whose name is given, and then by the first one again."""
    node, tor, side = lab.host(NODE), lab.host("tor"), "side0"
    lab.network.link(node, side, tor, side, mtu=mtu)
    try:
        for family in lab.families:
            for number, host in ((1, tor), (2, node)):
                host.address(SIDE[family].format(number), dev=side)
            through = SIDE[family].format(1).partition("/")[0]
            node.ip(f"-{family.value}", "route", "replace", "default", "via", through, "dev", side)
        yield side
    finally:
        for family in lab.families:
            gateway = str(RACKS["a"].address(family, TOR))
            node.ip(f"-{family.value}", "route", "replace", "default", "via", gateway, "dev", "eth0")
        node.ip("link", "del", "dev", side, check=False)


def sent_by(host: Host, device: str) -> int:
    """Bytes."""
    (link,) = host.ip_json("-s", "link", "show", "dev", device)
    return int(link["stats64"]["tx"]["bytes"])

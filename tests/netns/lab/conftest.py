"""A lab without our processes: routes and CNI configuration are written by hand, so that only the lab is on trial."""

import json
from collections.abc import Iterator

import pytest

from tests.names import own
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family

PREFIX = own("tpl")
RANGES = {
    Family.IPV4: ("10.244.0.0/16", "10.244.{}.0/26", "10.244.{}.0", "10.244.{}.3", "10.244.0.1"),
    Family.IPV6: (
        "fd00:10:244::/112",
        "fd00:10:244::{}00/122",
        "fd00:10:244::{}00",
        "fd00:10:244::{}03",
        "fd00:10:244::1",
    ),
}


def conflist(lab: Lab, node: str, number: int) -> dict[str, object]:
    """Four addresses a family."""
    ranges = [
        [{"subnet": subnet, "rangeStart": first.format(number), "rangeEnd": last.format(number), "gateway": gateway}]
        for subnet, _, first, last, gateway in RANGES.values()
    ]
    ipam = {
        "type": "host-local",
        "dataDir": str(lab.node_directory(node, "run") / "host-local"),
        "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    plugins = [{"type": "ptp", "mtu": 1500, "ipam": ipam}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return {"cniVersion": "1.0.0", "name": "towpath", "plugins": plugins}


def route_by_hand(lab: Lab) -> None:
    """Every node's blocks at all other nodes and the router."""
    for number, node in enumerate(lab.nodes, 1):
        for other in (*lab.nodes, "tor"):
            if other == node:
                continue
            for family, address in zip(lab.families, lab.node_addresses(node), strict=True):
                block = RANGES[family][1].format(number)
                lab.host(other).ip(f"-{family.value}", "route", "add", block, "via", str(address), "proto", "179")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes with two pods each, routed by hand; the second node's configuration is a link into its run folder."""
    with Lab(PREFIX, Shape(nodes=2, mode="none")) as made:
        made.up()
        for number, node in enumerate(made.nodes, 1):
            real = made.node_directory(node, "run") / "10-towpath.conflist"
            real.write_text(json.dumps(conflist(made, node, number)))
            (made.node_directory(node, "cni") / "10-towpath.conflist").symlink_to(real)
        route_by_hand(made)
        for node in (*made.nodes, *made.nodes):
            made.add_pod(node)
        yield made

"""Two controllers on the real API server, and the one that leads is cut off: what the server's own audit log says of it."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.names import own
from towpath.lab import objects
from towpath.lab.addressing import CONTROLLERS, MANAGEMENT, RACK_A
from towpath.lab.process import wait_for
from towpath.lab.topology import Lab, Shape
from towpath.model.net import Family

PREFIX = own("tpf")
ADDRESS = {f"ctl{index}": str(MANAGEMENT.address(Family.IPV4, number)) for index, number in enumerate(CONTROLLERS, 1)}
CUTS = {
    # requests do not arrive
    "there": "chain there {{ type filter hook input priority 0; ip saddr {} drop; }}",
    # requests arrive and are carried out, nobody hears the answer
    "back": "chain back {{ type filter hook output priority 0; ip daddr {} drop; }}",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """No node is a machine here: the controllers have Node objects to work for, and nobody else writes."""
    with Lab(PREFIX, Shape(nodes=0, controllers=2, api="kubernetes")) as made:
        yield made.up()


def holder(lab: Lab) -> str:
    """The controller that the Lease names."""
    lease = lab.api.get("Lease", "towpath-controller", namespace="towpath-system")
    return "" if lease is None else str(lease["spec"].get("holderIdentity") or "").partition("_")[0]


UNLED = ("leases", "customresourcedefinitions")
"""What a controller writes without leading: who leads, and each one as it starts, the definitions of its release."""


def writes(lab: Lab, host: str) -> list[dict[str, Any]]:
    """What a controller wrote as the one that leads and was not refused."""
    return [
        one
        for one in lab.audit()
        if ADDRESS[host] in one["sourceIPs"]
        and one["objectRef"]["resource"] not in UNLED
        and one["responseStatus"]["code"] < 300
    ]


@pytest.mark.parametrize("cut", CUTS)
def test_a_leader_that_is_cut_off_writes_nothing_after_its_successor_has_begun(lab: Lab, cut: str) -> None:
    """Nodes come all the time, so there is always something to write. Also when it hears from the server again."""
    numbers = itertools.count(100 if cut == "there" else 150)

    def node_comes() -> str:
        name = f"node{next(numbers)}"
        number = int(name.removeprefix("node"))
        lab.api.apply(objects.node(name, tuple(RACK_A.address(family, number) for family in Family), rack="a"))
        return name

    def served(name: str) -> bool:
        return lab.api.get("RoutingNode", name) is not None

    first = node_comes()
    wait_for(lambda: served(first), deadline=30, what="a controller works")
    old = holder(lab)
    new = next(name for name in ADDRESS if name != old)
    before = len(writes(lab, new))
    server = lab.host("api")
    server.run("nft", f"table inet cut {{ {CUTS[cut].format(ADDRESS[old])}; }}")
    try:
        wait_for(lambda: node_comes() and holder(lab) == new, deadline=60, what="the other leads", interval=0.5)
        last = node_comes()
        wait_for(lambda: served(last), deadline=30, what="the other works")
    finally:
        server.run("nft", "delete table inet cut")
    wait_for(lambda: "lease.lost" in lab.programs[old].log, deadline=30, what="the one before knows that it does not")
    later = node_comes()
    wait_for(lambda: served(later), deadline=30, what="the other goes on")
    # what was given up would come with the retransmissions of these seconds, if the kernel still had it: the kernel stops
    # only because the connection is reset at once
    wait_for(lambda: node_comes() and len(writes(lab, new)) > before + 20, deadline=60, what="it writes", interval=0.5)
    assert holder(lab) == new
    theirs, ours = writes(lab, old), writes(lab, new)[before:]
    assert theirs[-1]["stageTimestamp"] < ours[0]["requestReceivedTimestamp"]

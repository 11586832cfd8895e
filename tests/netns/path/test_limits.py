"""A peer that tells too much, from its UPDATEs to the objects that an operator looks at."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.names import own
from tests.netns.engine.rig import Bird
from tests.netns.path.cluster import cluster, neighbour
from towpath.lab import facts
from towpath.lab.addressing import CLUSTER_AS, RACKS
from towpath.lab.api import collection, custom
from towpath.lab.netns import Host
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family, Prefix

TWO = frozenset({ip_network("198.18.0.0/24"), ip_network("198.18.1.0/24")})
THIRD: Prefix = ip_network("198.18.2.0/24")
PEER = "limited"
CEASE = "Received: Maximum number of prefixes reached"
HOST = 6
"""The number of the router's address on the node's segment."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One node."""
    with cluster(Shape(nodes=1, controllers=1), prefix=own("tpml")) as made:
        yield made


@pytest.fixture(scope="module")
def beside(lab: Lab) -> Host:
    """Where the router is."""
    return neighbour(lab, "limited", HOST)


@pytest.fixture
def router(lab: Lab, beside: Host) -> Iterator[Bird]:
    """Two prefixes, which are as many as may be, and a third one when it is asked for it."""
    address = RACKS["a"].address(Family.IPV4, HOST)
    (node,) = (one for one in lab.node_addresses("node1") if one.version == 4)
    told = "".join(f"route {one} blackhole; " for one in sorted(TWO))
    daemon = Bird(
        beside,
        lab.root,
        router_id="192.0.2.6",
        neighbours={
            "node1": f"local {address} as 65010; neighbor {node} as {CLUSTER_AS}; connect retry time 1; "
            "error wait time 1,2; ipv4 { import none; export all; };"
        },
        static=told,
        more=f"protocol static third {{ disabled; ipv4; route {THIRD} blackhole; }}",
    )
    limit = {"limit": 2, "warnPercent": 100}
    spec = {"peerIP": str(address), "asNumber": 65010, "importPolicy": "All", "maxPrefixes": limit}
    lab.api.apply(custom("BGPPeer", PEER, spec))
    try:
        yield daemon
    finally:
        daemon.process.kill()
        lab.api.delete("BGPPeer", PEER)


def within_limits(lab: Lab) -> tuple[str, str, str]:
    """Status, reason and message of what the object says of itself."""
    conditions = (lab.api.get("BGPPeer", PEER) or {}).get("status", {}).get("conditions", [])
    found = [one for one in conditions if one["type"] == "WithinLimits"]
    return (found[0]["status"], found[0]["reason"], found[0].get("message", "")) if found else ("", "", "")


def told(lab: Lab, reason: str) -> list[str]:
    """The events about the peer that have this reason."""
    events = lab.api.items("Event", namespace="default").values()
    about = (one for one in events if one["involvedObject"]["name"] == PEER and one["reason"] == reason)
    return [one["message"] for one in about if one["type"] == "Warning"]


def session(lab: Lab) -> dict[str, Any]:
    """What the node's status says of the session."""
    return next((one for one in facts.reports(lab)["node1"].get("sessions", []) if one.get("bgpPeer") == PEER), {})


def held(lab: Lab) -> set[Prefix]:
    """What of the router's the node's kernel has."""
    return set(facts.kernel_routes(lab, "node1")) & {*TWO, THIRD}


def test_a_limit_is_seen_where_an_operator_looks(lab: Lab, router: Bird) -> None:
    """The third is refused: condition, event, session in NodeStatus. Once the router has fewer all is well again."""
    wait_for(lambda: held(lab) == TWO, deadline=40, what="both")
    wait_for(lambda: within_limits(lab)[:2] == ("True", "WithinLimits"), deadline=40, what="it is said to be well")
    stood = router.settled("node1")
    router.ask("enable third")
    refused = f"1 prefixes of {RACKS['a'].address(Family.IPV4, HOST)} are refused, 2 are accepted"
    said = ("False", "MaxPrefix", f"spec.maxPrefixes: {refused} (node1)")
    wait_for(lambda: within_limits(lab) == said, deadline=40, what="it is not")
    wait_for(lambda: told(lab, "MaxPrefix") == [f"spec.maxPrefixes {refused}"], deadline=20, what="an event")
    shown = session(lab)
    assert (shown["state"], shown["accepted"], shown["refused"]) == (
        "Established",
        2,
        [{"reason": "MaxPrefix", "prefixes": 1}],
    )
    assert held(lab) == TWO
    router.ask("disable third")
    wait_for(lambda: within_limits(lab)[0] == "True", deadline=40, what="all is well again")
    assert router.changes("node1") == stood


def test_a_session_that_ends_at_its_limit_says_so_and_comes_back(lab: Lab, router: Bird) -> None:
    """Cease/1: condition, event and the session's reason name the limit; it stays away for as long as the object says."""
    reset = {"limit": 2, "warnPercent": 100, "action": "Reset", "restartAfter": "5s"}
    lab.api.patch(f"{collection('BGPPeer')}/{PEER}", {"spec": {"maxPrefixes": reset}})
    wait_for(lambda: held(lab) == TWO, deadline=40, what="both")
    router.settled("node1")
    router.ask("enable third")
    wait_for(lambda: CEASE in router.log, deadline=20, what="the router is told why")
    ended = f"the session with {RACKS['a'].address(Family.IPV4, HOST)} was ended: more than 2 prefixes accepted"
    said = ("False", "MaxPrefix", f"spec.maxPrefixes: {ended} (node1)")
    wait_for(lambda: within_limits(lab) == said, deadline=40, what="the object says so")
    wait_for(
        lambda: any("MaxPrefix: more than 2" in one for one in told(lab, "SessionLost")), deadline=20, what="an event"
    )
    wait_for(
        lambda: (
            (one := session(lab)).get("reason") == "MaxPrefix: more than 2 prefixes accepted"
            and one["state"] != "Established"
        ),
        deadline=60,
        what="the session is reported to have ended at its limit",
    )
    wait_for(lambda: router.log.count(CEASE) > 1, deadline=40, what="it came back, and was ended again")
    router.ask("disable third")
    wait_for(lambda: held(lab) == TWO, deadline=40, what="both again")
    wait_for(lambda: within_limits(lab)[0] == "True", deadline=60, what="the object says that all is well")
    wait_for(lambda: session(lab).get("state") == "Established", deadline=60, what="the session is reported")

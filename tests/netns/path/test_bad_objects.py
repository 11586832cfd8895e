"""A bad object of every kind on a running cluster: told what is wrong with it, and nothing else is disturbed.

The API server of this cluster checks nothing, as if the objects were older than its checks.
"""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.names import own
from tests.netns.path.cluster import cluster, connections, restarted, watched
from towpath.lab import facts
from towpath.lab.api import collection, custom
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab

PREFIX = own("tpq")
MISSING = {"secretKeyRef": {"name": "nowhere", "key": "password"}}
CHANGES: tuple[tuple[str, str, dict[str, Any], str, dict[str, Any]], ...] = (
    # kind, name, the mistake, the field that is named, the correction
    ("BGPConfiguration", "default", {"asNumber": 0}, "spec.asNumber", {"asNumber": 64512}),
    ("IPAMConfiguration", "default", {"growAtPercent": 0}, "spec.growAtPercent", {"growAtPercent": 80}),
    ("BGPPeer", "tor-a-ipv4", {"peerIP": "tor.example.com"}, "spec.peerIP", {"peerIP": "192.0.2.1"}),
    ("BGPPeer", "tor-b-ipv4", {"asNumber": "23456"}, "spec.asNumber", {"asNumber": 65000}),
    ("IPPool", "pods-ipv4", {"blockSize": "26"}, "spec.blockSize", {"blockSize": None}),
    ("IPPool", "pods-ipv6", {"cidr": "fd00:10:244::1/112"}, "spec.cidr", {"cidr": "fd00:10:244::/112"}),
)
"""Objects that were good: what was read of them last stays in force."""
ADDED: tuple[tuple[str, str, dict[str, Any], str, dict[str, Any]], ...] = (
    ("BGPConfiguration", "node.node1", {"nodeToNodeMeshEnabled": False}, "spec", {"nodeToNodeMeshEnabled": None}),
    ("BGPConfiguration", "main", {"asNumber": 64999}, "metadata.name", {}),
    (
        "BGPPeer",
        "spare",
        {"peerIP": "192.0.2.99", "asNumber": 65000, "advertise": "Everything"},
        "spec.advertise",
        {"advertise": None, "passive": None},
    ),
    ("IPPool", "second", {"cidr": "10.244.128.0/17"}, "spec.cidr", {"cidr": "10.99.0.0/16"}),
)
"""Objects that never were good: they are not in force."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes on an API server that checks nothing."""
    with cluster(Shape(nodes=2, checked=False), prefix=PREFIX) as made:
        yield made


def leader(lab: Lab) -> str:
    """The process that leads; empty while none does."""
    (lease,) = lab.api.items("Lease", namespace="towpath-system").values()
    return str(lease["spec"].get("holderIdentity") or "")


def patch(lab: Lab, kind: str, name: str, body: dict[str, Any]) -> None:
    lab.api.patch(f"{collection(kind)}/{name}", body)


def accepted(lab: Lab, kind: str, name: str) -> tuple[str, str, str] | None:
    """Status, reason and message of Accepted for the object as it is now."""
    item = lab.api.get(kind, name)
    assert item is not None
    for one in item.get("status", {}).get("conditions", []):
        if one["type"] == "Accepted" and one["observedGeneration"] == item["metadata"]["generation"]:
            return one["status"], one.get("reason", ""), one.get("message", "")
    return None


def wait_refused(lab: Lab, kind: str, name: str, field: str) -> tuple[str, str]:
    """Reason and message of the condition, which must name the field."""

    def found() -> tuple[str, str, str] | None:
        said = accepted(lab, kind, name)
        return said if said is not None and said[0] == "False" else None

    _, reason, message = wait_for(found, deadline=10, what=f"{kind}/{name} is refused")
    assert f"{field}: " in message, message
    return reason, message


def wait_told(lab: Lab, *words: str, about: str) -> None:
    """Wait for an event about an object of this name that says all these words."""

    def found() -> bool:
        events = lab.api.items("Event", namespace="default").values()
        texts = [one["message"] for one in events if one["involvedObject"]["name"] == about]
        return any(all(word in text for word in words) for text in texts)

    wait_for(found, deadline=10, what=f"an event about {about} says {words}")


def node_conditions(lab: Lab, node: str) -> dict[str, str]:
    """What holds on a node, and the message."""
    found = facts.conditions(lab, node)
    return {kind: one.get("message", "") for kind, one in found.items() if one["status"] == "True"}


def unresolved(lab: Lab, peer: str) -> str:
    """What a BGPPeer refers to and is not there; empty where all is."""
    item = lab.api.get("BGPPeer", peer)
    assert item is not None
    conditions = item.get("status", {}).get("conditions", [])
    return next(
        (one["message"] for one in conditions if one["type"] == "ResolvedRefs" and one["status"] == "False"), ""
    )


def routing_address(lab: Lab, node: str) -> str:
    """The IPv4 address in the spec of a RoutingNode."""
    item = lab.api.get("RoutingNode", node)
    assert item is not None
    return str(item["spec"]["bgp"].get("ipv4Address"))


def spoil(lab: Lab) -> None:
    """A mistake in an object of every kind."""
    for kind, name, mistake, _, _ in CHANGES:
        patch(lab, kind, name, {"spec": mistake})
    for kind, name, spec, _, _ in ADDED:
        lab.api.apply(custom(kind, name, spec))
    patch(lab, "BGPPeer", "tor-a-ipv6", {"spec": {"password": MISSING}})
    lab.api.apply(custom("IPAMBlock", "block-1", {"cidr": "10.244.200.0/26", "node": "node1"}))
    patch(lab, "RoutingNode", "node2", {"spec": {"bgp": {"ipv4Address": "node2.example.com"}}})
    patch(lab, "NodeStatus", "node1", {"spec": "none"})
    patch(lab, "NodeStatus", "node2", {"status": {"sessions": "none", "conditions": 7, "blocks": [[]]}})
    patch(lab, "Node", "node2", {"metadata": {"annotations": {"towpath.io/as-number": "23456"}}})


def test_each_says_what_is_wrong_and_nothing_moves(lab: Lab) -> None:
    """Every refusal names the field; no connection is made anew, no route moves, not even by a restart of everything."""
    before, led = connections(lab), leader(lab)
    with watched(lab, *lab.nodes, "tor") as moved:
        spoil(lab)
        for kind, name, _, field, _ in (*CHANGES, *ADDED):
            reason, _ = wait_refused(lab, kind, name, field)
            assert reason == ("OverlappingPool" if name == "second" else "InvalidSpec")
        wait_told(lab, "metadata.name", about="block-1")
        wait_told(lab, "spec.bgp.ipv4Address", about="node2")
        wait_for(
            lambda: routing_address(lab, "node2").startswith("192.0.2.12/"), deadline=10, what="its spec is repaired"
        )
        wait_told(lab, "spec must be an object", about="node1")
        wait_told(lab, "metadata.annotations[towpath.io/as-number]", "23456", about="node2")
        for node in lab.nodes:
            said = wait_for(
                lambda node=node: (
                    (told := node_conditions(lab, node)).keys() >= {"InvalidSpec", "SecretMissing"} and told
                ),
                deadline=10,
                what=f"{node} says what it does not follow",
            )
            assert "Secret nowhere does not exist" in said["SecretMissing"]
            assert "BGPPeer/tor-a-ipv6 spec.password" in said["SecretMissing"]
        wait_for(
            lambda: "spec.password: Secret nowhere does not exist" in unresolved(lab, "tor-a-ipv6"),
            deadline=30,
            what="the peer says it of itself",
        )
        assert connections(lab) == before
        assert moved() == {}
        # nothing that was good lives in a process only
        lab.stop("ctl1", "ctl2")
        restarted(lab, "ctl1", "ctl2", "node1/agent", "node2/agent")
        wait_for(lambda: leader(lab) not in (led, ""), deadline=20, what="a new controller leads")
        patch(lab, "BGPPeer", "spare", {"spec": {"passive": 7}})
        wait_refused(lab, "BGPPeer", "spare", "spec.advertise")
        assert connections(lab) == before
        assert moved() == {}


def test_corrected_they_are_in_force(lab: Lab) -> None:
    """Accepted=True for each, sessions that were up still are, and what is new works."""
    before = connections(lab)
    for kind, name, _, _, correction in (*CHANGES, *ADDED):
        if name == "main":
            lab.api.delete(kind, name)
        else:
            patch(lab, kind, name, {"spec": correction})
    patch(lab, "BGPPeer", "tor-a-ipv6", {"spec": {"password": None}})
    lab.api.delete("IPAMBlock", "block-1")
    lab.api.apply(custom("IPAMBlock", "10-244-200-0-26", {"cidr": "10.244.200.0/26", "node": "node1"}))
    patch(lab, "NodeStatus", "node1", {"spec": {}})
    patch(lab, "Node", "node2", {"metadata": {"annotations": None}})
    for kind, name, _, _, _ in (*CHANGES, *ADDED):
        if name != "main":
            wait_for(
                lambda kind=kind, name=name: (accepted(lab, kind, name) or ("",))[0] == "True",
                deadline=10,
                what=f"{kind}/{name} is accepted",
            )
    block = ip_network("10.244.200.0/26")
    wait_for(lambda: block in facts.kernel_routes(lab, "node2"), deadline=20, what="the block is routed")
    wait_for(lambda: block in lab.tor.routes(), deadline=20, what="the router has learned it")
    for node in lab.nodes:
        wait_for(
            lambda node=node: "192.0.2.99" in {one["peer"] for one in facts.reports(lab)[node].get("sessions", [])},
            deadline=40,
            what=f"{node} has a session for the corrected peer",
        )
        wait_for(
            lambda node=node: not node_conditions(lab, node).keys() & {"InvalidSpec", "SecretMissing"},
            deadline=10,
            what=f"{node} has nothing to object to",
        )
    wait_for(lambda: not unresolved(lab, "tor-a-ipv6"), deadline=90, what="the peer has nothing to object to")
    assert connections(lab) == before
    facts.wait_reachable(lab)

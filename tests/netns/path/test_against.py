"""``towpath plan --against`` of a running cluster before and after a change: the sessions that it says would reset are those that do.

The plan reads what the API server has. Every change brings a community of its own along, in the same write: once the router
has it from all nodes, the change has been applied, whether it ended a session or not.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.names import own
from tests.netns.path.cluster import cluster, connections
from towpath.controller.cli import main
from towpath.controller.plan.inputs import KUBERNETES
from towpath.lab import facts
from towpath.lab.addressing import PODS, TOR_AS
from towpath.lab.api import collection, custom
from towpath.lab.bird import parse_routes
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.kinds.kind import API_VERSION
from towpath.model.net import Family, family_of

KINDS = ("Node", "RoutingNode", "BGPConfiguration", "BGPPeer", "BGPFilter", "IPPool", "IPAMBlock", "IPAMConfiguration")
ROUTER_V4, ROUTER_V6 = ("Node", Family.IPV4), ("Node", Family.IPV6)
ROUTER, MESH = {ROUTER_V4, ROUTER_V6}, {("Mesh", Family.IPV4), ("Mesh", Family.IPV6)}
CHANGES: list[tuple[str, dict[str, Any], set[tuple[str, Family]]]] = [
    # what is negotiated resets the sessions that negotiated it
    ("BGPPeer", {"timers": {"holdTime": "60s"}}, {ROUTER_V4}),
    ("BGPPeer", {"maxRestartTime": "100s"}, {ROUTER_V4}),
    ("BGPConfiguration", {"nodeMeshMaxRestartTime": "100s"}, MESH),
    ("BGPConfiguration", {"timers": {"holdTime": "75s", "connectRetryTime": "1s"}}, MESH | {ROUTER_V6}),
    ("BGPConfiguration", {"gracefulRestart": {"restartTime": "110s"}}, {ROUTER_V6}),
    # what is told or taken is told again or judged again
    ("BGPPeer", {"advertise": "All", "importPolicy": "All"}, set()),
    ("BGPConfiguration", {"ipv4NormalRoutePriority": 900, "meshAdvertise": "Cluster"}, set()),
    ("BGPFilter", {}, set()),
    # and the rest is nobody else's business
    ("BGPPeer", {"keepaliveTime": "7s", "description": "another", "maxPrefixes": {"limit": 77}}, set()),
    (
        "BGPConfiguration",
        {"timers": {"holdTime": "75s", "connectRetryTime": "2s"}, "maxPrefixes": {"limit": 99}},
        set(),
    ),
]
"""A kind, fields of its object, and the scope and family of the sessions that reset; one after the other, each on what was before."""
NAMES = {"BGPPeer": "tor-a-ipv4", "BGPConfiguration": "default"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes beside a router, and a filter for each change."""
    with cluster(Shape(nodes=2, controllers=1), pods=0, prefix=own("tpg")) as made:
        for number in range(len(CHANGES)):
            made.api.apply(custom("BGPFilter", f"mark-{number}", marking(number)))
        yield made


def marking(number: int) -> dict[str, Any]:
    """The rules that add a community to all blocks that are told to a peer."""
    add = {"addCommunity": {"value": f"{TOR_AS}:{number}"}}
    rule = {"action": "Accept", "matchOperator": "In", "cidr": str(PODS[Family.IPV4]), "operations": [add]}
    return {"exportV4": [rule]}


def apply(lab: Lab, kind: str, fields: dict[str, Any], number: int) -> None:
    """Make a change, with the community of its number in the same write."""
    everywhere = [{"cidr": str(PODS[Family.IPV6]), "communities": [f"{TOR_AS}:{number}"]}]
    marks: dict[str, dict[str, Any]] = {
        "BGPPeer": {"filters": [f"mark-{number}"]},
        "BGPConfiguration": {"prefixAdvertisements": everywhere},
        "BGPFilter": marking(number),
    }
    name = NAMES.get(kind) or lab.api.items("BGPPeer")[NAMES["BGPPeer"]]["spec"]["filters"][0]
    lab.api.patch(f"{collection(kind)}/{name}", {"spec": fields | marks[kind]})


def objects(lab: Lab, file: Path) -> str:
    """All objects of the cluster in a file; its name."""
    items = [
        {"apiVersion": KUBERNETES.get(kind, API_VERSION), **one, "kind": kind}
        for kind in KINDS
        for one in lab.api.items(kind).values()
    ]
    file.write_text("\n---\n".join(map(json.dumps, items)))
    return str(file)


def resets(capsys: pytest.CaptureFixture[str], before: str, after: str) -> dict[str, dict[str, tuple[str, Family]]]:
    """By node the peers of the sessions that a plan says would reset, and of what kind those are."""
    capsys.readouterr()
    assert main(["plan", "-f", after, "--against", before, "-o", "json"]) == 4
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    assert main(["plan", "-f", after, "-o", "json"]) == 0
    plans = json.loads(capsys.readouterr().out)["nodes"]
    found: dict[str, dict[str, tuple[str, Family]]] = {}
    for name, plan in plans.items():
        sessions = {one["name"]: one for one in plan["sessions"]}
        ended = [sessions[one] for one in nodes.get(name, {"resets": []})["resets"]]
        found[name] = {one["peerIP"]: (one["scope"], family(one["peerIP"])) for one in ended}
    return found


def family(address: str) -> Family:
    return Family.IPV6 if ":" in address else Family.IPV4


def lost(before: dict[str, set[tuple[str, str]]], lab: Lab) -> dict[str, set[str]]:
    """By node the peers whose connections are no longer those of before."""
    now = connections(lab)
    return {
        node: {ends[1].rpartition(":")[0].strip("[]") for ends in some - now[node]} for node, some in before.items()
    }


def has_arrived(lab: Lab, kind: str, number: int) -> bool:
    """Whether the router has the blocks of all nodes with the community of a change: a filter adds it in IPv4, and what a filter accepts gets no other."""
    marked = {one.prefix for one in parse_routes(lab.tor.ask(f"show route where ({TOR_AS},{number}) ~ bgp_community"))}
    family = Family.IPV6 if kind == "BGPConfiguration" else Family.IPV4
    return marked >= {one for one in facts.blocks(lab) if family_of(one) is family}


def test_the_sessions_that_a_plan_says_would_reset_are_those_that_do(
    lab: Lab, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On every node, for changes that reset some sessions, for those that are told or judged again, and for all others."""
    for number, (kind, fields, expected) in enumerate(CHANGES):
        standing, before = connections(lab), objects(lab, tmp_path / "before.yaml")
        apply(lab, kind, fields, number)
        said = resets(capsys, before, objects(lab, tmp_path / "after.yaml"))
        assert {one for some in said.values() for one in some.values()} == expected, fields
        peers = {node: set(some) for node, some in said.items()}

        def is_over(kind: str = kind, number: int = number, standing: Any = standing, peers: Any = peers) -> bool:
            gone = lost(standing, lab)
            return has_arrived(lab, kind, number) and all(gone[node] >= some for node, some in peers.items())

        wait_for(is_over, deadline=30, what=f"{fields} is applied, and what should reset has")
        facts.wait_sessions(lab)
        assert lost(standing, lab) == peers, fields

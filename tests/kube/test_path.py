"""The main job on the real API server: from Node objects to packets, and nothing lost when the server is killed."""

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_network

import pytest

from tests.names import own
from tests.netns.path.cluster import cluster, watched
from towpath.lab import facts
from towpath.lab.api import custom
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family, family_of

PREFIX = own("tpq")
USER_KINDS = ("BGPConfiguration", "IPAMConfiguration", "IPPool", "BGPPeer")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes with a pod each; etcd and kube-apiserver in a namespace of the lab."""
    with cluster(Shape(nodes=2, controllers=1, api="kubernetes"), prefix=PREFIX) as made:
        yield made


def test_nodes_become_routing_nodes_blocks_routes_and_packets(lab: Lab) -> None:
    """Each Node has a RoutingNode that it owns, a block of each family, routes everywhere, and pods that are reached."""

    def described(name: str) -> bool:
        """Status is written after the object, by a request of its own."""
        status = (lab.api.get("RoutingNode", name) or {}).get("status", {})
        addresses = {text.partition("/")[0] for text in (status.get("ipv4Address", ""), status.get("ipv6Address", ""))}
        return addresses == {str(one) for one in lab.node_addresses(name)}

    for name, node in lab.api.items("Node").items():
        wait_for(partial(described, name), deadline=10, what=f"the RoutingNode of {name} has its addresses")
        made = lab.api.get("RoutingNode", name)
        assert made is not None
        assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == [node["metadata"]["uid"]]
        own = [prefix for prefix, owner in facts.blocks(lab).items() if owner == name]
        assert sorted(family_of(prefix) for prefix in own) == [Family.IPV4, Family.IPV6]
    assert not facts.missing_routes(lab)
    assert len(facts.flows(lab)) == 3 * 2 * 2  # two pods and the client
    facts.wait_reachable(lab)


def test_objects_say_that_they_are_accepted_and_nodes_what_they_do(lab: Lab) -> None:
    """Accepted=True for the present generation of every object; each NodeStatus has its sessions and is in sync."""

    def told() -> bool:
        objects = [item for kind in USER_KINDS for item in lab.api.items(kind).values()]
        return len(objects) == 8 and all(
            ("Accepted", "True", item["metadata"]["generation"])
            in {
                (one["type"], one["status"], one["observedGeneration"])
                for one in item.get("status", {}).get("conditions", ())
            }
            for item in objects
        )

    wait_for(told, deadline=10, what="all objects are accepted")

    def well() -> bool:
        reports = facts.reports(lab)
        return reports.keys() == set(lab.nodes) and all(
            [session["state"] for session in report.get("sessions", ())] == ["Established"] * 4
            and report.get("inSync")
            and ("Ready", "True") in {(one["type"], one["status"]) for one in report.get("conditions", ())}
            for report in reports.values()
        )

    wait_for(well, deadline=40, what="each node reports that all is well")


def test_a_node_joins_and_is_deleted(lab: Lab) -> None:
    """It is reached like the others; deleted, it is withdrawn, its routes go and its blocks are quarantined."""
    lab.add_node("node3")
    facts.wait_ready(lab, "node3")
    lab.add_pod("node3")
    facts.wait_converged(lab)
    facts.wait_reachable(lab)
    mine = {prefix for prefix, owner in facts.blocks(lab).items() if owner == "node3"}
    assert len(mine) == 2
    lab.delete_pod("node3-p1")
    lab.delete_node_object("node3")
    wait_for(
        lambda: not any(mine & facts.kernel_routes(lab, node).keys() for node in ("node1", "node2")),
        deadline=20,
        what="no other node has a route to its blocks",
    )
    wait_for(lambda: not mine & lab.tor.routes().keys(), deadline=20, what="the router has none either")
    wait_for(lambda: mine <= facts.blocks(lab, state="Quarantined").keys(), deadline=20, what="they are quarantined")
    command = (sys.executable, "-m", "towpath.controller.cli", "ipam", "show", *lab.programs.source, "-o", "json")
    listed = {ip_network(one["cidr"]): one for one in json.loads(lab.api.host.run(*command))["blocks"]}
    assert {(listed[one]["node"], listed[one]["state"]) for one in mine} == {("node3", "Quarantined")}
    assert all(listed[one]["since"] for one in mine)  # the API server has noted when
    wait_for(lambda: lab.api.get("RoutingNode", "node3") is None, deadline=20, what="its RoutingNode is gone")
    lab.remove_node("node3")
    facts.wait_converged(lab)
    facts.wait_reachable(lab)


def test_a_block_of_nobody_is_found(lab: Lab) -> None:
    """``ipam check`` of the live cluster names a block that somebody made for a node that there is none of."""
    spec = {"cidr": "192.0.2.64/26", "node": "nobody"}
    lab.api.apply(custom("IPAMBlock", "192-0-2-64-26", spec))
    command = (sys.executable, "-m", "towpath.controller.cli", "ipam", "check", *lab.programs.source, "-o", "json")
    found = json.loads(lab.api.host.run(*command, check=False))["findings"]
    mine = {(one["field"], one["reason"]) for one in found if one["object"]["name"] == "192-0-2-64-26"}
    assert mine == {("spec.node", "NodeMissing"), ("spec.cidr", "NoPool")}
    lab.api.delete("IPAMBlock", "192-0-2-64-26")


def test_nodes_are_told_their_blocks_as_pod_cidrs(lab: Lab) -> None:
    """``assignPodCIDRs``: each Node has its blocks, the first of each family, in ``podCIDRs``, which it takes but once."""

    def assigned() -> dict[str, list[str]]:
        return {name: node["spec"].get("podCIDRs", []) for name, node in lab.api.items("Node").items()}

    assert assigned() == {name: [] for name in lab.nodes}
    lab.api.apply(custom("IPAMConfiguration", "default", {"assignPodCIDRs": True}))
    wait_for(lambda: all(assigned().values()), deadline=30, what="nodes have podCIDRs")
    for name, cidrs in assigned().items():
        own = sorted((prefix for prefix, owner in facts.blocks(lab).items() if owner == name), key=family_of)
        assert cidrs == [str(prefix) for prefix in own]
        assert len(cidrs) == 2


def test_the_server_is_killed_and_comes_back(lab: Lab) -> None:
    """kill -9: no route moves and no session ends; what is written when it is back is acted on."""
    block = ip_network("10.245.7.0/26")
    with watched(lab, *lab.nodes, "tor") as moved:
        lab.kill("api")
        # nothing can be waited for: that nothing happens is the point
        time.sleep(2)
        lab.start("api")
        wait_for(lab.api.ready, deadline=60, what="the API server answers", interval=0.1)
        facts.wait_healthy(lab)
        assert not facts.sessions_down(lab)
        assert moved() == {}
    lab.api.apply(custom("IPAMBlock", "10-245-7-0-26", {"cidr": str(block), "node": "node1"}))
    wait_for(lambda: block in facts.kernel_routes(lab, "node2"), deadline=30, what="a new block is routed")
    wait_for(lambda: block in lab.tor.routes(), deadline=10, what="the router has learned it")
    facts.wait_sessions(lab)

"""What is wrong with a cluster, from its objects, and which paths are to be tried."""

from ipaddress import IPv4Interface, IPv6Interface

import pytest

from towpath.controller.connectivity.judge import MESH, PathPod, path_pod, paths, wrong_objects
from towpath.model.kinds.node import NodeBGP, NodeStatusStatus, RoutingNodeSpec, SessionReport
from towpath.model.resource import Condition

UP = SessionReport(name="tor", peer="192.0.2.1", remote_as=65000, state="Established")


def status(*sessions: SessionReport, ready: str = "True", in_sync: bool = True) -> NodeStatusStatus:
    conditions = (
        Condition(type="Ready", status=ready, reason="Ready" if ready == "True" else "NotReady", message=""),
        Condition(type="InSync", status=str(in_sync), reason="x", message="" if in_sync else "2 of 4 routes"),
        Condition(type="APIReachable", status="True", reason="Reachable"),
    )
    return NodeStatusStatus(in_sync=in_sync, sessions=sessions, conditions=conditions)


def pod(node: str, *addresses: str, phase: str = "Running") -> PathPod:
    return PathPod(name=f"path-{node}", node=node, addresses=addresses, phase=phase)


def spec(number: int) -> RoutingNodeSpec:
    return RoutingNodeSpec(
        bgp=NodeBGP(
            ipv4_address=IPv4Interface(f"10.0.0.{number}/24"), ipv6_address=IPv6Interface(f"fd00::{number:x}/64")
        )
    )


def test_a_cluster_that_works_has_nothing_wrong() -> None:
    assert wrong_objects(["a"], {"a": status(UP)}, [pod("a", "10.244.0.1")]) == []


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (None, "a: no NodeStatus"),
        (status(ready="False"), "a: Ready is False: NotReady"),
        (status(in_sync=False), "a: not in sync: 2 of 4 routes"),
        (
            status(SessionReport(name="tor", peer="192.0.2.1", remote_as=65000, state="Active", reason="refused")),
            "a: session tor with 192.0.2.1 is Active (refused)",
        ),
        (
            status(
                SessionReport(name="tor", peer="192.0.2.1", remote_as=65000, state="Withheld", reason="SecretMissing")
            ),
            "a: session tor with 192.0.2.1 is Withheld (SecretMissing)",
        ),
    ],
)
def test_each_thing_that_is_wrong_is_one_sentence(found: NodeStatusStatus | None, sentence: str) -> None:
    """The node comes first, then what it is."""
    assert wrong_objects(["a"], {"a": found}, [pod("a", "10.244.0.1")]) == [sentence]


def test_a_session_that_somebody_shut_down_is_fine() -> None:
    """What is withheld on purpose is no fault."""
    shut = SessionReport(name="tor", peer="192.0.2.1", remote_as=65000, state="Withheld", reason="Shutdown")
    assert wrong_objects(["a"], {"a": status(shut)}, [pod("a", "10.244.0.1")]) == []


def test_a_node_without_a_running_pod_is_told() -> None:
    """Also why the pod does not run, as far as the API knows."""
    waiting = {"name": "path", "state": {"waiting": {"reason": "ContainerCreating"}}}
    body = {
        "metadata": {"name": "p"},
        "spec": {"nodeName": "a"},
        "status": {"phase": "Pending", "containerStatuses": [waiting]},
    }
    found = wrong_objects(["a", "b"], {"a": status(), "b": status()}, [path_pod(body)])
    assert found == [
        "a: no pod of the test runs here: p is Pending (ContainerCreating)",
        "b: no pod of the test runs here: there is none",
    ]


def test_a_cluster_without_nodes_is_no_success() -> None:
    """Nothing to try is not the same as all is well."""
    assert wrong_objects([], {}, []) != []


def test_every_pod_tries_all_others_and_its_own_nodes_peers() -> None:
    """In each family that both have; nodes that are peers are no routers, and their pods are tried instead."""
    mesh = SessionReport(name="mesh", peer="10.0.0.2", remote_as=64512, state="Established")
    local = SessionReport(name="ll", peer="fe80::1%eth0", remote_as=65000, state="Established")
    nodes = {"a": spec(1), "b": spec(2)}
    pods = [pod("a", "10.244.0.1", "fd00:1::1"), pod("b", "10.244.0.65"), pod("gone", "10.244.9.9")]
    found = paths(nodes, {"a": status(UP, mesh, local), "b": status()}, pods, peers=True)
    assert found["a"].pods == {"10.244.0.65": "b"}
    assert found["a"].hosts == ("192.0.2.1",)
    assert found["b"].pods == {"10.244.0.1": "a"}
    assert found["b"].hosts == ()
    assert paths(nodes, {"a": status(UP)}, pods, peers=False)["a"].hosts == ()


def test_a_large_cluster_is_a_ring() -> None:
    """The number of paths grows with the nodes, not with their square; every pod is tried by others."""
    names = [f"n{number:03}" for number in range(1, 121)]
    found = paths(
        {name: spec(1) for name in names},
        {},
        [pod(name, f"10.1.0.{index}") for index, name in enumerate(names)],
        peers=True,
    )
    assert {len(one.pods) for one in found.values()} == {MESH}
    assert {node for one in found.values() for node in one.pods.values()} == set(names)

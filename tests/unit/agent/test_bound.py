"""Which pods need an address, and when the controller hears of it."""

import asyncio
import json

import pytest

from tests.unit.agent.worlds import FakeApi as ApiOfObjects
from towpath.controller.following import QualifiedNames
from towpath.controller.kube.watch import Reflector
from towpath.controller.node.bound import BoundPods, needs_address
from towpath.controller.node.living import Living, living_of
from towpath.controller.node.report import Facts, compose
from towpath.controller.ports import UnreachableError
from towpath.controller.status import urgent
from towpath.ipam.allowance import ADDRESSES
from towpath.ipam.apart import Needs
from towpath.lab.fake_api import FakeApi
from towpath.model.cluster import Cluster
from towpath.model.kinds.node import BlockReport, RouteReport
from towpath.model.net import parse_address, parse_prefix
from towpath.model.reason import Reason
from towpath.model.workload import decode_workload


def pod(name="p", namespace="a", *, metadata=None, spec=None, status=None):
    """A pod on this node."""
    return {
        "metadata": {"name": name, "namespace": namespace, **(metadata or {})},
        "spec": {"nodeName": "n1", "containers": [], **(spec or {})},
        "status": status or {},
    }


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({}, True),
        ({"status": {"phase": "Running", "podIP": "10.0.0.5"}}, True),
        ({"spec": {"hostNetwork": True}}, False),
        ({"status": {"phase": "Succeeded"}}, False),
        ({"status": {"phase": "Failed", "podIP": "10.0.0.5"}}, False),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, False),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"podIP": "10.0.0.5"}}, True),
        ({"status": "nonsense", "metadata": {"annotations": 7}}, True),
        ({"metadata": {"annotations": {"v1.multus-cni.io/default-network": "other"}}}, False),
    ],
)
def test_who_needs_an_address(changes, needs):
    """Not who shares the host's network, has ended, or lives in another one; one that ends keeps what it has."""
    assert needs_address(pod(**changes)) is needs


async def test_pods_are_counted_as_they_come_and_go():
    """Those of this node alone; of two with one name in two namespaces one may go."""
    api, changes = FakeApi(), []
    await api.create("Pod", pod(), namespace="a")
    await api.create("Pod", pod("elsewhere", spec={"nodeName": "n2"}), namespace="a")
    bound = BoundPods(changed=lambda: changes.append(bound.wanted), moved=lambda: None)
    reflector = Reflector(QualifiedNames(api), bound, kind="Pod", field_selector="spec.nodeName=n1")
    task = asyncio.create_task(reflector.run())

    async def until(wanted):
        async with asyncio.timeout(20):
            while bound.wanted != wanted:  # noqa: ASYNC110  # any condition
                await asyncio.sleep(0.01)

    try:
        await until(1)
        await api.create("Pod", pod(namespace="b"), namespace="b")
        await until(2)
        await api.delete("Pod", "p", namespace="b")
        await until(1)
        await api.patch("Pod", "p", {"spec": {"hostNetwork": True}}, namespace="a")
        await until(0)
    finally:
        task.cancel()
    assert changes == [1, 2, 1, 0]


def status(wanted):
    """A node with one block of eight."""
    facts = Facts(
        node="n1",
        node_uid="u",
        live=True,
        provisional=False,
        connected=True,
        in_sync=True,
        report=None,
        blocks=(BlockReport(parse_prefix("10.0.0.8/29"), 1, 8),),
        routes=RouteReport(),
        needs=Needs(common=wanted),
    )
    return compose(facts, before=(), now="2026-01-01T00:00:00Z")


def test_a_jump_is_written_at_once_and_drifting_numbers_are_not():
    """A condition from the first pod that has no room; then each time that twice as many wait."""
    assert not urgent(status(2), status(7))
    assert urgent(status(7), status(9))
    assert not urgent(status(10), status(11))
    assert urgent(status(9), status(100))
    assert not urgent(status(100), status(110))
    waiting = [one for one in status(100).conditions if one.type == "PodsWaiting"]
    assert [one.message for one in waiting] == ["92 pods wait for an ipv4 address"]


def test_who_may_be_a_peer_is_kept_beside():
    """What changes of a pod that does not matter wakes nobody; at a start the snapshot counts until somebody has said."""
    woken = []
    bound = BoundPods(changed=lambda: None, moved=lambda: woken.append(dict(bound.workloads)))
    body = pod("r", metadata={"labels": {"app": "x"}}, status={"podIP": "10.0.0.9"})
    bound.upserted("Pod", body)
    bound.upserted("Pod", {**body, "status": {"podIP": "10.0.0.9", "phase": "Running"}})
    assert [sorted(one) for one in woken] == [["a/r"]]
    saved = bound.added_to(Cluster())
    again = BoundPods(changed=lambda: None, moved=lambda: woken.append(dict(again.workloads)))
    again.seed(saved)
    assert (again.workloads, again.settled) == (bound.workloads, False)
    again.refused("Pod", "pods is forbidden")
    assert (again.workloads, again.settled) == (bound.workloads, True)
    again.listing("Pod").done(version="1")
    assert again.workloads == {}
    bound.deleted("Pod", "a/r")
    assert [sorted(one) for one in woken] == [["a/r"], ["a/r"], [], []]


async def test_what_a_pod_asks_for_is_asked_for_where_it_is_not_known():
    """One that was made anew under its name is another; one that does not exist asks for nothing; without an answer nobody knows."""
    api, asked = ApiOfObjects(), []
    bound = BoundPods(changed=lambda: None, moved=lambda: None, asked=lambda: asked.append(bound.asking))
    annotations = {"annotations": {"towpath.io/ip-addresses": "10.0.0.5"}}
    bound.upserted("Pod", pod("a/p", metadata={"uid": "old", **annotations}))
    assert asked == [{"a"}]
    assert await bound.asks_for("a/p", uid="old", api=api) == "10.0.0.5"
    assert await bound.asks_for("a/p", uid="", api=api) == "10.0.0.5"
    assert await bound.asks_for("a/p", uid="new", api=api) == ""
    api.put("Pod", "p", namespace="a")
    assert await bound.asks_for("a/p", uid="new", api=api) == ""
    api.objects["Pod", "a", "q"] = pod("q", metadata=annotations)
    assert await bound.asks_for("a/q", uid="q", api=api) == "10.0.0.5"
    api.failure = UnreachableError("away")
    assert await bound.asks_for("a/q", uid="q", api=api) is None
    assert await bound.asks_for("a/p", uid="old", api=api) == "10.0.0.5"
    bound.deleted("Pod", "a/p")
    assert asked[-1] == frozenset()


@pytest.mark.parametrize(
    ("status", "started"),
    [
        ({}, 0),
        ({"containerStatuses": [{"state": {"running": {"startedAt": "1970-01-01T00:10:00Z"}}}]}, 600),
        (
            {
                "containerStatuses": [
                    {
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {
                            "terminated": {"startedAt": "1970-01-01T00:05:00Z", "finishedAt": "1970-01-01T00:20:00Z"}
                        },
                    }
                ],
                "initContainerStatuses": [{"state": {"terminated": {"startedAt": "1970-01-01T00:01:00Z"}}}],
            },
            300,
        ),
        ({"containerStatuses": [7, {"state": 7}, {"state": {"running": {"startedAt": 7}}}]}, 0),
    ],
)
def test_since_when_something_of_a_pod_has_been_running(status, started):
    """When the latest of its containers started; when one ended says nothing, for runtimes write it after a boot."""
    body = pod(status={"podIP": "10.0.0.5", **status})
    workload = decode_workload(body)
    living = living_of(workload, body) if workload is not None else None
    assert living == Living("a/p", (parse_address("10.0.0.5"),), started)


def test_pods_that_live_in_the_network_of_the_cluster():
    """Not those with the host's network or another one, nor finished ones; nothing is said before they were listed."""
    bound = BoundPods(changed=lambda: None, moved=lambda: None)
    assert bound.living is None
    listing = bound.listing("Pod")
    other = {"annotations": {"v1.multus-cni.io/default-network": "other"}}
    address = {"podIP": "10.0.0.5"}
    listing.page([pod("a/p", status=address), pod("a/host", spec={"hostNetwork": True}, status=address)])
    listing.page(
        [
            pod("a/other", metadata=other, status=address),
            pod("a/new"),
            pod("a/done", status={"phase": "Failed", **address}),
        ]
    )
    listing.done(version="1")
    assert [one.key for one in bound.living or ()] == ["a/p"]
    unknown = BoundPods(changed=lambda: None, moved=lambda: None)
    unknown.refused("Pod", "no")
    assert (unknown.settled, unknown.living) == (True, None)


def test_what_pods_have_on_networks_beside_their_own():
    """As Multus wrote it on them; of a pod whose own network is another nobody knows it unless it is written there."""
    name, other = "k8s.v1.cni.cncf.io/network-status", {"v1.multus-cni.io/default-network": "other"}
    address = {"podIP": "10.0.0.5"}

    def beside(**metadata):
        bound = BoundPods(changed=lambda: None, moved=lambda: None)
        assert bound.beside is None
        listing = bound.listing("Pod")
        listing.page([pod("a/p", metadata={"annotations": metadata["annotations"]}, status=metadata["status"])])
        listing.done(version="1")
        return bound.beside

    wanted = {parse_address("10.9.0.5"), parse_address("fd09::5")}
    said = json.dumps([{"name": "x", "ips": ["10.9.0.5", "fd09::5", "no"]}, 7, {"ips": 7}])
    assert beside(annotations={name: said}, status=address) == wanted
    assert beside(annotations={name: said, **other}, status=address) == wanted
    for wrong in ("{", "[]", "7", ""):
        assert beside(annotations={name: wrong}, status=address) == frozenset()
        assert beside(annotations={name: wrong, **other}, status=address) is None
    assert beside(annotations=other, status={"phase": "Failed"}) == frozenset()


def test_a_pod_that_has_another_address_than_it_asks_for_is_told_of_until_it_is_made_anew():
    """Once it has one, and only of what it asks for in words that mean something; of the other family it may have any."""
    asked = []
    bound = BoundPods(changed=lambda: None, moved=lambda: None, asked=lambda: asked.append(len(bound.differing)))
    running = {"phase": "Running", "podIPs": [{"ip": "10.0.0.5"}, {"ip": "fd00::5"}]}

    def put(text, status=running):
        bound.upserted("Pod", pod(metadata={"annotations": {ADDRESSES: text}}, status=status))
        return [one.message for one in bound.differing]

    assert put("10.0.0.9", status={}) == []
    assert put("10.0.0.5") == put("fd00::5,10.0.0.5") == put("fd00:0::5") == put("nonsense") == put("") == []
    message = "asks for 10.0.0.9 and has 10.0.0.5, fd00::5: it is read when a pod starts, so make the pod anew"
    assert put("10.0.0.9") == put("10.0.0.9") == [message]
    (said,) = bound.differing
    assert (said.reason, str(said.object)) == (Reason.ADDRESS_DIFFERS, f"Pod/a/p metadata.annotations[{ADDRESSES}]")
    assert put("10.0.0.9", status={**running, "phase": "Succeeded"}) == []
    assert asked[-2:] == [1, 0]

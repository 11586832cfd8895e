"""Objects that a newer release has written, with fields that this one does not know: what the real API server gives us of them."""

import copy
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.leading import AlwaysLeading
from tests.patience import asked, eventually
from towpath.controller import cluster
from towpath.controller.kube.connect import connect
from towpath.controller.kube.watch import following
from towpath.controller.store import Store, decode_served
from towpath.lab import objects
from towpath.lab.api import custom
from towpath.lab.kubernetes import RealKubernetes
from towpath.lab.process import wait_for
from towpath.model.crd import crds

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
LATER = {"comesLater": {"type": "string"}}


def newer(crd: dict[str, Any]) -> dict[str, Any]:
    """The definition of a release that knows one field more, in the specification and in the status."""
    made = copy.deepcopy(crd)
    schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for part in ("spec", "status"):
        schema[part].setdefault("properties", {}).update(LATER)
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[RealKubernetes]:
    """A cluster whose definitions are newer than we are."""
    with RealKubernetes() as made:
        for crd in crds():
            made.request("POST", CRDS, body=newer(crd))
        for crd in crds():
            wait_for(lambda crd=crd: served(made, crd), deadline=30, what=f"{crd['metadata']['name']} is served")
        yield made


def served(made: RealKubernetes, crd: dict[str, Any]) -> bool:
    try:
        made.request("GET", f"/apis/towpath.io/v1alpha1/{crd['spec']['names']['plural']}")
    except OSError:
        return False
    return True


async def test_fields_that_are_not_known_yet(server: RealKubernetes) -> None:
    """All objects are read without what is not known, those that people write as well: a release that is rolled back works on.

    Nobody takes the field away.
    """
    async with await connect(kubeconfig=server.kubeconfig) as api:
        store = Store(cluster.KINDS, decoder=decode_served)
        controller = cluster.ClusterController(api, store, lease=AlwaysLeading())
        async with following(api, store):
            for name in ("old", "new"):
                await api.create(
                    "BGPPeer", custom("BGPPeer", name, {"peerIP": f"192.0.2.{len(name)}", "asNumber": 65000})
                )
            await api.create("IPPool", custom("IPPool", "pool", {"cidr": "10.0.0.0/16"}))
            await api.create("Node", objects.node("n1", (IPv4Address("192.0.2.1"),), rack="a"))
            await eventually(
                lambda: store.complete and store.cluster().nodes and len(store.cluster().peers) == 2, deadline=30
            )
            await settle(controller, lambda: store.cluster().routing_nodes and store.cluster().blocks)
            (block,) = store.cluster().blocks
            await api.create("NodeStatus", custom("NodeStatus", "n1", {"comesLater": "x"}))
            later = {"spec": {"comesLater": "x"}}
            for kind, name in (("BGPPeer", "new"), ("RoutingNode", "n1"), ("IPAMBlock", block)):
                await api.patch(
                    kind, name, later | ({"spec": {"comesLater": "x", "asNumber": 65001}} if kind == "BGPPeer" else {})
                )
            for kind in ("RoutingNode", "NodeStatus"):
                await api.patch_status(kind, "n1", {"status": {"comesLater": "x"}})
            await eventually(
                lambda: "n1" in store.cluster().statuses and store.cluster().peers["new"].spec.as_number == 65001,
                deadline=30,
            )
            assert store.problems() == ()
            assert store.cluster().blocks[block].spec.node == "n1"
            await settle(controller, lambda: True)
        said = {name: await condition(api, "BGPPeer", name) for name in ("old", "new")}
        assert {one["status"] for one in said.values()} == {"True"}
        for kind, name in (("BGPPeer", "new"), ("RoutingNode", "n1"), ("IPAMBlock", block), ("NodeStatus", "n1")):
            assert (await api.get(kind, name))["spec"]["comesLater"] == "x", kind
        for kind in ("RoutingNode", "NodeStatus"):
            assert (await api.get(kind, "n1"))["status"]["comesLater"] == "x", kind


async def settle(controller: cluster.ClusterController, done: Any) -> None:
    """Steps, as the loop makes them, until nothing is left to do."""

    async def settled() -> bool:
        return await controller.step() and bool(done())

    await asked(settled, what="nothing is left to do")


async def condition(api: Any, kind: str, name: str) -> dict[str, Any]:
    conditions = (await api.get(kind, name))["status"]["conditions"]
    return next(one for one in conditions if one["type"] == "Accepted")

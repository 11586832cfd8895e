"""Small clusters for the tests of the agent."""

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from towpath.controller.ports import AlreadyExistsError, NotFoundError
from towpath.model.cluster import BGPPeer, Cluster, IPAMBlock, IPPool, Node, RoutingNode
from towpath.model.kinds.bgp import SecretKey, SecretReference
from towpath.model.kinds.ipam import IPAMBlockSpec, IPPoolSpec
from towpath.model.kinds.node import NodeBGP, RoutingNodeSpec, RoutingNodeStatus
from towpath.model.kinds.peer import BGPPeerSpec
from towpath.model.kinds.values import ASNumber, PeerIP
from towpath.model.net import block_name
from towpath.model.resource import Meta, Resource
from towpath.model.selector import parse_selector


def pool(name: str, cidr: str, **fields: Any) -> IPPool:
    return Resource(kind="IPPool", meta=Meta(name=name), spec=IPPoolSpec(cidr=ip_network(cidr), **fields))


def block(cidr: str, node: str, **fields: Any) -> IPAMBlock:
    spec = IPAMBlockSpec(cidr=ip_network(cidr), node=node, **{"node_uid": f"uid-{node}", **fields})
    return Resource(kind="IPAMBlock", meta=Meta(name=block_name(ip_network(cidr))), spec=spec)


def cluster(**others: Any) -> Cluster:
    """Nodes a and b, a pool and a block of each in both families, and a router as peer."""
    blocks = [
        block("10.244.0.0/26", "a"),
        block("fd00:244::/122", "a"),
        block("10.244.0.64/26", "b"),
        block("fd00:244::40/122", "b"),
    ]
    pools = [pool("v4", "10.244.0.0/16"), pool("v6", "fd00:244::/112", node_selector=parse_selector("all()"))]
    routing_nodes = {
        name: RoutingNode(
            kind="RoutingNode",
            meta=Meta(name=name, labels={"rack": "one"}),
            spec=RoutingNodeSpec(bgp=NodeBGP(as_number=ASNumber(64512), ipv4_address=ip_interface(f"10.0.0.{n}/24"))),
            status=RoutingNodeStatus(ipv6_address=ip_interface(f"fd00::{n}/64")),
        )
        for n, name in enumerate(("a", "b"), 1)
    }
    peer = BGPPeerSpec(
        peer_ip=PeerIP(ip_address("10.0.0.254"), 1790),
        as_number=ASNumber(4200000000),
        password=SecretReference(secret_key_ref=SecretKey(name="tor", key="password")),
    )
    world = {
        "peers": {"tor": BGPPeer(kind="BGPPeer", meta=Meta(name="tor"), spec=peer)},
        "pools": {one.name: one for one in pools},
        "blocks": {one.name: one for one in blocks},
        "routing_nodes": routing_nodes,
        "nodes": {
            "a": Node(
                meta=Meta(name="a", uid="uid-a", labels={"rack": "one"}),
                addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")),
                ready=True,
            )
        },
    }
    return Cluster(**{**world, **others})


class FakeApi:
    """Objects in a dictionary; ``failure`` is raised by every call while it is set."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.failure: Exception | None = None
        self.calls: list[tuple[str, str, str]] = []

    def put(self, kind: str, name: str, *, namespace: str = "", **body: Any) -> None:
        self.objects[kind, namespace, name] = {"metadata": {"name": name, "namespace": namespace}, **body}

    def _called(self, verb: str, kind: str, name: str) -> None:
        self.calls.append((verb, kind, name))
        if self.failure:
            raise self.failure

    def _find(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        found = self.objects.get((kind, namespace, name))
        if found is None:
            raise NotFoundError(f"no {kind} {name}", status=404)
        return found

    async def get(self, kind: str, name: str, *, namespace: str = "") -> dict[str, Any]:
        self._called("get", kind, name)
        return self._find(kind, namespace, name)

    async def create(self, kind: str, body: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        name = body["metadata"].get("name", "generated")
        self._called("create", kind, name)
        if (kind, namespace, name) in self.objects:
            raise AlreadyExistsError("taken", status=409)
        self.objects[kind, namespace, name] = body
        return body

    async def patch_status(self, kind: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        self._called("patch_status", kind, name)
        found = self._find(kind, "", name)
        found["status"] = {**found.get("status", {}), **patch["status"]}
        return found

"""Small words for building clusters in tests of address management."""

from msgspec.structs import replace

from towpath.model.cluster import Cluster, IPAMBlock, IPPool, IPReservation, Node, NodeStatus
from towpath.model.decode import decode
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.kinds.node import BlockReport, NodeStatusSpec, NodeStatusStatus
from towpath.model.net import block_name, parse_address, parse_prefix
from towpath.model.resource import Condition, Meta, Resource

ADDRESSES = (parse_address("192.0.2.1"), parse_address("2001:db8::1"))
"""Of every node, unless it is given others: nobody asks whether they are its own."""


def node(name: str, *, uid: str = "", labels: dict | None = None, annotations: dict | None = None, **fields) -> Node:
    """A Linux node that is Ready; its machine is named after it."""
    meta = Meta(
        name=name,
        uid=uid or f"uid-{name}",
        resource_version="1",
        labels=labels or {},
        annotations=annotations or {},
    )
    fields = {
        "machine_id": f"machine-{name}",
        "system_uuid": f"system-{name}",
        "operating_system": "linux",
        "ready": True,
        "addresses": ADDRESSES,
        **fields,
    }
    return Node(meta=meta, **fields)


def resource(kind: str, name: str, *, created: str = "2026-01-01T00:00:00Z", **spec):
    """Any object of ours, from its JSON spec."""
    metadata = {"name": name, "uid": f"uid-{kind}-{name}", "resourceVersion": "1", "creationTimestamp": created}
    return decode(kind, {"metadata": metadata, "spec": spec})


def pool(name: str, cidr: str, **spec) -> IPPool:
    """A pool."""
    return resource("IPPool", name, cidr=cidr, **spec)


def reservation(*cidrs: str, name: str = "kept") -> IPReservation:
    """Addresses that no pod gets."""
    return resource("IPReservation", name, reservedCIDRs=list(cidrs))


def block(
    cidr: str,
    owner: str,
    *,
    state: str = "Active",
    version: str = "1",
    created: str = "2026-01-01T00:00:00Z",
    **fields,
) -> IPAMBlock:
    """A block of the pool ``a``, bound to the node that ``node`` makes."""
    values = {
        "node_uid": f"uid-{owner}",
        "machine_id": f"machine-{owner}",
        "system_uuid": f"system-{owner}",
        "pool": "a",
        **fields,
    }
    prefix = parse_prefix(cidr)
    meta = Meta(
        name=block_name(prefix),
        uid=f"uid-{cidr}",
        resource_version=version,
        creation_timestamp=created,
    )
    return Resource("IPAMBlock", meta, IPAMBlockSpec(cidr=prefix, node=owner, state=state, **values))


def status(
    owner: str,
    *reports: BlockReport,
    version: str = "1",
    uid: str = "",
    ready: bool | None = None,
    **asked,
) -> NodeStatus:
    """A node's report."""
    said = () if ready is None else (Condition(type="Ready", status=str(ready), reason="R"),)
    body = NodeStatusStatus(node_uid=uid or f"uid-{owner}", blocks=reports, conditions=said, **asked)
    return Resource(
        "NodeStatus", Meta(name=owner, uid=f"status-{owner}", resource_version=version), NodeStatusSpec(), body
    )


def report(cidr: str, *, in_use: int, capacity: int = 64, drained: bool = False) -> BlockReport:
    """How full a block is."""
    return BlockReport(parse_prefix(cidr), in_use, capacity, drained)


def cluster(*objects) -> Cluster:
    """A snapshot of all of them."""
    fields = {
        "IPPool": "pools",
        "IPReservation": "reservations",
        "IPAMBlock": "blocks",
        "NodeStatus": "statuses",
        "IPAMConfiguration": "ipam_configurations",
        "BGPConfiguration": "configurations",
        "BGPPeer": "peers",
        "RoutingNode": "routing_nodes",
    }
    found: dict[str, dict] = {}
    for one in objects:
        field = "nodes" if isinstance(one, Node) else fields[one.kind]
        name = one.meta.name
        found.setdefault(field, {})[name] = one
    return Cluster(**found)


def claimed(before: Cluster, plan, *, version: str = "2") -> Cluster:
    """The snapshot after all of a plan was carried out."""
    blocks = dict(before.blocks)
    for claim in plan.claims:
        name = block_name(claim.spec.cidr)
        meta = Meta(
            name, uid=f"uid-{claim.spec.cidr}", resource_version=version, creation_timestamp="2026-01-02T00:00:00Z"
        )
        blocks[name] = Resource("IPAMBlock", meta, claim.spec)
    for change in plan.changes:
        meta = replace(change.block.meta, resource_version=str(int(change.block.meta.resource_version) + 1))
        blocks[change.block.name] = Resource("IPAMBlock", meta, change.spec)
    for gone in plan.deletions:
        del blocks[gone.name]
    statuses = {name: one for name, one in before.statuses.items() if name not in plan.statuses}
    return replace(before, blocks=blocks, statuses=statuses)

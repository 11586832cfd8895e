"""How the pods of a node are attached: one way for all its pools, because a pod has one primary network, and what it may have beside.

A pod gets an address of each family on one device, so the pools that a node gets blocks from have to agree. Where they do
not, the oldest decides: a pool that is added later never changes how pods of the others are attached. Each pool that is not
``primary`` is a network by itself, and has to agree with others only where both are on one interface of the node.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from towpath.model.blocks import is_open
from towpath.model.cluster import Cluster, IPPool, Node
from towpath.model.kinds.attachment import Attachment
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.resource import Meta

PTP = Attachment()
_SHARED = ("type", "master", "mode", "mtu")
"""Fields that are of the device that a pod has, whichever families it has addresses of."""


class Attached(Struct, frozen=True):
    """How a node attaches new pods, and the pools that ask for something else."""

    attachment: Attachment = PTP
    pool: str = ""
    """The pool that says so; empty where the node has none."""
    refusals: Mapping[str, Refusal] = {}
    """By pool."""
    beside: tuple[IPPool, ...] = ()
    """The networks that the node has beside that of all pods."""

    def takes(self, pool: IPPool | None) -> bool:
        """Whether new pods get addresses of a pool's blocks on their own network; a block without a pool goes with the others."""
        return pool is None or (
            pool.spec.attachment.primary and _differs(pool.spec.attachment, self.attachment) is None
        )


def attached(pools: Iterable[IPPool]) -> Attached:
    """What holds for a node that these pools, in force and disabled or deleted ones included, match."""
    ordered = sorted(pools, key=lambda one: (not is_open(one), one.meta.creation_timestamp, one.name))
    primary = [one for one in ordered if one.spec.attachment.primary]
    first = primary[0] if primary else None
    wanted = first.spec.attachment if first is not None else PTP
    refusals: dict[str, Refusal] = {}
    for one in primary[1:]:
        field = _differs(one.spec.attachment, wanted)
        if field is not None and first is not None:
            refusals[one.name] = _refusal(one, field, first)
    beside: list[IPPool] = []
    for one in ordered:
        if one.spec.attachment.primary:
            continue
        before = (each for each in (first, *beside) if each is not None)
        if (found := next((other for each in before if (other := _clash(one, each))), None)) is None:
            beside.append(one)
        else:
            refusals[one.name] = found
    return Attached(wanted, first.name if first is not None else "", refusals, tuple(beside))


def attached_to(cluster: Cluster, node: str) -> Attached:
    """The same from a snapshot of the store, which has only pools in force; one in which the node has blocks matches."""
    own = node_of(cluster, node)
    return attached(pool for pool in cluster.pools.values() if matches(pool, own))


def node_of(cluster: Cluster, name: str) -> Node:
    """A Node, or what is known of it while nobody has told of it: its labels, as the RoutingNode has them."""
    found = cluster.routing_nodes.get(name)
    return cluster.nodes.get(name) or Node(found.meta if found else Meta(name=name))


def matches(pool: IPPool, node: Node) -> bool:
    """Whether a node's labels let it have blocks of a pool; of one for load balancers nobody has any."""
    if pool.spec.for_services:
        return False
    return pool.spec.node_selector is None or pool.spec.node_selector.selects(node.meta.name, node.meta.labels)


def _differs(one: Attachment, other: Attachment) -> str | None:
    """The first field in which two attachments exclude each other."""
    return next((field for field in _SHARED if getattr(one, field) != getattr(other, field)), None)


def _clash(pool: IPPool, first: IPPool) -> Refusal | None:
    """Why the pods of two networks cannot be behind one interface: the kernel has one kind of device there, and one mode of ipvlan."""
    asked, given = pool.spec.attachment, first.spec.attachment
    if not given.by_master or asked.master != given.master:
        return None
    if asked.type != given.type:
        return _refusal(pool, "type", first, f" on {given.master}")
    if asked.whole or given.whole:
        return _refusal(pool, "mode", first, f", where one pod has {given.master} to itself")
    if asked.type == "ipvlan" and asked.mode != given.mode:
        return _refusal(pool, "mode", first, f" on {given.master}")
    return None


def _refusal(pool: IPPool, field: str, first: IPPool, where: str = "") -> Refusal:
    asked, given = (getattr(one.spec.attachment, field) for one in (pool, first))
    message = (
        f"is {asked or 'unset'}, and IPPool/{first.name}, which comes first on the same nodes, has {given or 'unset'}"
        f"{where}: new pods get no address of this pool there"
    )
    return Refusal(Reason.ATTACHMENT_CONFLICT, message, Why("IPPool", pool.name, f"spec.attachment.{field}"))

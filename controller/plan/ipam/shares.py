"""Pools with the blocks that are dealt out of them: whose each is, its state, and how full it is.

A block counts with the pool that it lies in, whichever it names; one that lies in none stands beside them.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from towpath.ipam.blocks import space_of
from towpath.ipam.cni import network_of
from towpath.ipam.reserved import reserved
from towpath.model.blocks import in_force, pool_around, reported
from towpath.model.cluster import Cluster
from towpath.model.net import Prefix, family_of, parts
from towpath.model.spans import span

State = Literal["Active", "Draining", "Quarantined", "OutOfForce"]
"""Of a block as pictures show it: one that an older one overlaps counts for nobody, whatever state it is in."""


class Share(Struct, frozen=True):
    """A block; ``in_use`` and ``capacity`` are addresses as its node reports them, None where it has not reported."""

    cidr: Prefix
    node: str
    state: Literal["Active", "Draining", "Quarantined"]
    in_force: bool
    in_use: int | None
    capacity: int | None
    since: str | None
    """When a state other than Active was written (RFC 3339), where the API server tells."""

    @property
    def shown(self) -> State:
        """As pictures show it."""
        return self.state if self.in_force else "OutOfForce"


class Pool(Struct, frozen=True):
    """A pool and its blocks, in the order of their addresses."""

    name: str
    cidr: Prefix
    block_length: int
    disabled: bool
    deleted: str | None
    """When somebody deleted it (RFC 3339): it stays until its last block is gone. None: nobody has."""
    shares: tuple[Share, ...]
    reserved: int
    """How many of its possible blocks reservations keep from all nodes."""
    network: str | None
    """The network beside pods' own that it is; None: it serves that of all pods."""

    @property
    def possible(self) -> int:
        """How many blocks it can be cut into."""
        return parts(self.cidr, length=self.block_length)

    @property
    def taken(self) -> int:
        """How many of these have addresses in a block, which may be of another size."""
        first, shift = span(self.cidr).first, family_of(self.cidr).bits - self.block_length
        count, last = 0, -1
        for share in self.shares:
            inner = span(share.cidr)
            end = (inner.last - first) >> shift
            count += max(0, end - max((inner.first - first) >> shift, last + 1) + 1)
            last = max(last, end)
        return count


class Shares(Struct, frozen=True):
    """All pools by name, and the blocks that lie in none."""

    pools: tuple[Pool, ...]
    outside: tuple[Share, ...]


def shares(cluster: Cluster, *, written: Mapping[str, str]) -> Shares:
    """What is dealt out. ``written``: when the state of a block was written, by the block's name."""
    reports, force = reported(cluster.statuses), in_force(cluster.blocks)
    found: dict[str, list[Share]] = {name: [] for name in ("", *sorted(cluster.pools))}
    for block in sorted(cluster.blocks.values(), key=lambda one: (one.spec.cidr.version, one.spec.cidr)):
        spec = block.spec
        report, pool = reports.get((spec.node, spec.cidr)), pool_around(spec, cluster.pools)
        share = Share(
            cidr=spec.cidr,
            node=spec.node,
            state=spec.state,
            in_force=force.get(spec.cidr) is block,
            in_use=report.in_use if report is not None else None,
            capacity=report.capacity if report is not None else None,
            since=written.get(block.name) if spec.state != "Active" else None,
        )
        found[pool.name if pool is not None else ""].append(share)
    outside = tuple(found.pop(""))
    pools = ((name, cluster.pools[name], listed) for name, listed in found.items())
    kept = reserved(cluster.reservations)
    return Shares(
        tuple(
            Pool(
                name=name,
                cidr=one.spec.cidr,
                block_length=one.spec.block_length,
                disabled=one.spec.disabled,
                deleted=one.meta.deletion_timestamp or None,
                shares=tuple(listed),
                reserved=space_of(one.spec, kept=kept).closed - space_of(one.spec).closed,
                network=None if one.spec.attachment.primary else network_of(name),
            )
            for name, one, listed in pools
        ),
        outside,
    )


def addresses(listed: Iterable[Share]) -> tuple[int, int] | None:
    """How many addresses are in use and how many pods can get, of blocks whose nodes have reported; None: none has."""
    known = [(one.in_use, one.capacity) for one in listed if one.in_use is not None and one.capacity is not None]
    return (sum(used for used, _ in known), sum(room for _, room in known)) if known else None

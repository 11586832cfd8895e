"""Pools and blocks for programs, and as the two tables that say the same."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from towpath.controller.plan.document import rejected_document
from towpath.controller.plan.inputs import Rejected
from towpath.controller.plan.ipam.shares import Pool, Share, Shares, addresses
from towpath.controller.plan.table import rejected_lines, table

SCHEMA = "towpath.ipam/1"
MOST = 1 << 53
"""From here on programs that read JSON do not count exactly."""
_POOLS = (
    "POOL",
    "CIDR",
    "BLOCK SIZE",
    "DISABLED",
    "DELETED",
    "TAKEN",
    "OF",
    "RESERVED",
    "IN USE",
    "CAPACITY",
    "NETWORK",
)
_BLOCKS = ("POOL", "CIDR", "NODE", "STATE", "IN FORCE", "IN USE", "CAPACITY", "SINCE")
Item = dict[str, Any]


def document(shares: Shares, rejected: Iterable[Rejected]) -> Item:
    """The whole answer."""
    return {
        "schema": SCHEMA,
        "pools": [_pool(one) for one in shares.pools],
        "blocks": [
            *(_block(pool.name, share) for pool in shares.pools for share in pool.shares),
            *(_block(None, share) for share in shares.outside),
        ],
        "rejected": rejected_document(rejected),
    }


def lines(said: Mapping[str, Any]) -> Iterator[str]:
    """A document as tables: pools, then blocks, then what does not count."""
    yield from table((tuple(one.values()) for one in said["pools"]), head=_POOLS)
    if said["pools"] and said["blocks"]:
        yield ""
    yield from table((tuple(one.values()) for one in said["blocks"]), head=_BLOCKS)
    yield from rejected_lines(said["rejected"])


def _pool(pool: Pool) -> Item:
    use = addresses(pool.shares)
    return {
        "name": pool.name,
        "cidr": str(pool.cidr),
        "blockSize": pool.block_length,
        "disabled": pool.disabled,
        "deleted": pool.deleted,
        "taken": pool.taken if pool.taken < MOST else None,
        "possible": pool.possible if pool.possible < MOST else None,
        "reserved": pool.reserved if pool.reserved < MOST else None,
        "inUse": use[0] if use is not None else None,
        "capacity": use[1] if use is not None else None,
        "network": pool.network,
    }


def _block(pool: str | None, share: Share) -> Item:
    return {
        "pool": pool,
        "cidr": str(share.cidr),
        "node": share.node,
        "state": share.state,
        "inForce": share.in_force,
        "inUse": share.in_use,
        "capacity": share.capacity,
        "since": share.since,
    }

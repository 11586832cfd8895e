"""The picture as text: who peers with whom as a tree, and the pools with how much of each is dealt out."""

from collections.abc import Iterable, Iterator

from towpath.controller.plan.topology.graph import Group, Pool, Topology
from towpath.controller.plan.topology.words import (
    block_text,
    group_text,
    pool_text,
    router_text,
    sessions_text,
    tunnels_text,
)

_BAR = 40
"""Characters of a bar."""


def lines(topology: Topology) -> Iterator[str]:
    """Routers with the groups below them that they peer with, then every group with its nodes, then the pools."""
    if topology.routers:
        yield "routers"
        for place, router in enumerate(topology.routers):
            yield f"  {router_text(router)}"
            below = [
                f"{sessions_text(found)} ── {_name(topology, group)}"
                for (group, other), found in topology.to_routers.items()
                if other == place
            ]
            yield from _tree(below, "  ")
        yield ""
    for place, group in enumerate(topology.groups):
        yield f"{_name(topology, place)}: {group_text(group)}"
        yield from _tree(_lines(topology, place), "")
        for node in group.nodes:
            yield f"  {node.name}  {', '.join(node.addresses)}"
            yield from _tree(map(block_text, node.blocks), "  ")
        yield ""
    if topology.pools:
        yield "pools"
        width = max(len(pool_text(pool)) for pool in topology.pools)
        yield from (f"  {pool_text(pool):{width}}  {_bar(pool)}" for pool in topology.pools)


def _lines(topology: Topology, place: int) -> Iterator[str]:
    """What leads from one group to itself and to others: sessions, then tunnels."""
    said = [(ends, sessions_text(found)) for ends, found in topology.between.items()]
    said += [(ends, tunnels_text(devices)) for ends, devices in topology.tunnels.items()]
    for (low, high), text in said:
        if low == high == place:
            yield f"{text} ── among themselves"
        elif place in (low, high):
            yield f"{text} ── {_name(topology, high if place == low else low)}"


def _name(topology: Topology, place: int) -> str:
    """A short name for a group, the same wherever it stands."""
    group: Group = topology.groups[place]
    if len(group.nodes) == 1:
        return group.nodes[0].name
    return f"group {place + 1}"


def _tree(branches: Iterable[str], indent: str) -> Iterator[str]:
    listed = list(branches)
    for place, branch in enumerate(listed):
        yield f"{indent}{'└' if place == len(listed) - 1 else '├'}─ {branch}"


def _bar(pool: Pool) -> str:
    """A pool of which something is dealt out never looks empty, and one of which something is left never full."""
    full = round(_BAR * pool.blocks / pool.possible)
    full = min(max(full, pool.blocks > 0), _BAR - (pool.blocks < pool.possible))
    return "█" * full + "░" * (_BAR - full)

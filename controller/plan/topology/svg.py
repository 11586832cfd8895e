"""The picture as SVG: routers above, nodes in groups, reflectors below them, and each pool as a bar of its blocks.

Every part has a title, which browsers show and screen readers say. A colour is a node's: in its box, and in the pools.
"""

import itertools
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from towpath.controller.plan.drawing import Box, number, part, picture, rectangle, text_of, write
from towpath.controller.plan.topology.curves import lines
from towpath.controller.plan.topology.graph import Group, Node, Pool, Topology
from towpath.controller.plan.topology.layout import (
    BAR,
    GAP,
    LINE,
    POOL,
    cell,
    layout,
    node_blocks,
    shown,
)
from towpath.controller.plan.topology.words import (
    block_text,
    group_text,
    inner_text,
    pool_text,
    router_text,
)

_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d", "#edc948")
_STYLE = """
text { font: 12px sans-serif; fill: #1c2733; }
text.small { font-size: 10px; fill: #52606d; }
text.name { font-weight: bold; }
text.said, text.halo { font-size: 10px; text-anchor: middle; }
text.halo { fill: none; stroke: #ffffff; stroke-width: 3px; }
.back { fill: #ffffff; }
.router, .node { fill: #ffffff; stroke: #8795a1; }
.group { fill: #f3f6f9; stroke: #b8c4ce; }
.reflectors { fill: #eef3fb; stroke: #7b9acc; }
.bar { fill: #e4e9ee; }
path { fill: none; stroke-width: 2; }
.up { stroke: #2e7d32; }
.partly { stroke: #c77700; stroke-dasharray: 8 3; }
.down { stroke: #c62828; stroke-dasharray: 4 3; }
.planned { stroke: #5b6b7b; }
.withheld { stroke: #9aa5b1; stroke-dasharray: 2 4; }
.tunnel { stroke: #7b4fa3; stroke-width: 5; stroke-opacity: 0.45; }
"""


def svg(topology: Topology) -> str:
    """A whole SVG document."""
    places, colours = layout(topology), _colours(topology)
    root = picture("Topology", style=_STYLE, width=places.width, height=places.height)
    drawn = list(lines(topology, places))
    for line in drawn:
        piece = part(root, line.text)
        first, *others = (f"{number(x)} {number(y)}" for x, y in line.curve)
        ET.SubElement(piece, "path", {"class": line.kind, "d": f"M{first} C{' '.join(others)}"})
    for line in drawn:  # no line crosses any words
        for kind in ("halo", "said"):
            write(root, line.words[0], line.words[1] + 3, line.text, kind)
    for router, box in zip(topology.routers, places.routers, strict=True):
        piece = part(root, router_text(router))
        rectangle(piece, box, "router")
        write(piece, box.x + 10, box.y + 18, f"AS {router.as_number}", "name")
        write(piece, box.x + 10, box.y + 35, ", ".join(router.addresses), "small")
    for place, (group, box) in enumerate(zip(topology.groups, places.groups, strict=True)):
        _group(root, group, box, inner_text(topology, place), colours)
    for place, pool in enumerate(topology.pools):
        _pool(root, topology, pool, Box(GAP, places.pools + place * POOL, places.width - 2 * GAP, POOL), colours)
    return text_of(root)


def _colours(topology: Topology) -> Mapping[str, str]:
    names = sorted(node.name for group in topology.groups for node in group.nodes)
    return dict(zip(names, itertools.cycle(_COLOURS), strict=False))


def _group(root: ET.Element, group: Group, box: Box, inner: str, colours: Mapping[str, str]) -> None:
    piece = part(root, group_text(group))
    rectangle(piece, box, "reflectors" if group.reflector else "group")
    write(piece, box.x + 10, box.y + 18, f"AS {group.as_number}  {' '.join(group.subnets)}", "name")
    if group.reflector:
        inner = f"route reflector{'s' * (len(group.nodes) > 1)}{', ' * bool(inner)}{inner}"
    write(piece, box.x + 10, box.y + 34, inner, "small")
    drawn = shown(group)
    for place, node in enumerate(drawn):
        _node(piece, node, cell(group, box, place), colours[node.name])
    if left := len(group.nodes) - len(drawn):
        free = cell(group, box, len(drawn))
        write(piece, free.x + 10, free.y + free.height / 2, f"and {left} more nodes")


def _node(root: ET.Element, node: Node, box: Box, colour: str) -> None:
    piece = part(root, "\n".join((node.name, *node.addresses, *map(block_text, node.blocks))))
    rectangle(piece, box, "node")
    rectangle(piece, Box(box.x, box.y, 6, box.height), "", fill=colour)
    write(piece, box.x + 14, box.y + 16, node.name, "name")
    for place, text in enumerate((*node.addresses, *node_blocks(node)), start=1):
        write(piece, box.x + 14, box.y + 16 + place * LINE, text, "small")


def _pool(root: ET.Element, topology: Topology, pool: Pool, box: Box, colours: Mapping[str, str]) -> None:
    """A bar, and on it each block where it lies in the pool, never too narrow to be seen."""
    piece = part(root, pool_text(pool))
    write(piece, box.x, box.y + LINE, pool_text(pool), "small")
    bar = Box(box.x, box.y + LINE + 6, box.width, BAR)
    rectangle(piece, bar, "bar")
    whole, first = pool.cidr.num_addresses, int(pool.cidr.network_address)
    for node in (node for group in topology.groups for node in group.nodes):
        for block in (block for block in node.blocks if block.pool == pool.name):
            width = max(2, bar.width * block.cidr.num_addresses / whole)
            x = bar.x + min(bar.width * (int(block.cidr.network_address) - first) / whole, bar.width - width)
            opacity = "1" if block.state == "Active" else "0.5"
            inner = part(piece, f"{block_text(block)}  {node.name}")
            rectangle(inner, Box(x, bar.y, width, bar.height), "", fill=colours[node.name], opacity=opacity)

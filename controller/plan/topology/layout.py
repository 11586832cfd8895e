"""Where everything of a picture lies: routers in a row, groups of nodes below them, then reflectors, then the pools."""

import math
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from towpath.controller.plan.drawing import Box
from towpath.controller.plan.topology.graph import Block, Group, Node, Topology

GAP, LINE = 24, 15
"""Around and between what is drawn; between two lines of text."""
BETWEEN = 90
"""Height between two rows, for the lines."""
BAR = 14
POOL = 2 * LINE + BAR + 8
"""Height of a pool with its words."""
_ROUTER = (220.0, 46.0)
_NODE_WIDTH = 180
_SHOWN, _BLOCKS = 12, 4
"""Nodes that are shown of a group, and blocks of a node."""
_WIDEST, _NARROWEST = 1400.0, 640.0


class Layout(Struct, frozen=True):
    """The places of a topology's routers and groups, and where its pools begin."""

    width: float
    height: float
    routers: list[Box]
    groups: list[Box]
    pools: float


def layout(topology: Topology) -> Layout:
    """Rows in the middle of the picture, as wide as the widest; groups that would be too wide for one row take several."""
    sizes = [_group_size(group) for group in topology.groups]
    reflectors = [place for place, group in enumerate(topology.groups) if group.reflector]
    others = [place for place, group in enumerate(topology.groups) if not group.reflector]
    rows = [*_wrapped(others, sizes), *_wrapped(reflectors, sizes)]
    routers = [_ROUTER] * len(topology.routers)
    width = max(_NARROWEST, _row_width(routers), *(_row_width([sizes[one] for one in row]) for row in rows)) + 2 * GAP
    y = float(GAP)
    router_boxes = list(_placed(routers, y, width))
    if routers:
        y += _ROUTER[1] + BETWEEN
    boxes: dict[int, Box] = {}
    for row in rows:
        placed = list(_placed([sizes[one] for one in row], y, width))
        boxes |= zip(row, placed, strict=True)
        y += max(box.height for box in placed) + BETWEEN
    pools = max(float(GAP), y - BETWEEN / 2)
    return Layout(
        width=width,
        height=pools + len(topology.pools) * POOL + GAP,
        routers=router_boxes,
        groups=[boxes[place] for place in sorted(boxes)],
        pools=pools,
    )


def shown(group: Group) -> Sequence[Node]:
    """The nodes of a group that are drawn; where some are not, a place is left to say so."""
    return group.nodes if len(group.nodes) <= _SHOWN else group.nodes[: _SHOWN - 1]


def cell(group: Group, box: Box, place: int) -> Box:
    """The place of the n-th node in its group's box."""
    row, column = divmod(place, _columns(group))
    height = _node_height(group)
    return Box(box.x + 10 + column * (_NODE_WIDTH + 10), box.y + 3 * LINE + row * (height + 10), _NODE_WIDTH, height)


def node_blocks(node: Node) -> list[str]:
    """The blocks of a node, in as many lines as it has room for."""
    texts = [str(block.cidr) + _fullness(block) for block in node.blocks]
    if len(texts) <= _BLOCKS:
        return texts
    return [*texts[: _BLOCKS - 1], f"and {len(texts) - _BLOCKS + 1} more blocks"]


def _fullness(block: Block) -> str:
    return "" if block.in_use is None else f" ({block.in_use}/{block.capacity})"


def _node_height(group: Group) -> float:
    """All boxes of a group are as high."""
    return max(1 + len(node.addresses) + len(node_blocks(node)) for node in group.nodes) * LINE + 10


def _columns(group: Group) -> int:
    """Nodes side by side: about as many as there are rows."""
    return math.ceil(math.sqrt(min(len(group.nodes), _SHOWN)))


def _group_size(group: Group) -> tuple[float, float]:
    columns = _columns(group)
    rows = -(-min(len(group.nodes), _SHOWN) // columns)
    return columns * (_NODE_WIDTH + 10) + 10, rows * (_node_height(group) + 10) + 3 * LINE + 6


def _wrapped(places: Iterable[int], sizes: Sequence[tuple[float, float]]) -> Iterator[list[int]]:
    """Groups in rows that are not too wide."""
    row: list[int] = []
    for place in places:
        if row and _row_width([sizes[one] for one in (*row, place)]) > _WIDEST:
            yield row
            row = []
        row.append(place)
    if row:
        yield row


def _row_width(sizes: Sequence[tuple[float, float]]) -> float:
    return sum(width for width, _ in sizes) + GAP * max(0, len(sizes) - 1)


def _placed(sizes: Sequence[tuple[float, float]], y: float, width: float) -> Iterator[Box]:
    """Side by side in the middle."""
    x = (width - _row_width(sizes)) / 2
    for each, high in sizes:
        yield Box(x, y, each, high)
        x += each + GAP

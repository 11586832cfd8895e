"""The lines between groups and routers, as curves that leave and come in upright, and where their words stand."""

from collections.abc import Iterator
from typing import NamedTuple

from towpath.controller.plan.drawing import Box
from towpath.controller.plan.topology.graph import Topology
from towpath.controller.plan.topology.layout import BETWEEN, Layout
from towpath.controller.plan.topology.words import health, sessions_text, tunnels_text

Point = tuple[float, float]
Curve = tuple[Point, Point, Point, Point]
"""A cubic Bézier curve: where it begins, two points that pull it, where it ends."""
_SESSIONS, _TUNNELS = 0.55 * BETWEEN, 0.3 * BETWEEN
"""How far a line goes straight on before it turns: between the same two, that of tunnels lies inside."""
_BESIDE = 12.0


class Line(NamedTuple):
    """One line, what it is, its words, and the middle of those."""

    curve: Curve
    kind: str
    text: str
    words: Point


def lines(topology: Topology, places: Layout) -> Iterator[Line]:
    """Sessions, and beside them tunnels. What is among the nodes of one group is no line."""
    for (place, other), sessions in topology.to_routers.items():
        curve = _curve(places.routers[other].bottom, places.groups[place].top, reach=_SESSIONS)
        yield Line(curve, health(sessions), sessions_text(sessions), _middle(curve))
    for (low, high), sessions in topology.between.items():
        if low != high:
            curve = _curve(*_ends(places.groups[low], places.groups[high]), reach=_SESSIONS)
            yield Line(curve, health(sessions), sessions_text(sessions), _middle(curve))
    for (low, high), devices in topology.tunnels.items():
        if low != high:
            start, end = _ends(places.groups[low], places.groups[high])
            curve = _curve(_beside(start), _beside(end), reach=_TUNNELS)
            yield Line(curve, "tunnel", tunnels_text(devices), _middle(curve, higher=_BESIDE))


def _ends(one: Box, other: Box) -> tuple[Point, Point]:
    """Where a line between two groups begins and ends: below both where they stand side by side."""
    upper, lower = sorted((one, other), key=lambda box: box.y)
    return (upper.bottom, lower.bottom) if upper.y == lower.y else (upper.bottom, lower.top)


def _beside(point: Point) -> Point:
    return point[0] - _BESIDE, point[1]


def _curve(start: Point, end: Point, *, reach: float) -> Curve:
    (x1, y1), (x2, y2) = start, end
    return start, (x1, y1 + reach), (x2, y2 + reach if y1 == y2 else y2 - reach), end


def _middle(curve: Curve, *, higher: float = 0) -> Point:
    """On the line: in the space above the row where it ends, or at its lowest where it comes up again."""
    if curve[0][1] == curve[3][1]:
        return _at(curve, 0.5)
    above = curve[3][1] - BETWEEN / 2 - higher
    return _at(curve, next(step / 100 for step in range(101) if _at(curve, step / 100)[1] >= above))


def _at(curve: Curve, place: float) -> Point:
    """The point of a curve at a place between 0 and 1."""
    weights = ((1 - place) ** 3, 3 * place * (1 - place) ** 2, 3 * place**2 * (1 - place), place**3)
    x, y = (sum(weight * point[axis] for weight, point in zip(weights, curve, strict=True)) for axis in (0, 1))
    return x, y

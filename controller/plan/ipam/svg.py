"""Pools as SVG: a bar for each, its blocks where they lie in it, coloured by state and filled as far as they are in use."""

from xml.etree import ElementTree as ET

from towpath.controller.plan.drawing import Box, part, picture, rectangle, text_of, write
from towpath.controller.plan.ipam.shares import Pool, Share, Shares
from towpath.controller.plan.ipam.words import STATES, pool_text, share_text
from towpath.model.spans import span

_WIDTH, _GAP, _LINE, _BAR = 960.0, 24.0, 16.0, 36.0
_POOL = _LINE + _BAR + 20
"""Height of a pool with its words."""
_NARROWEST = 2.0
_KEY = 170.0
"""Width of an entry of the legend."""
_STYLE = """
text { font: 12px sans-serif; fill: #1c2733; }
.back { fill: #ffffff; }
.bar { fill: #eef1f4; }
.deleted { stroke: #c62828; stroke-width: 2; stroke-dasharray: 6 3; }
.Active { fill: #2f7d4f; }
.Draining { fill: #d98a00; }
.Quarantined { fill: #7b4fa3; }
.OutOfForce { fill: #c62828; }
.whole { fill-opacity: 0.3; stroke: #ffffff; stroke-width: 0.5; }
"""


def svg(shares: Shares) -> str:
    """A whole SVG document."""
    words = [f"in no pool: {share_text(one)}" for one in shares.outside]
    below = _GAP + len(shares.pools) * _POOL
    root = picture(
        "Pools and blocks", style=_STYLE, width=_WIDTH + 2 * _GAP, height=below + (len(words) + 1) * _LINE + _GAP
    )
    for place, pool in enumerate(shares.pools):
        _pool(root, pool, _GAP + place * _POOL)
    for place, text in enumerate(words, start=1):
        write(root, _GAP, below + place * _LINE, text)
    _legend(root, below + (len(words) + 1) * _LINE)
    return text_of(root)


def _pool(root: ET.Element, pool: Pool, top: float) -> None:
    inside = part(root, pool_text(pool))
    write(inside, _GAP, top + _LINE - 4, pool_text(pool))
    bar = Box(_GAP, top + _LINE, _WIDTH, _BAR)
    rectangle(inside, bar, "bar" if pool.deleted is None else "bar deleted")
    for share in pool.shares:
        _share(inside, share, pool, bar)


def _share(root: ET.Element, share: Share, pool: Pool, bar: Box) -> None:
    """The whole block pale, the part that is in use full from below; never too narrow to be seen."""
    whole, inner = span(pool.cidr), span(share.cidr)
    size = whole.last - whole.first + 1
    width = max(_NARROWEST, bar.width * (inner.last - inner.first + 1) / size)
    x = bar.x + min(bar.width * (inner.first - whole.first) / size, bar.width - width)
    piece = part(root, share_text(share))
    rectangle(piece, Box(x, bar.y, width, bar.height), f"{share.shown} whole", rx="0")
    if share.in_use and share.capacity:
        height = bar.height * min(1.0, share.in_use / share.capacity)
        rectangle(piece, Box(x, bar.y + bar.height - height, width, height), share.shown, rx="0")


def _legend(root: ET.Element, y: float) -> None:
    for place, (state, text) in enumerate(STATES.items()):
        x = _GAP + place * _KEY
        rectangle(root, Box(x, y - 9, 10, 10), state)
        write(root, x + 16, y, text)

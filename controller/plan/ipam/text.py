"""Pools as text: a bar for each, with its blocks by state, and below it a line a block."""

from collections.abc import Iterable, Iterator

from towpath.controller.plan.ipam.shares import Pool, Share, Shares
from towpath.controller.plan.ipam.words import STATES, pool_text, share_text
from towpath.model.spans import span

WIDTH = 64
"""Characters of a bar."""
FREE = "░"
MARKS = dict(zip(STATES, "█▓▒!", strict=True))


def lines(shares: Shares) -> Iterator[str]:
    """Every pool, then blocks that lie in none, then what the bars are made of."""
    for pool in shares.pools:
        yield pool_text(pool)
        yield f"  {bar(pool)}"
        yield from _listed(pool.shares)
        yield ""
    if shares.outside:
        yield "in no pool"
        yield from _listed(shares.outside)
        yield ""
    if shares.pools:
        yield ", ".join(f"{mark} {STATES[state]}" for state, mark in MARKS.items()) + f", {FREE} free"


def bar(pool: Pool) -> str:
    """A mark for each part of the pool: no block is so small that it is not seen, and of several the one to look at is."""
    whole, order = span(pool.cidr), list(MARKS)
    size = whole.last - whole.first + 1
    marks: list[int] = [-1] * WIDTH
    for share in pool.shares:
        inner, mark = span(share.cidr), order.index(share.shown)
        first, last = ((one - whole.first) * WIDTH // size for one in (inner.first, inner.last))
        for place in range(first, last + 1):
            marks[place] = max(marks[place], mark)
    return "".join(FREE if mark < 0 else MARKS[order[mark]] for mark in marks)


def _listed(shares: Iterable[Share]) -> Iterator[str]:
    return (f"  {share_text(one)}" for one in shares)

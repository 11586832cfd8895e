"""UPDATEs that look alike, taken in together: what a peer sends with one attribute block a route costs as little as may be.

Neighbours in a stream often differ in their prefixes and communities alone. Written below one another such bodies are a
table whose other columns are all the same. Whether they are is found by blanking the columns that may differ, a slice
each, and comparing what is left at once. Then what the first one is worth all are worth (``Receiver.announce_together``).
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from towpath.bgp.attributes import community_columns
from towpath.bgp.path import Path
from towpath.bgp.receive import Judgement, Receiver
from towpath.bgp.update import HOST_BITS, SIZE, prefixes

LEAST: Final = 8
"""Fewer are not worth a look."""
_PREFIXES: Final = 64
"""A body with more prefixes is quick enough alone."""


class Layout(Struct, frozen=True):
    """Where a body that was taken in has its parts, and what it was worth. Offsets are those of the body."""

    receiver: Receiver
    path: Path
    judgement: Judgement
    block: slice
    prefixes: slice
    count: int
    """Of the prefixes."""
    varying: tuple[int, ...]
    """Columns that may differ in bodies that are worth the same."""
    several: bool
    """Whether attribute blocks may differ."""


def layout(
    receiver: Receiver, body: bytes, *, path: Path, block: slice, reached: slice, next_hop: bytes | None
) -> Layout | None:
    """The layout of a body that ``receiver`` has just taken in, as ``path``; None where others hardly look like it."""
    columns: list[int] = []
    at, count = reached.start, 0
    while at < reached.stop:
        following = at + SIZE[body[at]]
        columns += range(at + 1, following)
        at = following
        count += 1
    if at != reached.stop or count > _PREFIXES:
        return None
    judgement = receiver.worth(body[block], next_hop)
    communities = [block.start + column for column in community_columns(body[block])]
    varying = (*columns, *communities)
    return Layout(receiver, path, judgement, block, reached, count, varying, bool(communities))


def alike(bodies: Sequence[bytes], varying: Sequence[int]) -> int:
    """How many of these bodies, which all have one size, equal the first one but in the varying columns; one at least."""
    size, count = len(bodies[0]), len(bodies)
    table = bytearray(b"".join(bodies))
    for column in varying:
        table[column::size] = bytes(count)
    row = table[:size]
    if table == row * count:
        return count
    least, most = 1, count
    while most - least > 1:
        middle = (least + most) // 2
        if table[: middle * size] == row * middle:
            least = middle
        else:
            most = middle
    return least


def announce(found: Layout, bodies: Sequence[bytes], *, room: int) -> bool:
    """Take in bodies that look alike; False: they are to be taken in one by one, and nothing was done."""
    receiver, reached = found.receiver, found.prefixes
    if room < len(bodies) * found.count:
        return False  # it matters then which one comes first
    wires = [body[reached] for body in bodies]
    packed = b"".join(wires)
    if not found.several:
        receiver.announce(packed, found.path, room=room)
        return True
    if found.count > 1 or _host_bits(packed, len(wires[0])):
        wires = prefixes(receiver.family, packed)
    blocks = [body[found.block] for body in bodies]
    return receiver.announce_together(wires, blocks, judgement=found.judgement)


def _host_bits(packed: bytes, size: int) -> bool:
    """Whether any of these prefixes, all of one length, may have bits beyond it."""
    return HOST_BITS[packed[0]] != 0 and any(octet & HOST_BITS[packed[0]] for octet in set(packed[size - 1 :: size]))

"""UPDATEs that look alike, taken in together: what a peer sends with one attribute block a route costs as little as may be.

Neighbours in a stream often differ in their prefixes and communities alone. Written below one another such bodies are a
table whose other columns are all the same. Whether they are is found by blanking the columns that may differ, a slice
each, and comparing what is left at once. Then what the first one is worth all are worth.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from towpath.bgp.attributes import community_columns
from towpath.bgp.carried import GRACEFUL_SHUTDOWN
from towpath.bgp.filter import Chain, Rule, changed
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
    return _announce_each(found, wires, [body[found.block] for body in bodies])


def _announce_each(found: Layout, wires: list[bytes], blocks: Sequence[bytes]) -> bool:
    """Blocks that differ in their communities alone, each with as many of the prefixes in turn.

    False where blocks or prefixes come more than once, or ask for a closer look.
    """
    via, attributes, _, _, mask = found.judgement
    receiver, together = found.receiver, b"".join(blocks)
    if attributes.refusal is not None or via.refusal is not None or GRACEFUL_SHUTDOWN in together:
        return False
    if 2 * len(set(blocks)) < len(blocks) or receiver.near(wires):
        return False
    of_wires = blocks if found.count == 1 else [block for block in blocks for _ in range(found.count)]
    block_of = dict(zip(wires, of_wires, strict=True))
    if len(block_of) < len(wires):
        return False
    chain = receiver.chain
    for bits, some in _by_mask(chain, mask, block_of, together=together):
        for rule, few in chain.split(bits, some) if chain and bits else [(None, some)]:
            receiver.rib.store_each(_paths(found, rule, mask=bits, block_of=block_of, wires=few))
    return True


def _by_mask(
    chain: Chain | None, mask: int, block_of: Mapping[bytes, bytes], *, together: bytes
) -> Iterable[tuple[int, Sequence[bytes]]]:
    """Prefixes by the rules that their blocks fit; ``together`` are all blocks."""
    if chain is None or not chain.looks_for(mask, together):
        return ((mask if chain is None else chain.with_communities(mask, b""), list(block_of)),)
    fits = {block: chain.with_communities(mask, block) for block in block_of.values()}
    groups: dict[int, list[bytes]] = {}
    for wire, block in block_of.items():
        groups.setdefault(fits[block], []).append(wire)
    return groups.items()


def _paths(
    found: Layout, rule: Rule | None, *, mask: int, block_of: Mapping[bytes, bytes], wires: Iterable[bytes]
) -> dict[bytes, Path]:
    """The paths of prefixes that a rule decides, or none: one for each block."""
    via, attributes, verdict, accepted, _ = found.judgement
    if rule is not None:
        attributes, verdict, accepted, mask = changed(attributes, rule.changes), rule.reason, rule.accept, 0
    if found.count == 1:
        return {wire: Path(via, attributes, verdict, accepted, block_of[wire], None, rule, mask) for wire in wires}
    made = {
        block: Path(via, attributes, verdict, accepted, block, None, rule, mask)
        for block in dict.fromkeys(map(block_of.__getitem__, wires))
    }
    return {wire: made[block_of[wire]] for wire in wires}


def _host_bits(packed: bytes, size: int) -> bool:
    """Whether any of these prefixes, all of one length, may have bits beyond it."""
    return HOST_BITS[packed[0]] != 0 and any(octet & HOST_BITS[packed[0]] for octet in set(packed[size - 1 :: size]))

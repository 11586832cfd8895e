"""Which blocks are in force, and whose they are, for snapshot after snapshot: one changed block costs a few look-ups."""

from collections.abc import Mapping

from towpath.model.cluster import IPAMBlock
from towpath.model.delta import Edition, exchanged, kept
from towpath.model.net import Prefix
from towpath.model.spans import Spans, span


class InForce:
    """Those that no older one overlaps, of equally old ones by name (``blocks.in_force``)."""

    def __init__(self) -> None:
        self._blocks: Mapping[str, IPAMBlock] = {}
        self._spans = Spans()
        """Of all blocks, by their names."""
        self._found: Edition[Prefix, IPAMBlock] = Edition()

    def of(self, blocks: Mapping[str, IPAMBlock]) -> Edition[Prefix, IPAMBlock]:
        """Of a whole snapshot, in their order; those that changed since the last one may come last."""
        changes = list(exchanged(self._blocks, blocks))
        gone = [old for _, old, _ in changes if old is not None]
        come = [new for _, _, new in changes if new is not None]
        if len(come) == len(blocks):
            gone, self._spans, self._found = [], Spans(), Edition()
        self._blocks = kept(blocks)
        for one in gone:
            self._spans.remove(span(one.spec.cidr), one.name)
        for one in come:
            self._spans.add(span(one.spec.cidr), one.name)
        touched = {name for one in (*gone, *come) for name in self._spans.owners(span(one.spec.cidr))}
        judged = sorted(map(blocks.__getitem__, touched), key=_place)
        differing: dict[Prefix, IPAMBlock | None] = dict.fromkeys(one.spec.cidr for one in gone)
        differing.update(dict.fromkeys(one.spec.cidr for one in judged))
        differing.update((one.spec.cidr, one) for one in judged if not self._barred(one))
        self._found = self._found.edited(differing)
        return self._found

    def _barred(self, block: IPAMBlock) -> bool:
        own = age(block)
        return any(age(self._blocks[name]) < own for name in self._spans.owners(span(block.spec.cidr)))


def age(block: IPAMBlock) -> tuple[str, str]:
    """What blocks are older or younger by."""
    return block.meta.creation_timestamp, block.name


class Owned:
    """The blocks in force of each node that has any, in their order (``blocks.by_node``)."""

    def __init__(self) -> None:
        self._blocks: Mapping[Prefix, IPAMBlock] = {}
        self._found: Edition[str, tuple[IPAMBlock, ...]] = Edition()

    def of(self, blocks: Mapping[Prefix, IPAMBlock]) -> Edition[str, tuple[IPAMBlock, ...]]:
        """Of all blocks in force."""
        touched: dict[str, list[IPAMBlock]] = {}
        changes = list(exchanged(self._blocks, blocks))
        for _, old, _ in changes:
            if old is not None:
                node = old.spec.node
                touched.setdefault(node, list(self._found.get(node, ()))).remove(old)
        for _, _, new in changes:
            if new is not None:
                node = new.spec.node
                touched.setdefault(node, list(self._found.get(node, ()))).append(new)
        self._blocks = kept(blocks)
        self._found = self._found.edited(
            {node: tuple(sorted(own, key=_place)) if own else None for node, own in touched.items()}
        )
        return self._found


def _place(block: IPAMBlock) -> tuple[int, int, int, str]:
    """Family, network, length and name: the order of blocks."""
    cidr = block.spec.cidr
    return cidr.version, int(cidr.network_address), cidr.prefixlen, block.name

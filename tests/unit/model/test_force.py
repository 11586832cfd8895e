"""Which blocks are in force is decided alike from every snapshot, whatever the one before it was."""

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from towpath.model.blocks import by_node, in_force
from towpath.model.cluster import IPAMBlock
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.net import block_name
from towpath.model.resource import Meta


def _block(place: int, length: int, node: str, age: int) -> IPAMBlock:
    cidr = IPv4Network((f"10.0.0.{place >> (32 - length) << (32 - length)}", length))
    return IPAMBlock("IPAMBlock", Meta(block_name(cidr), creation_timestamp=str(age)), IPAMBlockSpec(cidr, node))


BLOCKS = st.builds(_block, st.integers(0, 63), st.integers(26, 32), st.sampled_from("abc"), st.integers(0, 3))
ROUNDS = st.lists(st.tuples(st.lists(BLOCKS, max_size=4), st.sets(st.integers(0, 20), max_size=3)), max_size=10)


@given(ROUNDS)
def test_no_block_counts_that_an_older_one_overlaps(rounds):
    """Blocks come, change and go: those count that no older one overlaps, and each is its node's, in their order."""
    blocks: dict[str, IPAMBlock] = {}
    for come, gone in rounds:
        left = {name: one for place, (name, one) in enumerate(blocks.items()) if place not in gone}
        blocks = {**left, **{one.name: one for one in come}}
        counting = {
            one.spec.cidr: one
            for one in blocks.values()
            if not any(other.spec.cidr.overlaps(one.spec.cidr) and _age(other) < _age(one) for other in blocks.values())
        }
        found = in_force(blocks)
        assert found == counting
        assert by_node(found) == {
            node: tuple(sorted((one for one in counting.values() if one.spec.node == node), key=_cidr))
            for node in {one.spec.node for one in counting.values()}
        }


def _age(block: IPAMBlock) -> tuple[str, str]:
    return block.meta.creation_timestamp, block.name


def _cidr(block: IPAMBlock) -> IPv4Network:
    assert isinstance(block.spec.cidr, IPv4Network)
    return block.spec.cidr


def test_a_first_look_gives_them_in_their_order():
    """What people are shown of a snapshot does not depend on the order in which its files were read."""
    blocks = [_block(place, 30, "a", 0) for place in (16, 0, 48, 4)]
    found = in_force({one.name: one for one in blocks})
    assert [str(cidr) for cidr in found] == ["10.0.0.0/30", "10.0.0.4/30", "10.0.0.16/30", "10.0.0.48/30"]

"""Prefixes and whose they are, beside a list that is searched whole."""

from hypothesis import given
from hypothesis import strategies as st

from towpath.ipam.blocks import carve
from towpath.model.net import overlaps, parse_prefix
from towpath.model.spans import Spans, span

POOLS = parse_prefix("10.0.0.0/24"), parse_prefix("fd00::/120")
PREFIXES = st.builds(
    lambda pool, length, place: carve(pool, length=pool.prefixlen + length, place=place % (1 << length)),
    st.sampled_from(POOLS),
    st.integers(0, 8),
    st.integers(0, 255),
)
OWNERS = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(st.booleans(), PREFIXES, OWNERS), max_size=40), PREFIXES)
def test_it_knows_what_overlaps_whatever_came_and_went(steps, wanted):
    """Owners of whatever shares an address, and whether any two overlap."""
    spans, naive = Spans(), []
    for comes, prefix, owner in steps:
        if comes or (prefix, owner) not in naive:
            spans.add(span(prefix), owner)
            naive.append((prefix, owner))
        else:
            spans.remove(span(prefix), owner)
            naive.remove((prefix, owner))
        different = {prefix for prefix, _ in naive}
        assert spans.disjoint is not any(
            overlaps(one, other) for one in different for other in different if one != other
        )
    assert spans.owners(span(wanted)) == {owner for prefix, owner in naive if overlaps(prefix, wanted)}
    assert (span(wanted) in spans) is any(prefix == wanted for prefix, _ in naive)

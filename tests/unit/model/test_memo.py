"""What is remembered from one snapshot to the next changes no answer: each is what it would be, were it the first."""

from hypothesis import given
from hypothesis import strategies as st

from towpath.model.delta import Edition, exchanged
from towpath.model.memo import Pieces, Together


class Thing:
    """Equal to itself alone, as it is compared: by identity."""


THINGS = [Thing() for _ in range(4)]
MAPPINGS = st.dictionaries(st.sampled_from("abcde"), st.sampled_from(THINGS))
CHANGES = st.dictionaries(st.sampled_from("abcde"), st.sampled_from([*THINGS, None]))


@given(MAPPINGS, MAPPINGS)
def test_what_was_exchanged_is_found_by_identity(before, after):
    """Every key with another object, with both; none besides."""
    found = {key: (old, new) for key, old, new in exchanged(before, after)}
    keys = before.keys() | after.keys()
    assert found == {key: (before.get(key), after.get(key)) for key in keys if before.get(key) is not after.get(key)}


@given(MAPPINGS, st.lists(CHANGES, max_size=5), st.integers(0, 5), st.integers(0, 5))
def test_an_edition_is_what_its_edits_make_it(first, edits, one, other):
    """However many editions lie between two, what differs between them is found; nothing changes an earlier one."""
    editions, plain = [Edition(first)], [dict(first)]
    for changes in edits:
        editions.append(editions[-1].edited(changes))
        plain.append({key: value for key, value in {**plain[-1], **changes}.items() if value is not None})
    assert editions == plain
    one, other = min(one, len(edits)), min(other, len(edits))
    assert sorted(key for key, _, _ in exchanged(editions[one], editions[other])) == sorted(
        key for key, _, _ in exchanged(plain[one], plain[other])
    )


def test_an_edit_that_changes_nothing_makes_no_edition():
    """Whoever compares by identity sees that nothing happened."""
    edition = Edition({"a": THINGS[0]})
    assert edition.edited({"a": THINGS[0], "b": None}) is edition


def _both(common: object, one: object, other: object) -> tuple[object, ...] | None:
    return None if one is other else (common, one, other)


@given(st.lists(st.tuples(MAPPINGS, MAPPINGS, st.sampled_from(THINGS[:2])), max_size=8))
def test_pieces_are_what_their_function_says(worlds):
    """Of every name that all sources have, whatever was asked before; a name for which it says nothing has no piece."""
    pieces = Pieces(_both)
    for one, other, common in worlds:
        expected = {name: _both(common, one[name], other[name]) for name in one.keys() & other.keys()}
        assert pieces.of(one, other, common=(common,)) == {
            name: found for name, found in expected.items() if found is not None
        }


ENTRIES = st.lists(
    st.tuples(st.sampled_from("xy"), st.integers(0, 5), st.integers()), max_size=3, unique_by=lambda one: one[:2]
)


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), ENTRIES.map(tuple)), max_size=8))
def test_pieces_together_are_their_union(worlds):
    """By slot; where two hold something under one key, the last one's by name counts, and the other's once it is gone."""
    together: Together[tuple[tuple[str, int, int], ...], str, int, int] = Together(lambda piece: piece)
    for pieces in worlds:
        expected: dict[str, dict[int, int]] = {}
        for _, piece in sorted(pieces.items()):
            for slot, key, value in piece:
                expected.setdefault(slot, {})[key] = value
        assert together.of(pieces) == expected

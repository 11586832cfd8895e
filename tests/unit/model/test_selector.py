"""Selectors in both syntaxes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.model.selector import parse_selector

KEY = st.sampled_from(["rack", "kubernetes.io/os", "a-b_c.d/e", "in-1", "notes", "all"])
VALUE = st.sampled_from(["", "1", "linux", "a.b_c-d"])
LABELS = st.dictionaries(KEY, VALUE)
QUOTE = st.sampled_from(["'", '"'])


@given(LABELS, KEY, st.lists(VALUE, min_size=1, max_size=3), QUOTE)
def test_comparisons_mean_the_same_in_both_syntaxes(labels: dict, key: str, values: list, quote: str) -> None:
    """Equality, difference and sets: an absent label differs from every value and is in no set."""
    quoted = [f"{quote}{value}{quote}" for value in values]
    bare = [value for value in values if value] or ["x"]
    found = labels.get(key)
    for text, expected in (
        (f"{key} == {quoted[0]}", found == values[0]),
        (f"{key}={bare[0]}", found == bare[0]),
        (f"{key} != {quoted[0]}", found != values[0]),
        (f"{key}!={bare[0]}", found != bare[0]),
        (f"{key} in {{{', '.join(quoted)}}}", found in values),
        (f"{key} in ({','.join(bare)})", found in bare),
        (f"{key} not in {{ {', '.join(quoted)} }}", found not in values),
        (f"{key} notin ({', '.join(bare)})", found not in bare),
        (f"has({key})", key in labels),
        (f"!has({key})", key not in labels),
        (key, key in labels),
        (f"!{key}", key not in labels),
    ):
        assert parse_selector(text).matches(labels) is expected, text


@given(LABELS, KEY, VALUE)
def test_parts_of_text(labels: dict, key: str, part: str) -> None:
    """contains, starts with, ends with: false where the label is absent."""
    found = labels.get(key)
    assert parse_selector(f"{key} contains '{part}'").matches(labels) is (found is not None and part in found)
    assert parse_selector(f"{key} starts with '{part}'").matches(labels) is (
        found is not None and found.startswith(part)
    )
    assert parse_selector(f"{key} ends with '{part}'").matches(labels) is (found is not None and found.endswith(part))


TERM = st.sampled_from(
    [("has(rack)", lambda x: "rack" in x), ("rack == '1'", lambda x: x.get("rack") == "1"), ("all()", lambda _x: True)]
)
TREE = st.recursive(
    TERM,
    lambda inner: st.one_of(
        st.builds(lambda one: (f"!({one[0]})", lambda x: not one[1](x)), inner),
        st.builds(lambda one, two: (f"({one[0]} && {two[0]})", lambda x: one[1](x) and two[1](x)), inner, inner),
        st.builds(lambda one, two: (f"({one[0]} || {two[0]})", lambda x: one[1](x) or two[1](x)), inner, inner),
        st.builds(
            lambda a, b, c: (f"({a[0]}||{b[0]}&&{c[0]})", lambda x: a[1](x) or (b[1](x) and c[1](x))),
            inner,
            inner,
            inner,
        ),
    ),
    max_leaves=12,
)


@given(TREE, LABELS)
def test_trees_mean_what_they_say(tree: tuple, labels: dict) -> None:
    """And binds closer than or, not closest; parentheses and spaces are as usual."""
    text, expected = tree
    assert parse_selector(text).matches(labels) is bool(expected(labels))


@given(st.text(alphabet="abin()!=&|,{}'\" .-/x", max_size=24), LABELS)
def test_any_text_parses_or_says_where_it_stops(text: str, labels: dict) -> None:
    """Every text is a selector that answers, or a ValueError that quotes it."""
    try:
        selector = parse_selector(text)
    except ValueError as error:
        message = str(error)
    else:
        message = f"selector {text!r}"
        assert selector.matches(labels) in (True, False)
        assert str(selector) == text
    assert message.startswith(f"selector {text!r}")


@pytest.mark.parametrize(
    "text",
    [
        "a ==",
        "== 1",
        "a in",
        "a in ()(",
        "(a",
        "a)",
        "a b",
        "a &",
        "has()",
        "a not b",
        "a==='1'",
        "a = 'b",
        "🙂",
        "a in {'b'",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    """What is not a selector is not silently everything or nothing."""
    with pytest.raises(ValueError, match="selector"):
        parse_selector(text)


@pytest.mark.parametrize("text", ["", "  ", "all()", " all( ) ", "global()", "a=b,c in (d),!e"])
def test_good_ones(text: str) -> None:
    """Nothing and all() select everything; a comma is an and."""
    assert parse_selector(text).matches({"a": "b", "c": "d"})


def test_nesting_has_an_end() -> None:
    """A selector nested thousands deep is refused, it does not end the process."""
    with pytest.raises(ValueError, match="nested"):
        parse_selector("(" * 2000 + "a" + ")" * 2000)
    with pytest.raises(ValueError, match="nested"):
        parse_selector("!" * 4000 + "a")

"""Manifests are read as Kubernetes reads them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.controller.manifests import ManifestError, documents, dump

HEAD = "apiVersion: v1\nkind: X\nmetadata: {name: a}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5663:12", "5663:12"),
        ("1:30:00", "1:30:00"),
        ("65000:1", "65000:1"),
        ("2001-01-01", "2001-01-01"),
        ("on", True),
        ("Yes", True),
        ("off", False),
        ("'on'", "on"),
        ("1e3", 1000),
        ("1.5", 1.5),
        ("10.0", 10),
        ("010", 8),
        ("0o10", 8),
        ("0x1f", 31),
        ("08", 8),
        ("-3", -3),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.0/26", "10.0.0.0/26"),
        ("fd00::1", "fd00::1"),
        ("~", None),
        ("null", None),
        ("'5'", "5"),
    ],
)
def test_scalars(text, value):
    """Booleans of YAML 1.1, but no numbers to the base of sixty and no dates."""
    (body,) = documents(f"{HEAD}spec: {{v: {text}}}\n")
    assert body["spec"]["v"] == value
    assert type(body["spec"]["v"]) is type(value)


def test_documents_and_lists():
    """Several documents, empty ones between, lists in them, JSON as well."""
    text = f'---\n{HEAD}---\n---\n{{"apiVersion": "v1", "kind": "List", "items": [{{"apiVersion": "v1", "kind": "B", "metadata": {{"name": "b"}}}}]}}\n'
    assert [body["kind"] for body in documents(text)] == ["X", "B"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}}\n' * 2, ["X a", "X a"]),
        (' {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}}{"apiVersion": "v1", "kind": "List", "items": []} ', ["X a"]),
        ('{"apiVersion": "v1", "kind": "NodeList", "items": [{"metadata": {"name": "n"}}]}', ["Node n"]),
        ('{"apiVersion": "v1", "kind": "List", "items": null}', []),
        ("{apiVersion: v1, kind: List, items: []}", []),
    ],
)  # fmt: skip
def test_json_as_the_api_server_and_its_clients_write_it(text, names):
    """Values one after another; items of a kind's own list, which do not say what they are; an empty list as Go has it."""
    assert [f"{body['kind']} {body['metadata']['name']}" for body in documents(text)] == names
    assert all(body["apiVersion"] == "v1" for body in documents(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[&a {b: 1}, *a]", [{"b": 1}, {"b": 1}]),
        ("{x: &a {b: 1, c: 2}, y: {<<: *a, c: 3}}", {"x": {"b": 1, "c": 2}, "y": {"b": 1, "c": 3}}),
        ("{x: &a {b: 1}, y: [{<<: [*a, {c: 2}]}]}", {"x": {"b": 1}, "y": [{"b": 1, "c": 2}]}),
        ("{1: a, true: b, '2': c, 1.5: d}", {"1": "a", "true": "b", "2": "c", "1.5": "d"}),
        ("[!!str 1, !!int '7', \"a\\tb\"]", ["1", 7, "a\tb"]),
    ],
)
def test_what_stands_there_twice_and_keys(text, value):
    """Aliases and merges are filled in, keys are text, and a tag decides over what a scalar looks like."""
    assert list(documents(f"{HEAD}value: {text}")) == [
        {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "value": value}
    ]


def test_a_list_that_is_in_itself():
    """An alias may stand inside of what it names."""
    (found,) = documents(f"{HEAD}value: &a [*a]")
    assert found["value"][0] is found["value"]


def test_labels_are_text():
    """A boolean or number where a label's value belongs is its text."""
    (body,) = documents(
        "apiVersion: v1\nkind: X\nmetadata: {name: 12, labels: {a: yes, b: 5}, annotations: {c: false}}\n"
    )
    assert body["metadata"] == {"name": "12", "labels": {"a": "true", "b": "5"}, "annotations": {"c": "false"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "line"),
        ("- 1", "no object"),
        ("a: 1", "no kind"),
        ("apiVersion: v1\nkind: X\n", "metadata.name"),
        ("apiVersion: v1\nkind: X\nkind: Y\n", "twice"),
        ("a: !!python/object:os.system {}", "tag"),
        ("a: !!int x", "invalid literal"),
        ('{"a":' * 100_000, "nest"),
        ('{"apiVersion": "v1", "kind": "List", "items": [{"metadata": {"name": "n"}}]}', "no kind"),
    ],
)
def test_nonsense(text, message):
    """Whatever is no manifest says so, and nothing in it is run."""
    with pytest.raises(ManifestError, match=message):
        list(documents(text))


@given(st.text(max_size=200))
def test_any_text(text):
    """Any text gives objects or a ManifestError, nothing else."""
    with contextlib.suppress(ManifestError):
        list(documents(text))


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1),
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"])),
    )
)
def test_what_is_written_reads_the_same(data):
    """Text stays text, whatever it looks like."""
    body = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "status": data}
    assert list(documents(dump(body))) == [body]

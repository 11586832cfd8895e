"""Objects to values and back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.model.cases import BAD, GOOD, Case
from tests.unit.model.schema_cases import schema_cases
from towpath.model.decode import decode, decode_node, encode
from towpath.model.kinds.registry import KINDS
from towpath.model.reason import InvalidSpecError
from towpath.model.resource import Resource


def body(case: Case) -> dict:
    obj = {"apiVersion": "towpath.io/v1alpha1", "kind": case.kind, "metadata": {"name": case.name}}
    return obj if case.spec is None else obj | {"spec": case.spec}


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.id)
def test_good_objects_decode_and_come_back(case: Case) -> None:
    """A good object becomes a value, and what is written from it decodes to the same value."""
    resource = decode(case.kind, body(case))
    assert decode(case.kind, encode(resource)) == resource


@pytest.mark.parametrize(
    "case", [case for case in (*BAD, *schema_cases()) if case.only != "api"], ids=lambda case: case.id
)
def test_bad_objects_name_their_field(case: Case) -> None:
    """A bad object is refused with the object, the field and a sentence."""
    with pytest.raises(InvalidSpecError) as raised:
        decode(case.kind, body(case))
    where = raised.value.where
    assert (where.kind, where.name) == (case.kind, case.name)
    assert where.field == case.field or (case.before and where.field == "metadata.name")
    assert raised.value.message
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("BGPPeer", {"peerIp": "x"}, "BGPPeer/a spec.peerIp: is not a field that this kind has"),
        ("BGPPeer", {"passive": "x"}, "BGPPeer/a spec.passive: must be true or false, not text"),
        ("BGPPeer", {"importPolicy": "x"}, "BGPPeer/a spec.importPolicy: 'x' is none of All, Filtered, None"),
        ("BGPPeer", {"peerIP": "tor"}, "BGPPeer/a spec.peerIP: 'tor' is no peer address: ip, ip:port or [v6]:port, never a name"),
        ("BGPPeer", {}, "BGPPeer/a spec.peerIP: exactly one of peerIP, peerSelector, peerFrom and localWorkloadSelector is needed"),
        ("IPPool", {}, "IPPool/a spec.cidr: is required"),
        ("IPPool", {"cidr": "10.0.0.0/8", "blockSize": 12}, "IPPool/a spec.blockSize: must be at least 20"),
        ("IPPool", {"cidr": "10.0.0.0/8", "blockSize": "x"}, "IPPool/a spec.blockSize: must be a whole number, not text"),
        ("IPPool", [], "IPPool/a spec: must be an object, not a list"),
        ("BGPConfiguration", {"ignoredInterfaces": ["a", 3]}, "BGPConfiguration/a spec.ignoredInterfaces[1]: must be text, not a number"),
    ],
)  # fmt: skip
def test_messages_are_sentences(kind: str, spec: object, message: str) -> None:
    """The message says what is wrong in words, not in types of a programming language."""
    with pytest.raises(InvalidSpecError) as raised:
        decode(kind, {"metadata": {"name": "a"}, "spec": spec})
    assert str(raised.value) == message


def test_an_object_without_a_name_is_refused() -> None:
    """Metadata is needed as far as the name."""
    for obj in ({}, {"metadata": None}, {"metadata": {}}, {"metadata": []}, {"metadata": {"name": ""}}):
        with pytest.raises(InvalidSpecError, match=r"metadata.name: is required"):
            decode("IPPool", obj)
    with pytest.raises(InvalidSpecError, match=r"IPPool/a metadata.labels"):
        decode("IPPool", {"metadata": {"name": "a", "labels": ["x"]}})


def test_nulls_are_absent() -> None:
    """A field that holds null is one that is not set, as the API server sees it."""
    spec = {"peerIP": "10.0.0.1", "asNumber": 1, "node": None, "passive": None, "timers": {"holdTime": None}}
    resource = decode("BGPPeer", {"metadata": {"name": "a", "labels": None}, "spec": spec})
    assert (resource.spec.node, resource.spec.passive, resource.spec.timers.hold_time) == (None, False, None)


@pytest.mark.parametrize(
    ("kind", "spec", "newer"),
    [
        ("BGPPeer", {"peerIP": "192.0.2.1", "asNumber": 65000}, {"later": 1, "sooner": {"than": [2]}}),
        ("IPPool", {"cidr": "10.0.0.0/16"}, {"later": None, "sooner": False}),
        ("BGPConfiguration", {"timers": {"holdTime": "9s"}}, {"timers": {"holdTime": "9s", "later": "1s"}}),
        (
            "BGPFilter",
            {"importV4": [{"action": "Accept"}, {"action": "Reject"}]},
            {"importV4": [{"action": "Accept", "later": 1}, {"action": "Reject", "sooner": []}]},
        ),
    ],
    ids=["BGPPeer", "IPPool", "BGPConfiguration", "BGPFilter"],
)
def test_fields_of_a_newer_release_are_left_out_of_what_an_api_server_has(
    kind: str, spec: dict[str, Any], newer: dict[str, Any]
) -> None:
    """Its definitions may be newer than this process, and their defaults are in every object; in a file it is a mistake."""
    body = {"metadata": {"name": "default"}, "spec": spec}
    known = {**body, "spec": {**spec, **newer}}
    assert decode(kind, known, served=True) == decode(kind, body)
    with pytest.raises(InvalidSpecError, match="is not a field that this kind has"):
        decode(kind, {**body, "spec": {**spec, **newer, "yetAnother": 1}})


def test_what_is_wrong_in_a_newer_object_is_refused() -> None:
    """Beside fields that are not known, those that are have to be right."""
    spec = {"peerIP": "192.0.2.1", "asNumber": -1, "later": 1}
    with pytest.raises(InvalidSpecError, match=r"spec\.asNumber"):
        decode("BGPPeer", {"metadata": {"name": "a"}, "spec": spec}, served=True)


@pytest.mark.parametrize("status", [{"inSync": "maybe"}, [], "x", {"sessions": [{}]}, 7])
def test_a_bad_status_rejects_nothing(status: object) -> None:
    """A status that does not decode counts as none."""
    resource = decode("NodeStatus", {"metadata": {"name": "a"}, "spec": {}, "status": status})
    assert resource.status is None


def test_a_status_of_another_version_decodes() -> None:
    """Fields of a status that are not known are passed over."""
    obj = {"metadata": {"name": "a"}, "status": {"inSync": True, "mood": "good"}}
    assert decode("NodeStatus", obj).status.in_sync


def test_defaults_are_not_written() -> None:
    """What equals a default is left out of what we write."""
    obj = {
        "metadata": {"name": "10-0-0-0-26"},
        "spec": {"cidr": "10.0.0.0/26", "node": "n", "state": "Active", "pool": ""},
    }
    assert encode(decode("IPAMBlock", obj)) == {
        "apiVersion": "towpath.io/v1alpha1",
        "kind": "IPAMBlock",
        "metadata": {"name": "10-0-0-0-26"},
        "spec": {"cidr": "10.0.0.0/26", "node": "n"},
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_anything_decodes_or_is_an_invalid_spec(kind: str, data: st.DataObject) -> None:
    """Whatever stands in an object, the decoder gives a value or names what is wrong; nothing else is raised."""
    fields = [field.encode_name for field in __import__("msgspec").structs.fields(KINDS[kind].spec)]
    values = JSON | st.sampled_from(["10.0.0.1", "10.0.0.0/26", "1", "90s", "all()", "default"])
    spec = data.draw(JSON | st.dictionaries(st.sampled_from([*fields, "other"]), values, max_size=4))
    obj = {
        "metadata": {"name": data.draw(st.sampled_from(["default", "node.a", "10-0-0-0-26"]))},
        "spec": spec,
        "status": data.draw(JSON),
    }
    try:
        assert isinstance(decode(kind, obj), Resource)
    except InvalidSpecError as error:
        refused_kind = error.where.kind
    else:
        refused_kind = kind
    assert refused_kind == kind


def test_a_kubernetes_node() -> None:
    """Of a Node we read its InternalIPs, pod CIDRs, machine, readiness and labels; what does not read is left out."""
    node = decode_node(
        {
            "metadata": {"name": "n1", "labels": {"rack": "a"}, "managedFields": [{}]},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "bad"], "unschedulable": True},
            "status": {
                "addresses": [
                    {"type": "Hostname", "address": "n1"},
                    {"type": "InternalIP", "address": "10.0.0.1"},
                    {"type": "InternalIP", "address": "bad"},
                    {"type": "InternalIP", "address": "fd00::1"},
                ],
                "conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {"machineID": "m", "systemUUID": "u", "operatingSystem": "linux"},
            },
        }
    )
    assert [str(address) for address in node.addresses] == ["10.0.0.1", "fd00::1"]
    assert [str(cidr) for cidr in node.pod_cidrs] == ["10.1.0.0/24"]
    assert (node.machine_id, node.system_uuid, node.operating_system) == ("m", "u", "linux")
    assert (node.ready, node.unschedulable, node.meta.labels) == (True, True, {"rack": "a"})


@pytest.mark.parametrize(
    ("written", "pods"),
    [("110", 110), ("2k", 2000), (250, 250), ("", None), ("-1", None), ("many", None), (None, None)],
)
def test_how_many_pods_a_kubelet_takes(written: object, pods: int | None) -> None:
    """Read from the Node's capacity, a quantity of Kubernetes; what is none says nothing."""
    assert decode_node({"metadata": {"name": "n1"}, "status": {"capacity": {"pods": written}}}).pods == pods


def test_a_node_with_nothing_in_it() -> None:
    """A Node that has just been made decodes."""
    node = decode_node({"metadata": {"name": "n1"}})
    assert (node.addresses, node.ready) == ((), False)

"""RoutingNodes as they are made from Nodes."""

import pytest

from tests.unit.ipam.world import cluster, node
from towpath.controller.routing_nodes import is_current, routing_nodes
from towpath.model.net import parse_address

ADDRESSES = (parse_address("192.0.2.1"), parse_address("2001:db8::1"))


def made(**fields):
    """The RoutingNode of one node, and what was refused."""
    result = routing_nodes(cluster(node("n1", **fields)))
    return result.desired.get("n1"), result.refusals


def test_addresses_are_the_node_s_own_without_a_length():
    """The first InternalIP of each family, as /32 and /128; labels are copied, the Node owns it."""
    found, refusals = made(addresses=(*ADDRESSES, parse_address("192.0.2.9")), labels={"rack": "1"})
    assert (str(found.spec.bgp.ipv4_address), str(found.spec.bgp.ipv6_address)) == ("192.0.2.1/32", "2001:db8::1/128")
    assert (found.meta.labels, found.meta.owner_references[0].uid, refusals) == ({"rack": "1"}, "uid-n1", ())


def test_annotations_win():
    """Addresses with their prefix length, AS number in either form, cluster id."""
    annotations = {
        "towpath.io/ipv4-address": "198.51.100.7/24",
        "towpath.io/as-number": "1.2",
        "towpath.io/route-reflector-cluster-id": "10.0.0.1",
    }
    found, refusals = made(addresses=ADDRESSES, annotations=annotations)
    bgp = found.spec.bgp
    assert (str(bgp.ipv4_address), bgp.as_number, bgp.route_reflector_cluster_id) == (
        "198.51.100.7/24",
        65538,
        "10.0.0.1",
    )
    assert refusals == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("as-number", "0"),
        ("as-number", "AS65000"),
        ("ipv4-address", "2001:db8::1/64"),
        ("ipv4-address", "127.0.0.1/8"),
        ("ipv6-address", "fe80::1/64"),
        ("ipv6-address", "neighbor { }"),
        ("route-reflector-cluster-id", "1"),
    ],
)
def test_a_bad_annotation_is_refused_by_name_and_the_rest_goes_on(key, value):
    """The node's own address stays; the refusal names object and field."""
    found, (refusal,) = made(addresses=ADDRESSES, annotations={f"towpath.io/{key}": value})
    assert str(found.spec.bgp.ipv4_address) == "192.0.2.1/32"
    assert str(refusal.object) == f"Node/n1 metadata.annotations[towpath.io/{key}]"


def test_a_bad_annotation_leaves_the_last_good_value_in_force():
    """A typing error does not renumber a node."""
    good = routing_nodes(cluster(node("n1", annotations={"towpath.io/as-number": "65001"}))).desired["n1"]
    result = routing_nodes(cluster(good, node("n1", annotations={"towpath.io/as-number": "x"})))
    assert result.desired["n1"].spec.bgp.as_number == 65001
    assert is_current(good, result.desired["n1"])


def test_nodes_that_are_left_out_have_none():
    """Not Linux, or excluded."""
    assert made(operating_system="windows")[0] is None
    assert made(annotations={"towpath.io/exclude": ""})[0] is None

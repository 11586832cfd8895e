"""Which addresses of its node a pod may have."""

import pytest
from msgspec.structs import replace

from tests.unit.ipam.world import block, node, pool
from towpath.ipam.allowance import Allowance, Asker, Offer, allowance
from towpath.model.cluster import Cluster, IPReservation
from towpath.model.kinds.reservation import IPReservationSpec
from towpath.model.net import parse_address, parse_prefix
from towpath.model.reason import Reason, Refusal
from towpath.model.resource import Meta

FOUR = {"rangeStart": "10.0.0.2", "rangeEnd": "10.0.0.7"}
MORE = {"rangeStart": "10.0.0.16", "rangeEnd": "10.0.0.23"}
SIX = {"rangeStart": "fd00::2", "rangeEnd": "fd00::7"}
BLOCKS = (
    block("10.0.0.0/29", "n"),
    block("10.0.0.16/29", "n"),
    block("10.0.0.32/29", "n", state="Draining"),
    block("10.0.0.40/29", "m"),
    block("fd00::/125", "n", pool="b"),
)
CLUSTER = Cluster(
    nodes={"n": node("n")},
    pools={"a": pool("a", "10.0.0.0/24", blockSize=29), "b": pool("b", "fd00::/64", blockSize=125)},
    blocks={one.name: one for one in BLOCKS},
    reservations={
        "r": IPReservation("IPReservation", Meta(name="r"), IPReservationSpec((parse_prefix("10.0.0.17/32"),)))
    },
)
OFFER = Offer("n", CLUSTER, (FOUR, {**MORE, "rangeStart": "10.0.0.18"}, SIX))


def allowed(addresses: str = "", *taken: str, offer: Offer = OFFER) -> Allowance | Refusal:
    return allowance(offer, Asker("ns/p", addresses=addresses), taken={parse_address(one): "pod x/y" for one in taken})


def test_a_pod_that_asks_for_nothing_may_have_anything() -> None:
    """A range set a family."""
    assert allowed() == Allowance((OFFER.ranges[:2], (SIX,)))
    assert allowed(offer=replace(OFFER, ranges=(SIX,))) == Allowance(((SIX,),))


@pytest.mark.parametrize(
    "text", ["10.0.0.20", " 10.0.0.20 ", '["10.0.0.20"]', "10.0.0.20,fd00::5", '["fd00::5", "10.0.0.20"]']
)
def test_a_pod_gets_the_range_of_what_it_asks_for(text: str) -> None:
    """And all of the family that it says nothing of."""
    found = allowed(text)
    assert isinstance(found, Allowance)
    assert found.ranges == ((OFFER.ranges[1],), (SIX,))
    assert set(found.addresses) == {parse_address(one.strip(' []"')) for one in text.split(",")}


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("x", Reason.INVALID_SPEC, "x is no list of addresses"),
        ("10.0.0.3/24", Reason.INVALID_SPEC, "no list of addresses"),
        ("10.0.0.3,", Reason.INVALID_SPEC, "no list of addresses"),
        ("[", Reason.INVALID_SPEC, "no list of addresses"),
        ("[3]", Reason.INVALID_SPEC, "no list of addresses"),
        ("fe80::1%eth0", Reason.INVALID_SPEC, "no list of addresses"),
        ("10.0.0.3,10.0.0.4", Reason.INVALID_SPEC, "two addresses of one family"),
        ("10.1.0.3", Reason.ADDRESS_OUTSIDE, "no IPPool and in no IPAMBlock"),
        ("10.0.0.99", Reason.PODS_WAITING, "IPPool/a, in no block of this node (n) or any other yet"),
        ("10.0.0.41", Reason.ADDRESS_OUTSIDE, "block 10.0.0.40/29 of node m, and this pod is on n"),
        (
            "10.0.0.33",
            Reason.ADDRESS_OUTSIDE,
            "block 10.0.0.32/29 (Draining), which this node gives out no addresses of",
        ),
        ("10.0.0.3", Reason.ADDRESS_TAKEN, "10.0.0.3 is taken by pod x/y"),
        ("10.0.0.1", Reason.RESERVED_ADDRESS, "it is the gateway of 10.0.0.0/24"),
        ("10.0.0.0", Reason.RESERVED_ADDRESS, "it stands for all of 10.0.0.0/24"),
        ("10.0.0.17", Reason.RESERVED_ADDRESS, "IPReservation/r spec.reservedCIDRs[0] has 10.0.0.17/32"),
    ],
)
def test_what_a_pod_cannot_have_is_refused_with_a_reason(text: str, reason: Reason, words: str) -> None:
    """The sentence names the address, and what is in the way."""
    found = allowed(text, "10.0.0.3")
    assert isinstance(found, Refusal)
    assert (found.reason, found.object.name) == (reason, "ns/p")
    assert words in found.message
    assert found.object.field == "metadata.annotations[towpath.io/ip-addresses]"


def test_where_all_is_taken_the_pod_is_told() -> None:
    """One free address is enough; the other family does not count."""
    four = [f"10.0.0.{number}" for number in (*range(2, 8), *range(18, 24))]
    assert isinstance(allowed("", *four[:-1]), Allowance)
    found = allowed("", *four)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.PODS_WAITING
    assert "no IPv4 address is free on node n: all of 10.0.0.0/29, 10.0.0.16/29 of IPPool/a are taken" in found.message

"""Messages of neighbour discovery: what is built is what is read, and nothing that may come from another link counts."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.routes.discovery import packets
from towpath.routes.discovery.packets import Heard

ROUTER = IPv6Address("fe80::a:b")
MAC = bytes.fromhex("0101020000000001")
"""The option with a source link-layer address (RFC 4861 §4.6.1)."""


def neighbour_advertisement(target: IPv6Address, *, flags: int = 0xE0) -> bytes:
    return bytes((136, 0, 0, 0, flags, 0, 0, 0)) + target.packed


def echo_reply() -> bytes:
    return bytes((129,)) + packets.echo_request()[1:]


GOOD = [
    (packets.router_advertisement(), Heard.ROUTER),
    (packets.router_advertisement() + MAC, Heard.ROUTER),
    (packets.router_solicitation(), Heard.ASKING),
    (packets.router_solicitation() + MAC, Heard.ASKING),
    (neighbour_advertisement(ROUTER), Heard.ROUTER),
    (neighbour_advertisement(ROUTER) + MAC, Heard.ROUTER),
    (echo_reply(), Heard.SOMEBODY),
]


@pytest.mark.parametrize(("data", "heard"), GOOD)
def test_what_is_heard(data: bytes, heard: Heard) -> None:
    """A router says so by an advertisement, with or without options."""
    assert packets.read(data, source=ROUTER, hop_limit=255) is heard


@pytest.mark.parametrize(("data", "heard"), [one for one in GOOD if one[1] is not Heard.SOMEBODY])
def test_nothing_that_a_router_may_have_forwarded(data: bytes, heard: Heard) -> None:
    """Another hop limit than 255, and another source than a link-local address, change nothing."""
    for hop_limit in (0, 1, 64, 254):
        assert packets.read(data, source=ROUTER, hop_limit=hop_limit) is None
    for source in ("2001:db8::1", "::", "ff02::1", "fec0::1"):
        assert packets.read(data, source=IPv6Address(source), hop_limit=255) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        packets.router_advertisement()[:-1],
        bytes((134, 1)) + packets.router_advertisement()[2:],
        packets.router_advertisement() + bytes((1, 0)) + bytes(6),
        packets.router_advertisement() + MAC[:-1],
        packets.router_advertisement() + MAC + b"\0",
        packets.router_advertisement() + bytes((1, 255)) + bytes(6),
        neighbour_advertisement(ROUTER, flags=0x60),
        neighbour_advertisement(IPv6Address("fe80::1")),
        packets.neighbour_solicitation(ROUTER),
        packets.echo_request(),
        bytes((129, 0, 0, 0, 0, 1, 0, 0)),
    ],
)
def test_nothing_that_is_wrong(data: bytes) -> None:
    """Cut short, with an empty option, not by a router, of another's target or another's echo: nothing is heard."""
    assert packets.read(data, source=ROUTER, hop_limit=255) is None


@given(data=st.binary(max_size=200), hop_limit=st.integers(0, 255))
def test_any_bytes(data: bytes, hop_limit: int) -> None:
    """Whatever comes, the answer is an answer."""
    assert packets.read(data, source=ROUTER, hop_limit=hop_limit) in {None, *Heard}


@given(low=st.integers(0, (1 << 64) - 1))
def test_solicited_node(low: int) -> None:
    """The group has the last three bytes of the address (RFC 4291 §2.7.1)."""
    address = IPv6Address((0xFE80 << 112) + low)
    group = IPv6Address(packets.solicited_node(address))
    assert group.packed == IPv6Address("ff02::1:ff00:0").packed[:13] + address.packed[13:]


def test_we_are_no_default_router() -> None:
    """Our advertisement has lifetime 0 and not one option: no host takes a route or a prefix from it."""
    assert packets.router_advertisement() == bytes((134,)) + bytes(15)

"""Bulk messages are byte for byte what pyroute2 makes one by one."""

import subprocess
import sys
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from towpath.model.net import Family, split_wire, to_wire
from towpath.routes.kernel import Operation
from towpath.routes.message import Template, message
from towpath.routes.route import NextHop, RouteType, Spec, spec
from towpath.routes.wire import split

V4 = st.builds(
    lambda number, length: ip_network((number >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
V6 = st.builds(
    lambda number, length: ip_network(
        (number >> (128 - length) << (128 - length) | 1 << 127, max(length, 1)), strict=False
    ),
    st.integers(0, 2**127 - 1),
    st.integers(0, 128),
)
NUMBER = 187695105
"""Of a next-hop object."""
ROUTER = ip_address("fe80::a")
GATEWAYS = {Family.IPV4: ("10.0.0.1", "10.0.0.2"), Family.IPV6: ("fd00::1", "fe80::2")}


def specs(family: Family) -> list[Spec]:
    one, other = (ip_address(gateway) for gateway in GATEWAYS[family])
    return [
        spec(RouteType.BLACKHOLE, metric=1179),
        spec(RouteType.UNICAST, (NextHop(one, 3),), metric=1179),
        spec(RouteType.UNICAST, (NextHop(one, 3, onlink=True),), metric=4294967294),
        spec(RouteType.UNICAST, (NextHop(None, 7),), metric=1),
        spec(RouteType.UNICAST, (NextHop(one, 3),), metric=1179, shared=True),
        spec(RouteType.UNICAST, (NextHop(one, 3), NextHop(other, 4, onlink=True)), metric=1179),
        spec(RouteType.UNICAST, (NextHop(ROUTER, 3),), metric=1179),
        spec(RouteType.UNICAST, (NextHop(one, 3), NextHop(ROUTER, 3), NextHop(ROUTER, 4)), metric=1179),
    ]


@pytest.mark.parametrize("operation", list(Operation), ids=lambda operation: operation.name)
@settings(max_examples=examples(25))
@given(v4=st.lists(V4, min_size=1, max_size=5), v6=st.lists(V6, min_size=1, max_size=5), first=st.integers(1, 2**31))
def test_template_is_what_pyroute2_makes(operation, v4, v6, first) -> None:
    """Every message of a template equals pyroute2's own for that prefix and sequence number."""
    for family, prefixes in ((Family.IPV4, v4), (Family.IPV6, v6)):
        wires = [to_wire(prefix) for prefix in prefixes]
        for route in specs(family):
            expected = b"".join(
                message(
                    operation,
                    family,
                    route,
                    dst=str(prefix.network_address),
                    length=prefix.prefixlen,
                    sequence=first + number,
                    number=NUMBER,
                )
                for number, prefix in enumerate(prefixes)
            )
            assert bytes(Template(operation, family, route, number=NUMBER).encode(wires, sequence=first)) == expected


@given(st.lists(st.one_of(V4, V6), max_size=30))
def test_split(prefixes) -> None:
    """Frames come apart into the prefixes they were made of, runs of equal size or not."""
    packed = b"".join(to_wire(prefix) for prefix in prefixes)
    assert split(packed) == list(split_wire(packed))


def test_equal_specs_are_one() -> None:
    """Specs with the same next hops in any order are the same object."""
    one, other = NextHop(ip_address("10.0.0.1"), 3), NextHop(ip_address("10.0.0.2"), 3)
    first = spec(RouteType.UNICAST, (one, other, one), metric=5)
    assert spec(RouteType.UNICAST, (other, one), metric=5) is first
    assert spec(RouteType.UNICAST, (other, one), metric=6) is not first


def test_only_what_is_needed_of_pyroute2_is_imported() -> None:
    """A process that programs routes carries a handful of its modules; who wants all of it still gets it."""
    script = (
        "import sys, towpath.routes.programmer; few = sum(name.startswith('pyroute2.') for name in sys.modules);"
        "import pyroute2; pyroute2.IPRoute; print(few)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0 < int(found.stdout) < 20

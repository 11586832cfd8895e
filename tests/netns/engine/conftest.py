"""A rig for the tests of the engine: three hosts on one Ethernet segment."""

import pytest

from tests.names import in_memory, own
from towpath.lab.netns import Network


@pytest.fixture
def network():
    with Network(own("tpe")) as network:
        yield network


@pytest.fixture
def segment(network):
    """A node and two routers on one Ethernet segment: .1, .2 and .3 of 10.9.0.0/24 and fd09::/64."""
    switch = network.switch("sw")
    hosts = []
    for number, name in enumerate(("node", "tor", "other"), start=1):
        host = network.host(name)
        network.plug(switch, host)
        host.address(f"10.9.0.{number}/24", f"fd09::{number}/64", dev="eth0")
        hosts.append(host)
    return hosts


@pytest.fixture
def public():
    """A folder that programs of other users can enter, as FRR's: pytest's own are closed to them."""
    with in_memory(own("tpe")) as folder:
        yield folder

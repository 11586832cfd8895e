"""``towpath plan --tor``: the file that it prints is loaded by the router itself, and the sessions come up.

The manifests are those of the golden files. Of the two nodes in them one is there.
"""

import shutil
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml

from tests.names import own
from tests.netns.interop.makes import MAKES, BirdMake, FrrMake, GobgpMake, Make, OpenbgpdMake
from tests.netns.interop.node import Node
from towpath.controller.plan.inputs import gathered, read
from towpath.controller.plan.tor.command import lines
from towpath.controller.settings import SECRET_NAMESPACE
from towpath.lab.netns import Network
from towpath.lab.process import wait_for
from towpath.lab.shape import ROOT

MANIFESTS = Path(__file__).parents[2] / "unit" / "planning" / "tor.yaml"
WORDS: dict[type[Make], str] = {BirdMake: "bird", FrrMake: "frr", GobgpMake: "gobgp", OpenbgpdMake: "openbgpd"}
PASSWORD = "never-printed"
BLOCKS = (ip_network("10.244.0.0/26"), ip_network("fd00:244::/122"))
SESSIONS = ("10.9.1.1", "fd09:1::1")


@pytest.fixture
def network() -> Iterator[Network]:
    """Node a and its router on a cable, with a folder in memory."""
    prefix = own("tpiot")
    shutil.rmtree(ROOT / prefix, ignore_errors=True)
    with Network(prefix) as made:
        node, tor = made.host("a"), made.host("tor")
        made.link(node, "eth0", tor, "eth0")
        node.address("10.9.1.1/24", "fd09:1::1/64", dev="eth0")
        tor.address("10.9.1.2/24", "fd09:1::2/64", dev="eth0")
        yield made
    shutil.rmtree(ROOT / prefix, ignore_errors=True)


@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.name)
def test_the_router_takes_its_configuration(network: Network, make: type[Make]) -> None:
    """Both sessions come up, with MD5 and TTL security; the router has the node's blocks, and nothing that is no pod's."""
    root = ROOT / network.prefix
    inputs = gathered(read([str(MANIFESTS)]), secret_namespace=SECRET_NAMESPACE)
    text = "\n".join(lines(inputs, WORDS[make])) + "\n"
    router = make.router(network.known("tor"), directory=root / "tor")
    if make is OpenbgpdMake:
        text = f'socket "{router.directory}/bgpd.sock"\n{text}'  # where the test asks it
    node = Node(network.known("a"), root / "a")
    node.write(list(yaml.safe_load_all(MANIFESTS.read_text())))
    try:
        router.start(text.replace("PASSWORD-tor-password", PASSWORD))
        node.start()
        router.wait_established(*SESSIONS, deadline=60)
        for block, address in zip(BLOCKS, SESSIONS, strict=True):
            path = router.wait_path(block)
            assert (path.as_path, path.next_hop) == ((64512,), ip_address(address))
        services = ip_network("10.96.0.0/16")
        router.wait_path(services)
        wait_for(lambda: set(BLOCKS) <= node.kernel(), deadline=20, what="blackholes on the node")
        assert node.said("lost", "10.9.1.2") == []
    finally:
        router.remove()

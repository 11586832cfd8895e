"""Local routes in a real kernel: packets are taken in and answered, and others' routes are left alone."""

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from tests.names import own
from towpath.lab.netns import Host, Network
from towpath.model.net import Address
from towpath.routes import local

V4, V6 = ip_address("169.254.0.179"), ip_address("fd12::179")


@pytest.fixture
def host() -> Iterator[Host]:
    """A namespace with a neighbour that sends everything to it."""
    with Network(own("tpc")) as network:
        node, pod = network.host("a"), network.host("b", forwarding=False)
        network.link(node, "eth0", pod, "eth0")
        node.address("10.9.0.1/24", "fd09::1/64", dev="eth0")
        pod.address("10.9.0.2/24", "fd09::2/64", dev="eth0")
        for version, gateway in (("-4", "10.9.0.1"), ("-6", "fd09::1")):
            pod.ip(version, "route", "add", "default", "via", gateway)
        yield node


def desire(host: Host, *addresses: Address, complete: bool = True) -> None:
    with host.entered():
        local.desire(addresses, complete=complete)


def there(host: Host) -> set[str]:
    """The local routes that are ours."""
    listed = (host.ip_json(version, "route", "show", "table", "local", "proto", "179") for version in ("-4", "-6"))
    return {str(one["dst"]) for some in listed for one in some}


def answers(host: Host, address: Address) -> bool:
    pod = host.network.known("b")
    return "1 received" in pod.run("ping", "-n", "-c", "1", "-W", "3", str(address), check=False)


def test_what_is_desired_answers(host: Host) -> None:
    """In both families and from a fresh process; what is no longer desired does not, and no device has an address more."""
    before = host.ip_json("address")
    desire(host, V4, V6)
    desire(host, V4, V6)
    assert there(host) == {str(V4), str(V6)}
    assert answers(host, V4)
    assert answers(host, V6)
    assert [one["addr_info"] for one in host.ip_json("address")] == [one["addr_info"] for one in before]
    desire(host, V6)
    assert there(host) == {str(V6)}
    assert answers(host, V6)
    desire(host)
    assert there(host) == set()


def test_from_memory_nothing_is_removed(host: Host) -> None:
    """What the API has not confirmed yet may add, and takes nothing away."""
    desire(host, V4)
    desire(host, V6, complete=False)
    assert there(host) == {str(V4), str(V6)}


def test_what_is_others_stays(host: Host) -> None:
    """A local route of somebody else, and an address that the node has already, are not ours to touch."""
    host.ip("route", "add", "local", "192.0.2.7", "dev", "lo", "table", "local", "proto", "static")
    host.ip("address", "add", f"{V4}/32", "dev", "eth0")
    desire(host, V4)
    desire(host)
    assert there(host) == set()
    assert host.ip_json("route", "show", "table", "local", "192.0.2.7")
    assert answers(host, V4)

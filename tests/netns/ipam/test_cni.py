"""The CNI configuration with the real plugins: ptp, host-local and portmap, in namespaces."""

import json
import time
from ipaddress import ip_network

import pytest

from tests.names import own
from tests.unit.ipam.notes import note
from tests.unit.ipam.world import block, pool, reservation
from towpath.controller.node.former import Former
from towpath.controller.node.living import Living
from towpath.ipam.cni import Places, conflist, write
from towpath.ipam.hostlocal import HostLocal
from towpath.ipam.reserved import Reserved
from towpath.lab import pods
from towpath.lab.netns import Network
from towpath.model.cluster import Cluster
from towpath.model.net import Family, parse_prefix

POOLS = {"a": pool("a", "10.99.0.0/24", blockSize=29), "b": pool("b", "fd99::/64", blockSize=125)}


@pytest.fixture
def network():
    """A network of namespaces that leaves nothing behind."""
    with Network(own("tpi")) as network:
        yield network


def configured(places: Places, *blocks) -> None:
    """Write the configuration for these blocks."""
    write(conflist([one.spec for one in blocks], POOLS, data_dir=places.data_dir), places)


def attached(network: Network, node, places: Places, number: int):
    """A new pod on the node, with its namespace."""
    host = network.host(f"pod{number}", forwarding=False)
    return host, pods.add(node, host, folder=places.conf_dir)


def test_every_address_of_every_block_is_handed_out_in_both_families(network, tmp_path):
    """A range of /29 gives eight addresses; the range that is added when they are gone gives eight more."""
    node = network.host("node")
    places = Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d")
    first4, first6 = block("10.99.0.8/29", "n"), block("fd99::8/125", "n", pool="b")
    configured(places, first4, first6)
    given = [attached(network, node, places, number) for number in range(8)]
    for family, prefix in ((Family.IPV4, "10.99.0.8/29"), (Family.IPV6, "fd99::8/125")):
        addresses = {pod.address(family) for _, pod in given}
        assert addresses == set(parse_prefix(prefix)), family
    with pytest.raises(pods.PluginError, match="no IP addresses available"):
        pods.add(node, network.host("pod8"), folder=places.conf_dir)
    network.remove_host("pod8")
    configured(places, first4, first6, block("10.99.0.32/29", "n"), block("fd99::20/125", "n", pool="b"))
    _, late = attached(network, node, places, 9)
    assert late.address(Family.IPV4) in parse_prefix("10.99.0.32/29")
    assert late.address(Family.IPV6) in parse_prefix("fd99::20/125")
    assert pods.ping(given[0][0], late.address(Family.IPV4), wait=3)
    assert pods.ping(given[0][0], late.address(Family.IPV6), wait=3)
    records = HostLocal(places.data_dir)
    report, _ = records.usage([(first4.spec.cidr, POOLS["a"].spec.cidr), (first6.spec.cidr, POOLS["b"].spec.cidr)])
    assert (report.in_use, report.capacity) == (8, 8)
    for host, pod in given:
        pods.remove(node, host, folder=places.conf_dir, container=pod.container)
    (report,) = records.usage([(first4.spec.cidr, POOLS["a"].spec.cidr)])
    assert report.in_use == 0


def test_the_first_block_of_a_pool_keeps_network_address_and_gateway_for_itself(network, tmp_path):
    """Of the pool's first /29 six addresses are given out, and pods reach each other."""
    node = network.host("node")
    places = Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d")
    configured(places, block("10.99.0.0/29", "n"))
    given = [attached(network, node, places, number) for number in range(6)]
    assert {str(pod.address(Family.IPV4)) for _, pod in given} == {f"10.99.0.{number}" for number in range(2, 8)}
    with pytest.raises(pods.PluginError):
        pods.add(node, network.host("pod7"), folder=places.conf_dir)
    assert pods.ping(given[0][0], given[5][1].address(Family.IPV4), wait=3)


def test_a_drained_block_gives_out_nothing_to_a_stale_configuration(network, tmp_path):
    """Every free address is reserved; a pod that has one keeps it and can still leave."""
    node = network.host("node")
    places = Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d")
    drained = block("10.99.0.8/29", "n")
    configured(places, drained)
    host, pod = attached(network, node, places, 0)
    records = HostLocal(places.data_dir)
    in_use = records.reserve_free(drained.spec.cidr, pool=POOLS["a"].spec.cidr)
    assert in_use == {pod.address(Family.IPV4)}
    with pytest.raises(pods.PluginError, match="no IP addresses available"):
        pods.add(node, network.host("pod1"), folder=places.conf_dir)
    pods.remove(node, host, folder=places.conf_dir, container=pod.container)
    assert records.reserve_free(drained.spec.cidr, pool=POOLS["a"].spec.cidr) == frozenset()
    with pytest.raises(pods.PluginError, match="no IP addresses available"):
        pods.add(node, network.hosts["pod1"], folder=places.conf_dir)
    records.release_reserved(drained.spec.cidr)
    assert pods.add(node, network.hosts["pod1"], folder=places.conf_dir).address(Family.IPV4)


def test_the_nodes_own_address_in_a_tunnel_is_given_to_no_pod(network, tmp_path):
    """It is outside the range, and held where a configuration of before has it; a pod that has it already keeps it."""
    node = network.host("node")
    places = Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d")
    first = block("10.99.0.8/29", "n")
    own = first.spec.cidr.network_address
    configured(places, first)
    records = HostLocal(places.data_dir)
    host, pod = attached(network, node, places, 0)
    assert pod.address(Family.IPV4) == own
    assert records.hold([own]) == {own}
    pods.remove(node, host, folder=places.conf_dir, container=pod.container)
    assert records.hold([own]) == frozenset()
    assert records.in_use() == ()
    given = {attached(network, node, places, number)[1].address(Family.IPV4) for number in range(1, 8)}
    assert given == set(first.spec.cidr) - {own}
    (report,) = records.usage([(first.spec.cidr, POOLS["a"].spec.cidr)], endpoints=[first.spec.cidr])
    assert (report.in_use, report.capacity) == (7, 7)
    made = conflist([first.spec], POOLS, data_dir=places.data_dir, endpoints=[first.spec.cidr])
    assert made["plugins"][0]["ipam"]["ranges"][0][0]["rangeStart"] == str(own + 1)
    assert records.hold([]) == frozenset()
    assert pods.add(node, network.host("pod9"), folder=places.conf_dir).address(Family.IPV4) == own


def test_what_is_reserved_is_given_to_no_pod(network, tmp_path):
    """host-local goes round it, in a block where a pod has been all along; that one leaves as any does, and nobody gets its address."""
    node = network.host("node")
    places = Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d")
    own, reserved = block("10.99.0.8/29", "n"), Reserved({"kept": reservation("10.99.0.8/31", "10.99.0.12/32")})
    configured(places, own)
    host, pod = attached(network, node, places, 0)
    assert pod.address(Family.IPV4) in reserved
    write(conflist([own.spec], POOLS, data_dir=places.data_dir, kept=reserved), places)
    given = {attached(network, node, places, number)[1].address(Family.IPV4) for number in range(1, 5)}
    pods.remove(node, host, folder=places.conf_dir, container=pod.container)
    given.add(attached(network, node, places, 5)[1].address(Family.IPV4))
    assert given == {one for one in own.spec.cidr if one not in reserved}
    with pytest.raises(pods.PluginError, match="no IP addresses available"):
        pods.add(node, network.host("pod6"), folder=places.conf_dir)
    (report,) = HostLocal(places.data_dir).usage([(own.spec.cidr, POOLS["a"].spec.cidr)], kept=reserved)
    assert (report.in_use, report.capacity) == (5, 5)


def theirs(data_dir):
    """Another network's configuration, with a block of ours."""
    ranges = [[{"subnet": "10.99.0.0/24", "rangeStart": "10.99.0.8", "rangeEnd": "10.99.0.15"}]]
    routes = [{"dst": "0.0.0.0/0"}]
    ipam = {"type": "host-local", "dataDir": str(data_dir), "ranges": ranges, "routes": routes}
    return {"cniVersion": "0.3.1", "name": "k8s-pod-network", "plugins": [{"type": "ptp", "ipam": ipam}]}


class Known:
    """The pods of the node, as the API server knows them."""

    settled = True

    def __init__(self, *living):
        self.living = living


def test_pods_of_another_network_keep_their_addresses_and_leave_as_any_do(network, tmp_path):
    """Two that it attached in our block: six more fit, and each of the two frees its address with its DEL, one at once.

    Of the other the runtime has no note: it is free once the pod is gone.
    """
    node, own = network.host("node"), block("10.99.0.8/29", "n")
    places, former = Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d"), tmp_path / "theirs"
    former.mkdir()
    (former / "10-calico.conflist").write_text(json.dumps(theirs(tmp_path / "theirs-data")))
    old = []
    for name in ("noted", "unknown"):
        host = network.host(name, forwarding=False)
        old.append((host, pods.add(node, host, folder=former)))
    (noted, first), (unknown, second) = old
    note(tmp_path / "notes", first.container, f"{first.address(Family.IPV4)}/32", at=time.time())
    known = Known(*(Living(one.name, (one.address(Family.IPV4),), time.time()) for _, one in old))
    records = HostLocal(places.data_dir)
    taking = Former(records, pods=known, notes=tmp_path / "notes", booted=lambda: 0.0, clock=time.monotonic)
    assert taking.take(Cluster(), [own.spec.cidr], served=(), first=True)
    configured(places, own)
    given = {attached(network, node, places, number)[1].address(Family.IPV4) for number in range(6)}
    assert given == set(ip_network("10.99.0.8/29")) - {one.address(Family.IPV4) for _, one in old}
    with pytest.raises(pods.PluginError, match="no IP addresses available"):
        pods.add(node, network.host("pod6"), folder=places.conf_dir)
    assert pods.ping(noted, second.address(Family.IPV4), wait=3)
    pods.remove(node, noted, folder=places.conf_dir, container=first.container)
    assert first.address(Family.IPV4) not in records.in_use()
    assert not [link for link in noted.ip_json("link", "show") if link["ifname"] == "eth0"]
    assert pods.add(node, network.host("next"), folder=places.conf_dir).address(Family.IPV4) == first.address(
        Family.IPV4
    )
    pods.remove(node, unknown, folder=places.conf_dir, container=second.container)
    assert second.address(Family.IPV4) in records.in_use()
    known.living = ()
    assert taking.take(Cluster(), [own.spec.cidr], served=[own.spec.cidr], first=False)
    assert pods.add(node, network.host("last"), folder=places.conf_dir).address(Family.IPV4) == second.address(
        Family.IPV4
    )

"""The kernel that these tests run in has what data paths need, and what looks at kernels sees it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.names import own
from towpath.lab.netns import Host, Network
from towpath.routes.machine import knows_kind, look

KINDS = ("veth", "bridge", "vxlan", "ipip", "gre", "sit", "macvlan", "ipvlan", "vrf", "dummy", "vlan")


@pytest.fixture
def host() -> Iterator[Host]:
    """A namespace with nothing in it."""
    with Network(own("tpu")) as network:
        yield network.host("h")


def test_every_kind_of_device_is_known(host: Host) -> None:
    """Preflight finds none lacking, and asking makes no device."""
    with host.entered():
        before = host.ip_json("link")
        found = look(proc_sys=Path("/proc/sys"), host=Path("/nonesuch"), kinds=KINDS)
        assert found.lacking_kinds == ()
        assert not knows_kind("nonesuch")
        assert host.ip_json("link") == before
    assert found.has_md5


def test_packet_filters_of_every_family(host: Host) -> None:
    """nftables with address translation in both families, and iptables in both of its forms beside it."""
    for family in ("ip", "ip6", "inet", "bridge", "arp", "netdev"):
        host.run("nft", "add", "table", family, "t")
    for family in ("ip", "ip6", "inet"):
        chain = "{ type nat hook postrouting priority 100; }"
        host.run("nft", f"add chain {family} t out {chain}\nadd rule {family} t out masquerade")
    for program in ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"):
        host.run(program, "-t", "nat", "-A", "POSTROUTING", "-m", "comment", "--comment", "c", "-j", "MASQUERADE")
        assert "MASQUERADE" in host.run(program, "-t", "nat", "-S")

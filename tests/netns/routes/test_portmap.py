"""What the plugin for host ports leaves is taken away, and nothing else."""

import asyncio
from collections.abc import Collection, Iterator

import pytest

from tests.names import own
from towpath.lab.netns import Host, Network
from towpath.routes import firewall, portmap

IPTABLES = """
*nat
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -j CNI-HOSTPORT-MASQ
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
COMMIT
"""
MAPPING = (
    "-t",
    "nat",
    "-A",
    "CNI-HOSTPORT-DNAT",
    "-p",
    "tcp",
    "--dport",
    "8080",
    "-j",
    "DNAT",
    "--to",
    "10.244.0.2:80",
)
NFT = """
table ip cni_hostport {
  chain hostports { }
  chain masquerading { type nat hook postrouting priority 100; }
  chain prerouting { type nat hook prerouting priority -100; jump hostports; }
}
"""


@pytest.fixture
def host() -> Iterator[Host]:
    """A machine without any packet filter."""
    with Network(own("tpatp")) as network:
        yield network.host("node")


def remove(host: Host, before: Collection[str]) -> tuple[str, ...]:
    """As cleanup does it there."""
    with host.entered():
        return asyncio.run(portmap.remove(before))


def chains(host: Host) -> frozenset[str]:
    with host.entered():
        return firewall.chains()


def listed(host: Host) -> str:
    return host.run("nft", "list", "ruleset")


def test_tables_of_which_nothing_else_is_left_go(host: Host) -> None:
    """Those of iptables in both families, and the plugin's own."""
    host.run("iptables-restore", stdin=IPTABLES)
    host.run("ip6tables-restore", stdin=IPTABLES)
    host.run("nft", "-f", "-", stdin=NFT)
    assert {"ip nat CNI-HOSTPORT-DNAT", "ip6 nat POSTROUTING", "ip cni_hostport hostports"} <= chains(host)
    assert remove(host, ()) == ()
    assert listed(host) == ""
    assert remove(host, ()) == ()


def test_what_was_there_before_stays(host: Host) -> None:
    """Another network's chains, and rules of others in chains that iptables shares among all."""
    host.run("iptables-restore", stdin=IPTABLES)
    host.run("nft", "-f", "-", stdin=NFT)
    before, text = chains(host), listed(host)
    assert remove(host, before) == ()
    assert listed(host) == text
    host.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "192.0.2.0/24", "-j", "MASQUERADE")
    assert remove(host, ()) == ()
    assert host.run("iptables-save", "-t", "nat").splitlines()[2:-2] == [
        ":PREROUTING ACCEPT [0:0]",
        ":INPUT ACCEPT [0:0]",
        ":OUTPUT ACCEPT [0:0]",
        ":POSTROUTING ACCEPT [0:0]",
        "-A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE",
    ]


def test_ports_that_lead_to_pods_stay(host: Host) -> None:
    """A table with a mapping is left whole, and named."""
    host.run("iptables-restore", stdin=IPTABLES)
    host.run("iptables", *MAPPING)
    text = listed(host)
    assert remove(host, ()) == ("ip nat",)
    assert listed(host) == text

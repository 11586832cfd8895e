"""What the plugin for host ports leaves is taken away, and nothing else."""

import asyncio
import json
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.names import own
from towpath.lab import pods
from towpath.lab.netns import Host, Network
from towpath.lab.tools import cni_plugins
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


def remove(host: Host, before: Collection[str], *, gone: Collection[str] = ()) -> tuple[str, ...]:
    """As cleanup does it there."""
    with host.entered():
        return asyncio.run(portmap.remove(before, network="towpath", gone=gone))


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


def mapped(host: Host, root: Path, network: str, *, backend: str) -> str:
    """The container of a pod with a port of the node that leads to it, as the plugin makes it in either way."""
    plugins, options = (cni_plugins(), {"backend": backend}) if backend == "nftables" else (pods.PLUGINS, {})
    subnets = ("10.244.0.0/24", "fd00:244::/120")
    addresses = {"type": "host-local", "dataDir": str(root), "ranges": [[{"subnet": subnet}] for subnet in subnets]}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True, **options}
    told = {"cniVersion": "1.0.0", "name": network, "plugins": [{"type": "ptp", "ipam": addresses}, ports]}
    (root / "10-x.conflist").write_text(json.dumps(told))
    number = len(host.network.hosts)
    port = {"hostPort": 8000 + number, "containerPort": 80, "protocol": "tcp"}
    pod = host.network.host(f"pod{number}", forwarding=False)
    return pods.add(host, pod, folder=root, ports=(port,), plugins=plugins).container


@pytest.mark.parametrize("backend", ["iptables", "nftables"])
def test_ports_of_pods_that_are_gone_go(host: Host, tmp_path: Path, backend: str) -> None:
    """With all that was made for them, and nothing that is there for another network's pod."""
    gone = [mapped(host, tmp_path, "towpath", backend=backend) for _ in range(2)]
    assert len(remove(host, ())) == 2, "both families"
    assert len(remove(host, (), gone=gone[:1])) == 2, "the other is there"
    assert remove(host, (), gone=gone) == ()
    assert listed(host) == ""

    mapped(host, tmp_path, "other", backend=backend)
    before, text = chains(host), listed(host)
    gone = [mapped(host, tmp_path, "towpath", backend=backend)]
    assert listed(host) != text
    assert len(remove(host, before, gone=gone)) == 2
    assert listed(host) == text

"""What is to be seen of a machine, with real packet filters, devices and kernels."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.names import own
from towpath.lab.netns import Host, Network
from towpath.model.net import Family
from towpath.routes import machine
from towpath.routes.firewall import dropping
from towpath.routes.machine import knows_kind, look, mtus

V4, V6 = (Family.IPV4,), (Family.IPV6,)


@pytest.fixture
def host() -> Iterator[Host]:
    """A namespace with nothing in it."""
    with Network(own("tpf")) as network:
        yield network.host("h")


def seen(host: Host) -> dict[str, tuple[Family, ...]]:
    with host.entered():
        return {one.where: one.families for one in dropping()}


def test_an_empty_machine_drops_nothing(host: Host) -> None:
    """And looking at it brings no table into being."""
    assert seen(host) == {}
    assert host.run("nft", "list", "ruleset") == ""
    assert host.run("cat", "/proc/net/ip_tables_names", check=False).split() == []


def test_policies_of_nftables(host: Host) -> None:
    """Base chains of the forward hook whose policy is drop, in every table that carries packets of ours; nothing else."""
    rules = "\n".join(
        f"table {family} t {{\n chain {name} {{\n type filter hook {hook} priority 0\n policy {policy}\n }}\n chain plain {{\n }}\n }}"
        for family, name, hook, policy in (
            ("ip", "four", "forward", "drop"),
            ("ip6", "six", "forward", "drop"),
            ("inet", "both", "forward", "drop"),
            ("inet", "fine", "forward", "accept"),
            ("ip", "incoming", "input", "drop"),
            ("arp", "other", "input", "drop"),
        )
    )
    host.run("nft", "-f", "-", stdin=rules + "\n")
    assert seen(host) == {
        "nftables chain four of table ip t": V4,
        "nftables chain six of table ip6 t": V6,
        "nftables chain both of table inet t": (*V4, *V6),
    }


def test_as_docker_leaves_it(host: Host) -> None:
    """iptables in its nft form makes chains of nftables."""
    host.run("iptables-nft", "-P", "FORWARD", "DROP")
    assert seen(host) == {"nftables chain FORWARD of table ip filter": V4}
    host.run("iptables-nft", "-P", "FORWARD", "ACCEPT")
    assert seen(host) == {}


@pytest.mark.parametrize(("program", "families"), [("iptables", V4), ("ip6tables", V6)])
def test_policies_of_the_older_tables(host: Host, program: str, families: tuple[Family, ...]) -> None:
    """Read from the kernel without the program: the policy, whatever rules stand before it."""
    legacy = f"{program}-legacy"
    host.run(legacy, "-A", "FORWARD", "-p", "tcp", "--dport", "1", "-j", "DROP")
    host.run(legacy, "-A", "INPUT", "-p", "udp", "-j", "ACCEPT")
    host.run(legacy, "-P", "INPUT", "DROP")
    assert seen(host) == {}
    host.run(legacy, "-P", "FORWARD", "DROP")
    assert seen(host) == {f"{legacy} chain FORWARD": families}
    host.run(legacy, "-P", "FORWARD", "ACCEPT")
    assert seen(host) == {}


def test_kinds_of_devices(host: Host) -> None:
    """What the kernel has it knows, what it has not it does not, and asking makes no device."""
    with host.entered():
        assert knows_kind("veth")
        assert knows_kind("vxlan")
        assert not knows_kind("nonesuch")
    assert [link["ifname"] for link in host.ip_json("link")] == ["lo"]


def test_a_kind_that_takes_any_mtu_is_asked_for_without_a_trace(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made by asking is removed."""
    monkeypatch.setattr(machine, "IFLA_MTU", 13)  # the queue's length, which may be 1: now the device is made
    with host.entered():
        assert knows_kind("veth")
    assert [link["ifname"] for link in host.ip_json("link")] == ["lo"]


def test_devices_and_switches(host: Host, tmp_path: Path) -> None:
    """MTUs of all devices; families that are off; what is not forwarded; this kernel signs TCP."""
    host.ip("link", "add", "one", "mtu", "1400", "type", "bridge")
    host.sysctl(net__ipv4__ip_forward=0, net__ipv6__conf__all__disable_ipv6=1)
    with host.entered():
        # /proc/sys shows the namespace of whoever reads it
        assert mtus() == {"lo": 65536, "one": 1400}
        found = look(proc_sys=Path("/proc/sys"), host=tmp_path)
    assert (found.families, found.forwards) == (frozenset(V4), frozenset(V6))
    assert found.has_md5
    assert (found.networkd, found.networkd_devices, found.managed_devices) == ((), (), ())
    assert (found.dropping, found.lacking_kinds) == ((), ())


@pytest.mark.parametrize(
    ("folder", "yes", "no", "asked"),
    [
        ("run/NetworkManager/devices", "managed=true", "managed=false", machine.managed_devices),
        ("run/systemd/netif/links", "ADMIN_STATE=configured", "ADMIN_STATE=unmanaged", machine.networkd_devices),
    ],
)
def test_devices_that_others_manage(
    host: Host, tmp_path: Path, folder: str, yes: str, no: str, asked: Callable[[Path], tuple[str, ...]]
) -> None:
    """Ours and those of pods, by the files a daemon keeps for each interface; its own business is its own."""
    files = tmp_path / folder
    files.mkdir(parents=True)
    for number, (name, line) in enumerate((("veth1", yes), ("tp-vx4-1", yes), ("veth2", no), ("eth9", yes))):
        host.ip("link", "add", name, "index", str(100 + number), "type", "bridge")
        (files / str(100 + number)).write_text(f"# theirs\n{line}\nother=x\n")
    (files / "999").write_text(f"{yes}\n")
    with host.entered():
        assert asked(tmp_path) == ("tp-vx4-1", "veth1")
        assert asked(tmp_path / "nowhere") == ()

"""What preflight makes of the facts, and how networkd's configuration is read."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from towpath.model.net import Family
from towpath.routes.machine import loses_next_hops, networkd
from towpath.routes.preflight import DroppingChain, Machine, Wanted, devices_with, pod_mtu, problems

BOTH = frozenset(Family)


def told(machine: Machine | None = None, **wanted: object) -> list[str]:
    found = problems(machine or Machine(), Wanted(**{"node": "n", "families": BOTH, **wanted}))
    assert {str(one.object) for one in found} <= {"Node/n"}
    return [f"{one.reason}: {one.message}" for one in found]


def test_a_fine_machine() -> None:
    """Nothing is said."""
    assert told(passwords=True, device_mtus={"eth0": 1500}, neighbours={"b": 1500}) == []


def test_a_chain_matters_in_families_that_have_pods() -> None:
    """The chain is named, and what it drops of ours."""
    chain = DroppingChain("iptables-legacy chain FORWARD", (Family.IPV4,))
    (found,) = told(Machine(dropping=(chain,)))
    assert found.startswith("ForwardDropped: iptables-legacy chain FORWARD drops forwarded ipv4 packets by its policy")
    assert told(Machine(dropping=(chain,)), families=frozenset({Family.IPV6})) == []


def test_what_does_not_forward() -> None:
    """The sysctl is named; a family that is off altogether is told once."""
    (found,) = told(Machine(forwards=frozenset({Family.IPV6})))
    assert "net.ipv4.ip_forward is 0" in found
    (off,) = told(Machine(families=frozenset({Family.IPV4}), forwards=frozenset({Family.IPV4})))
    assert off.startswith(
        "KernelLacks: ipv6 is switched off on this node, and a pool gives it ipv6 addresses: switch it on"
    )
    assert told(Machine(families=frozenset(), forwards=frozenset()), families=frozenset()) == []


def test_what_the_kernel_lacks_matters_where_it_is_used() -> None:
    """Signing only for passwords; kinds of devices were asked for because they are needed."""
    assert told(Machine(has_md5=False)) == []
    (found,) = told(Machine(has_md5=False), passwords=True)
    assert "CONFIG_TCP_MD5SIG" in found
    assert told(Machine(lacking_kinds=("veth",))) == [
        "KernelLacks: the kernel knows no devices of kind veth: load the module veth"
    ]


def test_managers_of_routes_and_devices() -> None:
    """Each with the setting that ends it."""
    routes, configured, managed = told(
        Machine(networkd=("ManageForeignRoutes",), networkd_devices=("tp-vx4-1",), managed_devices=("veth1",))
    )
    assert "set ManageForeignRoutes=no under [Network]" in routes
    assert "systemd-networkd manages tp-vx4-1" in configured
    assert "Unmanaged=yes" in configured
    assert "NetworkManager manages veth1" in managed
    assert "unmanaged-devices+=" in managed


def test_mtus() -> None:
    """Own devices that differ, nodes on the same link that differ, and what IPv6 cannot work with."""
    assert told(device_mtus={}, neighbours={"b": 9000}) == []
    two, link = told(device_mtus={"eth0": 1500, "eth1": 9000}, neighbours={"b": 9000, "c": 1500})
    assert (
        two
        == "MTUMismatch: the devices that lead to other nodes and to peers differ (eth0 1500, eth1 9000): pods have the smallest; give all the same"
    )
    assert link.startswith("MTUMismatch: pods of this node have MTU 1500")
    assert link.endswith("b 9000")
    (small,) = told(device_mtus={"eth0": 1200})
    assert "below the 1280" in small
    assert told(device_mtus={"eth0": 1200}, families=frozenset({Family.IPV4})) == []


def test_ways_that_take_less_than_tunnels_send() -> None:
    """Which nodes they lead to, and what to set: for the devices of nodes, or less what the tunnel needs for pods."""
    (found,) = told(device_mtus={"eth0": 1500}, overhead=70, narrow={"c": 1400, "b": 1420})
    assert found.startswith(
        "MTUMismatch: routers on the way say that it takes less than tunnels send (to b 1420, to c 1400)"
    )
    assert "the MTU 1400, or the pools an attachment.mtu of 1330" in found


def test_the_devices_of_the_nodes_addresses() -> None:
    """An address on lo says nothing of the way; one that no device has neither."""
    here, loop, gone = (ip_address(text) for text in ("10.0.0.1", "10.9.9.9", "10.0.0.9"))
    on, sizes = {here: "eth0", loop: "lo"}, {"eth0": 1450, "lo": 65536, "eth1": 9000}
    assert devices_with([here, loop, gone], on=on, beside=(), mtus=sizes) == {"eth0": 1450}
    assert devices_with([loop], on=on, beside=("eth0", "eth9"), mtus=sizes) == {"eth0": 1450}
    assert pod_mtu({"eth0": 1450, "eth1": 1400}) == 1400
    assert pod_mtu({}) is None


ROUTES, RULES = "ManageForeignRoutes", "ManageForeignRoutingPolicyRules"
NO_ROUTES, NO_RULES = f"[Network]\n{ROUTES}=no\n", f"[Network]\n{RULES}=false\n"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, (ROUTES, RULES)),
        ({"etc/systemd/networkd.conf": NO_ROUTES + f"{RULES} = off\n"}, ()),
        ({"etc/systemd/networkd.conf": f"# {ROUTES}=no\n[DHCPv4]\n{ROUTES}=no\n"}, (ROUTES, RULES)),
        ({"etc/systemd/networkd.conf": "[Network]\n", "usr/lib/systemd/networkd.conf": NO_ROUTES}, (ROUTES, RULES)),
        ({"usr/lib/systemd/networkd.conf": NO_ROUTES}, (RULES,)),
        ({"etc/systemd/networkd.conf.d/10-a.conf": NO_ROUTES, "run/systemd/networkd.conf.d/20-b.conf": NO_RULES}, ()),
        (
            {
                "etc/systemd/networkd.conf.d/10-a.conf": NO_ROUTES,
                "usr/lib/systemd/networkd.conf.d/20-b.conf": f"[Network]\n{ROUTES}=yes\n",
            },
            (ROUTES, RULES),
        ),
        (
            {
                "etc/systemd/networkd.conf.d/10-a.conf": "",
                "usr/lib/systemd/networkd.conf.d/10-a.conf": NO_ROUTES + NO_RULES,
            },
            (ROUTES, RULES),
        ),
        ({"etc/systemd/networkd.conf.d/10-a.conf": f"[Network]\n{ROUTES}=no\n{ROUTES}=\n"}, (RULES,)),
        ({"etc/systemd/networkd.conf.d/10-a.txt": NO_ROUTES}, (ROUTES, RULES)),
        ({"etc/systemd/networkd.conf": NO_ROUTES, "etc/systemd/networkd.conf.d/10-a.conf": "nonsense"}, (RULES,)),
    ],
)
def test_the_effective_configuration_of_networkd(tmp_path: Path, files: dict[str, str], found: tuple[str, ...]) -> None:
    """One main file, fragments over it by name, a folder before the others hides theirs; yes unless it says no."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert networkd(tmp_path) == ()
    state = tmp_path / "run/systemd/netif/state"
    state.parent.mkdir(parents=True)
    state.write_text("OPER_STATE=routable\n")
    assert networkd(tmp_path) == found


def test_who_removes_next_hops(tmp_path: Path) -> None:
    """A networkd that has run removes those of others, unless it is told not to."""
    assert not loses_next_hops(tmp_path)
    state, said = tmp_path / "run/systemd/netif/state", tmp_path / "etc/systemd/networkd.conf"
    for path in (state, said):
        path.parent.mkdir(parents=True)
    state.write_text("OPER_STATE=routable\n")
    said.write_text(NO_ROUTES)
    assert loses_next_hops(tmp_path)
    said.write_text("[Network]\nManageForeignNextHops=no\n")
    assert not loses_next_hops(tmp_path)

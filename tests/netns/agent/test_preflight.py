"""What is wrong with a machine, provoked for real and seen in the conditions of its node."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.netns.agent import often, unsigned
from tests.netns.agent.node import BLOCKS, LEARNED, OneNode, announced, made, made_block, manifests, ours
from towpath.lab.process import wait_for

DROPS = "table inet strict {\n chain forward {\n type filter hook forward priority 0\n policy drop\n }\n }\n"
CALLS = ("net__bridge__bridge-nf-call-iptables", "net__bridge__bridge-nf-call-ip6tables")
"""Whether packet filters see what a bridge hands on."""
READ_ONLY = 'mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; exec "$@"'
TAKES_PORT = "import socket,time; s=socket.create_server(('{}', 179)); print('taken', flush=True); time.sleep(3600)"


@pytest.fixture(autouse=True)
def _often(one: OneNode) -> None:
    """What changes is seen soon."""
    one.program = often.__name__


def wait(one: OneNode, probe: Callable[[], object], what: str) -> None:
    """Wait, and show what the agent said if it does not come true."""
    try:
        wait_for(probe, deadline=60, what=what)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{one.conditions()}\n{one.agent.log}\n{one.speaker.log}") from None


def says(one: OneNode, reason: str, *words: str) -> bool:
    found = one.conditions().get(reason, {})
    return found.get("status") == "True" and all(word in found["message"] for word in words)


def bridged() -> list[dict[str, Any]]:
    """A node whose pods are on a bridge."""
    objects = manifests()
    for one in objects:
        if one["kind"] == "IPPool":
            one["spec"] |= {"attachment": {"type": "bridge"}}
    return objects


def neighbour(mtu: int) -> list[dict[str, Any]]:
    """Node b on the same link, whose pods have this MTU."""
    body = {"apiVersion": "towpath.io/v1alpha1", "kind": "RoutingNode", "metadata": {"name": "b"}}
    return [{**body, "spec": {"bgp": {"ipv4Address": "10.0.0.2/24"}}, "status": {"mtu": mtu}}]


def managers(host: Path, index: int) -> tuple[Path, Path]:
    """The files by which networkd and NetworkManager are seen to run, and to manage a pod's device."""
    state, device = host / "run/systemd/netif/state", host / f"run/NetworkManager/devices/{index}"
    for path in (state, device):
        path.parent.mkdir(parents=True)
    state.write_text("OPER_STATE=routable\n")
    device.write_text("[device]\nmanaged=true\n")
    return state, device


def test_filters_managers_and_neighbours(one: OneNode) -> None:
    """Each is a condition and an event that say whose it is and what to set; each goes when it is mended."""
    one.options["--host-root"] = host = one.root / "host"
    one.node.ip("link", "add", "vethpod", "index", "99", "type", "bridge")
    _, device = managers(host, 99)
    one.node.run("nft", "-f", "-", stdin=DROPS)
    one.node.sysctl(**dict.fromkeys(CALLS, 0))
    one.write([*bridged(), *neighbour(9000)])
    one.start()
    wait(one, lambda: says(one, "BridgeBypass", *(name.replace("__", ".") for name in CALLS)), "BridgeBypass")
    wait(one, lambda: says(one, "ForwardDropped", "chain forward of table inet strict", "ipv4, ipv6"), "ForwardDropped")
    wait(one, lambda: says(one, "RoutesManaged", "ManageForeignRoutes=no", "NetworkManager manages vethpod"), "managed")
    wait(one, lambda: says(one, "MTUMismatch", "have MTU 1500", "b 9000"), "MTUMismatch")
    one.converged()
    wait(one, lambda: one.conditions()["Ready"]["status"] == "True", "Ready")
    reasons = ("ForwardDropped", "RoutesManaged", "MTUMismatch", "BridgeBypass")
    wait(one, lambda: all(f"reason={reason}" in one.agent.log for reason in reasons), "an event of each")
    configuration = host / "etc/systemd/networkd.conf.d/towpath.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n")
    device.unlink()
    one.node.run("nft", "delete", "table", "inet", "strict")
    one.node.sysctl(**dict.fromkeys(CALLS, 1))
    one.write([*bridged(), *neighbour(1500)])
    gone = {"ForwardDropped", "RoutesManaged", "MTUMismatch", "BridgeBypass"}
    wait(one, lambda: not gone & one.conditions().keys(), "no condition")


def test_pods_get_the_mtu_of_the_way_to_the_peers(one: OneNode) -> None:
    """The smallest, where devices differ, which is said; it is in the CNI configuration, and follows the devices."""
    one.node.ip("link", "add", "eth6", "mtu", "1400", "type", "bridge")
    one.node.ip("link", "set", "dev", "eth6", "up")
    one.node.ip("addr", "del", "fd00::1/64", "dev", "eth0")
    one.node.address("fd00::1/64", dev="eth6")
    one.start()
    link = one.cni / "10-towpath.conflist"
    wait(one, lambda: link.exists() and '"mtu": 1400' in link.read_text(), "the MTU of the smaller device")
    wait(one, lambda: says(one, "MTUMismatch", "differ (eth0 1500, eth6 1400)"), "MTUMismatch")
    one.node.ip("link", "set", "dev", "eth6", "mtu", "1500")
    wait(one, lambda: '"mtu": 1500' in link.read_text(), "the new MTU of the device")
    wait(one, lambda: "MTUMismatch" not in one.conditions(), "no condition")


def test_a_family_that_is_off(one: OneNode) -> None:
    """The kernel's IPv6 is switched off while a pool gives the node IPv6 addresses."""
    one.node.sysctl(net__ipv6__conf__all__disable_ipv6=1)
    one.start()
    wait(one, lambda: says(one, "KernelLacks", "ipv6 is switched off"), "KernelLacks")


def test_a_kernel_that_cannot_sign_tcp(one: OneNode) -> None:
    """Where a session has a password it is said, with what to do, and that one alone stays down, never without its password."""
    one.run_within(sys.executable, unsigned.__file__)
    one.start()
    wait(one, lambda: says(one, "KernelLacks", "cannot sign TCP", "CONFIG_TCP_MD5SIG", "no password"), "KernelLacks")
    wait(one, lambda: {LEARNED[1]} <= ours(one.node), "the session without a password is up")
    wait_for(lambda: BLOCKS[1] in announced(one.bird), deadline=60, what="and our block is at its router")
    assert BLOCKS[0] not in announced(one.bird)
    states = {each["peer"]: each["state"] for each in one.status()["sessions"]}
    assert states.get("10.0.0.254") != "Established"
    taken = [each for each in manifests() if each["metadata"]["name"] != "tor4"]
    one.write(taken)
    wait(one, lambda: "KernelLacks" not in one.conditions(), "no condition")


def test_sysctls_that_cannot_be_written(one: OneNode) -> None:
    """/proc/sys is mounted read-only: it is said which sysctl, and what to do; all else works, and it is well once somebody has set them."""
    names = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    one.node.sysctl(**dict.fromkeys(("net__ipv4__ip_forward", "net__ipv6__conf__all__forwarding"), 0))
    one.run_within("unshare", "--mount", "sh", "-ec", READ_ONLY, "sh")
    one.start()
    said = [f"sysctl {name} is 0 and cannot be set" for name in names]
    wait(one, lambda: says(one, "ForwardDropped", *said, "set it to 1 on the node", "/proc/sys/net"), "ForwardDropped")
    one.converged(deadline=60)
    assert one.node.run("sysctl", "-n", *names).split() == ["0", "0"]
    one.node.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
    wait(one, lambda: "ForwardDropped" not in one.conditions(), "no condition")


def test_another_speaker_on_the_port(one: OneNode) -> None:
    """The condition names address and port; sessions that we dial work; when it is gone we listen there."""
    taker = one.node.process(sys.executable, "-c", TAKES_PORT.format("0.0.0.0"), log=one.root / "taker.log")
    wait_for(lambda: "taken" in taker.log, deadline=30, what="the port is taken")
    one.start()
    one.converged()
    wait(
        one,
        lambda: says(
            one, "ListenRefused", "cannot listen on * port 179: Address already in use", "stop what listens there"
        ),
        "ListenRefused",
    )
    taker.stop()
    wait(one, lambda: "ListenRefused" not in one.conditions(), "no condition")
    assert "0.0.0.0:179" in one.node.run("ss", "-Hltn")


def tunnelled6() -> list[dict[str, Any]]:
    """Another node, behind the router, has an IPv6 block, which is reached by a tunnel over IPv6."""
    objects = manifests()
    for one in objects:
        if one["metadata"]["name"] == "v6":
            one["spec"] |= {"vxlanMode": "Always"}
    other = {
        **made("RoutingNode", "far", bgp={"ipv4Address": "10.1.0.3/24", "ipv6Address": "fd01::3/64"}),
        "status": {"tunnels": ["tp-vx6-4096"], "mtu": 1430},
    }
    return [*objects, made_block("fd00:244::40/122", "far", "v6"), other]


def test_a_tunnel_over_a_way_that_takes_less(one: OneNode) -> None:
    """A router says so to the node, which says it with the other node's name; all is well once the node sends no more than that."""
    one.router.ip("route", "add", "fd01::/64", "dev", "eth0", "mtu", "lock", "1400")
    one.node.ip("route", "add", "default", "via", "fd00::254")
    one.write(tunnelled6())
    one.start()
    one.converged()
    wait(one, lambda: "tp-vx6-4096" in one.node.ip("-6", "route", "show", "fd00:244::40/122"), "the tunnel")
    assert "MTUMismatch" not in one.conditions()
    ping = ("ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", str(1430 - 48), "fd00:244::41")
    wait(
        one,
        lambda: one.node.run(*ping, check=False) and says(one, "MTUMismatch", "to far 1400", "attachment.mtu of 1330"),
        "MTUMismatch",
    )
    one.node.ip("link", "set", "dev", "eth0", "mtu", "1400")
    wait(one, lambda: "MTUMismatch" not in one.conditions(), "no condition")
    assert one.node.ip_json("link", "show", "dev", "tp-vx6-4096")[0]["mtu"] == 1330

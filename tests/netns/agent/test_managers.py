"""systemd-networkd and NetworkManager on a node, the real ones: what they take away, what the node says, and what ends it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.agent import often
from tests.netns.agent.daemons import NETWORK_MANAGER, Daemons
from tests.netns.agent.node import BLOCKS, LEARNED, OneNode, made, made_block, manifests, ours
from towpath.lab import pods
from towpath.lab.netns import Host
from towpath.lab.process import Process, wait_for
from towpath.model.net import Family

ETH0 = (
    *("[Match]", "Name=eth0", "[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no", "Address=fd00::1/64"),
    *("[Address]", "Address=10.0.0.1/24", "Broadcast=10.0.0.255"),
)
"""The node's interface; the broadcast address is named, else networkd 252 takes its own address away when it starts again."""
ETH0_FILE = "etc/systemd/network/10-eth0.network"
EVERYTHING = ("[Match]", "Name=*", "[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no")
FOREIGN = ("[Network]", "ManageForeignRoutes=no", "ManageForeignRoutingPolicyRules=no")
SETTINGS = "etc/systemd/networkd.conf.d/towpath.conf"
LEFT_OUT = "unmanaged-devices+=interface-name:veth*;interface-name:tp-*"
OURS = {*BLOCKS, *LEARNED}
RULE = ("from", "10.97.0.0/16", "table", "97")
"""Somebody's."""
TUNNEL, TUNNEL_ADDRESS = "tp-vx4-4096", "10.244.0.0"
FAR = ("10.244.0.64", "10.244.0.64/26")
"""Another node's address in the tunnel, and its block."""


@pytest.fixture
def machine(one: OneNode) -> Iterator[Daemons]:
    """The node's daemons; its agent looks for them, and often. What this machine itself asks for names is as it was afterwards."""
    resolver = Path("/etc/resolv.conf")
    before = resolver.read_bytes() if resolver.exists() else None
    one.program = often.__name__
    one.options["--host-root"] = one.root / "host"
    yield Daemons(one.node, one.root / "host")
    assert (resolver.read_bytes() if resolver.exists() else None) == before


class Heard:
    """What the kernel says that was deleted: routes, neighbours, addresses and rules. A route of its own tells how far it is."""

    def __init__(self, host: Host, log: Process) -> None:
        self._host, self._log = host, log
        self._count = self._read = 0
        wait_for(lambda: self._mark() and self._log.log, deadline=20, what="somebody listens")
        self.since()

    def since(self) -> list[str]:
        """All of it since the last time it was asked."""
        end = f"Deleted blackhole {self._mark()} "
        wait_for(lambda: end in self._log.log, deadline=20, what="the kernel has told everything")
        text, before = self._log.log, self._read
        self._read = text.index(end) + len(end)
        return [line for line in text[before : self._read].splitlines()[1:-1] if line.startswith("Deleted")]

    def _mark(self) -> str:
        self._count += 1
        mark = f"203.0.{self._count // 256}.{self._count % 256}"
        self._host.ip("route", "add", "blackhole", mark)
        self._host.ip("route", "del", "blackhole", mark)
        return mark


@pytest.fixture
def heard(one: OneNode) -> Heard:
    """From now on."""
    return Heard(
        one.node, one.node.process("ip", "monitor", "route", "neigh", "address", "rule", log=one.root / "monitor.log")
    )


def wait(one: OneNode, probe: Callable[[], object], what: str) -> None:
    """Wait, and show what the agent said if it does not come true."""
    try:
        wait_for(probe, deadline=60, what=what)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{one.conditions()}\n{one.agent.log}") from None


def says(one: OneNode, *words: str) -> bool:
    found = one.conditions().get("RoutesManaged", {})
    return found.get("status") == "True" and all(word in found["message"] for word in words)


def names(lines: Iterable[str], *what: str) -> bool:
    """Whether each of these stands in one of the lines."""
    return all(any(each in line for line in lines) for each in what)


def test_networkd_removes_routes_that_are_not_its_own(one: OneNode, machine: Daemons, heard: Heard) -> None:
    """The condition is there by its files; what it removes when it starts is back at once; told not to, it removes nothing.

    One that was told while it ran does not know yet: it reads that when it starts, which is why the condition says so.
    """
    one.node.ip("addr", "flush", "dev", "eth0")
    machine.write(ETH0_FILE, *ETH0)
    networkd = machine.networkd("eth0")
    one.start()
    wait(
        one, lambda: says(one, "set ManageForeignRoutes=no", "set ManageForeignRoutingPolicyRules=no"), "RoutesManaged"
    )
    one.converged()
    one.node.ip("rule", "add", *RULE)
    heard.since()
    networkd.stop()
    networkd = machine.networkd("eth0")
    removed = heard.since()
    assert names(removed, *OURS, RULE[1]), removed
    wait_for(lambda: ours(one.node) >= OURS, deadline=5, what="the routes are back")

    machine.write(SETTINGS, *FOREIGN)
    wait(one, lambda: "RoutesManaged" not in one.conditions(), "no condition")
    one.node.ip("rule", "add", *RULE)
    machine.write(ETH0_FILE, *ETH0, "[Link]", "RequiredForOnline=no")
    machine.run("networkctl", "reload")
    machine.configured("eth0", "REQUIRED_FOR_ONLINE=no")
    removed = heard.since()
    assert names(removed, *OURS, RULE[1]), removed
    wait_for(lambda: ours(one.node) >= OURS, deadline=5, what="the routes are back")

    one.node.ip("rule", "add", *RULE)
    heard.since()
    networkd.stop()
    machine.networkd("eth0")
    machine.write(ETH0_FILE, *ETH0, "[Link]", "RequiredForOnline=yes")
    machine.run("networkctl", "reload")
    machine.configured("eth0", "REQUIRED_FOR_ONLINE=yes")
    removed = heard.since()
    assert not any(names(removed, each) for each in (*OURS, RULE[1])), removed
    assert ours(one.node) >= OURS


def test_networkd_configures_every_device(one: OneNode, machine: Daemons, heard: Heard) -> None:
    """A file of somebody's matches tunnels and pods too: what they have goes when it starts, and not where they are left out."""
    one.node.ip("addr", "flush", "dev", "eth0")
    machine.write(SETTINGS, *FOREIGN)
    machine.write(ETH0_FILE, *ETH0)
    machine.write("etc/systemd/network/99-all.network", *EVERYTHING)
    networkd = machine.networkd("eth0")
    one.write(tunnelled())
    one.start()
    wait(one, lambda: says(one, f"systemd-networkd manages {TUNNEL}", "Unmanaged=yes"), "RoutesManaged")
    wait(one, lambda: stands(one), "the tunnel stands, whatever was taken when the device came")
    taken = (f"inet {TUNNEL_ADDRESS}", f"{FAR[0]} dev {TUNNEL} lladdr")
    heard.since()
    networkd.stop()
    networkd = machine.networkd("eth0", TUNNEL)
    removed = heard.since()
    assert names(removed, *taken), removed
    wait_for(lambda: stands(one), deadline=5, what="the tunnel stands again")

    machine.write("etc/systemd/network/00-towpath.network", "[Match]", "Name=veth* tp-*", "[Link]", "Unmanaged=yes")
    machine.run("networkctl", "reload")
    wait(one, lambda: "RoutesManaged" not in one.conditions(), "no condition")
    wait_for(lambda: stands(one), deadline=5, what="the tunnel stands")
    heard.since()
    networkd.stop()
    machine.networkd("eth0", "lo")
    removed = heard.since()
    assert not any(names(removed, each) for each in taken), removed
    assert stands(one)


def test_networkmanager_takes_pods_for_its_own(one: OneNode, machine: Daemons) -> None:
    """The condition names a pod's device; the pod loses its way when networking is switched off, and not where pods are left out.

    What somebody has left out before stays so.
    """
    machine.write("etc/NetworkManager/conf.d/10-site.conf", "[keyfile]", "unmanaged-devices=interface-name:eth0")
    one.start()
    one.converged()
    wait(one, one.plugin, "pods can be attached")
    home, folder = one.node.network.host("pod", forwarding=False), one.cni
    pod = pods.add(one.node, home, folder=folder)
    wait(one, lambda: reached(one, pod), "the pod answers")
    machine.start(*NETWORK_MANAGER, log="manager.log")
    wait(one, lambda: says(one, "NetworkManager manages veth", LEFT_OUT), "RoutesManaged")
    wait(one, lambda: reached(one, pod), "it has been left alone so far")
    off_and_on(machine)
    wait(one, lambda: not reached(one, pod), "the pod has lost its way")

    machine.write("etc/NetworkManager/conf.d/20-towpath.conf", "[keyfile]", LEFT_OUT)
    machine.run("nmcli", "general", "reload")
    wait(one, lambda: "RoutesManaged" not in one.conditions(), "no condition")
    pods.remove(one.node, home, folder=folder, container=pod.container)
    pod = pods.add(one.node, home, folder=folder)
    wait(one, lambda: reached(one, pod), "the pod answers")
    off_and_on(machine)
    wait(one, lambda: reached(one, pod), "the pod answers still: nobody would have given its routes again")
    assert "eth0:unmanaged" in devices(machine)


def off_and_on(machine: Daemons) -> None:
    """NetworkManager's networking is switched off and on again, and it is done with every device."""
    for switch, state in (("off", "lo:unmanaged"), ("on", "lo:connected")):
        machine.run("nmcli", "networking", switch)
        wait_for(lambda state=state: state in devices(machine), deadline=30, what=f"networking is {switch}")  # type: ignore[misc]  # bound now


def devices(machine: Daemons) -> str:
    """Its devices and their state."""
    return machine.run("nmcli", "-t", "-f", "DEVICE,STATE", "device")


def reached(one: OneNode, pod: pods.Pod) -> bool:
    """Whether the node has the pod's routes of both families, and the pod answers by them."""
    addresses = [address for family in Family if (address := pod.address(family)) is not None]
    assert len(addresses) == len(Family)
    return all(
        one.node.ip(f"-{each.version}", "route", "show", str(each)) and pods.ping(one.node, each) for each in addresses
    )


def tunnelled() -> list[dict[str, Any]]:
    """Another node's IPv4 block is reached by a tunnel."""
    objects = manifests()
    for one in objects:
        if one["metadata"]["name"] == "v4":
            one["spec"] |= {"vxlanMode": "Always"}
    other = {**made("RoutingNode", "b", bgp={"ipv4Address": "10.0.0.2/24"}), "status": {"tunnels": [TUNNEL]}}
    return [*objects, made_block(FAR[1], "b", "v4"), other]


def stands(one: OneNode) -> bool:
    """Whether the tunnel's device has its address, the other end as neighbour, and its route."""
    try:
        found = [
            one.node.ip("addr", "show", "dev", TUNNEL),
            one.node.ip("neigh", "show", "nud", "permanent", "dev", TUNNEL),
            one.node.ip("route", "show", "dev", TUNNEL),
        ]
    except RuntimeError:  # no device
        return False
    return all(what in text for what, text in zip((TUNNEL_ADDRESS, f"{FAR[0]} ", FAR[1]), found, strict=True))

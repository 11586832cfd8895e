"""Hosts on one machine: network namespaces joined by veth pairs, all gone when the network closes.

Every namespace of a network carries its prefix, so that what a crash left behind is found and removed by name.
"""

import contextlib
import ctypes
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self

from towpath.lab.process import Process, run

_CLONE_NEWNET = 0x40000000
_NETNS = Path("/run/netns")


class Machine(Protocol):
    """Another kernel beside this one, with hosts of its own."""

    @property
    def via(self) -> tuple[str, ...]:
        """What has a command run there that stands behind it."""

    def cable(self, host: "Host", device: str, other: "Host", other_device: str) -> None:
        """A cable between a host there and one here; neither end is up."""


class Host:
    """One namespace: a node, a router, a switch or a client; where ``machine`` is given, in that one's kernel."""

    def __init__(self, network: "Network", name: str, *, machine: Machine | None = None) -> None:
        self.network = network
        self.name = name
        self.machine = machine
        self.netns = f"{network.prefix}-{name}"

    @property
    def via(self) -> tuple[str, ...]:
        """What comes before a command that is for the kernel it is in."""
        return self.machine.via if self.machine is not None else ()

    @property
    def enter(self) -> tuple[str, ...]:
        """What comes before a command that is to run in this namespace."""
        # nsenter and not `ip netns exec`: that one mounts a new /sys, and keeps a process of its own
        return (*self.via, "nsenter", f"--net={_NETNS / self.netns}")

    def ip(self, *arguments: str, check: bool = True) -> str:
        """``ip`` in this namespace."""
        return run(*self.via, "ip", "-n", self.netns, *arguments, check=check)

    def ip_json(self, *arguments: str) -> Any:
        """``ip -json`` in this namespace, parsed."""
        return json.loads(run(*self.via, "ip", "-n", self.netns, "-json", *arguments) or "[]")

    def run(self, *command: str, check: bool = True, stdin: str | None = None, timeout: float = 60) -> str:
        """Run a short program in this namespace."""
        return run(*self.enter, *command, check=check, stdin=stdin, timeout=timeout)

    def sysctl(self, **settings: str | int) -> None:
        """Set sysctls; ``__`` in a name stands for a dot."""
        self.run("sysctl", "-qw", *(f"{name.replace('__', '.')}={value}" for name, value in settings.items()))

    def process(self, *command: str, log: Path, environment: dict[str, str] | None = None) -> Process:
        """A long-running program in this namespace, started; the network ends it when it closes."""
        started = Process((*self.enter, *command), log=log, environment=environment).start()
        self.network.processes.append(started)
        return started

    def address(self, *addresses: str, dev: str) -> None:
        """Add addresses (``10.0.0.1/24``, ``fd00::1/64``) to a device, usable at once."""
        for address in addresses:
            self.ip("addr", "add", address, "dev", dev, *(("nodad",) if ":" in address else ()))

    def mac(self, mac: str, *, dev: str) -> None:
        """Give a device that is up another MAC; its routes go."""
        self.ip("link", "set", "dev", dev, "down")  # not every driver takes it while it is up
        self.ip("link", "set", "dev", dev, "address", mac)
        self.ip("link", "set", "dev", dev, "up")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in this namespace: sockets opened inside stay there. Never across an ``await``."""
        if self.machine is not None:
            raise RuntimeError(f"{self.name} is in another kernel, where no thread of this one can be")
        libc = ctypes.CDLL(None, use_errno=True)
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(_NETNS / self.netns, os.O_RDONLY)
        try:
            if libc.setns(there, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            libc.setns(before, _CLONE_NEWNET)
            os.close(there)
            os.close(before)


class Network:
    """A set of hosts with a common prefix; a context manager that leaves nothing behind."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.hosts: dict[str, Host] = {}
        self.processes: list[Process] = []

    def __enter__(self) -> Self:
        remove(self.prefix)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and remove the namespaces."""
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()
        remove(self.prefix)
        self.hosts.clear()

    def host(self, name: str, *, forwarding: bool = True, machine: Machine | None = None) -> Host:
        """A new namespace with ``lo`` up."""
        host = Host(self, name, machine=machine)
        run(*host.via, "ip", "netns", "add", host.netns)
        self.hosts[name] = host
        host.ip("link", "set", "lo", "up")
        value = 1 if forwarding else 0
        host.sysctl(
            net__ipv4__ip_forward=value,
            net__ipv6__conf__all__forwarding=value,
            net__ipv6__conf__default__accept_dad=0,
        )
        return host

    def known(self, name: str) -> Host:
        """A host whose namespace exists already, made by another process."""
        return self.hosts.setdefault(name, Host(self, name))

    def remove_host(self, name: str) -> None:
        """Remove one namespace with all its devices; its processes must have ended."""
        host = self.known(name)
        del self.hosts[name]
        # a namespace ends some time after its name: without this the other ends of its cables would be there until then
        for link in host.ip_json("link", "show", "type", "veth"):
            host.ip("link", "del", "dev", link["ifname"], check=False)
        run(*host.via, "ip", "netns", "del", host.netns)

    def link(self, one: Host, device: str, other: Host, other_device: str, *, mtu: int = 1500) -> None:
        """A veth pair between two hosts, both ends up; where the first is in another kernel, that one's cable."""
        if one.machine is not None:
            one.machine.cable(one, device, other, other_device)
        else:
            run(
                *("ip", "link", "add", device, "mtu", str(mtu), "netns", one.netns, "type", "veth"),
                *("peer", "name", other_device, "mtu", str(mtu), "netns", other.netns),
            )
        one.ip("link", "set", "dev", device, "up")
        other.ip("link", "set", "dev", other_device, "up")

    def switch(self, name: str) -> Host:
        """A namespace with a bridge ``bridge0``: an Ethernet segment. ``plug`` joins hosts to it."""
        host = self.host(name, forwarding=False)
        # bridged frames would pass ip and inet hooks otherwise
        host.run("sh", "-c", "echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || true")
        host.ip("link", "add", "bridge0", "type", "bridge", "forward_delay", "0")
        host.ip("link", "set", "bridge0", "up")
        return host

    def plug(self, switch: Host, host: Host, device: str = "eth0") -> None:
        """Join a host to a switch by a cable; the switch's port is ``to-HOST``."""
        self.link(host, device, switch, f"to-{host.name}")
        switch.ip("link", "set", "dev", f"to-{host.name}", "master", "bridge0")


def remove(prefix: str) -> None:
    """End every process in, and remove, each namespace whose name starts with ``prefix-``."""
    if not _NETNS.is_dir():
        return
    for netns in sorted(entry.name for entry in _NETNS.iterdir() if entry.name.startswith(f"{prefix}-")):
        kill_all(netns)
        run("ip", "netns", "del", netns, check=False)


def kill_all(netns: str) -> None:
    """End every process in a namespace."""
    for pid in run("ip", "netns", "pids", netns, check=False).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), 9)

r"""The network around the nodes: two racks on a top-of-rack router, a client and the control plane behind it.

    client -- tor -- switch-a -- node1, node2, ...        addresses and segments as in the lab (``lab/addressing.py``)
    api ------+ +--- switch-b -- ...
     \-- this machine's own namespace, by one veth pair: the way in for a person's shell

The router is BIRD in AS 65000. It takes a session from every address of the nodes' segments, whatever AS is there.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, ip_interface
from pathlib import Path

from towpath.lab.addressing import CLIENT, CLIENT_HOST, RACKS, TOR, TOR_AS, Segment, node_number
from towpath.lab.bird import configuration
from towpath.lab.cluster.shape import CONTROL, CONTROL_HOST, ROOT, NodePlace
from towpath.lab.netns import Host, Network
from towpath.lab.process import run
from towpath.model.net import Address, Family

_WAYS_IN = IPv4Network("198.18.0.0/16")
"""Of these each cluster has a /30 (RFC 2544 sets them aside for test networks)."""
LINK = "towpath-in"
"""The way in is a device ``towpath-inN`` in this machine's own namespace."""


def way_in(number: int) -> tuple[IPv4Address, IPv4Address]:
    """The addresses of this machine and of the control plane on the link between them."""
    base = int(_WAYS_IN.network_address) + 4 * number
    return IPv4Address(base + 1), IPv4Address(base + 2)


@contextlib.contextmanager
def choosing() -> Iterator[int]:
    """A number that no other cluster of this machine has; nobody else chooses until the link is there."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with (ROOT / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        used = _used()
        yield next(number for number in range(1, 1 << 14) if not any(one in used for one in way_in(number)))


def _used() -> set[Address]:
    """Addresses of the range that this machine has, or has a route to."""
    words = run("ip", "-4", "-oneline", "address").split() + run("ip", "-4", "route").split()
    found: set[Address] = set()
    for word in words:
        with contextlib.suppress(ValueError):
            network = ip_interface(word).network
            if isinstance(network, IPv4Network) and network.subnet_of(_WAYS_IN):
                found.update(network)
    return found


class Underlay:
    """Makes the namespaces and cables of a cluster."""

    def __init__(self, network: Network, *, families: tuple[Family, ...]) -> None:
        self.network = network
        self.families = families

    def make(self) -> None:
        """Everything but the nodes and the way in."""
        tor = self.network.host("tor")
        # connections are spread over equal ways by their ports, not by their addresses alone, as routers do
        tor.sysctl(net__ipv4__fib_multipath_hash_policy=1, net__ipv6__fib_multipath_hash_policy=1)
        for name, segment in RACKS.items():
            switch = self.network.switch(f"switch-{name}")
            self.network.link(tor, f"rack-{name}", switch, "to-tor")
            switch.ip("link", "set", "dev", "to-tor", "master", "bridge0")
            self._address(tor, segment, TOR, device=f"rack-{name}")
        for name, segment, number in (("client", CLIENT, CLIENT_HOST), ("api", CONTROL, CONTROL_HOST)):
            host = self.network.host(name, forwarding=False)
            self.network.link(tor, name, host, "eth0")
            self._address(tor, segment, TOR, device=name)
            self._address(host, segment, number, device="eth0")
            self._default_route(host, segment)

    def open_way_in(self, number: int) -> None:
        """The one link between this machine's own namespace and the cluster."""
        here, there = way_in(number)
        api = self.network.known("api")
        device = f"{LINK}{number}"
        run("ip", "link", "add", device, "type", "veth", "peer", "name", "host", "netns", api.netns)
        run("ip", "address", "add", f"{here}/30", "dev", device)
        run("ip", "link", "set", "dev", device, "up")
        api.address(f"{there}/30", dev="host")
        api.ip("link", "set", "dev", "host", "up")

    @staticmethod
    def close_way_in(number: int) -> None:
        """Remove it; a namespace would take it along, but some time after its name."""
        run("ip", "link", "del", "dev", f"{LINK}{number}", check=False)

    def plug(self, place: NodePlace) -> Host:
        """A node's namespace with its cable, addresses and default route; nothing else is set in it."""
        host = self.network.host(place.name, forwarding=False)
        self.network.plug(self.network.known(f"switch-{place.rack}"), host)
        number = node_number(place.index)
        # a machine has the same MAC after a reboot: with another one its neighbours would talk to the old for a while
        host.ip("link", "set", "dev", "eth0", "address", f"02:00:00:00:00:{number:02x}")
        self._address(host, place.segment, number, device="eth0")
        self._default_route(host, place.segment)
        return host

    def tor_configuration(self, folder: Path) -> str:
        """BIRD's file: a passive session for whoever comes from a rack, in both families."""
        sessions = [
            f"protocol bgp {rack}_v{family.value} {{\n"
            f"  local {segment.address(family, TOR)} as {TOR_AS};\n"
            f"  neighbor range {segment.subnet(family)} external;\n"
            f'  dynamic name "{rack}{family.value}_"; dynamic name digits 1; passive;\n'
            "  graceful restart on; long lived graceful restart off;\n"
            f"  {family.key} {{ import filter leaving; export none; }};\n"
            "}"
            for rack, segment in RACKS.items()
            for family in self.families
        ]
        # RFC 8326: whoever is about to leave is preferred last
        leaving = "filter leaving { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; }"
        router_id = str(RACKS["a"].address(Family.IPV4, TOR))
        return configuration(
            (), local_as=TOR_AS, router_id=router_id, log=folder / "bird.log", extra="\n".join((leaving, *sessions))
        )

    def _address(self, host: Host, segment: Segment, number: int, *, device: str) -> None:
        host.address(*(str(segment.interface(family, number)) for family in self.families), dev=device)

    def _default_route(self, host: Host, segment: Segment) -> None:
        for family in self.families:
            host.ip(f"-{family.value}", "route", "add", "default", "via", str(segment.address(family, TOR)))

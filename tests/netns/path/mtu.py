"""A way that takes less than the devices at its ends, and what those who send by it make of that."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from functools import partial

from tests.patience import longer
from towpath.lab import facts
from towpath.lab.netns import Host
from towpath.lab.topology import Lab
from towpath.model.net import Address

NARROW = 1400
"""What the router lets pass at most."""


@contextlib.contextmanager
def narrow(lab: Lab) -> Iterator[None]:
    """The router lets no large packets pass to nodes and pods, and says so to whoever sends one."""
    tor, owners = lab.host("tor"), facts.blocks(lab)
    routes: list[tuple[str, ...]] = []
    for node in lab.nodes:
        device = f"rack-{lab.state.nodes[node].rack}"
        for address in lab.node_addresses(node):
            routes.append((str(address), "dev", device))
            mine = [cidr for cidr, owner in owners.items() if owner == node and cidr.version == address.version]
            routes += [(str(cidr), "via", str(address), "dev", device) for cidr in mine]
    try:
        for route in routes:
            tor.ip("route", "add", *route, "metric", "1", "mtu", "lock", str(NARROW))
        yield
    finally:
        for route in routes:
            tor.ip("route", "del", *route, "metric", "1", check=False)


def carried(source: Host, target: Host, address: Address, *, size: int = 1 << 20) -> bool:
    """Whether so many bytes arrive by TCP."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with target.entered():
        listener = socket.create_server((str(address), 0), family=family)
    with source.entered():
        client = socket.socket(family)
    with listener, client:
        listener.settimeout(longer(30))
        client.settimeout(longer(30))
        client.connect(listener.getsockname()[:2])
        server, _ = listener.accept()
        server.settimeout(longer(30))
        sending = threading.Thread(target=partial(_send, client, size))
        sending.start()
        with server, contextlib.suppress(TimeoutError):
            while some := server.recv(1 << 16):
                size -= len(some)
        sending.join()
    return size == 0


def _send(client: socket.socket, size: int) -> None:
    with contextlib.suppress(OSError):
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)


def learned(source: Host, address: Address) -> int:
    """The MTU that a host knows of the path to an address; 0: that of its device."""
    (route,) = source.ip_json("route", "get", str(address))
    return int(next(iter(route.get("metrics", [{}])), {}).get("mtu", 0))

"""A way that takes less than the devices at its ends, and what those who send by it make of that."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import permutations

from tests.patience import longer
from towpath.lab import pods
from towpath.lab.netns import Host, Network
from towpath.lab.pods import Pod
from towpath.lab.process import wait_for
from towpath.lab.topology import Lab
from towpath.model.net import Address

NARROW = 1400
"""What the router lets pass at most."""
WHOLE = 1500
FORGET = 5
"""Seconds for which a forgetful host remembers a path's MTU; 600 unless somebody says otherwise."""
BEYOND = ("198.51.100.{}/24", "2001:db8:9::{}/64")
"""The network of the host ``far``, which is number ``FAR`` there, and the router 1."""
FAR = 9
Way = tuple[Host, Host, Address]
"""Who sends, who is sent to, and by which of its addresses."""


def everybody(lab: Lab) -> list[Address]:
    """The addresses of nodes and pods."""
    own = [address for node in lab.nodes for address in lab.node_addresses(node)]
    theirs = (pod.address(family) for pod in lab.pods.values() for family in lab.families)
    return [*own, *(address for address in theirs if address is not None)]


def between(lab: Lab, *ends: Pod) -> list[Way]:
    """From each pod to each other, in each family."""
    return [
        (lab.host(one.name), lab.host(other.name), to)
        for one, other in permutations(ends, 2)
        for family in lab.families
        if (to := other.address(family)) is not None
    ]


@contextlib.contextmanager
def narrow(router: Host, addresses: Iterable[Address]) -> Iterator[None]:
    """The router lets no large packets pass to these addresses, and says so to whoever sends one."""
    with contextlib.ExitStack() as stack:
        for address in addresses:
            (found,) = router.ip_json("route", "get", str(address))
            gateway = ("via", found["gateway"]) if "gateway" in found else ()
            route = (str(address), *gateway, "dev", found["dev"], "metric", "1")
            router.ip("route", "add", *route, "mtu", "lock", str(NARROW))
            stack.callback(router.ip, "route", "del", *route, check=False)
        yield


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


def whole(way: Way, *, size: int = WHOLE) -> bool:
    """Whether a packet of so many bytes is answered in one piece."""
    source, _, address = way
    return pods.ping(source, address, wait=1, size=size)


def wait_learned(way: Way, mtu: int, *, size: int = WHOLE) -> None:
    """Wait until who sends knows that the way takes so much, and no packet of ``size``; TCP does not stall meanwhile."""
    source, target, address = way
    assert carried(source, target, address), f"{source.name} to {address}"
    wait_for(
        lambda: not whole(way, size=size) and learned(source, address) == mtu,
        deadline=30,
        what=f"{source.name} knows that the way to {address} takes {mtu}",
    )


def wait_whole(way: Way, *, size: int = WHOLE) -> None:
    """Wait until large packets pass: what was learned of a smaller way is forgotten."""
    source, _, address = way
    wait_for(lambda: whole(way, size=size), deadline=60, what=f"{size} bytes from {source.name} to {address}")


def wait_learned_and_forgotten(
    router: Host, ways: Iterable[Way], *, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Both ends learn what a router takes, TCP does not stall either way, and once it takes more both send more again.

    ``meanwhile``: what is as ever for who sends to somebody else.
    """
    every = tuple(ways)
    for way in every:
        wait_whole(way)
    with narrow(router, [address for _, _, address in every]):
        for way in every:
            wait_learned(way, NARROW)
        meanwhile()
    for way in every:
        wait_whole(way)


@contextlib.contextmanager
def beyond(network: Network, router: Host) -> Iterator[Host]:
    """A host behind a router, which has another network there."""
    far = network.host("far", forwarding=False)
    try:
        network.link(router, "far", far, "eth0")
        for subnet in BEYOND:
            router.address(subnet.format(1), dev="far")
            far.address(subnet.format(FAR), dev="eth0")
            far.ip("route", "add", "default", "via", subnet.format(1).partition("/")[0])
        yield far
    finally:
        network.remove_host("far")


def forget(*hosts: Host) -> None:
    """These forget at once what they have learned of paths."""
    for host in hosts:
        for family in ("-4", "-6"):
            host.ip(family, "route", "flush", "cache")


def forgetful(*hosts: Host) -> None:
    """These forget sooner what they learn of paths."""
    for host in hosts:
        host.sysctl(net__ipv4__route__mtu_expires=FORGET, net__ipv6__route__mtu_expires=FORGET)

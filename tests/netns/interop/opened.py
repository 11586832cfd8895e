"""The OPEN of a router to a neighbour that asks for everything: what it offers, byte by byte."""

from ipaddress import IPv4Address, ip_address

from tests.netns.interop.node import Bench
from towpath.lab.blaster import Blaster, open_message
from towpath.lab.process import wait_for

ROUTE_REFRESH, EXTENDED_NEXT_HOP, EXTENDED_MESSAGE, ROLE, RESTART, FOUR_OCTET = 2, 5, 6, 9, 64, 65
_OPEN = 1


def capabilities(bench: Bench, address: str = "10.9.11.3") -> dict[int, bytes]:
    """Capability codes and values (RFC 5492) that the router offers to the third host; tried until it answers."""

    router_id = IPv4Address("10.9.11.3")

    def asked() -> bytes:
        try:
            with bench.client.host.entered():
                peer = Blaster(
                    local=ip_address(address),
                    local_as=65002,
                    peer=ip_address(address[:-1] + "2"),
                    router_id=router_id,
                    deadline=5,
                )
            try:
                peer.socket.sendall(open_message(65002, router_id, restart_time=60))
                return peer.expect(_OPEN)
            finally:
                peer.close()
        except OSError:
            return b""

    return parse(wait_for(asked, deadline=20, what=f"an OPEN to {address}", interval=0.5))


def parse(body: bytes) -> dict[int, bytes]:
    """The capabilities of an OPEN's body (RFC 4271 section 4.2)."""
    found: dict[int, bytes] = {}
    rest = body[10:]
    while len(rest) >= 2:
        kind, length = rest[0], rest[1]
        value, rest = rest[2 : 2 + length], rest[2 + length :]
        while kind == 2 and len(value) >= 2:
            found[value[0]] = found.get(value[0], b"") + value[2 : 2 + value[1]]
            value = value[2 + value[1] :]
    return found

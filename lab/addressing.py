"""Who has which address in the lab: one page of numbers, both families, so that a person finds their way by looking.

The segments are documentation prefixes (RFC 5737, RFC 3849): ``a`` and ``b`` carry nodes, ``client`` the host behind
the router, ``mgmt`` the API server. The ToR is the first address of each; node 3 has the address that ends in 13.
"""

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network

from towpath.model.net import Address, Family, Interface, Prefix

CLUSTER_AS = 64512
TOR_AS = 65000
BOTH = (Family.IPV4, Family.IPV6)
API_PORT = 8001

PODS = {Family.IPV4: ip_network("10.244.0.0/16"), Family.IPV6: ip_network("fd00:10:244::/112")}
"""The pools."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One Ethernet segment and its subnets."""

    name: str
    ipv4: str
    ipv6: str

    def subnet(self, family: Family) -> Prefix:
        """The subnet of a family."""
        return ip_network(self.ipv4 if family is Family.IPV4 else self.ipv6)

    def interface(self, family: Family, number: int) -> Interface:
        """The address that ends in ``number``, with the subnet's length."""
        subnet = self.subnet(family)
        # the decimal digits are shown as they are in both families: node 3 is .13 and ::13
        offset = number if family is Family.IPV4 else int(str(number), 16)
        return ip_interface(f"{subnet.network_address + offset}/{subnet.prefixlen}")

    def address(self, family: Family, number: int) -> Address:
        """The address that ends in ``number``."""
        interface = self.interface(family, number)
        assert isinstance(interface, IPv4Interface | IPv6Interface)
        return interface.ip


RACK_A = Segment("a", "192.0.2.0/24", "2001:db8:a::/64")
RACK_B = Segment("b", "198.51.100.0/25", "2001:db8:b::/64")
CLIENT = Segment("client", "198.51.100.128/25", "2001:db8:c::/64")
MANAGEMENT = Segment("mgmt", "203.0.113.0/24", "2001:db8:d::/64")
RACKS = {"a": RACK_A, "b": RACK_B}

TOR = 1
"""The ToR's number in every segment."""
API = 1
CONTROLLERS = (2, 3)
CLIENT_HOST = 10


def node_number(index: int) -> int:
    """The number of the ``index``-th node (from 1) in its segment and in the management network."""
    return 10 + index

"""What BIRD prints, parsed."""

from ipaddress import ip_network

from towpath.lab.bird import LearnedRoute, Protocol, parse_protocols, parse_routes

ROUTES = """BIRD 2.0.12 ready.
Table master4:
10.244.1.0/26        unicast [node1_v4 01:16:05.000] * (100) [AS64512i]
\tvia 192.0.2.11 on rack-a
                     unicast [node2_v4 01:16:05.000] (100) [AS64512i]
\tvia 192.0.2.12 on rack-a

Table master6:
fd00:10:244::40/122  unicast [node1_v6 01:16:05.000] * (100) [AS64512i]
\tvia 2001:db8:a::11 on rack-a
"""
PROTOCOLS = """BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
kernel4    Kernel     master4    up     01:16:01.000
node1_v4   BGP        ---        up     01:16:05.000  Established
node2_v4   BGP        ---        start  01:16:05.000  Active        Socket: Connection refused
"""


def test_every_path_of_a_prefix_is_read() -> None:
    """The best path comes first; tables and families do not mix."""
    assert list(parse_routes(ROUTES)) == [
        LearnedRoute(ip_network("10.244.1.0/26"), ("192.0.2.11", "192.0.2.12"), ("node1_v4", "node2_v4")),
        LearnedRoute(ip_network("fd00:10:244::40/122"), ("2001:db8:a::11",), ("node1_v6",)),
    ]


def test_sessions_and_their_states_are_read() -> None:
    """A protocol without further words, one that is up, one that is not."""
    protocols = list(parse_protocols(PROTOCOLS))
    assert protocols[0] == Protocol("kernel4", "Kernel", "up", "")
    assert [protocol.established for protocol in protocols] == [False, True, False]

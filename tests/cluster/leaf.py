"""A second router of a node, on a link that has no address: BIRD, found by its router advertisements (RFC 4861).

It has an address of each family on its loopback, which it tells the node and nobody else knows.
"""

from towpath.lab.addressing import CLUSTER_AS
from towpath.lab.bird import Bird
from towpath.lab.cluster.cluster import Cluster

AS = 65010
INTERFACE = "eth1"
"""Of the node."""
OWN = ("198.19.3.1", "2001:db8:f::1")
_CONFIGURATION = """
log "{log}" all;
debug protocols {{ states, events }};
router id {identifier};
protocol device {{ scan time 1; }}
protocol direct {{ ipv4; ipv6; interface "lo"; }}
protocol kernel kernel4 {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol kernel kernel6 {{ ipv6 {{ import none; export where source = RTS_BGP; }}; }}
protocol radv {{ interface "node" {{ max ra interval 4; default lifetime 0; }}; }}
protocol bgp node {{
  local as {own}; neighbor range fe80::/10 as {cluster}; interface "node"; dynamic name "node_"; passive;
  ipv4 {{ extended next hop on; import all; export all; next hop self; }};
  ipv6 {{ import all; export all; next hop self; }};
}}
"""


class Leaf:
    """The router and its cable; it goes with the cluster."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self.host = cluster.network.host("leaf")
        cluster.network.link(cluster.host(node), INTERFACE, self.host, "node")
        self.host.address(*(f"{address}/{128 if ':' in address else 32}" for address in OWN), dev="lo")
        folder = cluster.root / "leaf"
        folder.mkdir()
        self.bird = Bird(self.host, directory=folder)
        cluster.network.processes.append(self.bird.process)
        text = _CONFIGURATION.format(log=self.bird.log, identifier=OWN[0], own=AS, cluster=CLUSTER_AS)
        self.bird.start(text)


def peer(node: str) -> dict[str, object]:
    """The node's session with it, as an entry of ``bgpPeers`` in the chart's values."""
    return {
        "name": "leaf",
        "peerFrom": {"interface": INTERFACE},
        "asNumber": AS,
        "node": node,
        "importPolicy": "All",
    }

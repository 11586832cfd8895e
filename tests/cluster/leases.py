"""The addresses that host-local has given out on a node, and whose they are."""

from ipaddress import ip_address

from towpath.lab.cluster.cluster import Cluster
from towpath.lab.process import wait_for
from towpath.model.net import Address

_STORE = "run/towpath/cni/towpath"
"""Where host-local keeps a file for every address that it gave out."""


def given_out(cluster: Cluster, node: str) -> set[Address]:
    """The addresses that are somebody's, by host-local's files."""
    names = [path.name for path in cluster.machine(node).path(_STORE).iterdir()]
    return {ip_address(name) for name in names if "." in name.replace("last_reserved_ip.", "") or ":" in name}


def in_use(cluster: Cluster, node: str) -> set[Address]:
    """The addresses of the pods on a node, by the API server; those on the host's network have none of ours."""
    return {
        address
        for pod in cluster.get("pods", "-A")
        if pod["spec"].get("nodeName") == node and not pod["spec"].get("hostNetwork")
        for address in cluster.addresses(pod).values()
    }


def wait_no_leaks(cluster: Cluster, node: str) -> None:
    """host-local has the addresses of the node's pods and no others."""
    wait_for(
        lambda: given_out(cluster, node) == in_use(cluster, node) != set(),
        deadline=90,
        what=f"host-local of {node} has exactly the pods' addresses",
        interval=0.5,
    )

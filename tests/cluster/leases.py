"""The addresses that host-local has given out on a node, and whose they are."""

import contextlib
from ipaddress import ip_address

from towpath.ipam.hostlocal import OURS
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.process import wait_for
from towpath.model.net import Address

_STORE = "run/towpath/cni/towpath"
"""Where host-local keeps a file for every address that it gave out."""


def given_out(cluster: Cluster, node: str) -> set[Address]:
    """The addresses that are somebody's, by host-local's files; what the agent keeps from everybody is nobody's."""
    found: set[Address] = set()
    for path in cluster.machine(node).path(_STORE).iterdir():
        with contextlib.suppress(ValueError, FileNotFoundError):  # lock, last_reserved_ip.N; or given back just now
            address = ip_address(path.name)
            if not path.read_text().startswith(OURS):
                found.add(address)
    return found


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

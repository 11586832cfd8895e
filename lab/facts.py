"""What holds in a lab right now, read from the kernels, the router and the API; and waiting until it does."""

import http.client
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

from towpath.lab import pods
from towpath.lab.probe import Flow, both_ways, unreached
from towpath.lab.process import WaitError, wait_for
from towpath.lab.programs import HEALTH_PORT
from towpath.lab.topology import Lab
from towpath.model.net import Address, Family, Prefix, family_of

OURS = "179"
"""The protocol number of towpath's routes."""


def ready(lab: Lab, node: str) -> bool:
    """Whether the node has a CNI configuration: pods may start."""
    try:
        pods.conflist(lab.node_directory(node, "cni"))
    except pods.NotReadyError:
        return False
    return True


def wait_ready(lab: Lab, *nodes: str, deadline: float = 30) -> None:
    """Wait until the nodes (all, unless named) have a CNI configuration."""
    wanted = nodes or lab.nodes
    wait_for(
        lambda: all(ready(lab, node) for node in wanted),
        deadline=deadline,
        what=f"{', '.join(wanted)} ready for pods",
    )


def blocks(lab: Lab, *, state: str = "Active") -> dict[Prefix, str]:
    """Blocks in a state, and the node that owns each."""
    return {
        ip_network(item["spec"]["cidr"]): str(item["spec"]["node"])
        for item in lab.api.items("IPAMBlock").values()
        if item["spec"].get("state", "Active") == state
    }


def kernel_routes(lab: Lab, host: str, *, protocol: str = OURS) -> dict[Prefix, dict[str, Any]]:
    """Routes of a protocol (``all``: every one) in a host's main table, as ``ip -json`` shows them."""
    found: dict[Prefix, dict[str, Any]] = {}
    for family in lab.families:
        which = () if protocol == "all" else ("proto", protocol)
        for route in lab.host(host).ip_json(f"-{family.value}", "route", "show", *which):
            everything = "::/0" if family is Family.IPV6 else "0.0.0.0/0"
            found[ip_network(everything if route["dst"] == "default" else route["dst"])] = route
    return found


def missing_routes(lab: Lab) -> dict[str, tuple[Prefix, ...]]:
    """Per node and for the router: blocks in force that it has no route to; empty when all have all."""
    wanted = blocks(lab)
    have: dict[str, Iterable[Prefix]] = {node: kernel_routes(lab, node) for node in lab.nodes}
    have["tor"] = kernel_routes(lab, "tor", protocol="bird")
    missing = {name: tuple(prefix for prefix in wanted if prefix not in set(routes)) for name, routes in have.items()}
    return {name: prefixes for name, prefixes in missing.items() if prefixes}


def blockless(lab: Lab) -> set[tuple[str, Family]]:
    """Nodes and families without a block in force."""
    owners = {(node, family_of(prefix)) for prefix, node in blocks(lab).items()}
    return {(node, family) for node in lab.nodes for family in lab.families} - owners


def wait_converged(lab: Lab, *, deadline: float = 40) -> None:
    """Wait until every node has its blocks and everyone, the router too, has a route to each."""
    try:
        wait_for(
            lambda: not blockless(lab) and not missing_routes(lab), deadline=deadline, what="converged", interval=0.1
        )
    except WaitError as error:
        raise WaitError(
            f"{error}; without block: {sorted(blockless(lab))}; without route: {missing_routes(lab)}"
        ) from None


def wait_sessions(lab: Lab, *, deadline: float = 30, reported: bool = False) -> None:
    """Wait until all sessions are established, as the router says and as the nodes' kernels show.

    ``reported``: and as agents have reported, which they do at most once in 30 s.
    """

    def lacking() -> dict[str, object]:
        found = {
            "router": sessions_down(lab),
            "connections": tuple(node for node in lab.nodes if connections(lab, node) != sessions_wanted(lab)),
            "reports": tuple(node for node in lab.nodes if reported and not _reports_sessions(lab, node)),
        }
        return {where: what for where, what in found.items() if what}

    try:
        wait_for(lambda: not lacking(), deadline=deadline, what="all sessions are up", interval=0.1)
    except WaitError as error:
        raise WaitError(f"{error}; lacking: {lacking()}") from None


def sessions_wanted(lab: Lab) -> int:
    """How many sessions each node has: one with every other node, if there is a mesh, and one with the router, a family."""
    mesh = lab.shape.configuration.get("nodeToNodeMeshEnabled", True)
    return (len(lab.nodes) if mesh else 1) * len(lab.families)


def connections(lab: Lab, node: str) -> int:
    """Established TCP connections from and to the BGP port of a node."""
    listing = lab.host(node).run("ss", "-Htn", "state", "established", "( sport = :179 or dport = :179 )")
    return len(listing.splitlines())


def _reports_sessions(lab: Lab, node: str) -> bool:
    sessions = (lab.api.get("NodeStatus", node) or {}).get("status", {}).get("sessions", [])
    return [session["state"] for session in sessions] == ["Established"] * sessions_wanted(lab)


def sessions_down(lab: Lab) -> tuple[str, ...]:
    """The router's sessions that are not established."""
    found = lab.tor.protocols().values()
    return tuple(protocol.name for protocol in found if protocol.kind == "BGP" and not protocol.established)


def healthy(lab: Lab, host: str) -> bool:
    """Whether the agent or controller in a host says of itself that it does what it should."""
    connection = http.client.HTTPConnection("127.0.0.1", HEALTH_PORT, timeout=2)
    try:
        with lab.host(host).entered():
            connection.connect()
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_healthy(lab: Lab, *hosts: str, deadline: float = 30) -> None:
    """Wait until the agents or controllers in these hosts (all nodes, unless named) are ready."""
    wanted = hosts or lab.nodes
    wait_for(lambda: all(healthy(lab, host) for host in wanted), deadline=deadline, what=f"{', '.join(wanted)} healthy")


def reports(lab: Lab) -> dict[str, dict[str, Any]]:
    """The status that each node's agent reports."""
    return {name: item.get("status", {}) for name, item in lab.api.items("NodeStatus").items()}


def conditions(lab: Lab, node: str) -> dict[str, dict[str, Any]]:
    """What a node's agent says of it, by type; empty while there is no report."""
    return {one["type"]: one for one in reports(lab).get(node, {}).get("conditions", ())}


def endpoints(lab: Lab, *, client: bool = True) -> list[tuple[str, tuple[Address, ...]]]:
    """All pods, and the client, with their addresses."""
    found: list[tuple[str, tuple[Address, ...]]] = []
    for pod in lab.pods.values():
        addresses = (pod.address(family) for family in lab.families)
        found.append((pod.name, tuple(address for address in addresses if address is not None)))
    return [*found, ("client", lab.client_addresses())] if client else found


def flows(lab: Lab, *, client: bool = True) -> tuple[Flow, ...]:
    """Every endpoint to every other, in every family."""
    return both_ways(endpoints(lab, client=client))


def wait_reachable(lab: Lab, wanted: Iterable[Flow] | None = None, *, deadline: float = 20) -> None:
    """Wait until a packet arrives on every flow (all there are, unless given)."""
    paths = tuple(wanted) if wanted is not None else flows(lab)
    try:
        wait_for(lambda: not unreached(lab.network, paths), deadline=deadline, what="a packet arrives on every path")
    except WaitError as error:
        lost = [f"{flow.source} to {flow.target} {flow.address}" for flow in unreached(lab.network, paths)]
        raise WaitError(f"{error}: not {', '.join(lost[:20])}") from None

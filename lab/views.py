"""Tables of what is in a lab: sessions, blocks, routes, pods, programs."""

from towpath.lab import facts
from towpath.lab.table import paint, table
from towpath.lab.topology import Lab


def sessions(lab: Lab) -> str:
    """Every node's sessions as its agent reports them, and the router's as BIRD has them."""
    rows: list[tuple[object, ...]] = []
    for node, status in sorted(facts.reports(lab).items()):
        if node not in lab.nodes:
            continue  # of a node that has left the status stays until its last block goes
        rows.extend(
            (node, session["peer"], session["remoteAS"], session["state"], session.get("accepted", 0))
            for session in status.get("sessions", [])
        )
    rows.extend(
        ("tor", protocol.name, "", protocol.info.split()[0] if protocol.info else protocol.state, "")
        for protocol in lab.tor.protocols().values()
        if protocol.kind == "BGP"
    )
    return table(("host", "peer", "as", "state", "accepted"), rows)


def blocks(lab: Lab) -> str:
    """All blocks."""
    specs = [item["spec"] for item in lab.api.items("IPAMBlock").values()]
    rows = [(spec["cidr"], spec["node"], spec.get("state", "Active"), spec.get("pool", "")) for spec in specs]
    return table(("block", "node", "state", "pool"), sorted(rows, key=lambda row: (row[1], row[0])))


def routes(lab: Lab, *hosts: str) -> str:
    """Routes to blocks in the kernels of the hosts: all nodes and the router, unless named."""
    rows = [
        (
            host,
            prefix,
            route.get("gateway") or ("blackhole" if route.get("type") == "blackhole" else "several"),
            route.get("dev", ""),
            "bird" if host == "tor" else "towpath",
        )
        for host in hosts or (*lab.nodes, "tor")
        for prefix, route in facts.kernel_routes(lab, host, protocol="bird" if host == "tor" else facts.OURS).items()
    ]
    return table(("host", "prefix", "via", "device", "protocol"), rows)


def pods(lab: Lab) -> str:
    """All pods and the client."""
    rows = [(pod.name, pod.node, *(pod.address(family) or "" for family in lab.families)) for pod in lab.pods.values()]
    rows.append(("client", "behind the ToR", *lab.client_addresses()))
    return table(("host", "on", *(family.key for family in lab.families)), rows)


def programs(lab: Lab) -> str:
    """All programs."""
    running = {name: lab.programs[name].running for name in lab.program_names}
    rows = [
        (name, lab.programs[name].pid if runs else "", paint("runs", "green") if runs else paint("ended", "red"))
        for name, runs in running.items()
    ]
    return table(("program", "pid", "state"), rows)

"""Whole clusters for the tests of the path, and what several of them ask."""

import contextlib
from collections.abc import Callable, Iterator
from ipaddress import ip_address

from tests.names import own
from towpath.controller.snapshot import SnapshotFile
from towpath.lab import facts
from towpath.lab.addressing import PODS, RACKS
from towpath.lab.events import RouteEvent, RouteEvents
from towpath.lab.netns import Host
from towpath.lab.pods import ping
from towpath.lab.probe import Flow, Probe, Result
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.cluster import Cluster
from towpath.model.net import Family

PREFIX = own("tpl")
PROBES = 3_000
"""So many packets at least are sent while something is done, and none of them may be lost."""


@contextlib.contextmanager
def cluster(shape: Shape, *, pods: int = 1, prefix: str = PREFIX) -> Iterator[Lab]:
    """A cluster that has converged, with pods on every node; what its programs said last is printed at the end."""
    with Lab(prefix, shape) as lab, telling(lab):
        lab.up()
        facts.wait_converged(lab)
        facts.wait_ready(lab)
        facts.wait_sessions(lab)
        for node in lab.nodes * pods:
            lab.add_pod(node)
        facts.wait_reachable(lab)
        facts.wait_healthy(lab)
        yield lab


@contextlib.contextmanager
def telling(lab: Lab, *, lines: int = 40) -> Iterator[None]:
    """Print at the end what the programs said last: pytest shows it with a test that fails, and at no other time."""
    try:
        yield
    finally:
        for name in lab.programs.running():
            print(f"--- {name}\n" + "\n".join(lab.programs[name].log.splitlines()[-lines:]))
        if lab.tor.log.exists():
            print("--- the router\n" + "\n".join(lab.tor.log.read_text().splitlines()[-80:]))


def neighbour(lab: Lab, name: str, number: int, *, forwarding: bool = False) -> Host:
    """A host on the nodes' segment that is no node, with the addresses of that number."""
    host = lab.network.host(name, forwarding=forwarding)
    lab.network.plug(lab.host("switch-a"), host)
    host.address(*(str(RACKS["a"].interface(family, number)) for family in lab.families), dev="eth0")
    return host


def fits(lab: Lab, source: str, address: str, *, size: int) -> bool:
    """Whether a packet of so many bytes gets there and back in one piece."""
    return ping(lab.host(source), ip_address(address), wait=2, size=size)


def wait_large(lab: Lab, *, size: int) -> None:
    """Wait until packets of so many bytes arrive between pods of all nodes, in every family."""
    for pod in lab.pods.values():
        for other in lab.pods.values():
            for family in lab.families if pod.node != other.node else ():
                to = str(other.address(family))
                wait_for(
                    lambda pod=pod, to=to: fits(lab, pod.name, to, size=size), deadline=20, what=f"{pod.name} to {to}"
                )  # type: ignore[misc]  # bound now


def between_nodes(lab: Lab) -> tuple[Flow, ...]:
    """Flows between pods of different nodes, and between pods and the client."""
    home = {pod.name: pod.node for pod in lab.pods.values()}
    return tuple(flow for flow in facts.flows(lab) if home.get(flow.source) != home.get(flow.target))


def connections(lab: Lab) -> dict[str, set[tuple[str, str]]]:
    """Every BGP connection of each node by both its ends: a session that is made anew has another port."""
    found = {}
    for node in lab.nodes:
        listing = lab.host(node).run("ss", "-Htn", "state", "established", "( sport = :179 or dport = :179 )")
        found[node] = {(line.split()[2], line.split()[3]) for line in listing.splitlines()}
    return found


def preserved(lab: Lab, node: str) -> dict[str, bool]:
    """Whether the router was told, in each session's OPEN, that the node's forwarding survived (F, RFC 4724 section 3)."""
    found = {}
    for family in lab.families:
        shown = lab.tor.ask(f"show protocols all {node}_v{family.value}").partition("Neighbor capabilities")[2]
        assert "AF supported:" in shown, shown
        found[family.key] = f"AF preserved: {family.key}" in shown
    return found


def saved(lab: Lab, node: str) -> Cluster | None:
    """The picture that a node would start from without the API server: a change is in it about a second after it came."""
    return SnapshotFile(lab.node_directory(node, "state") / "snapshot", node=node).load()


def said_tunnels(lab: Lab) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The tunnels that each node says it has, and the kinds of devices that it says its kernel lacks."""
    found = {name: one.get("status", {}) for name, one in lab.api.items("RoutingNode").items()}
    return {name: (tuple(sorted(one.get("tunnels", ()))), tuple(one.get("lacks", ()))) for name, one in found.items()}


@contextlib.contextmanager
def watched(lab: Lab, *hosts: str) -> Iterator[Callable[[], dict[str, tuple[RouteEvent, ...]]]]:
    """Watch the routes of hosts; what is given tells the hosts on which some moved, and how."""
    with contextlib.ExitStack() as stack:
        watches = {host: stack.enter_context(RouteEvents(lab.host(host))) for host in hosts}
        yield lambda: {host: events for host, watch in watches.items() if (events := watch.read())}


def under_probe(
    lab: Lab, deed: Callable[[], None], *, watch: tuple[str, ...]
) -> tuple[Result, dict[str, tuple[RouteEvent, ...]]]:
    """Do something while packets run on every path; what was lost, and which routes moved on the hosts watched."""
    with watched(lab, *watch) as moved:
        with Probe(lab.network, between_nodes(lab), directory=lab.root, least=PROBES) as probe:
            deed()
        return probe.result, moved()


def restarted(lab: Lab, *programs: str) -> None:
    """``kill -9`` and start again; returns when sessions and agents are as before."""
    lab.kill(*programs)
    if any(name.endswith("/speaker") for name in programs):
        wait_for(lambda: facts.sessions_down(lab), deadline=10, what="the router has lost a session")
    lab.start(*programs)
    wait_for(lab.api.ready, deadline=20, what="the API server answers")
    facts.wait_sessions(lab)
    facts.wait_healthy(lab)


def router_drops_pods(lab: Lab) -> contextlib.AbstractContextManager[None]:
    """The network between the subnets knows no pod address, and lets none pass."""
    return drops_pods(lab.host("tor"))


@contextlib.contextmanager
def drops_pods(router: Host) -> Iterator[None]:
    """The same of a router of any lab."""
    rules = "\n".join(
        f"ip{'' if family is Family.IPV4 else '6'} {end} {PODS[family]} drop"
        for family in Family
        for end in ("saddr", "daddr")
    )
    router.run(
        *("nft", "-f", "-"),
        stdin=f"table inet strict {{\n chain f {{\n type filter hook forward priority 0;\n {rules}\n }}\n}}\n",
    )
    try:
        yield
    finally:
        router.run("nft", "delete", "table", "inet", "strict")

"""Traffic between pods of all nodes and the client behind the router, and everything that happens to routes meanwhile."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from towpath.lab.addressing import PODS
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.events import RouteEvents
from towpath.lab.probe import Flow, Probe, Result, both_ways, unreached
from towpath.lab.process import wait_for
from towpath.model.net import Address, Family

INTERVAL = 0.005
PROBES = 3_000
"""So many at least are sent while something is done."""


class Watched:
    """What was seen; complete after the ``with`` block."""

    def __init__(self) -> None:
        self.result = Result(0, 0, ())
        self.removed: Mapping[str, tuple[str, ...]] = {}
        """The pods' prefixes whose routes were deleted, by the host that it happened on."""
        self.restarts: Mapping[str, int] = {}
        """How many graceful restarts the router saw, by session."""
        self.ended: Mapping[str, int] = {}
        """How many times a session of the router ended and took its routes along."""

    def every_probe_arrived(self) -> None:
        """Whatever happened to others, these paths worked all the time."""
        assert self.result.sent >= PROBES
        assert self.result.lost == 0, str(self.result)

    def nothing_lost(self) -> None:
        """Every probe arrived, no route to a pod was deleted anywhere, and no session of the router ended."""
        self.every_probe_arrived()
        assert not self.removed, self.removed
        assert not self.ended, self.ended


@contextmanager
def watched(cluster: Cluster, pods: list[dict[str, Any]], folder: Path) -> Iterator[Watched]:
    """Probe every 5 ms between all these pods and the client, both ways, in every family; look at their nodes' routes."""
    seen = Watched()
    client = cluster.host("client")
    own = [one["local"] for link in client.ip_json("addr", "show", "dev", "eth0") for one in link["addr_info"]]
    outside = [ip_address(address) for address in own if not address.startswith("fe80")]
    ends: list[tuple[str, list[Address]]] = [("client", outside)]
    with ExitStack() as stack:
        for pod in pods:
            name = f"pod-{pod['spec']['nodeName']}"
            stack.enter_context(cluster.attached(pod, name))
            ends.append((name, list(cluster.addresses(pod).values())))
        flows = both_ways(ends)
        settle(cluster, flows)
        hosts = [*(pod["spec"]["nodeName"] for pod in pods), "tor"]
        watchers = {name: stack.enter_context(RouteEvents(cluster.host(name))) for name in hosts}
        log = cluster.tor.log
        read = log.stat().st_size
        with Probe(cluster.network, flows, directory=folder, interval=INTERVAL, least=PROBES) as probe:
            yield seen
        seen.result = probe.result
        seen.removed = {name: gone for name, events in watchers.items() if (gone := _removed(events))}
        with log.open() as file:
            file.seek(read)
            seen.restarts, seen.ended = sessions(file.read())


def settle(cluster: Cluster, flows: tuple[Flow, ...]) -> None:
    """Every path works before it is watched: neighbours are known, the router has all routes."""
    wait_for(lambda: not unreached(cluster.network, flows), deadline=60, what="all paths work", interval=0.2)


def _removed(events: RouteEvents) -> tuple[str, ...]:
    gone = [ip_network(event.prefix) for event in events.read() if event.deed == "deleted"]
    return tuple(str(prefix) for prefix in gone if prefix.network_address in PODS[Family(prefix.version)])


def sessions(log: str) -> tuple[Counter[str], Counter[str]]:
    """Of BIRD's log of states, by protocol: sessions that begin anew with their routes kept, and those that ended.

    Within a graceful restart a protocol goes back to ``start``; without one it goes through ``stop``, its routes with it.
    """
    restarts: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for line in log.splitlines():
        _, _, text = line.partition("> ")
        name, _, state = text.partition(": State changed to ")
        if state == "start":
            restarts[name] += 1
        elif state in {"stop", "flush", "down"}:
            ended[name] += 1
    return restarts, ended

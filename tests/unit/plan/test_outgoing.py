"""natOutgoing: which sources a node translates, and what keeps its source."""

from typing import Any

from tests.unit.plan.worlds import cluster, config, node, obj, peer
from towpath.bgp.peering import sessions
from towpath.controller.node.guard import rules_of
from towpath.model.cluster import Cluster
from towpath.routes.ruleset import Rules, script

NODES = node("a", "10.0.0.1/24", "fd00::1/64"), node("b", "10.0.0.2/24")


def pool(name: str, cidr: str, *, created: str = "", **spec: Any) -> dict[str, Any]:
    found = obj("IPPool", name, cidr=cidr, **spec)
    found["metadata"]["creationTimestamp"] = created
    return found


def rules(world: Cluster) -> Rules:
    return rules_of(world, "a", announcements=(), sessions=tuple(sessions(world, "a").sessions))


def told(values: tuple[object, ...]) -> set[str]:
    return {str(one) for one in values}


def test_only_pools_that_ask_are_translated() -> None:
    """Both families, disabled ones too; towards any pool, any node and any group the source stays."""
    world = cluster(
        *NODES,
        pool("v4", "10.244.0.0/16", natOutgoing=True, disabled=True),
        pool("v6", "fd00:244::/112", natOutgoing=True),
        pool("plain", "10.245.0.0/16"),
    )
    found = rules(world)
    assert told(found.masqueraded) == {"10.244.0.0/16", "fd00:244::/112"}
    pools, nodes = {"10.244.0.0/16", "10.245.0.0/16", "fd00:244::/112"}, {"10.0.0.1/32", "10.0.0.2/32", "fd00::1/128"}
    assert told(found.kept) == {*pools, *nodes, "224.0.0.0/4", "ff00::/8"}


def test_nobody_asks() -> None:
    """Then nothing is said of it, and the table has no chain for it."""
    found = rules(cluster(*NODES, pool("plain", "10.245.0.0/16")))
    assert (found.masqueraded, found.kept, found.kept_ports) == ((), (), ())
    assert "nat hook" not in script(found, nat=False)


def test_of_overlapping_pools_the_one_in_force_counts() -> None:
    """The other's cidr is a destination within the cluster all the same."""
    younger = pool("younger", "10.0.0.0/8", created="2026-02-02T00:00:00Z", natOutgoing=True)
    older = pool("older", "10.244.0.0/16", created="2026-01-01T00:00:00Z")
    found = rules(cluster(*NODES, younger, older))
    assert found.masqueraded == ()
    outer = pool("outer", "10.0.0.0/8", created="2026-01-01T00:00:00Z", natOutgoing=True)
    inner = pool("inner", "10.244.0.0/16", created="2026-02-02T00:00:00Z", natOutgoing=True)
    found = rules(cluster(*NODES, outer, inner))
    assert told(found.masqueraded) == {"10.0.0.0/8"}
    assert told(found.kept) == {"10.0.0.0/8", "fd00::1/128", "224.0.0.0/4", "ff00::/8"}, "none lies in another"


def test_nobody_is_taken_for_their_node() -> None:
    """Speakers, whatever port they listen on, nodes and routers alike, and tunnels see that it was a pod."""
    world = cluster(
        *NODES,
        config(listenPort=1790),
        peer("tor", peerIP="10.0.0.254:1791", asNumber=65000),
        pool("v4", "10.244.0.0/16", natOutgoing=True),
        pool("tunnelled", "10.245.0.0/16", vxlanMode="Always", vxlan={"port": 8472}),
    )
    assert rules(world).kept_ports == (("tcp", 179), ("tcp", 1790), ("tcp", 1791), ("udp", 8472))

"""Services of one node: announced and withdrawn at a real router, and no packet goes round between the two."""

from typing import Any

from tests.netns.agent.node import OneNode, announced, made_block, manifests, ours
from towpath.lab.netns import Host
from towpath.lab.process import wait_for

RANGES = {
    "serviceClusterIPs": [{"cidr": "10.96.0.0/16"}, {"cidr": "fd00:96::/112"}],
    "serviceExternalIPs": [{"cidr": "198.51.100.1/32"}],
}
WHOLE = {"10.96.0.0/16", "fd00:96::/112"}
UNUSED = ("10.96.0.99", "fd00:96::99")
BACK = """
table inet back {
  chain seen {
    type filter hook prerouting priority -300; policy accept;
    ip daddr 10.96.0.0/16 counter
    ip6 daddr fd00:96::/112 counter
  }
}
"""


def objects(*more: dict[str, Any], node: dict[str, Any] | None = None, **config: Any) -> list[dict[str, Any]]:
    """The node's manifests with services announced."""
    made = manifests()
    for one in made:
        if one["kind"] == "BGPConfiguration":
            one["spec"] |= {**RANGES, **config}
        if one["kind"] == "Node" and node:
            one["metadata"] |= node
    return [*made, *more]


def web(*nodes: str) -> list[dict[str, Any]]:
    """A service whose packets only nodes with endpoints take, and its endpoints in both families."""
    spec = {"type": "NodePort", "clusterIPs": ["10.96.0.10", "fd00:96::10"], "externalTrafficPolicy": "Local"}
    slices = [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"web-{family}", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": family,
            "endpoints": [{"addresses": [address], "nodeName": node} for node in nodes],
        }
        for family, address in (("IPv4", "10.244.0.9"), ("IPv6", "fd00:244::9"))
    ]
    return [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}, *slices]


def told(one: OneNode) -> set[str]:
    """What the router has of services."""
    return {prefix for prefix in announced(one.bird) if prefix.startswith(("10.96.", "fd00:96:", "198.51."))}


def wait_told(one: OneNode, wanted: set[str], what: str) -> None:
    try:
        wait_for(lambda: told(one) == wanted, deadline=30, what=what)
    except AssertionError as error:
        raise AssertionError(f"{error}: {told(one)}\n{one.agent.log}\n{one.speaker.log}") from None


def counted(host: Host) -> list[int]:
    """Packets that the router saw on their way to services, IPv4 and IPv6; what it sends itself passes elsewhere."""
    words = host.run("nft", "list", "table", "inet", "back").split()
    return [int(words[place + 1]) for place, word in enumerate(words) if word == "packets"]


def send(one: OneNode) -> None:
    """One packet from the router to an address of each range that no service has."""
    for address in UNUSED:
        one.router.run("ping", "-c", "1", "-W", "1", address, check=False)


def test_services_come_and_go_with_their_endpoints(one: OneNode) -> None:
    """Ranges at once, an address while an endpoint is here, nothing on an excluded node; none of it in the node's kernel."""
    one.write(objects())
    one.start()
    one.converged()
    wait_told(one, WHOLE, "ranges")
    one.write(objects(*web("a")))
    wait_told(one, {*WHOLE, "10.96.0.10/32", "fd00:96::10/128"}, "addresses with an endpoint here")
    one.write(objects(*web("b")))
    wait_told(one, WHOLE, "endpoints elsewhere")
    one.write(objects(*web("a", "b")))
    wait_told(one, {*WHOLE, "10.96.0.10/32", "fd00:96::10/128"}, "endpoints here again")
    assert not {prefix for prefix in ours(one.node) if prefix.startswith(("10.96.", "fd00:96:"))}
    label = {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}}
    one.write(objects(*web("a"), node=label))
    wait_told(one, set(), "an excluded node")
    assert {"10.244.0.0/26", "fd00:244::/122"} <= announced(one.bird)
    one.write(objects(*web("a")))
    wait_told(one, {*WHOLE, "10.96.0.10/32", "fd00:96::10/128"}, "no longer excluded")
    one.write(objects(*web("a"), serviceClusterIPs=[]))
    wait_told(one, set(), "no ranges")


def test_a_packet_that_no_service_takes_does_not_go_round(one: OneNode) -> None:
    """The node drops it; without our table it goes back to the router. A fresh agent makes it again, cleanup takes it away."""
    one.write(objects())
    one.start()
    one.converged()
    wait_told(one, WHOLE, "ranges")
    one.node.ip("route", "add", "default", "via", "10.0.0.254")
    one.node.ip("-6", "route", "add", "default", "via", "fd00::254")
    one.router.run("nft", "-f", "-", stdin=BACK)
    wait_for(
        lambda: {"10.96.0.0/16", "fd00:96::/112"} <= ours_and_bird(one.router), deadline=20, what="routes to the node"
    )
    send(one)
    assert counted(one.router) == [0, 0]
    drops = one.node.run("nft", "list", "chain", "inet", "towpath", "forward")
    assert drops.count("packets 1 ") == 2, drops

    one.agent.kill()
    one.node.run("nft", "delete", "table", "inet", "towpath")
    send(one)
    assert all(counted(one.router)), "nothing else keeps it from coming back"

    one.start_agent()
    wait_for(lambda: "towpath" in one.node.run("nft", "list", "tables"), deadline=30, what="the table is back")
    before = counted(one.router)
    send(one)
    assert counted(one.router) == before
    one.clean_up()
    assert one.node.run("nft", "list", "tables") == ""


def ours_and_bird(host: Host) -> set[str]:
    """Destinations in a router's kernel."""
    return {route["dst"] for family in ("-4", "-6") for route in host.ip_json(family, "route", "show")}


def test_a_drained_node_asks_others_to_be_preferred_before_it_leaves(one: OneNode) -> None:
    """The router hears GRACEFUL_SHUTDOWN first, and the withdrawal only after; blocks stay as they are."""
    one.write(objects())
    one.start()
    one.converged()
    wait_told(one, WHOLE, "ranges")
    one.write(objects(node={"annotations": {"towpath.io/drain": "true"}}))
    wait_for(lambda: "(65535,0)" in one.bird.ask("show route 10.96.0.0/16 all"), deadline=20, what="GRACEFUL_SHUTDOWN")
    assert told(one) == WHOLE
    assert "(65535,0)" not in one.bird.ask("show route 10.244.0.0/26 all")
    wait_for(lambda: told(one) == set(), deadline=90, what="withdrawal")
    assert {"10.244.0.0/26", "fd00:244::/122"} <= announced(one.bird)


def test_a_restarted_agent_says_what_it_said(one: OneNode) -> None:
    """An address with an endpoint stays announced while the agent is killed and starts again: no update reaches the router."""
    one.write(objects(*web("a")))
    one.start()
    one.converged()
    wanted = {*WHOLE, "10.96.0.10/32", "fd00:96::10/128"}
    wait_told(one, wanted, "addresses with an endpoint here")
    wait_for(lambda: one.conditions().get("InSync", {}).get("status") == "True", deadline=20, what="InSync")
    updates = one.bird.ask("show protocols all a4")
    one.agent.kill()
    one.agent.start()
    one.write(objects(*web("a"), manifest("10.244.9.0/26")))
    wait_for(lambda: "10.244.9.0/26" in announced(one.bird), deadline=30, what="a new block at the router")
    assert told(one) == wanted
    withdrawals = [line for line in one.bird.ask("show protocols all a4").splitlines() if "Import withdraws" in line]
    assert withdrawals == [line for line in updates.splitlines() if "Import withdraws" in line]


def manifest(cidr: str) -> dict[str, Any]:
    """Another block of the node."""
    return made_block(cidr, "a", "v4")

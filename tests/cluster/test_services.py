"""Services of a real cluster from outside: a client behind the router, ways over all nodes, kube-proxy behind them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network

import pytest

from tests.cluster import web
from tests.cluster.knock import Knocks, Server, knocking
from towpath.lab.api import custom
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.release import Release
from towpath.lab.cluster.shape import SERVICES
from towpath.lab.process import wait_for
from towpath.model.balanced import OUR_CLASS
from towpath.model.net import Family

RANGES = {
    "serviceClusterIPs": [{"cidr": str(SERVICES[family])} for family in Family],
    "serviceExternalIPs": [{"cidr": "198.19.1.1/32"}, {"cidr": "2001:db8:e:1::1/128"}],
    "serviceLoadBalancerIPs": [{"cidr": "198.19.2.0/24"}, {"cidr": "2001:db8:e:2::/64"}],
}
WHOLE = {str(one["cidr"]) for entries in RANGES.values() for one in entries}
EXTERNAL = ["198.19.1.1", "2001:db8:e:1::1"]
EVERYWHERE = ["198.19.2.10", "2001:db8:e:2::10"]
"""Of a service whose packets any node takes."""
LOCAL = ["198.19.2.20", "2001:db8:e:2::20"]
"""Of one whose packets only nodes with an endpoint take."""
UNUSED = ("10.96.200.200", "198.19.2.99", "fd00:10:96::fffe", "2001:db8:e:2::99")
STRAY = "198.19.9.9"
"""An address that is no service's, and that the router sends to a node all the same."""
SERVES = "towpath.test/serves"
"""The label of nodes that have an endpoint of the local service."""
GRACEFUL_SHUTDOWN = "(65535,0)"
RETURNED = """
table inet returned {
  chain seen {
    type filter hook prerouting priority -300; policy accept;
    iifname { "rack-a", "rack-b" } ip daddr { 10.96.0.0/16, 198.19.0.0/16 } counter
    iifname { "rack-a", "rack-b" } ip6 daddr { fd00:10:96::/112, 2001:db8:e::/48 } counter
  }
}
"""
"""In the router: packets to services that come from nodes."""

FORWARDED = """
table inet forwarded {
  chain came { type filter hook prerouting priority -300; iifname "client" tcp dport 8080 tcp flags & (syn | ack) == syn counter; }
  chain went { type filter hook forward priority 300; iifname "client" oifname { "rack-a", "rack-b" } tcp dport 8080 tcp flags & (syn | ack) == syn counter; }
}
"""
"""In the router: connections that the client opens, and those that it passes on to nodes."""


@pytest.fixture(scope="module")
def served(installed: Release) -> Iterator[Cluster]:
    """Services are announced; a web server on every node is behind two of them, one with the policy ``Local``."""
    cluster = installed.cluster
    plain = installed.values["bgpConfiguration"]
    cluster.kubectl("label", "nodes", "--all", f"{SERVES}=yes")
    try:
        installed.upgrade(bgpConfiguration={**plain, **RANGES})
        cluster.apply(
            web.daemonset("everywhere"),
            web.balanced("everywhere", external=EXTERNAL),
            web.daemonset("local", nodes={SERVES: "yes"}, lingers=True),
            web.balanced("local", policy="Local"),
        )
        for name, addresses in (("everywhere", EVERYWHERE), ("local", LOCAL)):
            web.give_addresses(cluster, name, addresses)
            cluster.wait_pods(f"app={name}", count=len(cluster.nodes))
        wait_ways(cluster, {**ranges(cluster), **local_ways(cluster, *cluster.nodes)})
        for name, addresses in (("everywhere", EVERYWHERE), ("local", LOCAL)):
            all_answer(cluster, name, addresses)
        yield cluster
    finally:
        cluster.kubectl("label", "nodes", "--all", f"{SERVES}-")
        cluster.kubectl("annotate", "nodes", "--all", "towpath.io/drain-")
        cluster.kubectl("delete", "service,daemonset", "everywhere", "local", "--ignore-not-found")
        # nothing of them may be on a node any more, for those who come after
        wait_for(lambda: servers_gone(cluster), deadline=60, what="the servers are gone", interval=0.5)
        installed.upgrade(bgpConfiguration=plain)
        installed.wait()


def servers_gone(cluster: Cluster) -> bool:
    """Whether no server is left; those that linger are told to end once they are to go."""
    left = cluster.get("pods", "-n", "default", "-l", "app in (everywhere, local)")
    for pod in left:
        if "deletionTimestamp" in pod["metadata"]:
            cluster.exec(pod["metadata"]["name"], "touch", web.ENOUGH, check=False)
    return not left


def ways(cluster: Cluster) -> dict[str, set[str]]:
    """The nodes over which the router's kernel spreads packets to each prefix of services."""
    at = {str(place.address(family)): name for name, place in cluster.state.nodes.items() for family in Family}
    found: dict[str, set[str]] = {}
    for family in Family:
        for route in cluster.host("tor").ip_json(f"-{family.value}", "route", "show", "proto", "bird"):
            prefix = str(ip_network(route["dst"]))
            if prefix.startswith(("10.96.", "198.19.", "fd00:10:96:", "2001:db8:e:")):
                found[prefix] = {at[one["gateway"]] for one in route.get("nexthops", [route])}
    return found


def wait_ways(cluster: Cluster, wanted: dict[str, set[str]]) -> None:
    try:
        wait_for(lambda: ways(cluster) == wanted, deadline=90, what="the router's ways", interval=0.1)
    except AssertionError as error:
        error.add_note(str(ways(cluster)))
        raise


def ranges(cluster: Cluster) -> dict[str, set[str]]:
    """What every node announces."""
    return {prefix: set(cluster.nodes) for prefix in WHOLE}


def local_ways(cluster: Cluster, *nodes: str) -> dict[str, set[str]]:
    """What is announced of the local service beside the ranges, where these nodes have an endpoint."""
    addresses = [*LOCAL, *cluster.get("service", "local")["spec"]["clusterIPs"]]
    return {str(ip_network(address)): set(nodes) for address in addresses}


@contextmanager
def no_node_loses(cluster: Cluster, *addresses: str) -> Iterator[Knocks]:
    """The client opens connections to these addresses all the time, and each is taken by a node.

    The router may lose some itself: to change a route in its kernel BIRD deletes it and adds it again.
    """
    tor = cluster.host("tor")
    tor.run("nft", "-f", "-", stdin=FORWARDED)
    try:
        with knocking(cluster.host("client"), servers(*addresses)) as seen:
            yield seen
        came, went = packets(cluster, "forwarded")
    finally:
        tor.run("nft", "delete", "table", "inet", "forwarded")
    assert all(seen.answers.values()), seen.answers
    assert sum(map(len, seen.lost.values())) <= came - went, seen.lost


def packets(cluster: Cluster, table: str) -> list[int]:
    """What the counters of a table in the router say, in their order."""
    words = cluster.host("tor").run("nft", "list", "table", "inet", table).split()
    return [int(words[place + 1]) for place, word in enumerate(words) if word == "packets"]


def servers(*addresses: str) -> list[Server]:
    return [(address, web.PORT) for address in addresses]


def pods(cluster: Cluster, name: str) -> dict[str, str]:
    """The names of the pods of a web server by node."""
    return {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in cluster.pods(f"app={name}")}


def all_answer(cluster: Cluster, name: str, addresses: Iterable[str]) -> None:
    """Knock until they do: kube-proxy of a node may have an endpoint a second later than the router has the node."""
    with knocking(cluster.host("client"), servers(*addresses)) as seen:
        wait_all_answer(cluster, name, seen)


def wait_all_answer(cluster: Cluster, name: str, seen: Knocks) -> None:
    """Wait until every pod of a web server has answered at every address that is knocked at."""
    wait_for(
        lambda: all(set(answers) == set(pods(cluster, name).values()) for answers in seen.answers.values()),
        deadline=60,
        what="all pods have answered at every address",
        interval=0.3,
    )


@pytest.mark.parametrize("name", ["everywhere", "local"])
def test_a_client_reaches_every_address_of_a_service_over_all_nodes(served: Cluster, name: str) -> None:
    """Cluster, external and load balancer addresses of both families, from behind the router; pods of all nodes answer."""
    cluster = served
    addresses = cluster.get("service", name)["spec"]["clusterIPs"]
    addresses += [*EXTERNAL, *EVERYWHERE] if name == "everywhere" else LOCAL
    with knocking(cluster.host("client"), servers(*addresses)) as seen:
        wait_all_answer(cluster, name, seen)
    seen.nothing_lost()


def test_a_service_is_given_addresses_that_a_client_reaches(served: Cluster) -> None:
    """One of each family, from pools that select it; without the service they are free again. Others keep what they have."""
    cluster = served
    pools = {"services-ipv4": "198.19.2.128/28", "services-ipv6": "2001:db8:e:2::8000/124"}
    uses = {"allowedUses": ["LoadBalancer"], "serviceSelector": "given == 'addresses'"}
    body = web.balanced("given")
    body["metadata"]["labels"] = {"given": "addresses"}
    body["spec"] |= {"selector": {"app": "everywhere"}, "loadBalancerClass": OUR_CLASS}
    try:
        cluster.apply(*(custom("IPPool", name, {"cidr": cidr, **uses}) for name, cidr in pools.items()), body)
        wait_for(lambda: len(given(cluster, "given")) == len(Family), deadline=60, what="it has addresses")
        addresses = given(cluster, "given")
        assert addresses == ["198.19.2.128", "2001:db8:e:2::8000"]
        with knocking(cluster.host("client"), servers(*addresses)) as seen:
            wait_for(lambda: all(seen.answers.values()), deadline=60, what="both addresses answer", interval=0.3)
        assert given(cluster, "everywhere") == EVERYWHERE
    finally:
        cluster.kubectl("delete", "service", "given", "--ignore-not-found")
        wait_for(lambda: not cluster.get("addressclaims"), deadline=60, what="the addresses are free")
        cluster.kubectl("delete", "ippools", *pools, "--ignore-not-found")


def given(cluster: Cluster, name: str) -> list[str]:
    """The addresses that a service shows."""
    return [one["ip"] for one in cluster.get("service", name)["status"]["loadBalancer"].get("ingress", [])]


def test_the_last_endpoint_of_a_node_goes_and_no_new_connection_is_lost(served: Cluster) -> None:
    """The pod still serves while it ends; nothing comes to its node any more when it has ended."""
    cluster = served
    (going,) = (name for node, name in pods(cluster, "local").items() if node == "node2")
    with no_node_loses(cluster, *LOCAL) as seen:
        wait_for(lambda: going in seen.names(), deadline=60, what="it answers")
        cluster.kubectl("label", "node", "node2", f"{SERVES}-")
        wait_ways(cluster, {**ranges(cluster), **local_ways(cluster, "node1", "node3")})
        cluster.exec(going, "touch", web.ENOUGH)
        cluster.kubectl("wait", "--for=delete", f"pod/{going}", "--timeout=120s", timeout=150)
        before = {server: answers.total() for server, answers in seen.answers.items()}
        wait_for(
            lambda: all(seen.answers[server].total() > count + 30 for server, count in before.items()),
            deadline=60,
            what="others answer",
        )
    cluster.kubectl("label", "node", "node2", f"{SERVES}=yes")
    wait_ways(cluster, {**ranges(cluster), **local_ways(cluster, *cluster.nodes)})
    cluster.wait_pods("app=local", count=len(cluster.nodes))
    all_answer(cluster, "local", LOCAL)


def test_a_drained_node_is_left_before_it_withdraws(served: Cluster) -> None:
    """With GRACEFUL_SHUTDOWN the router goes elsewhere while the node still announces; then it withdraws. Blocks stay.

    No node loses a new connection all the while, nor when the node is used again.
    """
    cluster = served
    place = cluster.state.nodes["node3"]
    mine = {str(place.address(family)) for family in Family}
    blocks = {prefix for prefix, route in cluster.tor.routes().items() if mine & set(route.gateways)} - {
        ip_network(prefix) for prefix in ways(cluster)
    }
    assert len(blocks) >= len(Family)
    before = ways(cluster)
    left = {prefix: nodes - {"node3"} for prefix, nodes in before.items()}
    with no_node_loses(cluster, *EVERYWHERE, *LOCAL):
        cluster.kubectl("annotate", "node", "node3", "towpath.io/drain=")
        wait_ways(cluster, left)
        announced = announced_by(cluster, mine)
        wait_for(lambda: not announced_by(cluster, mine), deadline=120, what="it has withdrawn", interval=0.5)
        assert ways(cluster) == left
        assert blocks <= cluster.tor.routes().keys()
        cluster.kubectl("annotate", "node", "node3", "towpath.io/drain-")
        wait_ways(cluster, before)
    assert announced == dict.fromkeys(left, True)


def announced_by(cluster: Cluster, addresses: set[str]) -> dict[str, bool]:
    """Prefixes of services that the router has from these addresses, and whether each has the community of a drain."""
    known = set(ways(cluster))
    found: dict[str, bool] = {}
    for address in addresses:
        found |= entries(cluster.tor.ask(f"show route all where from = {address}"), known)
    return found


def entries(text: str, known: set[str]) -> dict[str, bool]:
    """Of ``show route all``: prefixes, and whether their communities ask to be preferred last."""
    found: dict[str, bool] = {}
    prefix = ""
    for line in text.splitlines():
        if line[:1].isalnum() and "/" in line.split()[0]:
            prefix = line.split()[0]
            if prefix in known:
                found[prefix] = False
        elif prefix in found and GRACEFUL_SHUTDOWN in line:
            found[prefix] = True
    return found


def test_what_is_sent_to_an_unused_address_does_not_come_back(served: Cluster) -> None:
    """Not from a node to the router, in no family; what a node does not know as a service's does."""
    tor, client = served.host("tor"), served.host("client")
    place = served.state.nodes["node1"]
    tor.run("nft", "-f", "-", stdin=RETURNED)
    tor.ip("route", "add", STRAY, "via", str(place.address(Family.IPV4)))
    try:
        for address in UNUSED:
            client.run("ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", address, check=False)
            url = f"http://[{address}]:{web.PORT}/" if ":" in address else f"http://{address}:{web.PORT}/"
            client.run("curl", "-g", "-s", "-m", "1", url, check=False)
        assert packets(served, "returned") == [0, 0]
        client.run("ping", "-n", "-c", "1", "-W", "1", STRAY, check=False)
        assert packets(served, "returned")[0] > 1, "nothing else keeps it from going round"
    finally:
        tor.ip("route", "del", STRAY)
        tor.run("nft", "delete", "table", "inet", "returned")
    dropped = {
        name: served.machine(name).run("nft", "list", "chain", "inet", "towpath", "forward") for name in served.nodes
    }
    assert any("packets 0 " not in line for text in dropped.values() for line in text.splitlines() if "packets" in line)

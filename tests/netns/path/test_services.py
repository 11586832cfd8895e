"""Services of a cluster at its router: over all nodes, or over those with endpoints, as the API server's objects say."""

import functools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.path.cluster import cluster, connections, saved, watched
from towpath.bgp.service_table import service_announcements
from towpath.lab import facts
from towpath.lab.api import custom
from towpath.lab.process import wait_for
from towpath.lab.topology import Lab, Shape

RANGES = {
    "serviceClusterIPs": [{"cidr": "10.96.0.0/16"}, {"cidr": "fd00:96::/112"}],
    "serviceLoadBalancerIPs": [{"cidr": "198.51.100.7/32"}],
}
WHOLE = ("10.96.0.0/16", "fd00:96::/112")
ADDRESSES = ("10.96.0.10/32", "fd00:96::10/128")
EVERYBODY = ("node1", "node2", "node3")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three nodes, services announced."""
    with cluster(Shape(nodes=3)) as made:
        made.api.apply(custom("BGPConfiguration", "default", RANGES))
        yield made


def web(*, ingress: str = "") -> dict[str, Any]:
    """A service whose packets only nodes with endpoints take."""
    spec = {
        "type": "LoadBalancer",
        "clusterIPs": ["10.96.0.10", "fd00:96::10"],
        "internalTrafficPolicy": "Local",
        "ports": [{"port": 80}],
    }
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": spec}
    return {**body, "status": {"loadBalancer": {"ingress": [{"ip": ingress}]}}} if ingress else body


def endpoints(lab: Lab, *nodes: str, ready: bool = True) -> None:
    """The service's endpoints in both families: one on each of these nodes."""
    for family, address in (("IPv4", "10.244.0.9"), ("IPv6", "fd00:244::9")):
        lab.api.apply(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"web-{family.lower()}",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": "web"},
                },
                "addressType": family,
                "endpoints": [
                    {"addresses": [address], "nodeName": node, "conditions": {"ready": ready}} for node in nodes
                ],
            }
        )


def ways(lab: Lab) -> dict[str, tuple[str, ...]]:
    """The nodes by which the router reaches each service prefix."""
    at = {str(address): node for node in lab.nodes for address in lab.node_addresses(node)}
    return {
        str(prefix): tuple(sorted(at[gateway] for gateway in route.gateways))
        for prefix, route in lab.tor.routes().items()
        if str(prefix).startswith(("10.96.", "fd00:96:", "198.51.100."))
    }


def wait_ways(lab: Lab, wanted: dict[str, tuple[str, ...]], what: str) -> None:
    try:
        wait_for(lambda: ways(lab) == wanted, deadline=40, what=what)
    except AssertionError as error:
        raise AssertionError(f"{error}: {ways(lab)}") from None


def test_ranges_lead_to_all_nodes_and_addresses_to_those_with_endpoints(lab: Lab) -> None:
    """The router spreads over the nodes; endpoints that move move the address, and nothing else moves anywhere."""
    whole = dict.fromkeys(WHOLE, EVERYBODY)
    wait_ways(lab, whole, "ranges over all nodes")
    sessions = connections(lab)
    with watched(lab, *EVERYBODY) as moved:
        lab.api.apply(web())
        endpoints(lab, "node1", "node2")
        wait_ways(lab, whole | dict.fromkeys(ADDRESSES, ("node1", "node2")), "both nodes with an endpoint")
        endpoints(lab, "node2", "node3")
        wait_ways(lab, whole | dict.fromkeys(ADDRESSES, ("node2", "node3")), "an endpoint moved")
        endpoints(lab, "node2", ready=False)
        wait_ways(lab, whole, "none is ready")
        lab.api.apply(web(ingress="198.51.100.7"))
        wait_ways(lab, whole | {"198.51.100.7/32": EVERYBODY}, "a single address of policy Cluster")
        lab.api.delete("Service", "web", namespace="default")
        wait_ways(lab, whole, "no service")
        assert moved() == {}, "no route of services reaches a kernel"
    assert connections(lab) == sessions
    facts.wait_healthy(lab)


def test_a_node_that_is_excluded_is_no_way(lab: Lab) -> None:
    """The label takes one node out and back in."""
    whole = dict.fromkeys(WHOLE, EVERYBODY)
    wait_ways(lab, whole, "ranges over all nodes")
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    lab.api.patch("/api/v1/nodes/node2", {"metadata": {"labels": {label: "true"}}})
    wait_ways(lab, dict.fromkeys(WHOLE, ("node1", "node3")), "one node excluded")
    lab.api.patch("/api/v1/nodes/node2", {"metadata": {"labels": {label: None}}})
    wait_ways(lab, whole, "the label is gone")
    facts.wait_reachable(lab)


def test_an_agent_without_the_api_server_keeps_services(lab: Lab) -> None:
    """Killed and started while nobody answers, agents announce what they announced before."""
    lab.api.apply(web())
    endpoints(lab, "node1")
    wanted = dict.fromkeys(WHOLE, EVERYBODY) | dict.fromkeys(ADDRESSES, ("node1",))
    wait_ways(lab, wanted, "an endpoint")
    for node in EVERYBODY:
        here = {prefix for prefix, nodes in wanted.items() if node in nodes}
        wait_for(functools.partial(kept, lab, node, here), deadline=20, what=f"{node} has all of it on disk")
    programs = [f"{node}/{part}" for node in EVERYBODY for part in ("agent", "speaker")]
    lab.cut_api()
    lab.kill(*programs)
    lab.start(*programs)
    for node in EVERYBODY:
        said = f"live=False announcements={6 if node == 'node1' else 4}"
        wait_for(functools.partial(logged, lab, node, said), deadline=30, what=f"{node} announces what it did")
    facts.wait_sessions(lab)
    wait_ways(lab, wanted, "the same without the API server")
    lab.mend_api()
    endpoints(lab, "node3")
    wait_ways(lab, wanted | dict.fromkeys(ADDRESSES, ("node3",)), "the API server is heard again")
    facts.wait_healthy(lab)


def kept(lab: Lab, node: str, wanted: set[str]) -> bool:
    """Whether a node would announce these services from its picture on disk."""
    picture = saved(lab, node)
    return picture is not None and {str(prefix) for prefix in service_announcements(picture, node)} == wanted


def logged(lab: Lab, node: str, words: str) -> bool:
    """Whether a node's agent has said this."""
    return words in lab.programs[f"{node}/agent"].log

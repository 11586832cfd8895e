"""Pods that speak BGP with their own node: what they say reaches everybody, what they may not say reaches nobody."""

import socket
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.netns.path.cluster import cluster, connections, saved, watched
from towpath.lab import facts, pods
from towpath.lab.api import collection, custom
from towpath.lab.process import WaitError, wait_for
from towpath.lab.routers.bird import BirdRouter
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Address, Family, Prefix

PEERING: Mapping[Family, Address] = {
    Family.IPV4: ip_address("169.254.0.179"),
    Family.IPV6: ip_address("fd12:3456:789a::1"),
}
OWN: Mapping[Family, Prefix] = {Family.IPV4: ip_network("10.123.1.0/24"), Family.IPV6: ip_network("fd55:1::/64")}
"""What the pod is to be reached by, besides its address."""
NAMESPACE = "child"
ROUTER, STRANGER = "node1-p1", "node1-p2"
CONFIGURATION = """
log "{log}" all;
router id 192.0.2.11;
protocol device {{ scan time 10; }}
protocol static own4 {{ ipv4; {static4} }}
protocol static own6 {{ ipv6; {static6} }}
template bgp node {{
  multihop 2; connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart on;
}}
protocol bgp node4 from node {{
  local {pod4} as 65401; neighbor 169.254.0.179 as 64512; ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
protocol bgp node6 from node {{
  local {pod6} as 65401; neighbor fd12:3456:789a::1 as 64512; ipv6 {{ import all; export where source = RTS_STATIC; }};
}}
"""


def pod_object(lab: Lab, name: str, **labels: str) -> dict[str, Any]:
    """A pod as its kubelet reports it."""
    pod = lab.pods[name]
    addresses = [{"ip": str(pod.address(family))} for family in lab.families]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"nodeName": pod.node, "containers": [{"name": "bird", "image": "bird"}]},
        "status": {"phase": "Running", "podIP": addresses[0]["ip"], "podIPs": addresses},
    }


def ranges(direction: str, **criteria: str) -> dict[str, Any]:
    """Rules of a filter that accept what pods are to announce, in both families."""
    return {
        f"{direction}V{family.value}": [{"action": "Accept", "cidr": str(prefix), "matchOperator": "In", **criteria}]
        for family, prefix in OWN.items()
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes; a pod on the first one is a router, and tells more than it may. Another one is none."""
    configuration = {f"localWorkloadPeeringIPV{family.value}": str(address) for family, address in PEERING.items()}
    with cluster(Shape(nodes=2, configuration=configuration)) as made:
        made.add_pod("node1")
        made.api.apply(custom("BGPFilter", "pods", {**ranges("import"), **ranges("export", source="RemotePeers")}))
        made.api.apply(custom("BGPPeer", "nodes", {"peerSelector": "all()", "filters": ["pods"]}))
        for family in made.families:
            path = f"{collection('BGPPeer')}/tor-a-{family.key}"
            made.api.patch(path, {"spec": {"filters": ["pods"]}})
        spec = {
            "localWorkloadSelector": f"app == 'router' && towpath.io/namespace == '{NAMESPACE}'",
            "asNumber": 65401,
            "importPolicy": "All",
        }
        made.api.apply(custom("BGPPeer", "routers", spec))
        made.api.apply(pod_object(made, ROUTER, app="router"))
        made.api.apply(pod_object(made, STRANGER, app="other"))
        started(made)
        yield made


def started(lab: Lab) -> None:
    """BIRD in the pod: with what is its own, and with what others own."""
    host, pod = lab.host(ROUTER), lab.pods[ROUTER]
    others = [prefix for prefix, owner in facts.blocks(lab).items() if owner == "node2"]
    stranger = [str(lab.pods[STRANGER].address(family)) for family in lab.families]
    said = {
        Family.IPV4: [str(OWN[Family.IPV4]), "0.0.0.0/0", f"{stranger[0]}/32", "10.0.0.0/8"],
        Family.IPV6: [str(OWN[Family.IPV6]), "::/0", f"{stranger[1]}/128"],
    }
    for prefix in others:
        said[Family(prefix.version)].append(str(prefix))
    for prefix in OWN.values():
        host.address(f"{prefix[1]}/{prefix.max_prefixlen}", dev="lo")
    bird = router(lab)
    static = {family: " ".join(f"route {one} blackhole;" for one in some) for family, some in said.items()}
    bird.start(
        CONFIGURATION.format(
            log=bird.directory / "bird.log",
            static4=static[Family.IPV4],
            static6=static[Family.IPV6],
            pod4=pod.address(Family.IPV4),
            pod6=pod.address(Family.IPV6),
        )
    )


def router(lab: Lab) -> BirdRouter:
    """The BIRD of the pod."""
    return BirdRouter(lab.host(ROUTER), directory=lab.root / "router")


def ways(lab: Lab, host: str) -> dict[Family, str]:
    """Where what the pod announces leads in a host's kernel: gateway and device."""
    found = facts.kernel_routes(lab, host, protocol="bird" if host == "tor" else facts.OURS)
    return {
        family: f"{found[prefix].get('gateway')} {found[prefix]['dev']}"
        for family, prefix in OWN.items()
        if prefix in found
    }


def veth(lab: Lab, name: str) -> str:
    """The node's end of a pod's link."""
    pod = lab.pods[name]
    (route,) = lab.host(pod.node).ip_json("route", "show", str(pod.address(Family.IPV4)))
    return str(route["dev"])


def wait_told(lab: Lab, *, deadline: float = 40) -> None:
    """All sessions are up, and the pod's routes lead to it everywhere: on its node by its link, from the others by its node."""
    each = len(lab.nodes) * len(lab.families)
    wait_for(lambda: {len(some) for some in between_hosts(lab).values()} == {each}, deadline=deadline, what="sessions")
    pod, device = lab.pods[ROUTER], veth(lab, ROUTER)
    here = {family: f"{pod.address(family)} {device}" for family in lab.families}
    node = dict(zip(lab.families, lab.node_addresses("node1"), strict=True))
    there = {family: f"{node[family]} eth0" for family in lab.families}
    router = {family: f"{node[family]} rack-a" for family in lab.families}
    wanted = {"node1": here, "node2": there, "tor": router}

    def found() -> dict[str, dict[Family, str]]:
        return {host: ways(lab, host) for host in wanted}

    try:
        wait_for(lambda: found() == wanted, deadline=deadline, what="the pod's routes are everywhere")
    except WaitError as error:
        raise WaitError(f"{error}: {found()}") from None


def wait_gone(lab: Lab) -> None:
    def left() -> dict[str, dict[Family, str]]:
        return {host: some for host in ("node1", "node2", "tor") if (some := ways(lab, host))}

    wait_for(lambda: not left(), deadline=20, what="the pod's routes are gone")


def reaches(lab: Lab, pod: str, address: Address, *, within: float = 0.5) -> bool:
    """Whether a pod gets a connection to a BGP port within so many seconds."""
    with lab.host(pod).entered():
        dialling = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
    with dialling:
        dialling.settimeout(within)
        try:
            dialling.connect((str(address), 179))
        except TimeoutError:
            return False
    return True


def between_hosts(lab: Lab) -> dict[str, set[tuple[str, str]]]:
    """Every BGP connection that is not with a pod."""
    pod = [str(lab.pods[ROUTER].address(family)) for family in lab.families]
    return {
        node: {ends for ends in some if not any(one in end for one in pod for end in ends)}
        for node, some in connections(lab).items()
    }


def test_what_a_pod_announces_is_reached_from_everywhere(lab: Lab) -> None:
    """Its node by the pod's link, other nodes and the router by its node; and it hears what the node announces."""
    wait_told(lab)
    for family, prefix in OWN.items():
        for source in ("client", "node2-p1", STRANGER):
            wait_for(
                lambda source=source, prefix=prefix: pods.ping(lab.host(source), prefix[1], wait=3),  # type: ignore[misc]  # bound now
                deadline=20,
                what=f"{source} reaches it by {family.key}",
            )
    bird = router(lab)
    own = {prefix: Family(prefix.version) for prefix, owner in facts.blocks(lab).items() if owner == "node1"}

    def heard() -> dict[Prefix, list[tuple[Address | None, tuple[int, ...]]]]:
        return {prefix: [(path.next_hop, path.as_path) for path in bird.paths(prefix)] for prefix in own}

    wanted = {prefix: [(PEERING[family], (64512,))] for prefix, family in own.items()}
    wait_for(lambda: heard() == wanted, deadline=20, what="the pod hears what its node announces")
    for prefix, owner in facts.blocks(lab).items():
        if owner != "node1":
            assert bird.paths(prefix) == (), "what other nodes own is announced by them"


def test_what_it_may_not_announce_is_used_by_nobody(lab: Lab) -> None:
    """Blocks of others, another pod's address and the default route are refused, though importPolicy is All."""
    wait_told(lab)
    pod = {str(lab.pods[ROUTER].address(family)) for family in lab.families}

    def by_pod() -> set[Prefix]:
        routes = facts.kernel_routes(lab, "node1").items()
        return {prefix for prefix, route in routes if str(route.get("gateway")) in pod}

    wanted = {*OWN.values(), ip_network("10.0.0.0/8")}
    wait_for(lambda: by_pod() >= wanted, deadline=20, what="what is wider than a pool is anybody's")
    facts.wait_reachable(lab)
    assert by_pod() == wanted


def test_only_a_selected_pod_reaches_the_speaker_and_only_its_own_node(lab: Lab) -> None:
    """The port is closed to other pods, here and elsewhere, and to the selected one on all other addresses."""
    wait_told(lab)
    there = lab.node_addresses("node2")
    for here, away in zip(lab.node_addresses("node1"), there, strict=True):
        peering = PEERING[Family(here.version)]
        assert reaches(lab, ROUTER, peering, within=10)
        assert not reaches(lab, ROUTER, here)
        assert not reaches(lab, ROUTER, away)
        assert not reaches(lab, STRANGER, peering)
        assert not reaches(lab, "node2-p1", away)


def test_labels_that_change_end_the_session_and_bring_it_back(lab: Lab) -> None:
    """At once, with all that it told; sessions of nodes and router are not touched."""
    wait_told(lab)
    before = between_hosts(lab)
    path = f"{collection('Pod', NAMESPACE)}/{ROUTER}"
    lab.api.patch(path, {"metadata": {"labels": {"app": "none"}}})
    wait_gone(lab)
    wait_for(lambda: not reaches(lab, ROUTER, PEERING[Family.IPV4]), deadline=20, what="the port is closed")
    lab.api.patch(path, {"metadata": {"labels": {"app": "router"}}})
    wait_told(lab)
    assert between_hosts(lab) == before


def test_processes_that_are_killed_move_no_route(lab: Lab) -> None:
    """Agent and speaker start again while the API server is away: the pod stays a peer, and its node keeps the way to it.

    What the node passes on it says anew when it hears it anew: only route reflectors wait with their End-of-RIB.
    """
    wait_told(lab)
    facts.wait_healthy(lab)
    wait_for(lambda: kept(lab) == "router", deadline=20, what="what the pod is stands on the node's disk")
    lab.cut_api("node1")
    with watched(lab, "node1") as moved:
        try:
            bird = router(lab)
            lab.kill("node1/agent", "node1/speaker")
            wait_for(lambda: not bird.established(), deadline=20, what="the pod has lost its sessions")
            lab.start("node1/speaker", "node1/agent")
            wait_for(lambda: bird.established() == set(PEERING.values()), deadline=40, what="the pod has them again")
            wait_for(lambda: not facts.sessions_down(lab), deadline=40, what="the router has its sessions")
        finally:
            lab.mend_api("node1")
        facts.wait_healthy(lab)
        assert moved() == {}
    wait_told(lab)


def kept(lab: Lab) -> str | None:
    """What the pod's label said when the node's picture of the cluster was saved."""
    picture = saved(lab, "node1")
    pod = picture.workloads.get(f"{NAMESPACE}/{ROUTER}") if picture is not None else None
    return pod.labels["app"] if pod is not None else None


def local(lab: Lab) -> set[str]:
    """Addresses that node1 takes as its own because of us."""
    listed = [
        *lab.host("node1").ip_json("-4", "route", "show", "table", "local", "proto", facts.OURS),
        *lab.host("node1").ip_json("-6", "route", "show", "table", "local", "proto", facts.OURS),
    ]
    return {str(one["dst"]) for one in listed}


def test_a_pod_that_is_deleted_leaves_nothing(lab: Lab) -> None:
    """Its sessions end and its routes go everywhere; without a peer for pods the peering addresses go too."""
    wait_told(lab)
    before = between_hosts(lab)
    lab.api.delete("Pod", ROUTER, namespace=NAMESPACE)
    wait_gone(lab)
    assert between_hosts(lab) == before
    assert local(lab) == {str(address) for address in PEERING.values()}
    lab.api.delete("BGPPeer", "routers")
    wait_for(lambda: not local(lab), deadline=20, what="the peering addresses are gone")
    assert between_hosts(lab) == before

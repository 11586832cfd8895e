"""Pods behind an interface of their nodes by ipvlan, in each of its modes: who reaches whom, services, repair, and a node left as it was."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.names import in_memory, own
from tests.netns.agent.node import kernel, made, made_block, ours
from tests.netns.agent.underlay import NODE_PORT, NODES, PORT, SERVICE, SHIM, SUBNETS, Segment, objects
from towpath.lab.netns import Network
from towpath.model.net import Family

MODES = {"a": "l2", "b": "l3", "c": "l3s"}
"""Of each node."""
POOLS = {
    "a": ("10.0.0.64/26", "fd00::1:0/112"),
    "b": ("10.244.0.0/20", "fd00:244:1::/112"),
    "c": ("10.244.16.0/20", "fd00:244:2::/112"),
}
BLOCKS = {
    "a": ("10.0.0.64/28", "fd00::1:0/124"),
    "b": ("10.244.0.64/26", "fd00:244:1::40/122"),
    "c": ("10.244.16.64/26", "fd00:244:2::40/122"),
}
ROUTER = ("10.0.0.254", "fd00::254")
PODS = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c", "c2": "c"}
ASKING = """
import socket, sys
for one in sys.argv[1:]:
    by, address, port = one.split()
    kind = socket.SOCK_STREAM if by == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as asking:
        asking.settimeout(5)
        try:
            asking.connect((address, int(port)))
            if by == "udp":
                asking.send(b"?")
            print(asking.recv(100).decode())
        except OSError as error:
            print(error)
"""
REACHING = """
while [ $# -gt 0 ]; do (ping -n -c 1 -W 5 -M do -s $2 $1 >/dev/null && echo $1) & shift 2; done; wait
"""


def told() -> list[dict[str, Any]]:
    """What nodes are told: a pool of each family for each node, in its mode, and a mesh."""
    (configuration,) = (one for one in objects(nodes=()) if one["kind"] == "BGPConfiguration")
    configuration["spec"] |= {"nodeToNodeMeshEnabled": True, "asNumber": 64512, "timers": {"connectRetryTime": "1s"}}
    found = [configuration]
    for node, mode in MODES.items():
        v4, v6 = (subnet.format(NODES[node]) for subnet in SUBNETS)
        found.append(made("RoutingNode", node, bgp={"ipv4Address": v4, "ipv6Address": v6}))
        addresses = [{"type": "InternalIP", "address": one.partition("/")[0]} for one in (v4, v6)]
        meta = {"name": node, "labels": {"at": node}}
        found.append({"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": {"addresses": addresses}})
        for cidr, block, router in zip(POOLS[node], BLOCKS[node], ROUTER, strict=True):
            pool = f"{node}-v{6 if ':' in cidr else 4}"
            attachment = {"type": "ipvlan", "master": "eth0", "mode": mode}
            if mode == "l2":
                attachment["gateway"] = router
            length = int(block.partition("/")[2])
            at = f"at == '{node}'"
            found.append(made("IPPool", pool, cidr=cidr, blockSize=length, nodeSelector=at, attachment=attachment))
            found.append(made_block(block, node, pool))
    return found


@pytest.fixture(scope="module")
def segment() -> Iterator[tuple[Segment, dict[str, list[str]]]]:
    """Three nodes with two pods each, and what their kernels had before; the router knows the ways to pods."""
    prefix = own("tpiv")
    with in_memory(prefix) as root, Network(prefix) as network:
        found = Segment(network, root, told(), nodes=tuple(MODES))
        before = {name: kernel(one.node) for name, one in found.nodes.items()}
        for node in ("b", "c"):
            for family, block in zip(Family, BLOCKS[node], strict=True):
                found.router.ip("route", "add", block, "via", str(found.address(node, family)))
        found.start()
        for name, at in PODS.items():
            found.pod(name, at)
        yield found, before


def test_blocks_are_announced_where_pods_have_addresses_of_their_own(segment: tuple[Segment, Any]) -> None:
    """Each node has the others' by BGP and drops what no pod of its own takes; of the one on the nodes' network nobody needs either."""
    found, _ = segment
    every = {*BLOCKS["b"], *BLOCKS["c"]}
    for node in MODES:
        found.wait(lambda node=node: ours(found.host(node)) == every, f"the routes of {node}")  # type: ignore[misc]  # bound now
        for owner in {"b", "c"} - {node}:
            for family, block in zip(Family, BLOCKS[owner], strict=True):
                (route,) = found.host(node).ip_json(f"-{family:d}", "route", "show", block)
                assert route["gateway"] == str(found.address(owner, family))


def unreached(found: Segment, source: str, targets: Iterable[str], *, size: int = 1500) -> set[str]:
    """Addresses of those that do not answer a packet of so many bytes."""
    sizes = {
        str(found.address(to, family)): str(size - (28 if family is Family.IPV4 else 48))
        for to in targets
        for family in Family
    }
    words = [word for pair in sizes.items() for word in pair]
    return sizes.keys() - set(found.host(source).run("sh", "-c", REACHING, "sh", *words).split())


def test_who_reaches_whom(segment: tuple[Segment, Any]) -> None:
    """Whole packets pass between all pods, nodes and the router, each way; to an address without a pod none goes round."""
    found, _ = segment
    names = (*PODS, *MODES, "gw")
    for one in names:
        others = set(names) - {one}
        found.wait(lambda one=one, others=others: not unreached(found, one, others), f"all are reached from {one}")  # type: ignore[misc]  # bound now
    for node in ("b", "c"):
        for family in Family:
            nobody = str(found.address(f"{node}1", family) + 5)
            said = found.host("gw").run("ping", "-n", "-c", "1", "-W", "1", nobody, check=False)
            assert "1 received" not in said
            assert "exceeded" not in said
    assert len(unreached(found, "b1", ["a1", "c1"], size=1501)) == 4, "the master takes no such packet"


@pytest.mark.parametrize("pod", ["a1", "b1", "c1"])
def test_pods_learn_what_the_way_takes(segment: tuple[Segment, Any], pod: str) -> None:
    """Behind the router: it tells the pod itself, and those of the same node are not behind it."""
    found, _ = segment
    neighbours = [name for name, at in PODS.items() if at == PODS[pod] and name != pod]
    found.learns(pod, meanwhile=lambda: found.wait(lambda: not unreached(found, pod, neighbours), "its neighbours"))


@pytest.mark.parametrize("other", ["1", "2", "away"])
@pytest.mark.parametrize("node", list(MODES))
def test_services_answer(segment: tuple[Segment, Any], node: str, other: str) -> None:
    """A pod reaches itself, its neighbour and pods of other nodes by a service, as do its node and a client at a node's port."""
    found, _ = segment
    target = {"a": "b1", "b": "c1", "c": "a1"}[node] if other == "away" else f"{node}{other}"
    found.serve(node, target)
    services = [f"{by} {SERVICE[family]} {PORT}" for by in ("tcp", "udp") for family in Family]
    ports = [f"tcp {found.address(node, family)} {NODE_PORT}" for family in Family]
    for source, asked in ((f"{node}1", services), (node, services), ("gw", ports)):
        found.wait(
            lambda source=source, asked=asked: (
                found.host(source).run(sys.executable, "-c", ASKING, *asked).split()  # type: ignore[misc]  # bound now
                == [target] * len(asked)
            ),
            f"{target} answers {source}",
        )


@pytest.mark.parametrize("pod", ["a1", "b1", "c1"])
def test_pods_reach_no_speaker(segment: tuple[Segment, Any], pod: str) -> None:
    """Of no node, by any of its addresses, nor by a service that leads there."""
    found, _ = segment
    assert found.speakers_reached(pod) == set()


def shim(found: Segment, node: str) -> list[Any]:
    """What it is, and what is on it."""
    host = found.host(node)
    links = [
        ("UP" in one["flags"], one["linkinfo"]["info_data"]["mode"])
        for one in host.ip_json("-d", "link", "show", "type", "ipvlan")
        if one["ifname"] == SHIM
    ]
    ways = {
        (one["dst"], one.get("prefsrc"))
        for family in ("-4", "-6")
        for one in host.ip_json(family, "route", "show")
        if one.get("dev") == SHIM and one.get("protocol") != "kernel"
    }
    return [links, ways]


@pytest.mark.parametrize(
    ("node", "harm"),
    [
        ("a", ("link", "del", SHIM)),
        ("b", ("link", "set", SHIM, "type", "ipvlan", "mode", "l2")),
        ("b", ("route", "flush", "dev", SHIM)),
        ("c", ("link", "set", SHIM, "down")),
    ],
    ids=lambda one: one if isinstance(one, str) else " ".join(one),
)
def test_what_others_do_to_the_shim_is_undone(segment: tuple[Segment, Any], node: str, harm: tuple[str, ...]) -> None:
    """The device is again what it was, with its routes, and leads to the pods; another mode would have been theirs as well."""
    found, _ = segment
    before = shim(found, node)
    assert (len(before[0]), len(before[1])) == (1, 2)
    found.host(node).ip(*harm)
    found.wait(lambda: shim(found, node) == before, "the shim as it was")
    pods = [name for name, at in PODS.items() if at == node]
    for source in (node, pods[0]):
        found.wait(
            lambda source=source: not unreached(found, source, {*PODS, node} - {source}),  # type: ignore[misc]  # bound now
            f"all are reached from {source}",
        )


@pytest.mark.parametrize("node", list(MODES))
def test_the_link_below_goes_down_and_comes_back(segment: tuple[Segment, Any], node: str) -> None:
    """The node loses its addresses, routes and sessions with it, and has its ways to its pods again, as they to all others."""
    found, _ = segment
    before, host = shim(found, node), found.host(node)
    host.ip("link", "set", "dev", "eth0", "down")
    host.ip("link", "set", "dev", "eth0", "up")
    for subnet, router in zip(SUBNETS, ROUTER, strict=True):
        nodad = ("nodad",) if ":" in subnet else ()
        host.ip("addr", "replace", subnet.format(NODES[node]), "dev", "eth0", *nodad)
        host.ip("route", "replace", "default", "via", router)
    found.wait(lambda: shim(found, node) == before, "the shim as it was")
    for one in (node, *PODS, "gw"):
        others = {*PODS, node} - {one}
        found.wait(lambda one=one, others=others: not unreached(found, one, others), f"all are reached from {one}")  # type: ignore[misc]  # bound now


def test_what_cannot_be_is_said_of_the_pool(segment: tuple[Segment, Any]) -> None:
    """Somebody's ipvlan in another mode on the master, which makes it the mode of all; all is well once that is gone."""
    found, _ = segment
    node, host = found.nodes["b"], found.host("b")

    def refused() -> set[tuple[str, str, str]]:
        return {(one["reason"], one["name"], one["field"]) for one in node.status().get("refusals", ())}

    before = shim(found, "b")
    host.ip("link", "add", "theirs", "link", "eth0", "type", "ipvlan", "mode", "l3s")
    try:
        wanted = {("AttachmentMaster", f"b-{family}", "spec.attachment.mode") for family in ("v4", "v6")}
        found.wait(lambda: refused() == wanted, "the pools say so")
    finally:
        host.ip("link", "del", "theirs")
    found.wait(lambda: not refused(), "all is well again")
    found.wait(lambda: shim(found, "b") == before, "the mode is as it was")
    found.wait(lambda: not unreached(found, "b1", ["b2", "b", "a1"]), "the pods' as well")


def test_the_link_below_takes_less_and_more(segment: tuple[Segment, Any]) -> None:
    """The node's own device has the MTU of its master; pods are reached all the while."""
    found, _ = segment
    host = found.host("b")
    for mtu in (1400, 1500):
        host.ip("link", "set", "dev", "eth0", "mtu", str(mtu))
        found.wait(lambda mtu=mtu: host.ip_json("link", "show", "dev", SHIM)[0]["mtu"] == mtu, f"{SHIM} takes {mtu}")  # type: ignore[misc]  # bound now
        found.wait(lambda: not unreached(found, "b", PODS, size=1400), "whole packets pass")


def test_cleanup_leaves_the_nodes_as_they_were(segment: tuple[Segment, Any]) -> None:
    """As the last of these tests: interfaces, addresses, routes and rules."""
    found, before = segment
    found.clear()
    for name, node in found.nodes.items():
        assert SHIM in node.node.ip("link")
        node.clean_up()
        assert list(node.cni.iterdir()) == []
        assert kernel(node.node) == before[name]

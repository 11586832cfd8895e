"""One cluster of nodes with different kernels: two that have IP-in-IP, in a machine of its own, and one that has none.

node1 is in the host's kernel, node2 beside it on the same link and node3 behind the router are in user-mode Linux. What
passes between the racks is what the router, in the host's kernel, sees of it.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import pytest

from tests.names import own
from tests.netns.path.cluster import router_drops_pods, said_tunnels, telling, wait_large
from tests.uml import lacking as lacking_program
from towpath.lab import facts
from towpath.lab.api import collection
from towpath.lab.pods import conflist
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.lab.uml.guest import Guest
from towpath.model.encapsulation import IPIP, IPIP_DEVICE
from towpath.model.net import Family
from towpath.routes.machine import knows_kind

VXLAN = "tp-vx4-4096"
LACKS = "the kernel knows no devices of kind ipip: VXLAN is used in its place"
LARGE = {IPIP_DEVICE: 1480, VXLAN: 1450}
BOTH = ((IPIP_DEVICE, VXLAN), ())
VX = "vxlan"
PROTOCOLS = {IPIP: "ip protocol 4", VX: "udp dport 4789"}
MIXED = {(VX, "node1", "node3"), (VX, "node3", "node1"), (IPIP, "node2", "node3"), (IPIP, "node3", "node2")}
PORT, MEGABYTE = 4077, 1 << 20
TAKING = f"""
import socket
with socket.create_server(("", {PORT})) as server:
    print("listens", flush=True)
    taken, size = server.accept()[0], 0
    while some := taken.recv(65536):
        size += len(some)
print(size, "bytes")
"""
CARDS = 6
"""Two a node."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The nodes with a pod each, and the machine for node1's next life."""
    shape = Shape(nodes=1, families=(Family.IPV4,), controllers=1, pool={"ipipMode": "Always"})
    with Lab(own("tplk"), shape) as made, telling(made):
        made.up()
        lack_ipip(made)
        with Guest(made.network, cards=CARDS, shared=made.root) as guest:
            made.machines = dict.fromkeys(("node1", "node2", "node3"), guest)  # node1 when it is powered on next
            for name, rack in (("node2", "a"), ("node3", "b")):
                made.plug_in(name, rack=rack)
            for name in ("node2", "node3"):
                made.register(name)
            facts.wait_ready(made, deadline=60)  # what is asked of the nodes themselves takes their time
            facts.wait_converged(made)
            facts.wait_sessions(made)
            wait_sizes(made, LARGE[VXLAN])
            for node in made.nodes:
                made.add_pod(node)
            yield made


def lack_ipip(lab: Lab) -> None:
    """Where this machine's kernel has it, node1 does not ask for it."""
    with lab.host("node1").entered():
        known = knows_kind(IPIP)
    if known:
        agent = lab.programs["node1/agent"]
        module = agent.command.index("-m")
        lab.stop("node1/agent")
        agent.command = [*agent.command[:module], lacking_program.__file__, IPIP, *agent.command[module + 1 :]]
        lab.start("node1/agent")


def wait_sizes(lab: Lab, size: int) -> None:
    """Wait until each node gives its new pods devices for packets of so many bytes: what the largest of its tunnels leaves."""
    sizes = dict.fromkeys(lab.nodes, size)

    def given() -> dict[str, int]:
        return {node: conflist(lab.node_directory(node, "cni"))["plugins"][0]["mtu"] for node in lab.nodes}

    wait_for(lambda: given() == sizes, deadline=60, what=f"pods are to send {size} bytes")


def ways(lab: Lab) -> dict[str, dict[str, str]]:
    """By which device each node sends to the pods of each other one."""
    owners = facts.blocks(lab)
    return {
        node: {
            owners[prefix]: route["dev"]
            for prefix, route in facts.kernel_routes(lab, node).items()
            if owners.get(prefix, node) != node
        }
        for node in lab.nodes
    }


def wait_ways(lab: Lab, near: str, far: str, alike: str) -> None:
    """Between node1 and node2, between node1 and node3, and between node2 and node3."""
    wanted = {
        "node1": {"node2": near, "node3": far},
        "node2": {"node1": near, "node3": alike},
        "node3": {"node1": far, "node2": alike},
    }
    wait_for(lambda: ways(lab) == wanted, deadline=60, what=f"the ways are {near}, {far} and {alike}")


def lacking(lab: Lab) -> dict[str, str]:
    """Which nodes say in a condition that their kernel lacks something, and what."""
    found = {node: facts.conditions(lab, node).get("KernelLacks") for node in lab.nodes}
    return {node: one["message"] for node, one in found.items() if one is not None and one["status"] == "True"}


@contextlib.contextmanager
def seen(lab: Lab) -> Iterator[Callable[[], set[tuple[str, str, str]]]]:
    """What the router sees between the racks meanwhile: kinds of tunnels, from which node and to which."""
    pairs = [(one, other) for one, other in permutations(lab.nodes, 2) if "node3" in (one, other)]
    address = {node: lab.node_addresses(node)[0] for node in lab.nodes}
    rules = "\n".join(
        f'ip saddr {address[one]} ip daddr {address[other]} {match} counter comment "{kind} {one} {other}"'
        for one, other in pairs
        for kind, match in PROTOCOLS.items()
    )
    router = lab.host("tor")
    table = f"table inet seen {{\n chain f {{\n type filter hook forward priority 0;\n{rules}\n }}\n}}\n"
    router.run("nft", "-f", "-", stdin=table)

    def counted() -> set[tuple[str, str, str]]:
        listed = [
            one["rule"]
            for one in json.loads(router.run("nft", "-j", "list", "table", "inet", "seen"))["nftables"]
            if "rule" in one
        ]
        kinds = [
            one["comment"].split()
            for one in listed
            if any(part.get("counter", {}).get("packets") for part in one["expr"])
        ]
        return {(kind, source, target) for kind, source, target in kinds}

    try:
        yield counted
    finally:
        router.run("nft", "delete", "table", "inet", "seen")


def transfers(lab: Lab, source: str, target: str) -> None:
    """A megabyte arrives by TCP, between pods of these nodes."""
    to, by = lab.pods[f"{target}-p1"], lab.pods[f"{source}-p1"]
    log = lab.root / f"transfer-{source}-{target}"
    taking = lab.host(to.name).process(sys.executable, "-I", "-S", "-c", TAKING, log=log)
    wait_for(lambda: "listens\n" in taking.log, deadline=20, what="somebody listens")
    sending = f"head -c {MEGABYTE} /dev/zero >/dev/tcp/{to.address(Family.IPV4)}/{PORT}"
    lab.host(by.name).run("bash", "-c", sending)
    wait_for(lambda: f"{MEGABYTE} bytes" in taking.log, deadline=20, what=f"all of it, from {source} to {target}")


def asked(lab: Lab, node: str, *arguments: str) -> dict[str, Any]:
    """What ``towpath`` says on a node."""
    here = ("--here", "--socket", str(lab.node_directory(node, "run") / "speaker.sock"))
    command = (sys.executable, "-m", "towpath.controller.cli", *arguments, *here, *lab.programs.source)
    found: dict[str, Any] = json.loads(lab.host(node).run(*command, "-o", "json"))
    return found


def test_always(lab: Lab) -> None:
    """Both that have it use it between each other; to and from the one that has none packets go by VXLAN, and it says so, alone."""
    wait_for(
        lambda: said_tunnels(lab) == {"node1": ((VXLAN,), (IPIP,)), "node2": BOTH, "node3": BOTH},
        deadline=60,
        what="what each node has",
    )
    wait_ways(lab, near=VXLAN, far=VXLAN, alike=IPIP_DEVICE)
    with router_drops_pods(lab), seen(lab) as passing:
        wait_large(lab, size=LARGE[VXLAN])
        for source, target in (("node1", "node2"), ("node2", "node3"), ("node3", "node1")):
            transfers(lab, source, target)
        assert passing() == MIXED
    wait_for(lambda: lacking(lab) == {"node1": LACKS}, deadline=60, what="it says so, alone")


def test_nodes_say_by_what_they_send(lab: Lab) -> None:
    """Each explains a pod of another one by the route that its own kernel has, and lists the same."""
    for node, other, device in (("node1", "node2", VXLAN), ("node2", "node3", IPIP_DEVICE)):
        explained = asked(lab, node, "explain", str(lab.pods[f"{other}-p1"].address(Family.IPV4)))
        assert explained["block"]["node"] == other
        (held,) = explained["here"]["kernel"]
        assert [hop["device"] for hop in held["nextHops"]] == [device]
    owners = {str(prefix): owner for prefix, owner in facts.blocks(lab).items()}
    listed = {
        owners[one["prefix"]]: [hop["device"] for held in one["kernel"] for hop in held["nextHops"]]
        for one in asked(lab, "node2", "get", "routes")["items"]
    }
    assert listed == {"node1": [VXLAN], "node2": [], "node3": [IPIP_DEVICE]}


def switch(lab: Lab, mode: str) -> None:
    """The pool's ``ipipMode``."""
    lab.api.patch(f"{collection('IPPool')}/pods-ipv4", {"spec": {"ipipMode": mode}})


def test_cross_subnet(lab: Lab) -> None:
    """As they are on one link, whatever their kernels have; behind the router by what both ends have."""
    switch(lab, "CrossSubnet")
    wait_ways(lab, near="eth0", far=VXLAN, alike=IPIP_DEVICE)
    with router_drops_pods(lab), seen(lab) as passing:
        wait_large(lab, size=LARGE[VXLAN])
        assert passing() == MIXED
    wait_for(lambda: lacking(lab) == {"node1": LACKS}, deadline=60, what="it says so, alone")


def test_a_node_boots_with_a_kernel_that_has_it(lab: Lab) -> None:
    """The same node on the other machine: all go by IP-in-IP, pods may send more, and nobody lacks anything."""
    switch(lab, "Always")
    wait_ways(lab, near=VXLAN, far=VXLAN, alike=IPIP_DEVICE)
    lab.power_off("node1")
    lab.power_on("node1")
    wait_for(
        lambda: said_tunnels(lab) == dict.fromkeys(lab.nodes, ((IPIP_DEVICE,), ())), deadline=60, what="all have it"
    )
    wait_ways(lab, near=IPIP_DEVICE, far=IPIP_DEVICE, alike=IPIP_DEVICE)
    wait_for(lambda: lacking(lab) == {}, deadline=60, what="nobody says so")
    facts.wait_ready(lab)
    wait_sizes(lab, LARGE[IPIP_DEVICE])
    for name in ("node2-p1", "node3-p1"):
        lab.delete_pod(name)
    for node in lab.nodes:
        lab.add_pod(node)
    with router_drops_pods(lab), seen(lab) as passing:
        wait_large(lab, size=LARGE[IPIP_DEVICE])
        assert passing() == {(IPIP, one, other) for one, other in permutations(lab.nodes, 2) if "node3" in (one, other)}

"""A cluster whose pods another network attached is moved to towpath node by node: no pod is restarted, and no probe is lost."""

import json
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from tests.cluster import web
from tests.cluster.conftest import cluster_of
from tests.cluster.leases import in_use, wait_no_leaks
from tests.cluster.traffic import watched
from towpath.lab.addressing import CLUSTER_AS, PODS
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.release import CHART, Release
from towpath.lab.cluster.shape import Shape
from towpath.lab.process import run, wait_for
from towpath.model.net import Address, Family, Prefix

TWO = Shape(nodes=2, families=(Family.IPV4,))
POOL = PODS[Family.IPV4]
BLOCKS: dict[str, Prefix] = {"node1": ip_network("10.244.17.64/26"), "node2": ip_network("10.244.90.0/26")}
FILE = "/etc/cni/net.d/10-calico.conflist"
STORE = "var/lib/theirs/k8s-pod-network"
SERVERS = ("web", "more")


def attach_by_hand(cluster: Cluster) -> None:
    """A routed network as Calico's is: a block a node, its pods by routed veth pairs, a route to every other block."""
    for name, cidr in BLOCKS.items():
        ranges = [[{"subnet": str(POOL), "rangeStart": str(cidr[2]), "rangeEnd": str(cidr[-1])}]]
        ipam = {"type": "host-local", "dataDir": "/var/lib/theirs", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
        theirs = {"cniVersion": "0.3.1", "name": "k8s-pod-network", "plugins": [{"type": "ptp", "ipam": ipam}]}
        machine = cluster.machine(name)
        machine.run("sh", "-c", f"cat > {FILE}", stdin=json.dumps(theirs))
        machine.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        cluster.host(name).ip("route", "add", "blackhole", str(cidr), "proto", "80")
        for other in (*(set(BLOCKS) - {name}), "tor"):
            cluster.host(other).ip("route", "add", str(cidr), "via", address_of(cluster, name))
    cluster.apply(*map(web.daemonset, SERVERS))
    for server in SERVERS:
        cluster.wait_pods(f"app={server}", count=len(BLOCKS))


def address_of(cluster: Cluster, node: str) -> str:
    return str(cluster.state.nodes[node].address(Family.IPV4))


def as_calico_has_it(cluster: Cluster) -> list[dict[str, Any]]:
    """The objects of its database about all this, and a policy."""

    def theirs(kind: str, name: str, **spec: Any) -> dict[str, Any]:
        version = "crd.projectcalico.org/v1"
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}

    made = [
        theirs("IPPool", "default-ipv4-ippool", cidr=str(POOL), blockSize=26, ipipMode="Never", vxlanMode="Never"),
        theirs("BGPConfiguration", "default", asNumber=CLUSTER_AS),
        theirs("IPAMConfig", "default", strictAffinity=True, autoAllocateBlocks=True),
    ]
    for node, cidr in BLOCKS.items():
        name = f"{str(cidr.network_address).replace('.', '-')}-{cidr.prefixlen}"
        made.append(theirs("BlockAffinity", f"{node}-{name}", cidr=str(cidr), node=node, state="confirmed"))
        allocations = [None] * cidr.num_addresses
        attributes = []
        for address in in_use(cluster, node):
            allocations[int(address) - int(cidr[0])] = len(attributes)
            attributes.append({"handle_id": "k8s-pod-network.id", "secondary": {"node": node}})
        block = {"cidr": str(cidr), "affinity": f"host:{node}", "allocations": allocations, "attributes": attributes}
        made.append(theirs("IPAMBlock", name, **block))
    return made


def imported(cluster: Cluster, folder: Path) -> None:
    """What the documentation says comes before towpath is installed."""
    file = folder / "calico.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": as_calico_has_it(cluster)}))
    made = run(sys.executable, "-m", "towpath.controller.cli", "import", "calico", "-f", str(file), "--for-apply")
    cluster.kubectl("apply", "--server-side", "-f", str(CHART / "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "ipamblocks.towpath.io", "ippools.towpath.io")
    cluster.kubectl("apply", "-f", "-", stdin=made)


def owned(cluster: Cluster) -> dict[str, bool]:
    """Whether the controller has each block, by CIDR: all Active, and those of before alone."""
    found = {one["spec"]["cidr"]: one["spec"] for one in cluster.get("ipamblocks")}
    assert {cidr: spec["node"] for cidr, spec in found.items()} == {str(cidr): node for node, cidr in BLOCKS.items()}
    assert {spec.get("state", "Active") for spec in found.values()} == {"Active"}
    return {cidr: bool(spec.get("nodeUID")) for cidr, spec in found.items()}


def addresses(cluster: Cluster) -> dict[str, list[Address]]:
    """Of every pod of ours, by name."""
    return {
        pod["metadata"]["name"]: list(cluster.addresses(pod).values())
        for server in SERVERS
        for pod in cluster.wait_pods(f"app={server}", count=len(BLOCKS))
    }


def condition(cluster: Cluster, node: str, kind: str) -> str:
    """A condition of a node's status; empty while it is not there."""
    return next((one["status"] for one in report(cluster, node).get("conditions", ()) if one["type"] == kind), "")


def report(cluster: Cluster, node: str) -> dict[str, Any]:
    """What a node says of itself."""
    found = {one["metadata"]["name"]: one.get("status", {}) for one in cluster.get("nodestatuses")}
    return dict(found.get(node, {}))


def waits(cluster: Cluster, node: str) -> bool:
    """Whether a node says that another network serves it, and how full that has made its block."""
    used = {one["cidr"]: one["inUse"] for one in report(cluster, node).get("blocks", ())}
    other = condition(cluster, node, "OtherNetworkPlugin") == "True"
    return other and used == {str(BLOCKS[node]): len(SERVERS)}


def move(cluster: Cluster, node: str) -> None:
    """One node, as the documentation says: its file goes, ours comes, and then their routes go."""
    cluster.kubectl("cordon", node)
    cluster.machine(node).run("mv", FILE, f"{FILE}.bak")
    wait_for(lambda: condition(cluster, node, "Ready") == "True", deadline=120, what=f"{node} serves", interval=0.5)
    wait_no_leaks(cluster, node)
    cluster.host(node).ip("route", "del", "blackhole", str(BLOCKS[node]), "proto", "80")
    for other in set(BLOCKS) - {node}:
        cluster.host(node).ip("route", "del", str(BLOCKS[other]), "via", address_of(cluster, other))
    cluster.host("tor").ip("route", "del", str(BLOCKS[node]), "via", address_of(cluster, node))
    cluster.kubectl("uncordon", node)


def test_a_running_cluster_is_moved_node_by_node(towpath_image: Path, tmp_path: Path) -> None:
    """Blocks, routes and pods of another network are there first. Pods keep addresses, and leave and come as any do afterwards."""

    for cluster in cluster_of("tpgm", TWO):
        attach_by_hand(cluster)
        imported(cluster, tmp_path)
        cluster.load_image(towpath_image)
        kept, made = addresses(cluster), Release(cluster)
        made.install(pools=[], bgpConfiguration={})
        wait_for(
            lambda cluster=cluster: all(waits(cluster, node) for node in BLOCKS),  # type: ignore[misc]  # bound now
            deadline=180,
            what="every node says whose its pods are, and how many",
            interval=0.5,
        )
        assert set(owned(cluster).values()) == {False}, "nobody is quarantined, and nobody needs more"
        with watched(cluster, cluster.wait_pods("app=web", count=2), tmp_path) as seen:
            for node in BLOCKS:
                move(cluster, node)
        seen.every_probe_arrived()
        assert addresses(cluster) == kept
        made.wait()
        wait_for(
            lambda cluster=cluster: set(owned(cluster).values()) == {True},  # type: ignore[misc]  # bound now
            deadline=60,
            what="the blocks are the controller's",
            interval=0.5,
        )
        renewed(cluster)


def renewed(cluster: Cluster) -> None:
    """Every pod is made anew: real DELs of what the other network attached, real ADDs beside those that are still there."""
    for server in SERVERS:
        cluster.kubectl("delete", "pods", "-l", f"app={server}", "--wait=true")
        cluster.wait_pods(f"app={server}", count=len(BLOCKS))
    for node, cidr in BLOCKS.items():
        wait_no_leaks(cluster, node)
        assert all(address in cidr for address in in_use(cluster, node))
    everybody = [address for found in addresses(cluster).values() for address in found]
    assert len(set(everybody)) == len(everybody) == len(BLOCKS) * len(SERVERS)
    web.everybody(cluster, cluster.nodes)

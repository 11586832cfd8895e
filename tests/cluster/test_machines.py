"""The lab's own promises: nodes are machines, kubelets are known by certificates, pods run, nothing needs towpath."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import cluster_of
from tests.cluster.hand import pod, start_pod, write_network
from tests.cluster.traces import traces
from tests.names import own
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.shape import Shape
from towpath.lab.process import wait_for
from towpath.model.net import Family


@pytest.fixture(scope="module")
def bare() -> Iterator[Cluster]:
    """Two nodes with a pod network by hand."""
    for made in cluster_of("tpm", Shape(nodes=2)):
        assert made.nodes_ready() == {"node1": False, "node2": False}
        for number, name in enumerate(made.nodes, 1):
            write_network(made, name, number)
        yield made


def machine_id(cluster: Cluster, name: str) -> str:
    return str(cluster.get("node", name)["status"]["nodeInfo"]["machineID"])


def boot_id(cluster: Cluster, name: str) -> str:
    return str(cluster.get("node", name)["status"]["nodeInfo"]["bootID"])


def wait_answers(cluster: Cluster, name: str) -> None:
    """A command runs in a pod, some time after its kubelet is back."""
    wait_for(
        lambda: cluster.exec(name, "echo", "here", check=False) == "here\n",
        deadline=120,
        what=f"pod {name} runs commands",
        interval=0.5,
    )


def test_every_node_is_a_machine_of_its_own(bare: Cluster) -> None:
    """Nodes register under their host names with a machine-id, a system UUID and addresses of their own."""
    bodies = {body["metadata"]["name"]: body["status"] for body in bare.get("nodes")}
    for name, status in bodies.items():
        place = bare.state.nodes[name]
        assert status["nodeInfo"]["machineID"] == place.machine
        assert status["nodeInfo"]["systemUUID"].replace("-", "") == place.machine
        found = {one["address"] for one in status["addresses"] if one["type"] == "InternalIP"}
        assert found == {str(place.address(family)) for family in Family}
    assert len({status["nodeInfo"]["bootID"] for status in bodies.values()}) == 2


def test_a_pod_gets_addresses_and_answers(bare: Cluster) -> None:
    """A conflist makes the nodes Ready; a pod has an address of each family; exec and logs go through the kubelet."""
    bare.wait_ready()
    made = start_pod(bare, pod("one", node="node1", command="echo hello; sleep 1000000"))
    assert set(bare.addresses(made)) == set(Family)
    shown = bare.exec("one", "ip", "addr", "show", "dev", "eth0")
    assert all(str(address) in shown for address in bare.addresses(made).values())
    # a container counts as running before its first command has run
    wait_for(lambda: bare.kubectl("logs", "one", check=False) == "hello\n", deadline=60, what="the pod's log")
    with bare.attached(made, "pod-one") as below:
        assert {one["ifname"] for one in below.ip_json("link")} == {"lo", "eth0"}


def test_a_pod_reaches_the_api_by_its_service_address(bare: Cluster) -> None:
    """kube-proxy leads the service address to the API server, which answers the token of the pod's account."""
    start_pod(bare, pod("two", node="node2"))
    node = bare.machine("node2")
    wait_for(
        lambda: "10.96.0.1" in node.run("nft", "list", "map", "ip", "kube-proxy", "service-ips", check=False),
        deadline=60,
        what="kube-proxy knows the API server's service",
    )
    # from the node: the way back to a pod's address is what a pod network adds
    token = bare.exec("two", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    config = f'header = "Authorization: Bearer {token}"'
    authority = "/etc/kubernetes/pki/ca.crt"
    url = "https://10.96.0.1/api/v1/namespaces/default/pods"
    body = json.loads(
        node.run("curl", "-sS", "--max-time", "10", "--cacert", authority, "--config", "-", url, stdin=config)
    )
    assert (body["kind"], body["code"]) == ("Status", 403)
    assert "system:serviceaccount:default:default" in body["message"]


def test_a_kubelet_may_write_its_own_node_only(bare: Cluster) -> None:
    """The Node authorizer and NodeRestriction know each kubelet by its certificate."""
    way_in = bare.machine("node1").disk / "etc" / "kubernetes" / "kubelet.conf"
    server = f"https://{bare.control.outside}:6443"  # the address in it is for the cluster's own network
    ask = ("--kubeconfig", str(way_in), "--server", server, "label", "--overwrite", "node")
    bare.kubectl(*ask, "node1", "topology.kubernetes.io/region=here")
    with pytest.raises(RuntimeError, match=r"nodes \"node2\" is forbidden"):
        bare.kubectl(*ask, "node2", "topology.kubernetes.io/region=here")


def test_the_nodes_programs_come_back(bare: Cluster) -> None:
    """A kubelet and a containerd that restart leave the pods running."""
    bare.wait_ready()
    made = start_pod(bare, pod("stays", node="node1"))
    before = made["status"]["containerStatuses"][0]["containerID"]
    bare.restart("node1/containerd", "node1/kubelet")
    bare.wait_ready()
    wait_answers(bare, "stays")
    again = bare.get("pod", "stays")["status"]["containerStatuses"][0]
    assert (again["containerID"], again["restartCount"]) == (before, 0)


def test_a_reboot_is_a_new_kernel_with_the_same_disk(bare: Cluster) -> None:
    """The boot id changes, the machine-id does not; /run is empty, the disk is not; pods come back."""
    bare.wait_ready()
    start_pod(bare, pod("back", node="node2"))
    machine, before = bare.machine("node2"), boot_id(bare, "node2")
    machine.run("sh", "-c", "echo kept > /var/lib/kept; echo gone > /run/gone")
    known = machine_id(bare, "node2")
    bare.reboot("node2")
    wait_for(
        lambda: boot_id(bare, "node2") != before, deadline=90, what="the node reports another boot id", interval=0.3
    )
    assert machine_id(bare, "node2") == known
    assert machine.run("cat", "/var/lib/kept") == "kept\n"
    assert machine.run("ls", "/run").split().count("gone") == 0
    bare.wait_ready()
    wait_answers(bare, "back")


def test_nodes_come_and_go(bare: Cluster) -> None:
    """A node joins, is drained and deleted; another machine under its name is a node with another machine-id."""
    bare.add_node("node3", rack="b")
    write_network(bare, "node3", 3)
    bare.wait_ready("node3")
    start_pod(bare, pod("leaves", node="node3"))
    bare.drain("node3")
    assert bare.pods("pod=leaves") == []
    first = machine_id(bare, "node3")
    bare.replace_machine("node3")
    wait_for(
        lambda: machine_id(bare, "node3") != first, deadline=90, what="the node reports another machine", interval=0.3
    )
    assert not (bare.machine("node3").disk / "etc" / "cni" / "net.d" / "10-hand.conflist").exists()
    bare.delete_node("node3")
    assert set(bare.nodes_ready()) == {"node1", "node2"}


def test_two_clusters_at_a_time(bare: Cluster) -> None:
    """Each has a way in of its own, and one that is found by its prefix is the same cluster; when one goes the other stays."""
    with Cluster(own("tpy"), Shape(nodes=1, proxy=False)) as other:
        other.up()
        assert bare.control.outside != other.control.outside
        found = Cluster.open(bare.prefix)
        assert found.programs.running() == bare.programs.running()
        assert all(found.programs.running().values())
        assert "node1/kube-proxy" not in other.programs.running()
        uids = {cluster.get("namespace", "kube-system")["metadata"]["uid"] for cluster in (bare, other, found)}
        assert len(uids) == 2
    assert traces(other.prefix) == []
    assert set(bare.nodes_ready()) == {"node1", "node2"}

"""``towpath import calico``: what Calico's manifests become, and what is said of the rest."""

import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from towpath.controller.calico.convert import Converted, converted
from towpath.controller.cli import main
from towpath.controller.manifests import documents
from towpath.controller.plan.inputs import gathered
from towpath.controller.settings import SECRET_NAMESPACE

HERE = Path(__file__).parent
GOLDEN = Path(__file__).parents[2] / "golden" / "plan"
SAMPLE = HERE / "calico.yaml"


def made(text: str) -> Converted:
    """The conversion of some manifests."""
    return converted(documents(text), secret_namespace=SECRET_NAMESPACE)


def one(kind: str, name: str, spec: dict, version: str = "projectcalico.org/v3") -> str:
    """A manifest."""
    return "---\n" + yaml.safe_dump({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})


def specs(result: Converted, kind: str) -> dict[str, dict]:
    """Specifications of a kind by name."""
    return {body["metadata"]["name"]: body["spec"] for body in result.objects if body["kind"] == kind}


def said(result: Converted) -> dict[tuple[str, str], str]:
    """Messages by object and field."""
    return {(f"{each.kind}/{each.name}", each.field): each.message for each in result.findings}


def test_a_cluster_of_calico_becomes_ours(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The interface: a golden file of objects, and the same report on standard error and as JSON."""
    report = tmp_path / "report.json"
    assert main(["import", "calico", "-f", str(SAMPLE), "--report", str(report)]) == 0
    printed = capsys.readouterr()
    assert printed.out == (GOLDEN / "calico.yaml").read_text()
    assert report.read_text() == (GOLDEN / "calico-report.json").read_text()
    found = json.loads(report.read_text())
    assert all(set(each) == {"object", "field", "message"} for each in found)
    assert len(printed.err.splitlines()) == len(found)


def test_what_is_written_is_accepted_whole() -> None:
    """Nothing that import writes is rejected by a plan, so one can be piped into the other."""
    inputs = gathered(made(SAMPLE.read_text()).objects, secret_namespace=SECRET_NAMESPACE)
    assert inputs.rejected == ()
    assert inputs.warnings == ()


def test_import_and_plan_go_through_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As YAML and as JSON."""
    for style in ("yaml", "json"):
        main(["import", "calico", "-f", str(SAMPLE), "-o", style])
        monkeypatch.setattr("sys.stdin", io.StringIO(capsys.readouterr().out))
        assert main(["plan", "-f", "-", "--node", "n1", "-o", "json"]) == 0
        node = json.loads(capsys.readouterr().out)["nodes"]["n1"]
        assert node["asNumber"] == 64513
        tor = next(each for each in node["sessions"] if each["peerIP"] == "10.0.0.254")
        assert (tor["holdTime"], tor["keepaliveTime"], tor["gracefulRestart"]) == (240, 80, {"restartTime": 60})
        assert (tor["advertise"], tor["importPolicy"]) == ("All", "All")


def test_fields_that_our_kinds_lack_are_reported() -> None:
    """Unless they say what is so without them."""
    pool = {"cidr": "10.1.0.0/16", "assignmentMode": "Automatic", "fromTheFuture": "on"}
    result = made(one("IPPool", "p", pool))
    assert specs(result, "IPPool")["p"] == {"cidr": "10.1.0.0/16", "assignmentMode": "Automatic"}
    assert said(result) == {("IPPool/p", "spec.fromTheFuture"): "not carried over: is not a field that this kind has"}


def test_reservations_come_over() -> None:
    """A bare address becomes the range that it is; what is none is reported with its place."""
    result = made(one("IPReservation", "kept", {"reservedCIDRs": ["10.1.0.0/28", "10.1.0.77", "fd00::5"]}))
    assert specs(result, "IPReservation")["kept"] == {"reservedCIDRs": ["10.1.0.0/28", "10.1.0.77/32", "fd00::5/128"]}
    assert not said(result)
    wrong = made(one("IPReservation", "kept", {"reservedCIDRs": ["10.1.0.0/28", "printers"]}))
    assert not specs(wrong, "IPReservation")
    assert set(said(wrong)) == {("IPReservation/kept", "spec.reservedCIDRs[1]")}


def test_nothing_means_more_than_it_did() -> None:
    """An object whose narrowing field cannot be kept does not come over: a rule, a selector, a range."""
    rule = {"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In", "weather": "fine"}
    result = made(
        one("BGPFilter", "f", {"importV4": [rule]})
        + one("BGPPeer", "p", {"peerIP": "10.0.0.9", "asNumber": 7, "nodeSelector": "rack =="})
        + one("IPPool", "i", {"cidr": "10.0.0.1/8"})
    )
    assert not specs(result, "BGPFilter")
    assert not specs(result, "BGPPeer")
    assert not specs(result, "IPPool")
    assert {where for where, _ in said(result)} == {"BGPFilter/f", "BGPPeer/p", "IPPool/i"}


def test_settings_of_one_node_are_kept_as_far_as_ours_has_them() -> None:
    """``node.NAME`` sets a port; what is the cluster's alone is reported."""
    result = made(one("BGPConfiguration", "node.n1", {"listenPort": 1790, "nodeToNodeMeshEnabled": False}))
    assert specs(result, "BGPConfiguration")["node.n1"] == {"listenPort": 1790}
    assert ("BGPConfiguration/node.n1", "spec.nodeToNodeMeshEnabled") in said(result)


def test_an_address_as_router_id_is_reported() -> None:
    """Only ``hash`` has a counterpart."""
    for value, router_id in (("hash", "hash"), ("10.0.0.1", None)):
        text = SAMPLE.read_text().replace("value: hash", f"value: {value}")
        result = made(text)
        assert specs(result, "BGPConfiguration")["default"].get("routerID") == router_id
        assert (("DaemonSet/calico-node", "spec.template.spec.containers[].env") in said(result)) is (router_id is None)


def test_blocks_come_from_blocks_and_from_affinities_that_hold() -> None:
    """A pending affinity claims nothing; a block without a node, and one for something else, is reported."""
    result = made(
        one("IPPool", "p", {"cidr": "10.1.0.0/16"})
        + one("IPAMBlock", "a", {"cidr": "10.1.0.0/26", "affinity": "virtual:load-balancer"})
        + one("IPAMBlock", "b", {"cidr": "10.2.0.0/26", "affinity": "host:n1"})
        + one("BlockAffinity", "c", {"cidr": "fd00::/122", "node": "n2", "state": "confirmed"})
        + one("BlockAffinity", "d", {"cidr": "fd00::40/122", "node": "n2", "state": "pending"})
    )
    assert specs(result, "IPAMBlock") == {
        "10-2-0-0-26": {"cidr": "10.2.0.0/26", "node": "n1"},
        "fd00---122": {"cidr": "fd00::/122", "node": "n2"},
    }
    assert set(said(result)) == {("IPAMBlock/a", "spec.affinity")}


def test_a_pool_that_was_not_for_all_gives_nothing_to_anybody() -> None:
    """By hand, for some namespaces: it comes over disabled, so its range is still a pool's. For load balancers it is what it was."""
    narrowed = {
        "lb": {"allowedUses": ["LoadBalancer"], "blockSize": 24, "natOutgoing": True, "nodeSelector": "all()"},
        "lb-by-hand": {"allowedUses": ["LoadBalancer"], "assignmentMode": "Manual"},
        "tunnels": {"allowedUses": ["Tunnel"]},
        "hand": {"assignmentMode": "Manual"},
        "some": {"namespaceSelector": "team == 'a'"},
        "all": {"allowedUses": ["Workload", "Tunnel"], "assignmentMode": "Automatic", "namespaceSelector": "all()"},
    }
    result = made(
        "".join(
            one("IPPool", name, {"cidr": f"10.{at}.0.0/16", **spec}) for at, (name, spec) in enumerate(narrowed.items())
        )
    )
    assert {name: spec.get("disabled") for name, spec in specs(result, "IPPool").items()} == {
        "lb": None, "lb-by-hand": None, "tunnels": True, "hand": None, "some": None, "all": None,
    }  # fmt: skip
    assert specs(result, "IPPool")["lb-by-hand"]["assignmentMode"] == "Manual"
    assert set(said(result)) == {
        ("IPPool/tunnels", "spec.allowedUses"),
    }  # fmt: skip


def test_empty_text_is_nothing_at_all() -> None:
    """As Calico's own tools write a field that is not set; and what a reference to a Secret says besides is not needed."""
    secret = {"secretKeyRef": {"name": "s", "key": "k", "optional": False}}
    result = made(
        one(
            "BGPPeer",
            "p",
            {
                "node": "",
                "nodeSelector": "",
                "peerIP": "10.0.0.9",
                "asNumber": 7,
                "reachableBy": "",
                "password": secret,
            },
        )
        + one("BGPPeer", "q", {"peerIP": "", "peerSelector": "all()"})
        + one("BGPConfiguration", "default", {"nodeMeshPassword": secret})
    )
    kept = {"secretKeyRef": {"name": "s", "key": "k"}}
    assert specs(result, "BGPPeer")["p"] == {
        "peerIP": "10.0.0.9", "asNumber": 7, "password": kept, "advertise": "All", "importPolicy": "All", "ebgpMultihop": 64,
    }  # fmt: skip
    assert specs(result, "BGPPeer")["q"]["peerSelector"] == "all()"
    assert specs(result, "BGPConfiguration")["default"]["nodeMeshPassword"] == kept
    assert {message for (_, field), message in said(result).items() if "assword" not in field} == set()


@pytest.mark.parametrize(
    ("spec", "external"),
    [
        ({"asNumber": 64512, "node": "n1"}, False),
        ({"asNumber": 64600, "node": "n1"}, True),
        ({"asNumber": 64600, "nodeSelector": "rack == 'a'"}, False),
        ({"asNumber": 64600}, True),
        ({"asNumber": 64512}, True),
        ({"asNumber": "0.64600", "localASNumber": 64600}, False),
        ({"asNumber": 64600, "node": "n2", "ttlSecurity": 1}, False),
        ({"asNumber": 64512, "node": "nobody"}, False),
    ],
)
def test_external_peers_are_as_far_away_as_they_like(spec: dict, external: bool) -> None:
    """External is what is so for one node of those that the peer is for: nodes may have an AS of their own."""
    node = """---
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {rack: a}, annotations: {projectcalico.org/ASNumber: 64600}}
"""
    result = made(one("BGPPeer", "p", {"peerIP": "10.0.0.9", **spec}) + node)
    assert ("ebgpMultihop" in specs(result, "BGPPeer")["p"]) is external


def test_what_is_not_looked_at_is_warned_of(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As ``plan`` does with kinds that it does not know."""
    file = tmp_path / "all.yaml"
    file.write_text(one("ConfigMap", "a", {}, "v1") + one("ConfigMap", "b", {}, "v1") + one("Service", "s", {}, "v1"))
    assert main(["import", "calico", "-f", str(file)]) == 0
    assert capsys.readouterr().err == "warning: 2 of v1 ConfigMap skipped: not needed here\n"


def test_pods_that_peer_come_over() -> None:
    """Selector and addresses are ours as they are; labels that only Calico gives to pods are reported."""
    addresses = {"localWorkloadPeeringIPV4": "169.254.0.179", "localWorkloadPeeringIPV6": "fd12::1"}
    selector = "projectcalico.org/namespace == 'x' && app == 'r'"
    result = made(
        one("BGPConfiguration", "default", addresses)
        + one("BGPPeer", "r", {"localWorkloadSelector": selector, "asNumber": 65401})
        + one("BGPPeer", "s", {"localWorkloadSelector": "pcns.tier == 'a'", "asNumber": 65401})
    )
    assert addresses.items() <= specs(result, "BGPConfiguration")["default"].items()
    assert specs(result, "BGPPeer")["r"]["localWorkloadSelector"] == selector
    assert set(said(result)) == {("BGPPeer/s", "spec.localWorkloadSelector")}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in an object."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def names(result: Converted) -> set[tuple[str, str]]:
    """Kinds and names of what came over."""
    return {(one["kind"], one["metadata"]["name"]) for one in result.objects}


OBJECTS = list(documents(SAMPLE.read_text()))
PLACES = [
    (at, path)
    for at, body in enumerate(OBJECTS)
    for path in places(body)
    if path[0] not in ("apiVersion", "kind") and path != ("metadata",)
]
WHOLE = converted(copy.deepcopy(OBJECTS), secret_namespace=SECRET_NAMESPACE)
JUNK = [None, 5, True, "", "x", [], ["x"], [None], [{}], {}, {"a": 1}, -1.5, 2**70]


@settings(max_examples=examples(300), deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(JUNK))
def test_whatever_stands_in_an_object_the_others_come_over(place: tuple[int, tuple[Any, ...]], junk: Any) -> None:
    """Something else in any one place: nothing breaks, and of kinds that do not depend on that object everything is there."""
    at, path = place
    bodies = copy.deepcopy(OBJECTS)
    inner: Any = bodies[at]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = copy.deepcopy(junk)
    if not isinstance(bodies[at]["metadata"].get("name"), str):
        return  # that is no object at all, and reading it says so
    found = converted(bodies, secret_namespace=SECRET_NAMESPACE)
    lost = {kind for kind, _ in names(WHOLE) - names(found)}
    kind = OBJECTS[at]["kind"]
    depending = {"RoutingNode", "IPAMBlock", "IPReservation", "Secret"}
    assert lost <= {kind, {"IPAMConfig": "IPAMConfiguration"}.get(kind, kind), *depending}


BORROWED = {
    "cidr": "10.1.0.0/29",
    "affinity": "host:n1",
    "allocations": [0, 1, None, 2, 3, "nonsense", 99, 4],
    "attributes": [
        {"handle_id": "k8s-pod-network.c1", "secondary": {"node": "n1", "pod": "own", "namespace": "a"}},
        {"handle_id": "k8s-pod-network.c2", "secondary": {"node": "n2", "pod": "far", "namespace": "a"}},
        {"handle_id": "vxlan-tunnel-addr-n3", "secondary": {"node": "n3", "type": "vxlanTunnelAddress"}},
        {"handle_id": "k8s-pod-network.c3", "secondary": {"node": "n2"}},
        "nonsense",
    ],
}


def test_borrowed_addresses_are_listed_and_kept_from_others() -> None:
    """Whether the block says who has them, or the pods do; a reservation keeps them, and their owner's node may move."""
    pod = {"metadata": {"name": "far", "namespace": "a"}, "spec": {"nodeName": "n2"}, "status": {"podIP": "10.1.0.1"}}
    other = {"metadata": {"name": "new", "namespace": "b"}, "spec": {"nodeName": "n3"}, "status": {"podIP": "10.1.0.2"}}
    text = one("IPAMBlock", "b", BORROWED, version="crd.projectcalico.org/v1")
    for body in (pod, other):
        text += "---\n" + yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", **body})
    result = made(text)
    kept = specs(result, "IPReservation")["borrowed-addresses"]["reservedCIDRs"]
    assert kept == ["10.1.0.1/32", "10.1.0.2/32", "10.1.0.4/32"]
    assert specs(result, "IPAMBlock") == {"10-1-0-0-29": {"cidr": "10.1.0.0/29", "node": "n1"}}
    listed = {field: message for (_, field), message in said(result).items()}
    assert listed["spec.allocations[1]"].startswith("10.1.0.1 is borrowed by pod a/far on node n2, which does not move")
    assert listed["spec.cidr"].startswith("10.1.0.2 is borrowed by pod b/new on node n3, ")
    assert listed["spec.allocations[4]"].startswith("10.1.0.4 is borrowed by node n2, ")
    assert len(listed) == 3
    assert not specs(made(one("IPAMBlock", "b", {**BORROWED, "allocations": [0]})), "IPReservation")


def policy(kind: str, version: str, name: str, namespace: str = "", **annotations: str) -> str:
    """A network policy."""
    metadata = {"name": name, "annotations": annotations} | ({"namespace": namespace} if namespace else {})
    return "---\n" + yaml.safe_dump({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": {}})


def test_policies_are_reported_until_somebody_says_that_it_is_known() -> None:
    """Kubernetes' and Calico's, each once; what is staged, and what Calico shows of Kubernetes' ones, is none."""
    result = made(
        policy("NetworkPolicy", "networking.k8s.io/v1", "deny", "a")
        + policy("NetworkPolicy", "networking.k8s.io/v1", "deny", "b")
        + policy("NetworkPolicy", "networking.k8s.io/v1", "known", "b", **{"towpath.io/acknowledge": "2026-11-27"})
        + policy("NetworkPolicy", "projectcalico.org/v3", "knp.default.deny", "a")
        + policy("NetworkPolicy", "projectcalico.org/v3", "default.web", "a")
        + policy("GlobalNetworkPolicy", "projectcalico.org/v3", "all")
        + policy("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2", "admins")
    )
    assert sorted(where for where, _ in said(result)) == [
        "ClusterNetworkPolicy/admins", "GlobalNetworkPolicy/all", "NetworkPolicy/a/default.web",
        "NetworkPolicy/a/deny", "NetworkPolicy/b/deny",
    ]  # fmt: skip
    assert all("not enforced" in message and "towpath.io/acknowledge" in message for message in said(result).values())
    assert result.warnings == ()


def test_for_the_cluster_only_what_it_has_not_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    """``--for-apply``: objects of ours and passwords; Nodes, Services and the like are there, and RoutingNodes made of them."""
    assert main(["import", "calico", "-f", str(SAMPLE), "-o", "json", "--for-apply"]) == 0
    found = json.loads(capsys.readouterr().out)["items"]
    whole = [body for body in made(SAMPLE.read_text()).objects if body["apiVersion"] == "towpath.io/v1alpha1"]
    assert "RoutingNode" in {body["kind"] for body in whole}
    whole = [body for body in whole if body["kind"] != "RoutingNode"]
    assert [body for body in found if body["kind"] != "Secret"] == whole
    assert {body["metadata"]["namespace"] for body in found if body["kind"] == "Secret"} <= {SECRET_NAMESPACE}
    assert {"Node", "Service", "Pod"}.isdisjoint(body["kind"] for body in found)


def test_what_nodes_were_told_is_reported_where_no_node_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With ``--for-apply`` each AS number, cluster id and address that Kubernetes does not list has its field and the command."""
    file, report = tmp_path / "calico.yaml", tmp_path / "report.json"
    ours = {"projectcalico.org/ASNumber": "64515", "towpath.io/as-number": "64515"}
    file.write_text(
        SAMPLE.read_text()
        + asks("Node", "n4", {"projectcalico.org/IPv4Address": "10.0.0.4/24", "projectcalico.org/ASNumber": "64514"}, namespace="",
               status={"addresses": [{"type": "InternalIP", "address": "10.0.0.4"}]})
        + asks("Node", "n5", ours, namespace="")
    )  # fmt: skip
    arguments = ["import", "calico", "-f", str(file), "--report", str(report)]
    assert main(arguments) == 0
    assert not [one for one in json.loads(report.read_text()) if one["object"]["kind"] == "Node"]
    capsys.readouterr()
    assert main([*arguments, "--for-apply"]) == 0
    found = [one for one in json.loads(report.read_text()) if one["object"]["kind"] == "Node"]
    assert {(one["object"]["name"], one["field"], one["message"].rpartition(" ")[2]) for one in found} == {
        ("n1", "metadata.annotations[projectcalico.org/IPv4Address]", "towpath.io/ipv4-address=10.0.0.1/24"),
        ("n2", "metadata.annotations[projectcalico.org/IPv4Address]", "towpath.io/ipv4-address=10.0.0.2/24"),
        (
            "n2",
            "metadata.annotations[projectcalico.org/RouteReflectorClusterID]",
            "towpath.io/route-reflector-cluster-id=1.0.0.1",
        ),
        ("n3", "spec.bgp.asNumber", "towpath.io/as-number=64514"),
        ("n3", "spec.bgp.ipv4Address", "towpath.io/ipv4-address=10.0.0.3/24"),
        ("n4", "metadata.annotations[projectcalico.org/ASNumber]", "towpath.io/as-number=64514"),
    }
    said = capsys.readouterr().err
    assert "kubectl annotate node n2 towpath.io/route-reflector-cluster-id=1.0.0.1" in said


def asks(kind: str, name: str, annotations: dict[str, str], *, namespace: str = "a", **fields: Any) -> str:
    """An object of Kubernetes with annotations of Calico's."""
    metadata = {"name": name, "annotations": annotations} | ({"namespace": namespace} if namespace else {})
    return "---\n" + yaml.safe_dump({"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields})


def annotated(result: Converted, kind: str) -> dict[str, dict[str, str]]:
    """Our own annotations of a kind's objects."""
    return {
        body["metadata"]["name"]: {
            key: value for key, value in body["metadata"]["annotations"].items() if key.startswith("towpath.io/")
        }
        for body in result.objects
        if body["kind"] == kind
    }


LB_POOL = one(
    "IPPool", "lb", {"cidr": "198.51.100.0/24", "allowedUses": ["LoadBalancer"], "assignmentMode": "Automatic"}
)
BALANCED: dict[str, Any] = {"spec": {"type": "LoadBalancer"}}


def test_services_keep_the_addresses_that_calico_gave_them() -> None:
    """By the annotation that asks for the same: of those that asked, and of those that have one of a pool. The command is told."""
    shown = {"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.9"}, {"hostname": "x"}]}}}
    elsewhere = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}
    request = "projectcalico.org/loadBalancerIPs"
    result = made(
        LB_POOL
        + asks("Service", "asks", {request: '["198.51.100.7", "2001:db8::7"]'}, **BALANCED)
        + asks("Service", "has", {}, **BALANCED, **shown)
        + asks("Service", "others", {}, **BALANCED, **elsewhere)
        + asks("Service", "theirs", {}, spec={"type": "LoadBalancer", "loadBalancerClass": "else.com/lb"}, **shown)
        + asks("Service", "class", {}, spec={"type": "LoadBalancer", "loadBalancerClass": "calico"}, **shown)
        + asks(
            "Service", "done", {request: '["198.51.100.8"]', "towpath.io/load-balancer-ips": "198.51.100.8"}, **BALANCED
        )
        + asks("Service", "plain", {request: '["198.51.100.8"]'}, spec={"type": "ClusterIP"})
    )
    ours = "towpath.io/load-balancer-ips"
    assert annotated(result, "Service") == {
        "asks": {ours: "198.51.100.7,2001:db8::7"}, "has": {ours: "198.51.100.9"}, "others": {}, "theirs": {},
        "class": {ours: "198.51.100.9"}, "done": {ours: "198.51.100.8"}, "plain": {},
    }  # fmt: skip
    told = said(result)
    field = f"metadata.annotations[{request}]"
    assert set(told) == {
        ("Service/a/asks", field), ("Service/a/has", "status.loadBalancer.ingress"),
        ("Service/a/class", "status.loadBalancer.ingress"), ("Service/a/class", "spec.loadBalancerClass"),
    }  # fmt: skip
    command = f"kubectl annotate service -n a asks {ours}=198.51.100.7,2001:db8::7"
    assert told["Service/a/asks", field].endswith(command)


@pytest.mark.parametrize(
    "text", ["198.51.100.7", '"198.51.100.7"', "[1]", '["x"]', '["198.51.100.7", "198.51.100.8"]', "[" * 9999]
)
def test_a_request_that_cannot_be_read_is_told(text: str) -> None:
    """Of a service and of a pod, with the annotation as its field."""
    request, fixed = "projectcalico.org/loadBalancerIPs", "cni.projectcalico.org/ipAddrs"
    result = made(asks("Service", "s", {request: text}, **BALANCED) + asks("Pod", "p", {fixed: text}))
    assert annotated(result, "Service") == {"s": {}}
    assert annotated(result, "Pod") == {"p": {}}
    assert set(said(result)) == {
        ("Service/a/s", f"metadata.annotations[{request}]"), ("Pod/a/p", f"metadata.annotations[{fixed}]"),
    }  # fmt: skip


def test_pods_and_their_templates_ask_in_our_words() -> None:
    """In what passes through it is done; of every template it is told what to put there. What has no counterpart is told too."""
    fixed, none, own = (f"cni.projectcalico.org/{name}" for name in ("ipAddrs", "floatingIPs", "podIP"))
    wanted = {fixed: '["10.1.0.7"]', none: '["203.0.113.5"]', own: "10.1.0.7/32"}
    template = {"metadata": {"annotations": wanted}}
    result = made(
        asks("Pod", "p", wanted)
        + asks("StatefulSet", "s", {}, spec={"template": template})
        + asks("CronJob", "c", {}, spec={"jobTemplate": {"spec": {"template": template}}})
    )
    assert annotated(result, "Pod") == {"p": {"towpath.io/ip-addresses": "10.1.0.7"}}
    places = {"Pod/a/p": "", "StatefulSet/a/s": "spec.template.", "CronJob/a/c": "spec.jobTemplate.spec.template."}
    assert set(said(result)) == {
        (name, f"{place}metadata.annotations[{field}]") for name, place in places.items() for field in (fixed, none)
    }
    for name, place in places.items():
        message = said(result)[name, f"{place}metadata.annotations[{fixed}]"]
        assert "put towpath.io/ip-addresses: 10.1.0.7 into the pod's template" in message


def test_pools_that_namespaces_ask_for_select_them() -> None:
    """Those that gave nothing to anybody else become theirs; of a pool for all it is told what to set, for it would mean less."""
    field = "cni.projectcalico.org/ipv4pools"
    result = made(
        one("IPPool", "none", {"cidr": "10.1.0.0/16", "nodeSelector": "!all()"})
        + one("IPPool", "hand", {"cidr": "10.2.0.0/16", "assignmentMode": "Manual"})
        + one("IPPool", "all", {"cidr": "10.3.0.0/16"})
        + asks("Namespace", "a", {field: '["none", "10.2.0.0/16"]'}, namespace="")
        + asks("Namespace", "b", {field: '["none", "all", "lost"]'}, namespace="")
        + asks("Pod", "p", {field: '["none"]'})
        + asks("Service", "s", {"projectcalico.org/ipv4pools": '["lb"]'}, **BALANCED)
    )
    label = "kubernetes.io/metadata.name"
    assert specs(result, "IPPool") == {
        "none": {"cidr": "10.1.0.0/16", "namespaceSelector": f"{label} in {{'a', 'b'}}"},
        "hand": {"cidr": "10.2.0.0/16", "namespaceSelector": f"{label} in {{'a'}}"},
        "all": {"cidr": "10.3.0.0/16"},
    }
    assert [one.message for one in result.findings if one.kind == "Namespace"] == [
        f"not carried over: a pool says itself whom it is for. Set spec.namespaceSelector of IPPool/{name} to"
        f" {label} in {{'b'}}, and nobody else gets its addresses"
        for name in ("all", "lost, which is not in the input,")
    ]
    assert {each.kind for each in result.findings} == {"Namespace", "Pod", "Service"}


@pytest.mark.parametrize(
    ("assigns", "wanted"), [("AllServices", None), ("RequestedServicesOnly", "RequestedServicesOnly"), ("Some", None)]
)
def test_who_gets_addresses_of_load_balancers_comes_over(assigns: str, wanted: str | None) -> None:
    """From among the settings of Calico's controllers, whether it has others of addresses or not; their own are told of."""
    controllers = {"loadBalancer": {"assignIPs": assigns}, "node": {"hostEndpoint": {}}}
    theirs = one("KubeControllersConfiguration", "default", {"controllers": controllers})
    ipam = one("IPAMConfig", "default", {"strictAffinity": True}, "crd.projectcalico.org/v1")
    for text, known in ((theirs, {}), (theirs + ipam, {"strictAffinity": True})):
        result = made(text)
        found = specs(result, "IPAMConfiguration").get("default", {})
        assert found == known | ({"loadBalancerAssignIPs": wanted} if wanted else {})
        told = {field for _, field in said(result)}
        wrong = {"spec.controllers.loadBalancer.assignIPs"} if assigns == "Some" else set()
        assert told == {"spec.controllers"} | wrong


def test_blocks_of_load_balancers_are_told_of_once() -> None:
    """With what there is in their place."""
    result = made(
        LB_POOL
        + one("IPAMBlock", "b", {"cidr": "198.51.100.0/26", "affinity": "virtual:load-balancer"})
        + one(
            "BlockAffinity",
            "a",
            {"cidr": "198.51.100.0/26", "node": "load-balancer", "type": "virtual", "state": "confirmed"},
        )
    )
    message = "not carried over: here each address of a load balancer has an AddressClaim of its own"
    assert said(result) == {("IPAMBlock/b", "spec.affinity"): message}
    assert specs(result, "IPAMBlock") == {}

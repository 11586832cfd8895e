"""``towpath plan``: what it prints and with which exit code it ends."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.unit.planning.schema import faults, schema
from towpath.controller.cli import main
from towpath.controller.manifests import documents
from towpath.controller.plan.document import documents_by_node, rejected_document
from towpath.controller.plan.inputs import gathered
from towpath.controller.settings import SECRET_NAMESPACE

HERE = Path(__file__).parent
GOLDEN = Path(__file__).parents[2] / "golden" / "plan"
SAMPLE = HERE / "sample.yaml"
OBJECTS = list(documents(SAMPLE.read_text()))
NODES = ["n1", "n2", "n3"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output, warnings."""
    code = main(["plan", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("sample.json", ["-o", "json"]),
        ("sample.txt", []),
        ("converged.txt", ["--converged", "--assign"]),
    ],
)
def test_the_plan_of_a_sample_is_what_it_was(
    file: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The interface: a golden file each. Objects were rejected, so the exit code is 3; the rest is printed all the same."""
    code, out, err = run(capsys, "-f", str(SAMPLE), *arguments)
    assert code == 3
    assert err == "warning: 1 of apps/v1 Deployment skipped: not a kind that is read here\n"
    assert out == (GOLDEN / file).read_text()
    assert "never-printed" not in out


def test_pods_on_a_bridge_are_in_the_plan() -> None:
    """The device with the node's address in each block, and the configuration that plugs pods in; why says which pool."""
    objects = [
        {"apiVersion": "towpath.io/v1alpha1", "kind": "IPPool", "metadata": {"name": name}, "spec": spec}
        for name, spec in {
            "a": {"cidr": "10.99.0.0/16", "attachment": {"type": "bridge", "mtu": 1400}},
            "b": {"cidr": "fd99::/64", "attachment": {"type": "bridge", "mtu": 1400}},
            "c": {"cidr": "172.16.0.0/16"},
        }.items()
    ]
    addresses = [{"type": "InternalIP", "address": address} for address in ("10.0.0.1", "fd00::1")]
    objects.append({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": {"addresses": addresses}})
    for cidr, pool in (("10.99.1.0/26", "a"), ("10.99.2.0/26", "a"), ("fd99::40/122", "b"), ("172.16.1.0/26", "c")):
        name = cidr.translate(str.maketrans(".:/", "---"))
        spec = {"cidr": cidr, "node": "n", "pool": pool}
        objects.append(
            {"apiVersion": "towpath.io/v1alpha1", "kind": "IPAMBlock", "metadata": {"name": name}, "spec": spec}
        )
    ((_, document),) = documents_by_node(gathered(objects, secret_namespace=SECRET_NAMESPACE), ["n"])
    assert document["devices"] == [
        {
            "name": "tp-br0",
            "kind": "bridge",
            "mtu": 1400,
            "attributes": {"addresses": ["10.99.1.1/26", "10.99.2.1/26", "fd99::41/122"]},
            "why": [{"kind": "IPPool", "name": "a", "field": "spec.attachment.type"}],
        }
    ]
    device = document["cni"]["plugins"][0]
    assert (device["type"], device["bridge"], device["mtu"]) == ("bridge", "tp-br0", 1400)
    assert [(one["subnet"], one["gateway"]) for each in device["ipam"]["ranges"] for one in each] == [
        ("10.99.1.0/26", "10.99.1.1"),
        ("10.99.2.0/26", "10.99.2.1"),
        ("fd99::40/122", "fd99::41"),
    ]
    assert [(one["reason"], one["object"]["name"]) for one in document["warnings"]] == [("AttachmentConflict", "c")]
    assert {one["prefix"] for one in document["announcements"]} >= {"10.99.1.0/26", "172.16.1.0/26"}, (
        "pods still live there"
    )


@pytest.mark.parametrize(("status", "mtu"), [({"mtu": 1450, "tunnels": ["tp-vx4-4096"]}, 1480), (None, None)])
def test_a_tunnels_mtu_is_in_the_plan_where_the_node_has_said_what_it_has(status: object, mtu: int | None) -> None:
    """What the network below takes follows from its RoutingNode; files without a status do not know."""
    routing_node = {
        "apiVersion": "towpath.io/v1alpha1",
        "kind": "RoutingNode",
        "metadata": {"name": "n"},
        "spec": {"bgp": {"ipv4Address": "10.0.0.1/24"}},
    }
    if status is not None:
        routing_node["status"] = status
    objects = [
        {
            "apiVersion": "towpath.io/v1alpha1",
            "kind": "IPPool",
            "metadata": {"name": "a"},
            "spec": {"cidr": "10.99.0.0/16", "ipipMode": "Always"},
        },
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}},
        routing_node,
        {
            "apiVersion": "towpath.io/v1alpha1",
            "kind": "IPAMBlock",
            "metadata": {"name": "10-99-1-0-26"},
            "spec": {"cidr": "10.99.1.0/26", "node": "n", "pool": "a"},
        },
    ]
    ((_, document),) = documents_by_node(gathered(objects, secret_namespace=SECRET_NAMESPACE), ["n"])
    assert [(one["name"], one["mtu"]) for one in document["devices"]] == [("tp-ipip", mtu)]


def test_the_document_fits_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Every key is there, none is unknown; YAML says the same as JSON."""
    _, text, _ = run(capsys, "-f", str(SAMPLE), "-o", "json", "--assign")
    document = json.loads(text)
    assert list(faults(document, schema("plan"))) == []
    assert list(document["nodes"]) == NODES
    _, text, _ = run(capsys, "-f", str(SAMPLE), "-o", "yaml", "--assign")
    assert yaml.safe_load(text) == document
    del document["nodes"]["n1"]["sessions"][0]["reachableBy"]
    assert list(faults(document, schema("plan"))) == ["$.nodes.n1.sessions[0].reachableBy is missing"]


def test_every_item_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Sessions, announcements and routes name an object of the input."""
    _, text, _ = run(capsys, "-f", str(SAMPLE), "-o", "json", "--assign", "--converged")
    for node in json.loads(text)["nodes"].values():
        for item in (*node["sessions"], *node["announcements"], *node["routes"]):
            assert item["why"], item


def test_a_boolean_where_text_belongs_becomes_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As Kubernetes reads YAML: ``yes`` is true, and a name that is true is ``true``; sixties stay text."""
    file = tmp_path / "peer.yaml"
    file.write_text(
        SAMPLE.read_text()
        + "---\napiVersion: towpath.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: yes}\n"
        + "spec: {node: n3, peerIP: 10.0.0.200, asNumber: 7, filters: [outside, on], password: {secretKeyRef: {name: off, key: k}}}\n"
    )
    _, text, _ = run(capsys, "-f", str(file), "--node", "n3", "-o", "json")
    node = json.loads(text)["nodes"]["n3"]
    session = next(one for one in node["sessions"] if one["peerIP"] == "10.0.0.200")
    assert session["why"][0]["name"] == "true"
    assert session["filters"] == ["outside", "true"]
    assert session["password"] == {"secret": "false", "key": "k"}
    assert (session["state"], session["reason"]) == ("Withheld", "SecretMissing")


def test_a_peer_on_an_interface(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It has its interface and no address, in the table too; what its policy makes of routes can be asked all the same."""
    file = tmp_path / "rack.yaml"
    made = [
        {"kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": {"unnumbered": {"enabled": True}}},
        {
            "kind": "BGPPeer",
            "metadata": {"name": "left"},
            "spec": {"peerFrom": {"interface": "eth1.7"}, "asNumber": 65000, "importPolicy": "All"},
        },
    ]
    node = next(one for one in OBJECTS if one["kind"] == "Node")
    whole = [node, *({"apiVersion": "towpath.io/v1alpha1", **one} for one in made)]
    file.write_text(yaml.safe_dump_all(whole))
    code, text, _ = run(capsys, "-f", str(file), "-o", "json")
    assert code == 0
    document = json.loads(text)
    assert list(faults(document, schema("plan"))) == []
    ((name, plan),) = document["nodes"].items()
    (session,) = plan["sessions"]
    assert (session["name"], session["interface"], session["peerIP"]) == ("Global-eth1-7", "eth1.7", None)
    assert (session["state"], session["addressFamilies"]) == ("Active", ["ipv4", "ipv6"])
    table = run(capsys, "-f", str(file))[1]
    assert any(line.split()[:3] == ["eth1.7", "179", "65000"] for line in table.splitlines())
    routes = tmp_path / "routes.yaml"
    asked = {"peer": "Global-eth1-7", "direction": "Import", "route": {"prefix": "192.0.2.0/24", "asPath": [65000]}}
    announced = {"peer": "Global-eth1-7", "direction": "Export", "route": {"prefix": "10.9.0.0/26", "source": "Block"}}
    routes.write_text(yaml.safe_dump([{**asked, "expect": "Accept"}, {**announced, "expect": "Accept"}]))
    assert main(["policy", "test", "-f", str(file), "--node", name, "--routes", str(routes)]) == 0
    capsys.readouterr()


def test_exit_codes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """0 good, 1 the input cannot be read, 2 usage."""
    good = tmp_path / "good"
    good.mkdir()
    (good / "node.yaml").write_text(yaml.safe_dump(OBJECTS[1]))
    (good / ".hidden.yaml").write_text("{")
    assert run(capsys, "-f", str(good))[0] == 0
    for bad, said in (("{", "line 1"), ("kind: Node", "apiVersion"), ("- 1", "no object")):
        (tmp_path / "bad.yaml").write_text(bad)
        code, out, err = run(capsys, "-f", str(tmp_path / "bad.yaml"))
        assert (code, out) == (1, "")
        assert said in err
    assert run(capsys, "-f", str(tmp_path / "nothing"))[0] == 1
    assert run(capsys, "-f", str(good), "--node", "other")[0] == 2
    with pytest.raises(SystemExit) as ended:
        main(["plan", "-o", "xml"])
    assert ended.value.code == 2


def test_standard_input_is_read(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """``-f -`` beside files."""
    with SAMPLE.open() as text:
        monkeypatch.setattr("sys.stdin", text)
        _, out, _ = run(capsys, "-f", "-", "--node", "n1", "-o", "json")
    assert list(json.loads(out)["nodes"]) == ["n1"]


def test_a_difference_shows_what_changes_and_what_resets(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A hold time is negotiated, so its session resets; a filter's name is not. Exit code 4; nothing different is 0 or 3."""
    other = tmp_path / "other.yaml"
    text = SAMPLE.read_text()
    other.write_text(text.replace("filters: [outside]", "filters: [another]"))
    code, out, _ = run(capsys, "-f", str(other), "--against", str(SAMPLE), "-o", "json")
    found = json.loads(out)
    assert code == 4
    assert list(faults(found, schema("difference"))) == []
    (changed,) = found["nodes"]["n1"]["changed"]["sessions"]
    assert changed["name"] == "Global-10-0-0-254"
    assert changed["before"] == {"filters": ["outside"]}
    assert changed["filters"] == ["another"]
    assert found["nodes"]["n1"]["resets"] == []
    assert [one["reason"] for one in found["nodes"]["n1"]["added"]["warnings"]] == ["UnknownFilter"]
    assert found["nodes"]["n1"]["removed"]["routes"] == []
    assert found["nodes"]["n1"]["changed"]["asNumber"] is None
    keys = json.loads(run(capsys, "-f", str(SAMPLE), "-o", "json")[1])["nodes"]["n1"].keys()
    for kind, more in (("added", set()), ("removed", set()), ("changed", {"before"})):
        assert found["nodes"]["n1"][kind].keys() == keys | more
    other.write_text(text.replace("filters: [outside]", "timers: {holdTime: 30s}"))
    _, out, _ = run(capsys, "-f", str(other), "--against", str(SAMPLE), "-o", "json")
    assert {name: node["resets"] for name, node in json.loads(out)["nodes"].items()} == {
        name: ["Global-10-0-0-254"] for name in NODES
    }
    other.write_text(text.replace("name: n3", "name: n4"))
    _, out, _ = run(capsys, "-f", str(other), "--against", str(SAMPLE))
    assert "node n3:\n  - asNumber" in out
    assert "node n4:\n  + asNumber" in out
    assert run(capsys, "-f", str(SAMPLE), "--against", str(SAMPLE))[0] == 3


def test_a_difference_shows_sessions_whose_filters_have_other_rules(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No field of a plan differs: the session is changed by its rules alone, goes on, and refreshes; others are not named."""
    other = tmp_path / "other.yaml"
    other.write_text(SAMPLE.read_text().replace("matchOperator: Equal", "matchOperator: In"))
    code, out, _ = run(capsys, "-f", str(other), "--against", str(SAMPLE), "-o", "json")
    found = json.loads(out)
    assert code == 4
    assert list(faults(found, schema("difference"))) == []
    assert set(found["nodes"]) == set(NODES)
    for node in found["nodes"].values():
        (changed,) = node["changed"]["sessions"]
        assert changed["name"] == "Global-10-0-0-254"
        assert changed["filters"] == ["outside"]
        assert changed["before"].keys() == {"rules"}
        assert [rule["matchOperator"] for rule in changed["before"]["rules"]["outside"]["importV4"]] == ["Equal"]
        assert (node["resets"], node["refreshes"]) == ([], ["Global-10-0-0-254"])
    _, out, _ = run(capsys, "-f", str(other), "--against", str(SAMPLE), "--node", "n1")
    assert "  ~ sessions: Global-10-0-0-254 rules of outside are others\n" in out
    assert "  ! session Global-10-0-0-254 goes on, its routes are judged and told anew\n" in out
    assert "resets" not in out


def test_a_difference_follows_the_sessions_between_nodes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With ``--converged``: where the other node's block is gone, so is its route."""
    other = tmp_path / "other.yaml"
    other.write_text(
        SAMPLE.read_text().replace("10-244-2-0-26", "10-244-9-0-26").replace("10.244.2.0/26", "10.244.9.0/26")
    )
    _, out, _ = run(capsys, "-f", str(other), "--against", str(SAMPLE), "--converged", "--node", "n1", "-o", "json")
    node = json.loads(out)["nodes"]["n1"]
    assert [one["prefix"] for one in node["added"]["routes"]] == ["10.244.9.0/26"]
    assert [one["prefix"] for one in node["removed"]["routes"]] == ["10.244.2.0/26"]


def test_blocks_that_do_not_count_are_warned_of(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """On the node that they say has them: of two that overlap the younger; one that no pool holds."""
    more = """---
apiVersion: towpath.io/v1alpha1
kind: IPAMBlock
metadata: {name: 10-244-1-0-27, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {cidr: 10.244.1.0/27, node: n2}
---
apiVersion: towpath.io/v1alpha1
kind: IPAMBlock
metadata: {name: 172-16-0-0-24}
spec: {cidr: 172.16.0.0/24, node: n2}
"""
    objects = tmp_path / "objects.yaml"
    objects.write_text(SAMPLE.read_text() + more)
    _, out, _ = run(capsys, "-f", str(objects), "--node", "n2", "-o", "json")
    node = json.loads(out)["nodes"]["n2"]
    said = {(one["reason"], one["object"]["name"]) for one in node["warnings"] if one["object"]["kind"] == "IPAMBlock"}
    assert said == {("OverlappingBlock", "10-244-1-0-27"), ("NoPool", "172-16-0-0-24")}
    assert "172.16.0.0/24" in {one["prefix"] for one in node["announcements"]}


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(OBJECTS))
def test_the_order_of_the_objects_means_nothing(objects: list[dict]) -> None:
    """Plan, warnings and rejected list are those of any other order."""

    def made(some: list[dict]) -> object:
        inputs = gathered(some, secret_namespace=SECRET_NAMESPACE)
        return dict(documents_by_node(inputs, NODES)), rejected_document(inputs.rejected)

    assert made(objects) == made(OBJECTS)


PODS = """---
apiVersion: towpath.io/v1alpha1
kind: BGPPeer
metadata: {name: routers}
spec: {localWorkloadSelector: "app == 'router'", asNumber: 65401}
---
apiVersion: v1
kind: Pod
metadata: {name: r, namespace: edge, labels: {app: router}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.244.1.5}]}
"""


def test_pods_that_are_peers_are_in_the_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A session with the pod on its node, and the address that it dials as a local route; no router is asked for because of it."""
    file = tmp_path / "pods.yaml"
    config = "  kernelMetric: 1200\n"
    assert config in SAMPLE.read_text()
    peering = f"{config}  localWorkloadPeeringIPV4: 169.254.0.179\n"
    file.write_text(SAMPLE.read_text().replace(config, peering) + PODS)
    _, text, _ = run(capsys, "-f", str(file), "-o", "json")
    document = json.loads(text)
    assert list(faults(document, schema("plan"))) == []
    found = {
        name: [one for one in node["sessions"] if one["scope"] == "Workload"]
        for name, node in document["nodes"].items()
    }
    assert [(one["peerIP"], one["localAddress"], one["passive"]) for one in found["n1"]] == [
        ("10.244.1.5", "169.254.0.179", True)
    ]
    assert {"kind": "Pod", "name": "edge/r", "field": "metadata.labels"} in found["n1"][0]["why"]
    assert not found["n2"]
    assert not found["n3"]
    local = [one for one in document["nodes"]["n1"]["routes"] if one["type"] == "local"]
    assert [(one["prefix"], one["table"], one["origin"]) for one in local] == [("169.254.0.179/32", 255, "Peer")]
    _, before, _ = run(capsys, "-f", str(SAMPLE), "--tor", "bird")
    assert run(capsys, "-f", str(file), "--tor", "bird")[1] == before

"""``towpath policy test``: cases in, answers out, and an exit code that CI can trust."""

import io
import json
from pathlib import Path

import pytest

from tests.unit.planning.schema import faults, schema
from towpath.controller.cli import main

HERE = Path(__file__).parent
GOLDEN = Path(__file__).parents[2] / "golden" / "plan"
CASES = HERE / "cases.jsonl"
NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
---
apiVersion: towpath.io/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: 10.0.0.254, asNumber: 65000, importPolicy: All}
"""


def run(capsys: pytest.CaptureFixture[str], objects: Path, routes: Path, *more: str) -> tuple[int, str, str]:
    """Exit code, output, warnings."""
    code = main(["policy", "test", "-f", str(objects), "--node", "n1", "--routes", str(routes), *more])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_each_line_is_answered_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    """The interface: a golden file, which fits the schema. The sample has rejected objects: exit code 3."""
    code, out, _ = run(capsys, HERE / "sample.yaml", CASES, "-o", "json")
    assert code == 3
    assert out == (GOLDEN / "policy.jsonl").read_text()
    answers = [json.loads(line) for line in out.splitlines()]
    asked = [json.loads(line) for line in CASES.read_text().splitlines()]
    assert [one["peer"] for one in answers] == [one["peer"] for one in asked]
    for one in answers:
        assert list(faults(one, schema("policy"))) == []


def test_what_is_not_as_expected_ends_with_five(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """For people: YAML with names; the table says which case is wrong."""
    objects, routes = tmp_path / "node.yaml", tmp_path / "routes.yaml"
    objects.write_text(NODE)
    case = "{name: a route from outside, peer: Global-10-0-0-254, direction: Import, expect: %s, route: {prefix: 198.51.100.0/24, asPath: [65000]}}"
    routes.write_text(f"- {case % 'Accept'}\n")
    code, out, _ = run(capsys, objects, routes)
    assert code == 0
    assert "a route from outside" in out
    routes.write_text(f"{case % 'Accept'}\n---\n{case % 'Reject'}\n")
    code, out, _ = run(capsys, objects, routes)
    assert code == 5
    assert "WRONG, Reject expected" in out
    assert out.endswith("2 cases, 2 tested, 1 wrong\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"peer": "10.9.9.9", "direction": "Import", "route": {"prefix": "10.0.0.0/8"}}', "has no session 10.9.9.9"),
        ('{"peer": "10.0.0.254", "direction": "Up", "route": {"prefix": "10.0.0.0/8"}}', "$.direction"),
        ('{"peer": "10.0.0.254", "direction": "Import", "route": {"prefix": "10.0.0.1/8"}}', "$.route.prefix"),
        ('{"peer": "10.0.0.254", "direction": "Import", "routes": {}}', "routes"),
        ('{"peer": "10.0.0.254", "direction": "Import", "route": {"prefix": "::/0", "asPath": [-1]}}', "asPath[0]"),
        ('{"peer": "10.0.0.254", "direction": "Import", "route": {"prefix": "::/0", "med": -1}}', "$.route.med"),
        ('{"peer": "10.0.0.254", "direction": "Import", "route": {"prefix": "::/0", "nextHop": "x"}}', "nextHop"),
        ("{", "line 1"),
    ],
)
def test_a_case_that_makes_no_sense_is_named(
    line: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Nothing is answered then: a test that was not run must not look like one that passed."""
    objects, routes = tmp_path / "node.yaml", tmp_path / "routes.jsonl"
    objects.write_text(NODE)
    routes.write_text(line + "\n")
    code, out, err = run(capsys, objects, routes)
    assert (code, out) == (1, "")
    assert said in err
    assert "line 1" in err


@pytest.mark.parametrize("written", ["{case}\n\n{case}", "[{case}, {case}]", "- {case}\n- {case}\n", "# none\n"])
def test_cases_are_read_from_standard_input(
    written: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A JSON object a line, a JSON list, or YAML: what it is shows at its beginning."""
    case = '{"peer": "10.0.0.254", "direction": "Export", "route": {"prefix": "192.0.2.0/24", "source": "Service"}}'
    objects = tmp_path / "node.yaml"
    objects.write_text(NODE)
    monkeypatch.setattr("sys.stdin", io.StringIO(written.replace("{case}", case)))
    code, out, _ = run(capsys, objects, Path("-"), "-o", "json")
    assert code == 0
    assert [json.loads(line)["action"] for line in out.splitlines()] == ["Accept"] * written.count("{case}")


MORE = """---
apiVersion: v1
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 10.0.0.2}]}
---
apiVersion: towpath.io/v1alpha1
kind: BGPPeer
metadata: {name: other}
spec: {node: n1, peerIP: 10.0.0.2, asNumber: 64512, filters: [nothing]}
---
apiVersion: towpath.io/v1alpha1
kind: BGPFilter
metadata: {name: nothing}
spec: {exportV4: [{action: Reject}]}
---
apiVersion: towpath.io/v1alpha1
kind: IPAMBlock
metadata: {name: 10-244-1-0-26}
spec: {cidr: 10.244.1.0/26, node: n1}
"""


@pytest.mark.parametrize(
    ("case", "action", "reason"),
    [
        ({"direction": "Import", "route": {"prefix": "198.51.100.0/24", "asPath": [65000, 0]}}, "Reject", "ASZero"),
        ({"direction": "Import", "route": {"prefix": "198.51.100.0/24", "asPath": [65000, "1.2", 23456, 65535, 4294967295]}}, "Accept", "ImportAll"),
        ({"direction": "Import", "route": {"prefix": "198.51.100.0/24", "asPath": [65000], "nextHop": "::ffff:10.0.0.9"}}, "Reject", "NextHopInvalid"),
        ({"direction": "Import", "route": {"prefix": "::ffff:10.0.0.0/104", "asPath": [65000]}}, "Reject", "FamilyNotCarried"),
        ({"direction": "Export", "route": {"prefix": "2001:db8::/32", "source": "Block"}}, "Reject", "FamilyNotCarried"),
        ({"direction": "Export", "route": {"prefix": "10.244.1.0/26"}}, "Accept", "OwnBlock"),
        ({"direction": "Export", "route": {"prefix": "10.244.1.9/32"}}, "Reject", "MoreSpecific"),
        ({"direction": "Export", "route": {"prefix": "192.0.2.0/24"}}, "Reject", "NotAnnounced"),
        ({"direction": "Export", "route": {"prefix": "192.0.2.0/24", "source": "Service"}}, "Accept", "OwnService"),
        ({"direction": "Export", "route": {"prefix": "192.0.2.0/24", "fromPeer": "10.0.0.254", "asPath": [65000]}}, "Reject", "SplitHorizon"),
        ({"peer": "10.0.0.2", "direction": "Export", "route": {"prefix": "10.244.1.0/26"}}, "Reject", "FilterRejected"),
        ({"peer": "Mesh-10-0-0-2", "direction": "Export", "route": {"prefix": "10.244.1.0/26"}}, "Accept", "OwnBlock"),
    ],
)  # fmt: skip
def test_whatever_can_be_sent_is_answered(
    case: dict, action: str, reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """AS numbers and addresses that no object may name; a source that is not said; the session that runs, of two with one peer."""
    objects, routes = tmp_path / "node.yaml", tmp_path / "routes.jsonl"
    objects.write_text(NODE + MORE)
    routes.write_text(json.dumps({"peer": "10.0.0.254", **case}) + "\n")
    code, out, _ = run(capsys, objects, routes, "-o", "json")
    answer = json.loads(out)
    assert (code, answer["action"], answer["reason"]) == (0, action, reason)


def test_what_the_kernel_does_not_get_says_why(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Pools' routes where the speaker's do not count; what objects give wins over what is learned."""
    objects, routes = tmp_path / "objects.yaml", tmp_path / "routes.jsonl"
    routes.write_text('{"peer": "10.0.0.2", "direction": "Kernel", "route": {"prefix": "10.244.2.0/26"}}\n')
    text = (HERE / "sample.yaml").read_text()
    for setting, reason in (
        ("programClusterRoutes: Disabled", "NotProgrammed"),
        ("clusterRoutes: Kubernetes", "ObjectsFirst"),
        ("clusterRoutes: BGP", "OriginValid"),
    ):
        objects.write_text(text.replace("kernelMetric: 1200", setting))
        _, out, _ = run(capsys, objects, routes, "-o", "json")
        assert json.loads(out)["reason"] == reason

"""``towpath get`` and ``towpath explain``: what is reported, and one prefix followed through the cluster."""

import json
from pathlib import Path

import pytest
import yaml

from tests.unit.planning.schema import faults, schema
from towpath.controller.cli import main
from towpath.lab.api import custom

SAMPLE = Path(__file__).parent / "sample.yaml"
STATUS = {
    "apiVersion": "towpath.io/v1alpha1",
    "kind": "NodeStatus",
    "metadata": {"name": "n1"},
    "status": {
        "inSync": True,
        "sessions": [
            {"name": "Mesh-10-0-0-2", "peer": "10.0.0.2", "remoteAS": 64512, "state": "Established", "received": 3}
        ],
        "blocks": [{"cidr": "10.244.1.0/26", "inUse": 5, "capacity": 61}],
        "routes": {"desired": 4, "installed": 3, "conflicts": 1},
    },
}


@pytest.fixture
def objects(tmp_path: Path) -> str:
    """The sample with what one node reports."""
    file = tmp_path / "objects.yaml"
    file.write_text(SAMPLE.read_text() + "---\n" + yaml.safe_dump(STATUS))
    return str(file)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    """The document."""
    assert main([*arguments, "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_nodes_report_is_listed(objects: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Sessions and routes as NodeStatus has them, blocks with their usage, null where nobody has reported it."""
    (session,) = asked(capsys, "get", "sessions", "-f", objects)["items"]
    assert (session["node"], session["state"], session["received"]) == ("n1", "Established", 3)
    (routes,) = asked(capsys, "get", "routes", "-f", objects)["items"]
    assert routes == {"node": "n1", "desired": 4, "installed": 3, "conflicts": 1, "inSync": True}
    blocks = asked(capsys, "get", "blocks", "-f", objects)["items"]
    assert [(one["node"], one["inUse"], one["capacity"]) for one in blocks] == [("n1", 5, 61), ("n2", None, None)]
    assert asked(capsys, "get", "sessions", "--node", "n2", "-f", objects)["items"] == []
    announced = asked(capsys, "get", "announcements", "--node", "n2", "-f", objects)["items"]
    assert [one["prefix"] for one in announced] == ["10.96.0.0/16", "10.96.0.80/32", "10.244.2.0/26"]
    assert main(["get", "blocks", "-f", objects]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [
        "NODE", "CIDR", "STATE", "POOL", "IN", "FORCE", "IN", "USE", "CAPACITY",
    ]  # fmt: skip
    assert main(["get", "blocks", "-f", objects, "--node", "n9"]) == 2


def test_a_prefix_is_followed_from_its_object_to_who_uses_it(objects: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An address finds the longest announcement around it; every session it is told on, and what the other node makes of it."""
    found = asked(capsys, "explain", "10.244.2.9", "-f", objects)
    assert list(faults(found, schema("explain"))) == []
    assert found["prefix"] == "10.244.2.0/26"
    assert found["block"] == {"name": "10-244-2-0-26", "cidr": "10.244.2.0/26", "node": "n2", "state": "Active"}
    assert [one["node"] for one in found["announcedBy"]] == ["n2"]
    assert {one["session"]: one["reason"] for one in found["told"]} == {
        "Global-10-0-0-254": "OwnBlock",
        "Mesh-10-0-0-1": "OwnBlock",
        "Mesh-10-0-0-3": "OwnBlock",
    }
    assert {(one["node"], one["reason"], one["installed"]) for one in found["used"]} == {
        ("n1", "OriginValid", True),
        ("n3", "OriginValid", True),
    }
    one = asked(capsys, "explain", "10.244.2.0/26", "--node", "n3", "-f", objects)
    assert (one["told"], [each["node"] for each in one["used"]]) == ([], ["n3"])


def test_a_deleted_pool_is_marked(objects: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Since when the pool of a prefix is deleted, for programs and for people; null while it is not."""
    assert asked(capsys, "explain", "10.244.2.9", "-f", objects)["poolDeleted"] is None
    file = tmp_path / "pool.yaml"
    pool = custom("IPPool", "old", {"cidr": "10.7.0.0/16"})
    pool["metadata"] |= {"deletionTimestamp": "2026-01-05T00:00:00Z", "finalizers": ["towpath.io/blocks"]}
    file.write_text(yaml.safe_dump(pool))
    found = asked(capsys, "explain", "10.7.0.1", "-f", objects, "-f", str(file))
    assert list(faults(found, schema("explain"))) == []
    assert (found["pool"], found["poolDeleted"]) == ("old", "2026-01-05T00:00:00Z")
    assert main(["explain", "10.7.0.1", "-f", objects, "-f", str(file)]) == 0
    assert "pool old (deleted at 2026-01-05T00:00:00Z" in capsys.readouterr().out
    assert main(["topology", "-f", objects, "-f", str(file), "-o", "text"]) == 3  # an object of the sample is rejected
    assert "old  10.7.0.0/16  0 of 1024 blocks of /26, deleted" in capsys.readouterr().out


def test_a_prefix_of_nobody_says_so(objects: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No announcement, no block; what is no prefix is a mistake of usage."""
    assert main(["explain", "192.0.2.0/24", "-f", objects]) == 0
    assert capsys.readouterr().out == "192.0.2.0/24: pool none, no block\nannounced by nobody\n"
    assert main(["explain", "pods", "-f", objects]) == 2

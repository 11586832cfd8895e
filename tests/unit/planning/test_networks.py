"""A network beside pods' own in what people and programs are shown."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.planning.schema import faults, schema
from towpath.controller.cli import main
from towpath.lab.api import custom
from towpath.model.net import block_name, parse_prefix

EDGE = {"type": "macvlan", "mode": "private", "master": "eth1", "gateway": "10.9.0.62", "primary": False}


def made_block(cidr: str, pool: str, **spec: Any) -> dict[str, Any]:
    return custom("IPAMBlock", block_name(parse_prefix(cidr)), {"cidr": cidr, "node": "n", "pool": pool, **spec})


def pod(name: str, address: str) -> dict[str, Any]:
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}}
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    return {**body, "spec": {"nodeName": "n"}, "status": status}


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """A node with a block of each network, and two pods, one of which has an address where none should."""
    address = [{"type": "InternalIP", "address": "192.0.2.1"}]
    found = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "uid": "u"}, "status": {"addresses": address}},
        custom("IPPool", "pods", {"cidr": "10.244.0.0/24"}),
        custom("IPPool", "edge", {"cidr": "10.9.0.0/26", "blockSize": 28, "attachment": EDGE}),
        made_block("10.244.0.0/26", "pods", nodeUID="u"),
        made_block("10.9.0.16/28", "edge", nodeUID="u", primary=False),
        pod("good", "10.244.0.5"),
        pod("bad", "10.9.0.17"),
    ]
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump_all(found))
    return path


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    main([*arguments, "-o", "json"])
    return json.loads(capsys.readouterr().out)


def test_a_plan_has_a_configuration_of_each(objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That of all pods knows nothing of the other's block, and the other's block is not announced."""
    said = asked(capsys, "plan", "-f", str(objects))
    assert list(faults(said, schema("plan"))) == []
    node = said["nodes"]["n"]
    (network,) = node["networks"]
    (device,) = network["plugins"]
    assert (network["name"], device["master"], device["mode"]) == ("towpath-edge", "eth1", "private")
    assert [one["rangeStart"] for ranges in device["ipam"]["ranges"] for one in ranges] == ["10.9.0.16"]
    assert [one["rangeStart"] for ranges in node["cni"]["plugins"][0]["ipam"]["ranges"] for one in ranges] == [
        "10.244.0.2"
    ]
    assert [one["prefix"] for one in node["announcements"]] == ["10.244.0.0/26"]


def test_pools_say_which_network_they_are(objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In all forms."""
    said = asked(capsys, "ipam", "show", "-f", str(objects))
    assert list(faults(said, schema("ipam"))) == []
    assert {one["name"]: one["network"] for one in said["pools"]} == {"pods": None, "edge": "towpath-edge"}
    main(["ipam", "show", "-f", str(objects), "-o", "text"])
    assert "the network towpath-edge beside pods' own" in capsys.readouterr().out
    main(["topology", "-f", str(objects)])
    assert "beside pods' own network" in capsys.readouterr().out


def test_an_address_of_it_is_no_pods_own(objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has it as its own was attached by the wrong configuration."""
    (found,) = asked(capsys, "ipam", "check", "-f", str(objects))["findings"]
    assert (found["object"]["name"], found["reason"]) == ("default/bad", "AddressOutside")
    assert found["message"] == "10.9.0.17 lies in 10.9.0.16/28, which is for a network beside pods' own"

"""``towpath ipam check``: what does not fit together is found, named and told what to do about, and nothing else is."""

import copy
import json
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.planning.schema import faults, schema
from towpath.controller.cli import main
from towpath.controller.plan.inputs import gathered
from towpath.controller.plan.ipam.check import everything
from towpath.controller.settings import SECRET_NAMESPACE
from towpath.ipam.check import ELSE
from towpath.lab.api import custom
from towpath.model.net import block_name, parse_prefix

Body = dict[str, Any]
World = list[Body]


def block(cidr: str, node: str, *, pool: str = "a", born: int = 1, **more: object) -> Body:
    """A block, named as it has to be; ``born`` orders blocks by age."""
    spec = {"cidr": cidr, "node": node, "pool": pool, "nodeUID": f"uid-{node}", **more}
    made = custom("IPAMBlock", block_name(parse_prefix(cidr)), spec)
    made["metadata"]["creationTimestamp"] = f"2026-01-0{born}T00:00:00Z"
    return made


def node(name: str, address: str) -> Body:
    """A Node of Kubernetes."""
    status = {"addresses": [{"type": "InternalIP", "address": address}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}


def pod(name: str, where: str, *addresses: str) -> Body:
    """A pod that runs."""
    status = {"phase": "Running", "podIPs": [{"ip": one} for one in addresses]}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": where}, "status": status}


def status(name: str, *blocks: str, in_use: int = 1) -> Body:
    """What a node reports of its blocks."""
    reports = [{"cidr": one, "inUse": in_use, "capacity": 62} for one in blocks]
    return {**custom("NodeStatus", name, {}), "status": {"inSync": True, "blocks": reports}}


def world() -> World:
    """Two nodes with a block of each pool, one more in quarantine, and pods with addresses of them."""
    return [
        custom("IPPool", "a", {"cidr": "10.244.0.0/16"}),
        custom("IPPool", "b", {"cidr": "fd00:10:244::/112"}),
        node("n1", "10.0.0.1"),
        node("n2", "10.0.0.2"),
        block("10.244.1.0/26", "n1"),
        block("10.244.2.0/26", "n2"),
        block("fd00:10:244::40/122", "n1", pool="b"),
        block("10.244.3.0/26", "gone", state="Quarantined"),
        status("n1", "10.244.1.0/26", "fd00:10:244::40/122"),
        status("n2", "10.244.2.0/26", in_use=2),
        status("gone", "10.244.3.0/26", in_use=0),
        pod("p1", "n1", "10.244.1.5", "fd00:10:244::45"),
        pod("p2", "n2", "10.244.2.0"),
        pod("of-the-node", "n2", "10.244.2.5"),
    ]


def found(objects: World) -> Counter[str]:
    """The findings as ``OBJECT FIELD REASON``."""
    inputs = gathered(objects, secret_namespace=SECRET_NAMESPACE)
    listed = everything(inputs)
    assert all(one.remedy != ELSE and one.message for one in listed)
    return Counter(f"{one.object} {one.reason}" for one in listed)


def test_what_fits_together_is_left_alone() -> None:
    """A block in quarantine whose node is gone is how things are to be, and so is the first address of a block of a pool."""
    assert found(world()) == Counter()


def named(objects: World, kind: str, name: str) -> Body:
    """One of the objects."""
    return next(one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name))


def _without(kind: str, name: str) -> Callable[[World], object]:
    return lambda objects: objects.remove(named(objects, kind, name))


def _with(*more: Body) -> Callable[[World], object]:
    return lambda objects: objects.extend(copy.deepcopy(more))


def _spec(kind: str, name: str, **fields: object) -> Callable[[World], object]:
    return lambda objects: named(objects, kind, name)["spec"].update(fields)


def _deleted(pool: Body) -> Body:
    pool["metadata"] |= {"deletionTimestamp": "2026-01-05T00:00:00Z", "finalizers": ["towpath.io/blocks"]}
    return pool


N2 = "IPAMBlock/10-244-2-0-26"
CASES: dict[str, tuple[Callable[[World], object], set[str]]] = {
    "a block outside of every pool": (
        _with(block("192.168.0.0/26", "n1", pool="")),
        {"IPAMBlock/192-168-0-0-26 spec.cidr NoPool"},
    ),
    "a block whose pool is another": (_spec("IPAMBlock", "10-244-2-0-26", pool="b"), {f"{N2} spec.pool NoPool"}),
    "a block whose pool is gone": (
        _with(block("10.9.0.0/26", "n1", pool="gone")),
        {"IPAMBlock/10-9-0-0-26 spec.pool NoPool"},
    ),
    "a block of another size": (
        _with(block("10.244.9.0/27", "n1")),
        {"IPAMBlock/10-244-9-0-27 spec.cidr BlockSize"},
    ),
    "blocks that overlap": (
        _with(block("10.244.2.32/27", "n1", born=2, pool="")),
        {"IPAMBlock/10-244-2-32-27 spec.cidr OverlappingBlock"},
    ),
    "a block that is not aligned": (
        _with(custom("IPAMBlock", "10-244-9-1-26", {"cidr": "10.244.9.1/26", "node": "n1"})),
        {"IPAMBlock/10-244-9-1-26 spec.cidr InvalidSpec"},
    ),
    "a block with a wrong name": (
        _with(custom("IPAMBlock", "mine", {"cidr": "10.244.9.0/26", "node": "n1"})),
        {"IPAMBlock/mine metadata.name InvalidSpec"},
    ),
    "an owner that does not exist": (
        _with(block("10.244.9.0/26", "nobody")),
        {"IPAMBlock/10-244-9-0-26 spec.node NodeMissing"},
    ),
    "a pod with a reserved address": (
        _with(custom("IPReservation", "kept", {"reservedCIDRs": ["10.244.1.4/31"]})),
        {"Pod/default/p1 status.podIPs ReservedAddress"},
    ),
    "a reservation that covers everything": (
        _with(custom("IPReservation", "kept", {"reservedCIDRs": ["fd00::/16"]})),
        {
            "IPReservation/kept spec.reservedCIDRs[0] PoolReserved",
            "IPPool/b spec.cidr PoolReserved",
            "Pod/default/p1 status.podIPs ReservedAddress",
        },
    ),
    "a bad reservation": (
        _with(custom("IPReservation", "kept", {"reservedCIDRs": ["10.244.1.5/31"]})),
        {"IPReservation/kept spec.reservedCIDRs[0] InvalidSpec"},
    ),
    "two pods with one address": (
        _with(pod("p3", "n1", "10.244.1.5")),
        {"Pod/default/p3 status.podIPs DuplicateAddress"},
    ),
    "a pod with an address of another node's block": (
        _with(pod("p3", "n1", "10.244.2.9")),
        {"Pod/default/p3 status.podIPs AddressOutside"},
    ),
    "a pod with an address of no block": (
        _with(pod("p3", "n1", "10.244.77.9", "fd00:10:244::46")),
        {"Pod/default/p3 status.podIPs AddressOutside"},
    ),
    "a pod in a block in quarantine": (
        lambda objects: (
            _spec("IPAMBlock", "10-244-2-0-26", state="Quarantined")(objects),
            objects.remove(named(objects, "Pod", "p2")),
        ),
        {f"{N2} spec.state Quarantined", "Pod/default/of-the-node status.podIPs Quarantined"},
    ),
    "a pod with its pool's gateway": (
        _with(block("10.244.0.0/26", "n1"), pod("p3", "n1", "10.244.0.1")),
        {"Pod/default/p3 status.podIPs ReservedAddress"},
    ),
    "a pod with the gateway of its bridge": (
        lambda objects: (
            _spec("IPPool", "a", attachment={"type": "bridge"})(objects),
            objects.remove(named(objects, "Pod", "p2")),
            objects.remove(named(objects, "IPPool", "b")),
            objects.remove(named(objects, "IPAMBlock", "fd00-10-244--40-122")),
            objects.remove(named(objects, "NodeStatus", "n1")),
            objects.remove(named(objects, "Pod", "p1")),
            objects.append(pod("p3", "n1", "10.244.1.1")),
        ),
        {"Pod/default/p3 status.podIPs ReservedAddress"},
    ),
    "a pod with the node's address in a tunnel": (
        lambda objects: (_spec("IPPool", "a", vxlanMode="Always")(objects), _spec("IPPool", "b", vxlanMode="Always")(objects)),
        {"Pod/default/p2 status.podIPs TunnelAddressTaken"},
    ),
    "a status that claims another node's block": (
        lambda objects: named(objects, "NodeStatus", "n1")["status"]["blocks"].append(
            {"cidr": "10.244.2.0/26", "inUse": 0, "capacity": 62}
        ),
        {"NodeStatus/n1 status.blocks OthersBlock"},
    ),
    "a status of a block that does not exist": (
        lambda objects: named(objects, "NodeStatus", "n1")["status"]["blocks"].append(
            {"cidr": "10.244.8.0/26", "inUse": 0, "capacity": 62}
        ),
        {"NodeStatus/n1 status.blocks BlockMissing"},
    ),
    "a status of a node that is gone with its blocks": (
        lambda objects: (
            objects.remove(named(objects, "IPAMBlock", "10-244-3-0-26")),
            objects.remove(named(objects, "NodeStatus", "gone")),
            objects.append(status("gone")),
        ),
        {"NodeStatus/gone metadata.name NodeMissing"},
    ),
    "a block in quarantine that is in use": (
        lambda objects: (objects.remove(named(objects, "NodeStatus", "gone")), objects.append(status("gone", "10.244.3.0/26"))),
        {"IPAMBlock/10-244-3-0-26 spec.state Quarantined"},
    ),
    "pools that overlap": (
        _with(custom("IPPool", "c", {"cidr": "10.244.128.0/17"})),
        {"IPPool/c spec.cidr OverlappingPool"},
    ),
    "a pool over a node's address": (
        _with(custom("IPPool", "c", {"cidr": "10.0.0.0/24", "disabled": True})),
        {"IPPool/c spec.cidr NodeAddress"},
    ),
    "a pool over the services": (
        _with(
            custom("IPPool", "c", {"cidr": "10.96.0.0/16", "disabled": True}),
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "ServiceCIDR",
                "metadata": {"name": "kubernetes"},
                "spec": {"cidrs": ["10.96.0.0/12"]},
            },
        ),
        {"IPPool/c spec.cidr ServiceRangeConflict"},
    ),
    "podCIDRs that nobody assigns": (
        _with(custom("IPAMConfiguration", "default", {"blockSource": "PodCIDRs"})),
        {"IPAMConfiguration/default spec.blockSource NoPodCIDRs"},
    ),
    "a pool that is deleted and that nothing is left of": (
        _with(_deleted(custom("IPPool", "c", {"cidr": "10.7.0.0/16"}))),
        {"IPPool/c metadata.deletionTimestamp PoolDeleted"},
    ),
    "a pool that is deleted, with blocks left of it": (
        lambda objects: (
            _deleted(named(objects, "IPPool", "a")),
            objects.append(custom("IPPool", "c", {"cidr": "10.7.0.0/16"})),
        ),
        {"IPPool/a metadata.deletionTimestamp PoolDeleted"},
    ),
    "a pool without room for a node": (
        lambda objects: (_spec("IPPool", "a", cidr="10.244.1.0/26")(objects), *(
            objects.remove(named(objects, *one))
            for one in (("IPAMBlock", "10-244-2-0-26"), ("IPAMBlock", "10-244-3-0-26"), ("NodeStatus", "n2"),
                        ("NodeStatus", "gone"), ("Pod", "p2"), ("Pod", "of-the-node"))
        )),
        {"IPPool/a spec.cidr PoolExhausted"},
    ),
    "a pool that is smaller than its blocks": (
        _with(custom("IPPool", "c", {"cidr": "10.7.0.0/28", "blockSize": 26})),
        {"IPPool/c spec.blockSize InvalidSpec"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_found_and_nothing_else(case: str) -> None:
    """One thing is wrong in a world where all fits together: it is named, with its field and reason, once."""
    change, expected = CASES[case]
    objects = world()
    change(objects)
    assert found(objects) == Counter(expected)


def test_files_without_nodes_have_owners_all_the_same() -> None:
    """RoutingNodes alone say which nodes there are."""
    objects = [one for one in world() if one["kind"] not in ("Node", "NodeStatus")]
    objects += [custom("RoutingNode", name, {"bgp": {"ipv4Address": f"10.0.0.{name[1]}/24"}}) for name in ("n1", "n2")]
    assert found(objects) == Counter()


def test_the_answer_is_told_by_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 where all fits together, 6 with findings, 1 where nothing can be read; JSON as its schema says, text with a remedy."""
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(world()))
    assert main(["ipam", "check", "-f", str(file)]) == 0
    assert capsys.readouterr().out == "all fits together\n"
    file.write_text(yaml.safe_dump_all([*world(), pod("p3", "n1", "10.244.2.9")]))
    assert main(["ipam", "check", "-f", str(file)]) == 6
    assert capsys.readouterr().out == (
        "Pod/default/p3 status.podIPs: AddressOutside: 10.244.2.9 lies in 10.244.2.0/26, a block of n2; the pod is on n1\n"
        "    restart the pod, so that it gets an address of its node's own\n"
    )
    assert main(["ipam", "check", "-f", str(file), "-o", "json"]) == 6
    said = json.loads(capsys.readouterr().out)
    assert list(faults(said, schema("check"))) == []
    assert [one["object"]["name"] for one in said["findings"]] == ["default/p3"]
    assert main(["ipam", "check", "-f", str(tmp_path / "nothing.yaml")]) == 1


def records(folder: Path, **containers: str) -> Path:
    """host-local's records as they lie below a node's folder, by address (with an underline for each dot)."""
    made = folder / "cni" / "towpath"
    made.mkdir(parents=True)
    for address, container in containers.items():
        (made / address.strip("_").replace("_", ".")).write_text(f"{container}\r\neth0")
    (made / "lock").touch()
    return folder


def test_the_files_of_a_node_are_looked_at_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records of nobody and of no block, addresses without one, and what the agent has found: each with its file."""
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(world()))
    there = records(
        tmp_path / "run",
        _10_244_2_0="sandbox",
        _10_244_2_7="gone",
        _10_244_9_9="gone",
        _10_244_2_8="towpath-found",
        _10_244_2_9="towpath-endpoint",
    )
    command = ["ipam", "check", "-f", str(file), "--node", "n2", "--node-dir", str(there)]
    assert main([*command, "-o", "json"]) == 6
    said = json.loads(capsys.readouterr().out)
    assert list(faults(said, schema("check"))) == []
    assert {(one["object"]["name"], one["field"].rpartition("/")[2], one["reason"]) for one in said["findings"]} == {
        ("n2", "10.244.2.5", "AddressUnrecorded"),
        ("n2", "10.244.2.7", "AddressLeaked"),
        ("n2", "10.244.2.8", "AddressLeaked"),
        ("n2", "10.244.9.9", "AddressLeaked"),
        ("n2", "10.244.9.9", "AddressOutside"),
        ("n2", "status.blocks", "CountDiffers"),
    }
    assert all(one["remedy"] != ELSE for one in said["findings"])


def test_the_files_of_networks_beside_pods_own_are_looked_at_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records of containers without an address of pods' own, unless a pod is said to have it, and those in no block."""
    way = {"type": "macvlan", "mode": "private", "master": "eth1", "primary": False}
    objects = [
        *world(),
        custom("IPPool", "edge", {"cidr": "10.9.0.0/24", "blockSize": 28, "attachment": way}),
        custom("IPAMBlock", "10-9-0-16-28", {"cidr": "10.9.0.16/28", "node": "n2", "pool": "edge", "primary": False}),
    ]
    noted = pod("noted", "n2", "192.0.2.77")
    status = [{"name": "flannel", "ips": ["192.0.2.77"]}, {"name": "factory/towpath-edge", "ips": ["10.9.0.18"]}, 7]
    noted["metadata"]["annotations"] = {"k8s.v1.cni.cncf.io/network-status": json.dumps(status)}
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all([*objects, noted]))
    there = records(tmp_path / "run", _10_244_2_0="one", _10_244_2_5="other")
    folder = there / "cni" / "towpath-edge"
    folder.mkdir()
    for address, container in {"16": "one", "17": "gone", "18": "dark", "64": "other", "20": "towpath-drain"}.items():
        (folder / f"10.9.0.{address}").write_text(f"{container}\r\nnet1")
    command = ["ipam", "check", "-f", str(file), "--node", "n2", "--node-dir", str(there)]
    assert main([*command, "-o", "json"]) == 6
    said = json.loads(capsys.readouterr().out)
    beside = {(one["field"], one["reason"]) for one in said["findings"] if "towpath-edge" in (one["field"] or "")}
    assert beside == {
        ("cni/towpath-edge/10.9.0.17", "AddressLeaked"),
        ("cni/towpath-edge/10.9.0.64", "AddressOutside"),
    }


def test_where_files_and_pods_agree_nothing_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a folder without records of host-local, where every pod lacks its record, is not taken for one that agrees."""
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(world()))
    there = records(tmp_path / "run", _10_244_2_0="one", _10_244_2_5="other")
    command = ["ipam", "check", "-f", str(file), "--node", "n2", "--node-dir"]
    assert main([*command, str(there)]) == 0
    objects = world()
    (report,) = named(objects, "NodeStatus", "n2")["status"]["blocks"]
    report |= {"drained": True}
    file.write_text(yaml.safe_dump_all(objects))
    assert main([*command, str(there)]) == 6
    assert "it reports 2 addresses in use, and that it is drained; host-local has 2" in capsys.readouterr().out
    file.write_text(yaml.safe_dump_all(world()))
    assert main([*command, str(tmp_path)]) == 6
    assert "AddressUnrecorded" in capsys.readouterr().out
    assert main(["ipam", "check", "-f", str(file), "--node-dir", str(there)]) == 2
    assert main(["ipam", "check", "-f", str(file), "--node", "n2"]) == 2
    assert main(["ipam", "check", "-f", str(file), "--here"]) == 2


@given(st.lists(st.tuples(st.sampled_from(["n1", "n2"]), st.integers(0, 255)), max_size=8))
def test_pods_are_judged_one_by_one(pods: list[tuple[str, int]]) -> None:
    """Whatever addresses of four blocks pods have: found are those outside of their node's, and all but one of each address."""
    owners = ["n1", "n2", "n1", None]
    objects = [
        custom("IPPool", "a", {"cidr": "10.244.0.0/16"}),
        node("n1", "10.0.0.1"),
        node("n2", "10.0.0.2"),
        *(block(f"10.244.1.{64 * place}/26", owner) for place, owner in enumerate(owners) if owner),
    ]
    expected: Counter[str] = Counter()
    seen: set[int] = set()
    for place, (where, last) in enumerate(pods):
        objects.append(pod(f"p{place}", where, str(ip_address("10.244.1.0") + last)))
        wrong = ["AddressOutside"] if owners[last // 64] != where else []
        wrong += ["DuplicateAddress"] if last in seen else []
        seen.add(last)
        expected.update(f"Pod/default/p{place} status.podIPs {reason}" for reason in wrong)
    assert found(objects) == expected

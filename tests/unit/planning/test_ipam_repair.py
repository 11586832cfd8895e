"""``towpath ipam repair``: what can be mended without anybody losing anything, as a plan first, and done where asked for."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.planning.schema import faults, schema
from tests.unit.planning.test_ipam_check import Body, block, node, pod, status, world
from towpath.controller.cli import main
from towpath.controller.plan.inputs import gathered
from towpath.controller.plan.ipam.check import everything
from towpath.controller.plan.ipam.repair import CHANGED, carry_out
from towpath.controller.settings import SECRET_NAMESPACE
from towpath.ipam.repair import Action, actions
from towpath.lab.api import custom
from towpath.lab.fake_api import FakeApi


def planned(objects: list[Body]) -> tuple[Action, ...]:
    inputs = gathered(objects, secret_namespace=SECRET_NAMESPACE)
    return actions(inputs.cluster, everything(inputs), services=inputs.balanced)


def said(objects: list[Body]) -> list[str]:
    return [f"{one.why.object.kind}/{one.why.object.name}: {one.message.partition(':')[0]}" for one in planned(objects)]


YOUNGER = block("10.244.2.32/27", "n1", born=2)


def test_where_all_fits_together_there_is_nothing_to_do() -> None:
    assert planned(world()) == ()


def test_what_is_nobodys_is_mended() -> None:
    """A report of a node that is gone with its blocks, a younger block that nobody uses, a pool's name that is wrong."""
    assert said([*world(), status("nobody", in_use=0)]) == ["NodeStatus/nobody: delete it"]
    assert said([*world(), YOUNGER]) == ["IPAMBlock/10-244-2-32-27: set state to Quarantined"]
    assert said([*world(), block("10.244.9.0/26", "n1", pool="b")]) == [
        "IPAMBlock/10-244-9-0-26: set pool to a, which the block lies in"
    ]


@pytest.mark.parametrize(
    "more",
    [
        [block("10.244.2.32/27", "n1", born=2, pool="")],
        [block("10.244.2.32/27", "n1", born=2, state="Quarantined")],
        [YOUNGER, pod("p9", "n1", "10.244.2.40")],
        [YOUNGER, node("n3", "10.0.0.3"), status("n3", "10.244.2.32/27")],
        [block("10.9.0.0/26", "n1", pool="gone")],
        [block("10.244.9.0/26", "nobody")],
        [pod("p9", "n1", "10.244.1.5")],
        [custom("IPPool", "c", {"cidr": "10.244.0.0/24"})],
    ],
    ids=["by hand", "in quarantine", "a pod lives there", "reported in use", "no pool", "no node", "two pods", "pools"],
)
def test_what_somebody_made_or_uses_is_left_to_people(more: list[Body]) -> None:
    """And to the controller what is its own: a block of a node that is gone."""
    assert said([*world(), *more]) == []


def test_of_files_the_plan_is_printed_and_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what is left for people; --yes is a mistake then, and says so."""
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(world()))
    assert main(["ipam", "repair", "-f", str(file)]) == 0
    assert capsys.readouterr().out == "all fits together\n"
    file.write_text(yaml.safe_dump_all([*world(), status("nobody", in_use=0), pod("p3", "n1", "10.244.2.9")]))
    assert main(["ipam", "repair", "-f", str(file)]) == 6
    assert capsys.readouterr().out == (
        "NodeStatus/nobody: delete it: its node is gone with all its blocks\n"
        "    NodeMissing: there is no node nobody\n"
        "nothing was done yet: --yes does it\n"
        "left for people:\n"
        "  Pod/default/p3 status.podIPs: AddressOutside: 10.244.2.9 lies in 10.244.2.0/26, a block of n2; the pod is on n1\n"
        "      restart the pod, so that it gets an address of its node's own\n"
    )
    assert main(["ipam", "repair", "-f", str(file), "-o", "json"]) == 6
    printed = json.loads(capsys.readouterr().out)
    assert list(faults(printed, schema("repair"))) == []
    assert [one["state"] for one in printed["actions"]] == ["Planned"]
    assert main(["ipam", "repair", "-f", str(file), "--yes"]) == 2
    assert "--yes needs a live cluster" in capsys.readouterr().err


async def put(api: FakeApi, objects: list[Body]) -> list[Body]:
    """All of them in a cluster, as it lists them."""
    found = []
    for one in objects:
        status = one.get("status")
        made: dict[str, Any] = await api.create(
            one["kind"], {key: each for key, each in one.items() if key != "status"}
        )
        if status and one["kind"] in ("NodeStatus", "Node"):
            made = await api.patch_status(one["kind"], one["metadata"]["name"], {"status": status})
        found.append({**made, "apiVersion": one["apiVersion"], "kind": one["kind"]})
    return found


async def test_each_change_is_of_the_version_that_was_looked_at() -> None:
    """What was changed or is gone meanwhile is left alone and told; a report that is gone is gone; the rest is done."""
    api = FakeApi()
    objects = [one for one in world() if one["kind"] != "Pod"]
    wrong = block("10.244.9.0/26", "n1", pool="b")
    found = await put(api, [*objects, YOUNGER, wrong, status("nobody", in_use=0)])
    plan = planned(found)
    assert [one.meta.name for one in plan] == ["10-244-2-32-27", "10-244-9-0-26", "nobody"]
    await api.patch("IPAMBlock", "10-244-9-0-26", {"metadata": {"labels": {"seen": "by-me"}}})
    await api.delete("NodeStatus", "nobody")
    assert await carry_out(api, plan) == [None, CHANGED, None]
    assert (await api.get("IPAMBlock", "10-244-2-32-27"))["spec"]["state"] == "Quarantined"
    assert (await api.get("IPAMBlock", "10-244-9-0-26"))["spec"]["pool"] == "b"
    await api.delete("IPAMBlock", "10-244-2-32-27")
    assert await carry_out(api, plan[:1]) == [CHANGED]

"""``towpath ipam repair --yes`` on an API server over HTTP: what the plan says is done, and then nothing is left of it."""

import asyncio
import json

import pytest

from towpath.controller.cli import main
from towpath.controller.kube.client import KubeApi
from towpath.lab.api import custom
from towpath.lab.apiserver.server import ApiServer


async def test_what_was_planned_is_done(
    embedded: tuple[ApiServer, KubeApi], capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan changes nothing; with --yes each object is as it was to be, and the next plan is empty."""
    server, api = embedded
    await api.create("Node", {"metadata": {"name": "n1"}})
    for one in (
        custom("IPPool", "a", {"cidr": "10.244.0.0/16"}),
        custom("IPPool", "b", {"cidr": "10.245.0.0/16"}),
        custom("IPAMBlock", "10-244-1-0-26", {"cidr": "10.244.1.0/26", "node": "n1", "nodeUID": "u", "pool": "b"}),
        custom("NodeStatus", "gone", {}),
    ):
        await api.create(one["kind"], one)

    async def repair(*more: str) -> tuple[int, dict[str, str]]:
        command = ["ipam", "repair", "--server", server.url, "-o", "json", *more]
        code = await asyncio.to_thread(main, command)
        actions = json.loads(capsys.readouterr().out)["actions"]
        return code, {one["object"]["name"]: one["state"] for one in actions}

    assert await repair() == (6, {"10-244-1-0-26": "Planned", "gone": "Planned"})
    assert (await api.get("IPAMBlock", "10-244-1-0-26"))["spec"]["pool"] == "b"
    assert await repair("--yes") == (0, {"10-244-1-0-26": "Done", "gone": "Done"})
    assert (await api.get("IPAMBlock", "10-244-1-0-26"))["spec"]["pool"] == "a"
    assert (await api.list("NodeStatus")).items == ()
    assert await repair("--yes") == (0, {})

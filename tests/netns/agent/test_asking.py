"""Pods that ask for addresses, with the real agent, the CNI project's plugins and our program between them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.names import own
from tests.netns.agent.node import BLOCKS, OneNode, manifests
from towpath.ipam.allowance import ADDRESSES
from towpath.lab import pods
from towpath.lab.netns import Network
from towpath.lab.process import wait_for
from towpath.lab.tools import cni_plugins, towpath_ipam
from towpath.model.net import Family


class Asking(OneNode):
    """A node with one folder for all its plugins."""

    def __init__(self, network: Network, root: Path) -> None:
        super().__init__(network, root)
        self.bin = root / "bin"
        shutil.copytree(cni_plugins(), self.bin)
        self.options["--cni-bin-dir"] = self.bin

    def configured(self) -> dict[str, Any]:
        return dict(self.plugin().get("ipam", {}))

    def asks(self, **texts: str) -> None:
        """Have these pods in the folder, with what they ask for."""
        bound = [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default", "annotations": {ADDRESSES: text}},
                "spec": {"nodeName": "a"},
            }
            for name, text in texts.items()
        ]
        self.write([*manifests(), *bound])

    def pod(self, name: str) -> pods.Pod:
        host = self.node.network.hosts.get(name) or self.node.network.host(name, forwarding=False)
        return pods.add(self.node, host, folder=self.cni, plugins=self.bin)

    def gone(self, pod: pods.Pod) -> None:
        pods.remove(
            self.node, self.node.network.hosts[pod.name], folder=self.cni, container=pod.container, plugins=self.bin
        )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Asking]:
    with Network(own("tpc")) as network:
        yield Asking(network, tmp_path)


def test_a_node_goes_over_to_the_program_and_back(node: Asking) -> None:
    """Without it host-local is called at once; once it is there pods get what they ask for; a pod of before is deleted by it, and one of it without it."""
    fixed = str(next(iter(BLOCKS)))
    node.start()
    wait_for(lambda: node.configured().get("type") == "host-local", deadline=60, what="a configuration")
    before = node.pod("before")
    shutil.copy(towpath_ipam(), node.bin / "towpath-ipam")
    wait_for(lambda: node.configured().get("type") == "towpath-ipam", deadline=60, what="the program is called")
    asked = fixed.partition("/")[0].rsplit(".", 1)[0] + ".40"
    node.asks(asks=asked, late=asked, wrong="10.9.9.9")
    wait_for(lambda: node.configured().get("waiting") == ["default"], deadline=60, what="pods that ask are known")
    node.gone(before)
    first = node.pod("asks")
    assert asked in {one.partition("/")[0] for one in first.addresses}
    assert len(first.addresses) == 2
    assert pods.ping(node.node, first.address(Family.IPV4), wait=3)
    with pytest.raises(pods.PluginError, match="is taken by"):
        node.pod("late")
    with pytest.raises(pods.PluginError, match=r"10\.9\.9\.9 lies in no IPPool and in no IPAMBlock"):
        node.pod("wrong")
    node.agent.stop()
    with pytest.raises(pods.PluginError, match="this pod waits for it"):
        node.pod("late")
    node.gone(first)
    node.start_agent()
    node.asks()
    wait_for(lambda: node.configured().get("waiting") == [], deadline=60, what="nobody asks")
    last = node.pod("last")
    (node.bin / "towpath-ipam").unlink()
    wait_for(lambda: node.configured().get("type") == "host-local", deadline=60, what="host-local is called")
    node.gone(last)
    used = node.run_dir / "cni" / "towpath"
    assert not [one for one in used.iterdir() if "\n" in one.read_text()], json.dumps(node.configured())

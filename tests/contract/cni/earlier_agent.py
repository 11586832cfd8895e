"""The agent's desk as an earlier release had it: run with that release's modules, which stand first in PYTHONPATH.

It prints the configuration that it writes for its node, and answers until its standard input ends. Arguments: its folder, and
what a pod asks for as ``NAMESPACE/NAME=ADDRESS``.
"""

import asyncio
import json
import sys
from pathlib import Path

from towpath.controller.node.desk import Desk
from towpath.ipam.allowance import Asker, Offer, allowance
from towpath.ipam.cni import NETWORK, conflist
from towpath.ipam.hostlocal import HostLocal
from towpath.model.cluster import Cluster
from towpath.model.decode import decode


def main(folder: Path, asks: dict[str, str]) -> None:
    """Serve the node ``n``."""

    def made(kind: str, name: str, **spec: object):
        return decode(kind, {"metadata": {"name": name}, "spec": spec})

    pools = {
        "a": made("IPPool", "a", cidr="10.99.0.0/24", blockSize=29),
        "b": made("IPPool", "b", cidr="fd99::/64", blockSize=125),
    }
    blocks = {
        one.name: one
        for one in (
            made("IPAMBlock", "10-99-0-8-29", cidr="10.99.0.8/29", node="n", pool="a"),
            made("IPAMBlock", "fd99--8-125", cidr="fd99::8/125", node="n", pool="b"),
        )
    }
    socket, records = folder / "ipam.sock", HostLocal(folder / "cni")
    written = conflist(
        [one.spec for one in blocks.values()],
        pools,
        data_dir=folder / "cni",
        agent=socket,
        waiting=("team",),
        versions=("1.0.0",),
    )
    plugin = written["plugins"][0]
    offer = Offer(
        "n", Cluster(pools=pools, blocks=blocks), tuple(one for each in plugin["ipam"]["ranges"] for one in each)
    )

    async def decide(question):
        taken = {one.address: f"container {one.container}" for one in records.records()}
        return allowance(offer, Asker(question.pod, question.container, asks.get(question.pod, "")), taken=taken)

    async def serve() -> None:
        desk = asyncio.ensure_future(Desk(socket, decide).serve())
        await asyncio.to_thread(sys.stdin.read)
        desk.cancel()

    print(json.dumps({"cniVersion": "1.1.0", "name": NETWORK, **plugin}), flush=True)
    asyncio.run(serve())


if __name__ == "__main__":
    main(Path(sys.argv[1]), dict(one.split("=", 1) for one in sys.argv[2:]))

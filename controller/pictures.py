"""The pictures of every data path, and a page of them: ``towpath topology`` on the object files that lie beside them."""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from towpath.controller.plan.command import load
from towpath.controller.plan.topology.build import topology
from towpath.controller.plan.topology.graph import Topology
from towpath.controller.plan.topology.svg import svg
from towpath.controller.plan.topology.text import lines
from towpath.controller.settings import SECRET_NAMESPACE, Source

FOLDER = Path("docs/pictures/paths")
PAGE = Path("docs/paths.md")
_FLAT, _RACKS = "flat", "racks"
"""Files of nodes: on one network, and in two racks."""


class Picture(Struct, frozen=True):
    """A path: the file with its objects, the one with its nodes, its name for people, and what is to be seen."""

    name: str
    nodes: str
    title: str
    seen: str
    more: str
    """The page about it."""


PATHS = (
    Picture(
        "bgp",
        _RACKS,
        "Direct, by BGP",
        "Each node tells the router of its rack which blocks it has; packets between pods go through the network as they are.",
        "peering.md",
    ),
    Picture(
        "host-gw",
        _FLAT,
        "Direct, from the objects (host-gw)",
        "Nobody speaks BGP: every node has a route to each block by the other node's address, as the objects say.",
        "choosing.md#from-node-to-node",
    ),
    Picture(
        "vxlan",
        _FLAT,
        "VXLAN",
        "All nodes send to each other in one tunnel, by what the objects say of its ends.",
        "vxlan.md",
    ),
    Picture(
        "vxlan-multicast",
        _FLAT,
        "VXLAN, found by multicast",
        "The same tunnel; who is where is asked in the group.",
        "vxlan.md#found-by-multicast",
    ),
    Picture("ipip", _FLAT, "IP-in-IP", "The same with 20 bytes a packet in place of 50, IPv4 alone.", "ipip.md"),
    Picture(
        "cross-subnet",
        _RACKS,
        "CrossSubnet",
        "The nodes of a rack send to each other straight, those of different racks by the tunnel.",
        "vxlan.md",
    ),
    Picture(
        "macvlan",
        _FLAT,
        "macvlan",
        "Pods are machines on the nodes' own network, whose router is theirs: nothing is announced or routed.",
        "attachments.md#on-the-network-of-the-nodes",
    ),
    Picture(
        "ipvlan",
        _FLAT,
        "ipvlan",
        "Pods are behind the node's interface, with its MAC; of l3 and l3s nodes tell each other the blocks.",
        "attachments.md#behind-an-interface-by-its-mac",
    ),
    Picture(
        "bridge",
        _FLAT,
        "bridge",
        "Pods of a node share a segment; between nodes packets go as with any other pool, here by the mesh.",
        "attachments.md",
    ),
)
_HEAD = """# Every path, as `towpath topology` draws it

Each picture is what `towpath topology` makes of a file beside it and of one with the nodes, and `./dev generate` makes them all anew;
[which path fits](choosing.md) says what each is for. What the picture and the text mean is said [here](plan.md#towpath-topology).

"""


def pictures(root: Path) -> dict[Path, str]:
    """Every picture and the page, by path from the project's root, from the object files below ``root``."""
    drawn = {one: _drawn(root, one) for one in PATHS}
    made = {FOLDER / f"{one.name}.svg": svg(drawn[one]) for one in PATHS}
    return made | {PAGE: _HEAD + "\n".join(line for one in PATHS for line in _section(root, one, drawn[one]))}


def _drawn(root: Path, one: Picture) -> Topology:
    files = tuple(str(root / FOLDER / f"{name}.yaml") for name in (one.nodes, one.name))
    inputs = load(files, Source(secret_namespace=SECRET_NAMESPACE), assign=True)
    assert not inputs.rejected, inputs.rejected
    return topology(inputs)


def _section(root: Path, one: Picture, drawn: Topology) -> Iterator[str]:
    folder = FOLDER.relative_to(PAGE.parent)
    yield f"## {one.title}\n"
    yield f"{one.seen} [More]({one.more})\n"
    yield f"![{one.title}]({folder / one.name}.svg)\n"
    yield f"    towpath topology --assign -f {FOLDER / one.nodes}.yaml {FOLDER / one.name}.yaml\n"
    yield "```"
    yield from lines(drawn)
    yield "```\n"
    yield f"`{folder / one.name}.yaml`:\n"
    yield "```yaml"
    yield (root / FOLDER / f"{one.name}.yaml").read_text().rstrip()
    yield "```\n"

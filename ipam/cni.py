"""The CNI configuration of a node: ptp, bridge, macvlan or ipvlan, host-local and portmap with the node's blocks as ranges, and its two files.

On a bridge each block is a subnet with the node as its gateway. The plugin could give its device these addresses itself,
but of IPv4 only one, and a node has more blocks than one: the device and its addresses are the agent's
(``routes.podbridge``), and the plugin only plugs pods in.

The real file lies under /run and is gone after a boot. What the container runtime sees is a symbolic link in its own
folder; it dangles until the agent has learned from the API which blocks are the node's in this boot, so no pod gets an
address that somebody else owns by now. Runtimes notice a link that is renamed into place, never a file behind it.
"""

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from towpath.ipam.attachment import PTP
from towpath.ipam.blocks import free, gateway
from towpath.ipam.files import intended, link_atomically, temporary, write_atomically
from towpath.ipam.reserved import NOTHING, Reserved
from towpath.ipam.underlay import Ground
from towpath.model.blocks import pool_around
from towpath.model.cluster import IPPool
from towpath.model.kinds.attachment import Attachment
from towpath.model.kinds.ipam import LONGEST_SUBNET, IPAMBlockSpec
from towpath.model.net import Address, Family, Prefix, contains, family_of

NETWORK = "towpath"
"""Name of the CNI network. host-local releases addresses by it, so it never changes."""
FILE = "10-towpath.conflist"
_BESIDE, _SUFFIX = f"{NETWORK}-", ".conflist"
"""What the names of other networks begin with, and those of configurations end with."""
NEWEST = "1.0.0"
"""The CNI version that every runtime in use reads; newer ones are offered beside it."""
HOST_LOCAL = "host-local"
EVERYBODY = "*"
"""In place of the names of namespaces that wait for the agent: all do."""
PROGRAM = "towpath-ipam"
"""Our own program between the plugins and host-local (``cni/``): it asks the agent which addresses a pod may have."""
BRIDGE = "tp-br0"
"""The device that the pods of a bridge attachment are plugged into."""
_DEFAULT_ROUTE = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
_LEAVES_SOURCES = {"ipMasq": False}
# of the bridge: what comes in by a port may go out by it, for a pod that calls a Service of its own
_DEVICES: Mapping[str, Mapping[str, Any]] = {
    "ptp": {"type": "ptp", **_LEAVES_SOURCES},
    "bridge": {"type": "bridge", "bridge": BRIDGE, "isGateway": False, "hairpinMode": True, **_LEAVES_SOURCES},
    "macvlan": {"type": "macvlan"},
    "ipvlan": {"type": "ipvlan"},
}


def network_of(pool: str) -> str:
    """The network that a pool is beside that of all pods; a definition that refers to it has its name."""
    return f"{_BESIDE}{pool}"


class Places(Struct, frozen=True):
    """Where the files are. ``run_dir`` is on tmpfs."""

    run_dir: Path
    conf_dir: Path
    """The folder that the container runtime reads, such as /etc/cni/net.d; of a network beside that of all pods Multus's."""
    network: str = NETWORK

    @property
    def data_dir(self) -> Path:
        """host-local's records of what it gave out."""
        return self.run_dir / "cni"

    @property
    def socket(self) -> Path:
        """Where the agent answers our program; the same path on the host."""
        return self.run_dir / "ipam.sock"

    @property
    def file(self) -> Path:
        """The real file."""
        return self.run_dir / "cni-conf" / self._name

    @property
    def link(self) -> Path:
        """The symbolic link to it."""
        return self.conf_dir / self._name

    @property
    def _name(self) -> str:
        return FILE if self.network == NETWORK else f"{self.network}{_SUFFIX}"

    def beside(self, pool: str, *, conf_dir: Path) -> "Places":
        """Those of the network that a pool is beside that of all pods."""
        return replace(self, conf_dir=conf_dir, network=network_of(pool))

    @property
    def pool(self) -> str:
        """The pool that is this network, of one beside that of all pods."""
        return self.network.removeprefix(_BESIDE)

    def networks(self, conf_dir: Path) -> Iterator["Places"]:
        """Those of every such network of which there is a file, or a link to one, or one that a crash kept from its name."""
        names = f"{_BESIDE}*{_SUFFIX}"
        files = (one.name for one in (self.run_dir / "cni-conf").glob(names))
        links = (one.name for one in conf_dir.glob(names) if one.is_symlink())
        halves = (intended(one) for one in conf_dir.glob(temporary(Path(names)).name) if one.is_symlink())
        for name in sorted({*files, *links, *halves}):
            yield self.beside(name.removeprefix(_BESIDE).removesuffix(_SUFFIX), conf_dir=conf_dir)

    def given_out(self) -> Iterator[str]:
        """The pools of which host-local has records of such a network."""
        folders = (one.name for one in self.data_dir.glob(f"{_BESIDE}*") if one.is_dir())
        return (name.removeprefix(_BESIDE) for name in sorted(folders))


def conflist(
    blocks: Collection[IPAMBlockSpec],
    pools: Mapping[str, IPPool],
    *,
    data_dir: Path,
    network: str = NETWORK,
    way: Attachment = PTP,
    versions: Sequence[str] = (NEWEST,),
    mtu: int | None = None,
    endpoints: Collection[Prefix] = (),
    grounds: Mapping[str, Ground] = {},
    by_node: Collection[Mapping[str, str]] = (),
    kept: Reserved = NOTHING,
    agent: Path | None = None,
    waiting: Collection[str] = (),
    others: Collection[str] = (),
) -> dict[str, Any]:
    """The network configuration list for blocks that are the node's for certain; only Active ones are used.

    A network beside that of all pods has no routes but to its own subnet, and no ports of the node. Where one pod has
    all of an interface our program, if it is there, stands before the plugin by itself, to say who that is.

    One range set a family and one range a block, more where addresses in it are ``kept``: a pod gets one address per family. ``mtu`` None leaves it to the
    kernel; ``endpoints`` are blocks whose lowest address is the node's own. ``grounds``: of pools on the
    nodes' own network, by name; without its ground none is served. ``by_node``: routes of pods beside the default one. Without a usable block the list has no ranges, and ``is_usable`` is false. ``agent``: the socket that our program
    asks at; None where there is no such program, and host-local is called at once. What is written is good for both, so
    that our program can hand it on as it is where nobody answers, but to pods of the namespaces ``waiting``; ``others``: where ranges begin that the agent gives out of besides. ``versions`` are those that all
    plugins understand, ascending: one after 1.0.0 stands in ``cniVersions`` only (CNI 1.1.0, section 1), where runtimes
    look that know it; to the others it would be a version whose answers they cannot read.
    """
    ranges: dict[Family, list[dict[str, str]]] = {}
    for block in sorted(blocks, key=lambda one: (family_of(one.cidr), int(one.cidr.network_address))):
        if block.state != "Active":
            continue
        pool = pool_around(block, pools) if way.type != "bridge" else None
        if pool is not None and pool.spec.attachment.on_underlay:
            found = _ranges_on(grounds.get(pool.name), block.cidr, pool, kept=kept)
        else:
            outer = pool.spec.cidr if pool is not None else None
            found = _ranges(block.cidr, outer, endpoint=block.cidr in endpoints, kept=kept)
        if found:
            ranges.setdefault(family_of(block.cidr), []).extend(found)
    gate = way.whole and agent is not None
    device: dict[str, Any] = {
        **_DEVICES[way.type],
        **({"master": way.master, "mode": way.mode} if way.by_master else {}),
        "ipam": {
            "type": HOST_LOCAL,
            "dataDir": str(data_dir),
            "ranges": list(ranges.values()),
            "routes": [*({"dst": _DEFAULT_ROUTE[family]} for family in ranges), *by_node] if way.primary else [],
            **(
                {"type": PROGRAM, "agent": str(agent), "waiting": sorted(waiting), "others": sorted(others)}
                if agent is not None and not gate
                else {}
            ),
        },
    }
    if mtu is not None:
        device["mtu"] = mtu
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    common = [version for version in versions if version <= NEWEST]
    asking = {"type": PROGRAM, "ipam": {**device["ipam"], "agent": str(agent)}}
    plugins = [device, portmap] if way.primary else [asking, device] if gate else [device]
    made = {"cniVersion": common[-1] if common else NEWEST, "name": network, "plugins": plugins}
    return {**made, "cniVersions": list(versions)} if len(common) < len(versions) else made


def called(configuration: Mapping[str, Any]) -> frozenset[str]:
    """The plugins of others that a configuration calls, also by our program."""
    plugins = configuration.get("plugins", ())
    return frozenset({one["type"] for one in plugins} | {HOST_LOCAL for one in plugins if "ipam" in one}) - {PROGRAM}


def ranges_of(configuration: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    """All ranges of a configuration that was made here."""
    return tuple(one for each in configuration["plugins"][0]["ipam"]["ranges"] for one in each)


def is_usable(configuration: Mapping[str, Any]) -> bool:
    """Whether pods can get an address with it."""
    return bool(configuration["plugins"][0]["ipam"]["ranges"])


def subnet_of(block: Prefix, *, pool: Prefix | None) -> Prefix | None:
    """The subnet that pods of a block live in: the pool, else the block itself; None where host-local takes neither."""
    subnet = pool if pool is not None and contains(pool, block) else block
    return subnet if subnet.prefixlen <= LONGEST_SUBNET[family_of(subnet)] else None


def write(configuration: Mapping[str, Any], places: Places) -> bool:
    """Put the configuration in place if another one, or none, is there; whether anything was written. ``OSError`` flies.

    The file is replaced by rename, then the link is: a reader finds the old configuration or the new one.
    """
    if is_current(configuration, places):
        return False
    write_atomically(places.file, _text(configuration).encode(), mode=0o644)
    link_atomically(places.link, places.file)
    return True


def is_current(configuration: Mapping[str, Any], places: Places) -> bool:
    """Whether link and file are there and say the same as ``configuration``."""
    try:
        return places.link.readlink() == places.file and places.file.read_text() == _text(configuration)
    except (OSError, UnicodeDecodeError):
        return False


def stands(places: Places) -> bool:
    """Whether a runtime finds a configuration of ours, of this boot."""
    try:
        return places.link.readlink() == places.file and places.file.is_file()
    except OSError:
        return False


def served(places: Places) -> frozenset[Address]:
    """The first address of every range that pods get addresses of by what stands; none where there is nothing in this boot."""
    try:
        found = standing(places)
        starts = [one["rangeStart"] for one in ranges_of(found)]
        return frozenset(map(ip_address, (*starts, *found["plugins"][0]["ipam"].get("others", ()))))
    except (ValueError, KeyError, IndexError, TypeError):
        return frozenset()


def strayed(
    places: Places, *, own: Collection[Prefix], offered: Iterable[Mapping[str, str]] = ()
) -> tuple[tuple[Address, Address], ...]:
    """First and last address of each range that pods get addresses of, by what stands and by what is ``offered`` to those who ask, and that lies in no block of ``own``."""
    try:
        ranges = (*ranges_of(standing(places)), *offered)
        ends = {(ip_address(one["rangeStart"]), ip_address(one["rangeEnd"])) for one in ranges}
    except (ValueError, KeyError, IndexError, TypeError):
        return ()
    found = (one for one in ends if not any(one[0] in block for block in own))
    return tuple(sorted(found, key=lambda one: (one[0].version, int(one[0]))))


def waiting_in(places: Places) -> frozenset[str]:
    """The namespaces whose pods wait for the agent by the configuration that stands; none where none can be read."""
    try:
        return frozenset(map(str, standing(places)["plugins"][0]["ipam"]["waiting"]))
    except (KeyError, IndexError, TypeError):
        return frozenset()


def standing(places: Places) -> Mapping[str, Any]:
    """The configuration that stands; an empty one where there is none in this boot, or it cannot be read."""
    try:
        found = json.loads(places.file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remove(places: Places) -> None:
    """Take both away, and nothing that is not ours: a link that leads elsewhere stays."""
    with contextlib.suppress(OSError):
        if places.link.readlink() == places.file:
            places.link.unlink()
    for path in (temporary(places.link), places.file, temporary(places.file)):
        path.unlink(missing_ok=True)


def _ranges(block: Prefix, pool: Prefix | None, *, endpoint: bool, kept: Reserved) -> list[dict[str, str]]:
    subnet = subnet_of(block, pool=pool)
    if subnet is None:
        return []
    return [
        {"subnet": str(subnet), "rangeStart": str(first), "rangeEnd": str(last), "gateway": str(gateway(subnet))}
        for first, last in free(block, pool=subnet, endpoint=endpoint, kept=kept)
    ]


def _ranges_on(ground: Ground | None, block: Prefix, pool: IPPool, *, kept: Reserved) -> list[dict[str, str]]:
    """Of a block on the nodes' own network: the subnet is that network's, and so is the gateway."""
    made = _ranges(block, ground.subnet, endpoint=False, kept=kept) if ground is not None else []
    router = pool.spec.attachment.gateway
    return [{**one, "gateway": str(router)} for one in made] if router is not None else made


def _text(configuration: Mapping[str, Any]) -> str:
    return json.dumps(configuration, indent=2, sort_keys=True) + "\n"

"""A machine: its agent's decisions about blocks, host-local's records, its pods. What decides is the agent's own code.

The glue between the decisions is that of ``controller/node/agent.py`` and ``pods.py``, without kernel and files: the
blackhole of a block stands at once.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from tests.sim.ipam.model.server import stamp
from towpath.bgp.advertise import announcements
from towpath.controller.node.contested import Contested, contested
from towpath.controller.node.gate import Addressing, Standing, addressing
from towpath.controller.node.records import OBSERVE_EVERY
from towpath.controller.node.retained import missing, retained
from towpath.ipam.blocks import usable
from towpath.ipam.hostlocal import DrainWatch
from towpath.model.blocks import by_node, in_force, pool_holding
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.memo import remembered
from towpath.model.net import Address, Prefix, block_name, host_prefix


class Holding(Struct, frozen=True):
    """A path that peers have of a machine: since when, and until when if nobody renews it."""

    since: float
    until: float | None = None


class Machine:
    """One host, which registers as the Node ``name``."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.alive = True
        self.api = True
        """It reaches the API server."""
        self.peers = True
        """It reaches the other nodes."""
        self.pods: set[Address] = set()
        self.reserved: set[Address] = set()
        """host-local's records that are of no pod."""
        self.served: dict[Prefix, float] = {}
        """What the CNI configuration of this boot gives out, and since when."""
        self.homes: dict[Prefix, str] = {}
        """The uid of the Node for which its pods of a block were started last."""
        self._agent()

    def _agent(self) -> None:
        """An agent process begins: it knows nothing."""
        self.view: Cluster | None = None
        self.own: dict[str, IPAMBlock] = {}
        self.addressing, self.contested = Addressing(), Contested()
        self.announced: frozenset[Prefix] = frozenset()
        self.watch = DrainWatch()
        self.drained: frozenset[Prefix] = frozenset()
        self.observed = -OBSERVE_EVERY
        self.stepped = False
        """There was a step since the last observation: whatever a pod gave back since then is reserved again."""

    def copy(self) -> "Machine":
        """The same."""
        other = Machine(self.number, self.name)
        vars(other).update(vars(self))
        other.pods, other.reserved, other.served = set(self.pods), set(self.reserved), dict(self.served)
        other.homes = dict(self.homes)
        other.watch = DrainWatch()
        other.watch._empty = dict(self.watch._empty)
        return other

    @property
    def identity(self) -> tuple[str, str]:
        """machineID and systemUUID."""
        return f"m{self.number}", f"s{self.number}"

    def boot(self) -> None:
        """It was off: pods, records and the configuration of the last boot are gone."""
        self.alive = True
        self.pods.clear()
        self.reserved.clear()
        self.served.clear()
        self._agent()

    def restart_agent(self) -> None:
        """The agent's process alone is a new one. What the speaker announces stays, and the picture on disk."""
        announced, own = self.announced, self.own
        self._agent()
        self.announced, self.own = announced, own

    def free(self, block: Prefix) -> list[Address]:
        """Addresses that host-local would give the next pod."""
        return [one for one in self.addresses(block) if one not in self.pods and one not in self.reserved]

    def addresses(self, block: Prefix) -> list[Address]:
        """All that pods can get of a block."""
        pool = pool_holding(block, self.view.pools) if self.view else None
        ends = usable(block, pool=pool.spec.cidr if pool else None)
        return [ends[0] + offset for offset in range(int(ends[1]) - int(ends[0]) + 1)] if ends else []

    def in_use(self, blocks: Iterable[Prefix]) -> frozenset[Prefix]:
        """Those with a pod."""
        return frozenset(block for block in blocks if any(address in block for address in self.pods))

    def sync(self, cluster: Cluster, *, now: float, foreign: Iterable[Prefix]) -> None:
        """One step of the agent; ``foreign``: what others are known to announce, or to have announced not long ago."""
        gone = missing(cluster, self.name, before=self.own.values())
        kept = retained(cluster, self.name, gone=gone, in_use=self.in_use(one.spec.cidr for one in gone))
        self.own = {**_owned(cluster.blocks).get(self.name, {}), **{one.name: one for one in kept.gone}}
        self.view = kept.cluster
        blocks = by_node(in_force(self.view.blocks)).get(self.name, ())
        prefixes = [one.spec.cidr for one in blocks]
        others = list(foreign)
        self.addressing = addressing(
            self.view,
            self.name,
            blocks=blocks,
            standing=Standing(
                in_kernel=prefixes,
                clear=[one for one in prefixes if not any(one.overlaps(other) for other in others)],
                served=[one for one in prefixes if one in self.served],
            ),
        )
        self.contested = contested(self.view, self.name, tuple(self.pods))
        self.announced = frozenset((*announcements(self.view, self.name), *map(host_prefix, self.contested.addresses)))
        self._reserve()
        self._configure(now)
        self.stepped = True

    def _version(self, block: Prefix) -> str:
        return self.view.blocks[block_name(block)].meta.resource_version if self.view else ""

    def _reserve(self) -> None:
        for block in self.addressing.draining:
            self.reserved.update(self.free(block))
        for block in self.addressing.usable:
            self.reserved = {one for one in self.reserved if one not in block}
        known = {*self.served, *(one.spec.cidr for one in self.own.values())}
        self.reserved = {one for one in self.reserved if any(one in block for block in known)}

    def _configure(self, now: float) -> None:
        known = (*self.addressing.usable, *self.addressing.idle)
        lost = any(block not in known for block in self.served)
        if self.addressing.complete or (self.addressing.usable and lost):
            self.served = {block: self.served.get(block, now) for block in self.addressing.usable}

    def report(self, *, now: float) -> dict | None:
        """The status that the agent writes now; None before its first step."""
        if self.view is None:
            return None
        node = self.view.nodes.get(self.name)
        own = {one.spec.cidr for one in _owned(self.view.blocks).get(self.name, {}).values()}
        serving = [one for one in self.addressing.usable if one in own]
        draining = [one for one in self.addressing.draining if one in own]
        others = own.difference(serving, draining) | self.contested.blocks.keys()
        withdrawn = sorted(self.in_use(others), key=str)
        counts = {block: sum(one in block for one in self.pods) for block in (*serving, *withdrawn, *draining)}
        if (now - self.observed >= OBSERVE_EVERY and self.stepped) or not draining:
            self.observed, self.stepped = now, False
            self.drained = self.watch.observe(draining, in_use=[block for block, count in counts.items() if count])
        blocks = [
            {
                "cidr": str(block),
                "inUse": count,
                "capacity": len(self.addresses(block)),
                "drained": block in self.drained,
                "drainedVersion": self._version(block) if block in self.drained else "",
            }
            for block, count in counts.items()
        ]
        return {"nodeUID": node.meta.uid if node else "", "reportedAt": stamp(now), "blocks": blocks}


@remembered
def _owned(blocks: Mapping[str, IPAMBlock]) -> Mapping[str, Mapping[str, IPAMBlock]]:
    """The blocks of each node by name, those that do not count included."""
    found: dict[str, dict[str, IPAMBlock]] = {}
    for name, one in blocks.items():
        found.setdefault(one.spec.node, {})[name] = one
    return found

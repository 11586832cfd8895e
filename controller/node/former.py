"""Pods that another network attached on this node: what they have of its blocks stands in host-local before any of it is given out.

Who has which address is known from the pods that are bound to the node, under which container from what the runtime
noted when it attached them. A pod of which the runtime has no note is written down under a name of ours and taken out
again when it is gone; all others leave as any pod does, with the DEL of their container.

Until our configuration stands, pods come and go by another: their records follow them in every step. Pods of before this
boot are gone, whatever the API server and the runtime's notes say of them still.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import structlog

from towpath.controller.node.living import Living
from towpath.controller.node.parts import Inhabitants
from towpath.ipam.cni import NETWORK
from towpath.ipam.hostlocal import FORMER, HostLocal, Record
from towpath.ipam.runtime import Attachment, attachments
from towpath.model.blocks import in_force, pool_holding
from towpath.model.cluster import Cluster
from towpath.model.net import Address, Prefix, contains, host_prefix
from towpath.model.reason import listed

log = structlog.get_logger()
LATE = 300.0
"""Seconds after our configuration's coming in which an attachment by another network may still end: a runtime gives up sooner."""


class Former:
    """Their addresses. ``notes``: the folder of the runtime's; ``booted``: when the machine was, in seconds since the epoch.

    ``clock`` is monotonic.
    """

    def __init__(
        self,
        local: HostLocal,
        *,
        pods: Inhabitants,
        notes: Path,
        booted: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._local = local
        self._pods = pods
        self._notes = notes
        self._booted = booted
        self._clock = clock
        self._looked: frozenset[Prefix] = frozenset()
        """Blocks whose pods are written down."""
        self._written: Mapping[Address, Record] = {}
        """What was written down in place of the plugin, while it was not called."""
        self._open_until = 0.0
        """Until when another network may still be attaching somebody, as far as this process knows."""
        self.done = False
        """Whether all that is to be known of before is, and nothing of it is in the way, as of the last look."""
        self.strangers: tuple[str, ...] = ()
        """A sentence for each address of other nodes that pods here have: nobody would find such a pod any more."""

    @property
    def lacking(self) -> str:
        """What is waited for; empty: nothing."""
        unknown = "" if self.done else "which pods are on the node already is not known yet"
        return listed(self.strangers) or unknown

    @property
    def heeding(self) -> bool:
        """Whether the coming or going of a pod changes what is to be done."""
        return self._open or bool(self._unnamed())

    @property
    def _open(self) -> bool:
        return self._clock() < self._open_until

    def take(self, cluster: Cluster, blocks: Collection[Prefix], *, served: Collection[Prefix], first: bool) -> bool:
        """Write down who lives in this node's blocks, of which those ``served`` are host-local's to know; whether it is done.

        ``first``: no configuration of ours stood in this boot, so no container has been detached by one. ``OSError``: try again.
        """
        self.done = False
        if not self._pods.settled:
            return False
        noted: Mapping[Address, Attachment] = {}
        if first:
            since = self._booted()
            noted = self._noted(since)
            self._follow(blocks, noted, since=since)
        else:
            self._complete(blocks, new=frozenset(blocks) - frozenset(served) - self._looked)
        self._looked = frozenset(blocks)
        self._forget()
        self.strangers = tuple(self._outside(cluster, blocks, noted)) if first else ()
        self.done = not self.strangers
        return self.done

    def _outside(
        self, cluster: Cluster, blocks: Collection[Prefix], noted: Mapping[Address, Attachment]
    ) -> Iterator[str]:
        """The addresses of our pools that another network gave to pods here, of none of this node's blocks."""
        pods = self._pods.living
        living = None if pods is None else {address: one.key for one in pods for address in one.addresses}
        for address, one in sorted(noted.items(), key=str):
            prefix = host_prefix(address)
            pool = pool_holding(prefix, cluster.pools)
            apart = pool is None or not pool.spec.attachment.primary or any(contains(block, prefix) for block in blocks)
            if one.network == NETWORK or apart or (living is not None and address not in living):
                continue
            owners = [each for cidr, each in in_force(cluster.blocks).items() if address in cidr]
            whose = f"block {owners[0].spec.cidr} of node {owners[0].spec.node}" if owners else "no block"
            pod = f"pod {living[address]}" if living is not None else f"container {one.container}"
            yield f"{pod} has {address}, of {whose}"

    def _follow(self, blocks: Collection[Prefix], noted: Mapping[Address, Attachment], *, since: float) -> None:
        """Who lives there now, and nobody of those who were written down before and do not any more."""
        self._open_until = self._clock() + LATE
        addresses = {*noted, *_alive(self._pods.living or (), since=since)}
        found = {one: _record(one, noted.get(one)) for one in addresses if any(one in block for block in blocks)}
        self._local.free([one for address, one in self._written.items() if found.get(address) != one])
        self._write(found)
        self._written = found

    def _complete(self, blocks: Collection[Prefix], *, new: Collection[Prefix]) -> None:
        """Who lives in blocks that come later, and who was just being attached by another network when ours came.

        A note alone may be one of a container that our configuration has detached: libcni files notes by their network.
        """
        if not new and not self._open:
            return
        since = self._booted()
        noted = self._noted(since)
        found: dict[Address, Record] = {}
        if new:
            for address in _alive(self._pods.living or (), since=since):
                ours = address in noted and noted[address].network == NETWORK
                if not ours and any(address in block for block in new):
                    found[address] = _record(address, noted.get(address))
        if self._open:
            known = {one.container for one in self._written.values()}
            for address, one in noted.items():
                if one.network != NETWORK and one.container not in known and any(address in each for each in blocks):
                    found[address] = _record(address, one)
        self._write(found)
        self._written = {**self._written, **found}

    def _noted(self, since: float) -> Mapping[Address, Attachment]:
        return {address: one for address, one in attachments(self._notes).items() if one.at >= since}

    def _write(self, found: Mapping[Address, Record]) -> None:
        there = {one.address: one.container for one in self._local.records()}
        new = [found[one] for one in sorted(found, key=str) if there.get(one) != found[one].container]
        for one in self._local.adopt(new) if new else ():
            log.info("pod.taken_over", address=str(one.address), container=one.container)

    def _unnamed(self) -> list[Record]:
        return [one for one in self._local.records() if one.container == FORMER]

    def _forget(self) -> None:
        """Take out what no container's end will, once no pod has it any more."""
        pods = self._pods.living
        if pods is not None:
            living = {address for one in pods for address in one.addresses}
            self._local.free([one for one in self._unnamed() if one.address not in living])


def _alive(pods: Collection[Living], *, since: float) -> Iterator[Address]:
    """The addresses of pods of which a container has started since."""
    return (address for one in pods if one.started >= since for address in one.addresses)


def _record(address: Address, noted: Attachment | None) -> Record:
    """Who has an address, as host-local has it."""
    return Record(address, noted.container, noted.interface) if noted else Record(address, FORMER, "eth0")


def booted(stat: Path = Path("/proc/stat")) -> float:
    """When this machine was booted, in seconds since the epoch (proc(5))."""
    for line in stat.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "btime":
            return float(value)
    raise OSError(f"{stat} does not say when the machine was booted")

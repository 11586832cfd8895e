"""Pods that were on this node before a block of theirs was served: what they have stands in host-local first.

Who has which address is known from the pods that are bound to the node, under which container from what the runtime
noted when it attached them. A pod of which the runtime has no note is written down under its address's own name and
taken out again when it is gone; all others leave as any pod does, with the DEL of their container.

Pods of before this boot are gone, whatever the API server and the runtime's notes say of them still.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from towpath.controller.node.living import Living
from towpath.controller.node.parts import Inhabitants
from towpath.ipam.cni import NETWORK
from towpath.ipam.hostlocal import FORMER, HostLocal, Record
from towpath.ipam.runtime import Attachment, attachments
from towpath.model.net import Address, Prefix

log = structlog.get_logger()


class Former:
    """Their addresses. ``notes``: the folder of the runtime's; ``booted``: when the machine was, in seconds since the epoch."""

    def __init__(self, local: HostLocal, *, pods: Inhabitants, notes: Path, booted: Callable[[], float]) -> None:
        self._local = local
        self._pods = pods
        self._notes = notes
        self._booted = booted
        self._taken: frozenset[Prefix] = frozenset()
        """Blocks whose pods are written down."""
        self.done = False
        """Whether all that is to be known of before is, as of the last look."""

    @property
    def lacking(self) -> str:
        """What is waited for; empty: nothing."""
        return "" if self.done else "which pods are on the node already is not known yet"

    @property
    def waiting(self) -> bool:
        """Whether addresses stand there under no container: the going of a pod changes what is to be done."""
        return bool(self._records())

    def take(self, blocks: Iterable[Prefix], *, served: Iterable[Prefix], first: bool) -> bool:
        """Write down who lives in the blocks that are not ``served`` yet, once; whether it is done.

        ``first``: no configuration of ours stood in this boot, so that no container can have been detached without the
        runtime's noting it. ``OSError``: try again.
        """
        self.done = False
        if not self._pods.settled:
            return False
        wanted = frozenset(blocks)
        new = wanted - frozenset(served) - self._taken
        if new:
            found = tuple(self._found(new, first=first))
            if found:
                self._local.adopt(found)
            for one in found:
                log.info("pod.taken_over", address=str(one.address), container=one.container)
        self._taken = wanted
        self._forget()
        self.done = True
        return True

    def _found(self, blocks: Iterable[Prefix], *, first: bool) -> Iterable[Record]:
        noted, booted = attachments(self._notes), self._booted()
        living = alive(self._pods.living or (), since=booted)
        networks = [one for one in noted.values() if first and one.at >= booted]
        for block in blocks:
            here = {one for one in living if one in block} | {one.address for one in networks if one.address in block}
            for address in sorted(here, key=int):
                record = _record(address, noted.get(address), booted=booted, first=first)
                if record is not None:
                    yield record

    def _records(self) -> list[Record]:
        return [one for one in self._local.records() if one.container == FORMER]

    def _forget(self) -> None:
        """Take out what no container's end will, once no pod has it any more."""
        pods = self._pods.living
        if pods is not None:
            living = {address for one in pods for address in one.addresses}
            self._local.free([one for one in self._records() if one.address not in living])


def alive(pods: Iterable[Living], *, since: float) -> Mapping[Address, Living]:
    """The addresses of pods of which a container has started since."""
    return {address: one for one in pods if one.started >= since for address in one.addresses}


def _record(address: Address, noted: Attachment | None, *, booted: float, first: bool) -> Record | None:
    """Who has an address, as host-local has it; None: it has it itself, or had it until the pod went."""
    if noted is None or noted.at < booted:
        return Record(address, FORMER, "eth0")
    if noted.network == NETWORK and not first:
        return None
    return Record(address, noted.container, noted.interface)


def booted(stat: Path = Path("/proc/stat")) -> float:
    """When this machine was booted, in seconds since the epoch (proc(5))."""
    for line in stat.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "btime":
            return float(value)
    raise OSError(f"{stat} does not say when the machine was booted")

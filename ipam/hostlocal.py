"""host-local's records on this node: which addresses it gave out, and how to keep it from giving out more.

The CNI plugin keeps a file per address in ``dataDir/NETWORK``, named by the address (``:`` stays as it is), holding
container id and interface. It works under a lock on the file ``lock`` there (flock(2)); so do we, where we write.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_interface
from pathlib import Path

from msgspec import Struct

from towpath.ipam.blocks import capacity, gateway, usable
from towpath.ipam.cni import NETWORK
from towpath.ipam.reserved import NOTHING, Reserved
from towpath.model.kinds.node import BlockReport
from towpath.model.net import Address, Interface, Prefix

OURS = "towpath-drain"
"""What we write in place of a container id, so that our own reservations are known from addresses in use."""
ENDPOINT = "towpath-endpoint"
"""The same for an address that the node has itself."""
GATEWAY = "towpath-gateway"
"""The same for the one that it has on the bridge of a block's pods; the block's length follows."""
FOUND = "towpath-found"
"""The same for an address that is in use although nobody was given it."""
FORMER = "towpath-former"
"""The same for an address of a pod that another network attached, and nobody can say to which container."""
_NO_POD = frozenset({OURS, ENDPOINT, GATEWAY})
RUNNING = 60.0
"""Seconds that a plugin runs at most, with a configuration that may have been replaced meanwhile."""
_SETTLED = 1_000_000_000
"""Nanoseconds after its last change in which a folder may change again and not show it by its time."""


class Record(Struct, frozen=True):
    """One address that is not free; ``container`` is ``OURS``, ``ENDPOINT`` or ``GATEWAY`` where no pod has it."""

    address: Address
    container: str
    interface: str


def is_pods(record: Record) -> bool:
    """Whether a record says that a pod has the address."""
    return record.container not in _NO_POD


def is_container(record: Record) -> bool:
    """Whether a record names the container that has the address."""
    return is_pods(record) and record.container not in (FOUND, FORMER, "")


class HostLocal:
    """The records of one network under host-local's ``dataDir``."""

    def __init__(self, data_dir: Path, *, network: str = NETWORK) -> None:
        self.folder = data_dir / network
        self._held: frozenset[Address] | None = None
        """What ``hold`` was asked for last."""
        self._known: tuple[int, list[Record]] = (0, [])
        """All records, and the folder's ``version`` that they are of; 0: read them."""

    def records(self) -> list[Record]:
        """All addresses that are not free, in order; none if host-local never ran here.

        They are read again only if the folder has changed, or did so a moment ago: its time is not finer than some milliseconds.
        """
        version, known = self._known
        if not version or version != self.version():
            known = self._read()
        return list(known)

    def _read(self) -> list[Record]:
        version, now = self.version(), time.time_ns()
        found = self._listed()
        # one that says nothing yet is being written
        whole = all(record.container for record in found)
        self._known = (version if whole and now - version > _SETTLED else 0, found)
        return found

    def _listed(self) -> list[Record]:
        try:
            names = sorted(entry.name for entry in self.folder.iterdir())
        except FileNotFoundError:
            return []
        found: list[Record] = []
        for name in names:
            with contextlib.suppress(ValueError, FileNotFoundError):  # lock, last_reserved_ip.N; or released just now
                address = ip_address(name)
                container, _, interface = (self.folder / name).read_text(errors="replace").partition("\n")
                found.append(Record(address, container.strip(), interface.strip()))
        return sorted(found, key=lambda record: (record.address.version, int(record.address)))

    def in_use(self) -> tuple[Address, ...]:
        """The addresses that pods have."""
        return tuple(record.address for record in self.records() if is_pods(record))

    def version(self) -> int:
        """A number that changes whenever an address is taken or given back."""
        try:
            return self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def usage(
        self,
        blocks: Iterable[tuple[Prefix, Prefix | None]],
        *,
        endpoints: Collection[Prefix] = (),
        kept: Reserved = NOTHING,
    ) -> tuple[BlockReport, ...]:
        """How full each block is; each comes with its pool's cidr, or None where it is a subnet by itself.

        ``endpoints``: their lowest address is the node's own. What is ``kept`` counts only while a pod has it.
        """
        in_use = self.in_use()
        return tuple(_report(block, pool, in_use, endpoint=block in endpoints, kept=kept) for block, pool in blocks)

    def hold(self, addresses: Collection[Address]) -> frozenset[Address]:
        """Have these addresses given to no pod, and others that were held again; those of them that pods have already.

        Under host-local's lock: whoever is first has the address.
        """
        wanted = frozenset(addresses)
        if self._held != wanted and self.folder.is_dir():
            with self._locked():
                for record in self.records():
                    if record.container == ENDPOINT and record.address not in wanted:
                        (self.folder / str(record.address)).unlink(missing_ok=True)
        if missing := [one for one in wanted if not (self.folder / str(one)).exists()]:
            with self._locked():
                for one in missing:
                    self._reserve(one, ENDPOINT)
        self._held = wanted
        return frozenset(one for one in wanted if self._container(one) not in {"", *_NO_POD})

    def spare(self, ranges: Sequence[tuple[Address, Address]], *, fresh: bool) -> Address | None:
        """An address in ranges, each from its first to its last, for the node itself: one that it holds, else, if ``fresh``, the last free one."""
        known = {record.address: record.container for record in self.records()}
        for address, container in known.items():
            if container == ENDPOINT and any(_within(address, *ends) for ends in ranges):
                return address
        for first, last in reversed(ranges) if fresh else ():
            for value in range(int(last), int(first) - 1, -1):
                if (address := type(first)(value)) not in known:
                    return address
        return None

    def adopt(self, records: Iterable[Record]) -> tuple[Record, ...]:
        """Give addresses to those who have them already, under host-local's lock; those that were.

        What a container has stays its own; what nobody was known to have, or the node held itself, does not.
        """
        made: list[Record] = []
        with self._locked():
            for one in records:
                if self._container(one.address) in {FOUND, FORMER, *_NO_POD}:
                    (self.folder / str(one.address)).unlink()
                if not (self.folder / str(one.address)).exists():
                    self._reserve(one.address, one.container, one.interface)
                    made.append(one)
        return tuple(made)

    def _container(self, address: Address) -> str:
        """Whose an address is; empty: nobody's."""
        try:
            return (self.folder / str(address)).read_text(errors="replace").partition("\n")[0].strip()
        except FileNotFoundError:
            return ""

    def free(self, gone: Collection[Record]) -> tuple[Record, ...]:
        """Take these records away, under host-local's lock; those that still were as they are here."""
        if not gone:
            return ()
        freed: list[Record] = []
        with self._locked():
            for one in sorted(gone, key=lambda record: str(record.address)):
                if self._container(one.address) == one.container:
                    (self.folder / str(one.address)).unlink(missing_ok=True)
                    freed.append(one)
        return tuple(freed)

    def keep(self, address: Address) -> None:
        """Have an address given to nobody that is in use without a record, under host-local's lock."""
        with self._locked():
            self._reserve(address, FOUND)

    def gateways(self) -> tuple[Interface, ...]:
        """The addresses that the node has on the bridge of its pods, each with its block."""
        return tuple(
            ip_interface(f"{one.address}/{one.interface}")
            for one in self.records()
            if one.container == GATEWAY and one.interface.isdigit()
        )

    def take_gateway(self, block: Prefix) -> None:
        """Reserve the node's own address in a block, under host-local's lock; whether it is the node's is seen afterwards.

        Also a configuration that knows nothing of a bridge does not give it out then.
        """
        with self._locked():
            self._reserve(gateway(block), GATEWAY, str(block.prefixlen))

    def drop_gateways(self, gateways: Iterable[Interface]) -> None:
        """Give these back."""
        for one in gateways:
            (self.folder / str(one.ip)).unlink(missing_ok=True)

    def reserve_free(self, block: Prefix, *, pool: Prefix | None) -> frozenset[Address]:
        """Reserve every free address of a block for nobody, under host-local's lock; the addresses that pods have.

        After it a stale configuration cannot give out any address of the block. Doing it again does no harm.
        """
        ends = usable(block, pool=pool)
        if ends is None:
            return frozenset()
        taken = self.reserve_between(*ends)
        return frozenset(address for address, owner in taken.items() if owner not in _NO_POD and address in block)

    def reserve_between(self, first: Address, last: Address) -> Mapping[Address, str]:
        """Reserve every free address from one to another for nobody, under host-local's lock; who has the others of all."""
        with self._locked():
            taken = {record.address: record.container for record in self.records()}
            for value in range(int(first), int(last) + 1):
                address = type(first)(value)
                if address not in taken:
                    self._reserve(address, OURS)
        return taken

    def release_reserved(self, block: Prefix) -> None:
        """Take our own reservations in a block back: it is in use again, or not this node's any more."""
        if not self.folder.is_dir():
            return
        with self._locked():
            for record in self.records():
                if record.container == OURS and record.address in block:
                    (self.folder / str(record.address)).unlink(missing_ok=True)

    def release_outside(self, blocks: Collection[Prefix], *, but: Collection[tuple[Address, Address]] = ()) -> None:
        """Take our own reservations back that lie in none of these blocks, nor in a range of ``but``: nothing here gives them out.

        One that was made moments ago stays: a plugin that is just being run may know the range still.
        """
        outside = [
            record
            for record in self.records()
            if record.container == OURS
            and not any(record.address in block for block in blocks)
            and not any(_within(record.address, *ends) for ends in but)
        ]
        self.free([record for record in outside if self._age(record.address) > RUNNING])

    def _age(self, address: Address) -> float:
        """Seconds since a record was written."""
        try:
            return time.time() - (self.folder / str(address)).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _reserve(self, address: Address, whose: str, what: str = "eth0") -> None:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self.folder / str(address), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{whose}\r\n{what}")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class DrainWatch:
    """Whether a draining block was free of pods in two observations; the agent reports it drained then."""

    def __init__(self) -> None:
        self._empty: dict[Prefix, int] = {}

    def observe(self, draining: Collection[Prefix], *, in_use: Collection[Prefix]) -> frozenset[Prefix]:
        """One look at the blocks that drain; ``in_use`` are those with a pod. Those that are drained by now."""
        self._empty = {block: 0 if block in in_use else self._empty.get(block, 0) + 1 for block in draining}
        return frozenset(block for block, times in self._empty.items() if times >= 2)


def _within(address: Address, first: Address, last: Address) -> bool:
    return address.version == first.version and int(first) <= int(address) <= int(last)


def _report(
    block: Prefix, pool: Prefix | None, in_use: Iterable[Address], *, endpoint: bool, kept: Reserved
) -> BlockReport:
    here = [address for address in in_use if address in block]
    room = capacity(block, pool=pool, endpoint=endpoint, kept=kept)
    return BlockReport(cidr=block, in_use=len(here), capacity=room + (sum(one in kept for one in here) if kept else 0))

"""A small world for the table's tests: three nodes, a ToR, pools and blocks, and UPDATE bodies made from typed values."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network

from msgspec.structs import replace

from towpath.bgp.ports import Loss, LossKind, Negotiated, PeerRestart
from towpath.bgp.table import Table
from towpath.model.net import Address, Family, Prefix, family_of, from_wire, split_wire, to_wire
from towpath.model.speaker import (
    Announcement,
    MaxPrefix,
    NodeOrigin,
    Report,
    Routes,
    Session,
    Settings,
    SpeakerState,
    Withdrawn,
)

LOCAL_AS = 64512
TOR_AS = 65000
ADDRESSES = {"a": ("10.0.0.1", "fd10::1"), "b": ("10.0.0.2", "fd10::2"), "c": ("10.0.0.3", "fd10::3")}
BLOCKS = {
    "a": ("10.244.1.0/26", "fd20::1:0/122"),
    "b": ("10.244.2.0/26", "fd20::2:0/122"),
    "c": ("10.244.3.0/26", "fd20::3:0/122"),
}
BOTH = (Family.IPV4, Family.IPV6)
RESTART = PeerRestart(restart_time=120, restarting=False, notification=True, preserved=BOTH, families=BOTH)


def session(name: str, peer: str, **changes: object) -> Session:
    """An iBGP session of node a."""
    made = Session(
        name=name,
        scope="Mesh",
        peer_address=ip_address(peer),
        peer_port=179,
        remote_as=LOCAL_AS,
        local_as=LOCAL_AS,
        local_address=None,
        passive=False,
        families=BOTH,
        hold_time=90,
        keepalive_time=30,
        connect_retry_time=5,
        restart_time=120,
        import_policy="Filtered",
        max_prefix=MaxPrefix(256),
    )
    return replace(made, **changes)


def state(**changes: object) -> SpeakerState:
    """Node a: mesh sessions to b and c, two ToRs with importPolicy All."""
    sessions = [
        session("b", "10.0.0.2", peer_node="b"),
        session("c", "10.0.0.3", peer_node="c"),
        session("tor", "10.0.0.254", scope="Global", remote_as=TOR_AS, import_policy="All", max_prefix=MaxPrefix(1000)),
        session(
            "tor2", "10.0.0.253", scope="Global", remote_as=TOR_AS, import_policy="All", max_prefix=MaxPrefix(1000)
        ),
    ]
    announcements = [Announcement(ip_network(block), "Block", 2147483647 - 1024) for block in BLOCKS["a"]]
    made = SpeakerState(
        settings=Settings(
            node="a",
            local_as=LOCAL_AS,
            router_id=IPv4Address("10.0.0.1"),
            listen=(),
            maximum_paths=4,
            own_addresses=tuple(map(ip_address, ADDRESSES["a"])),
            pools=(ip_network("10.244.0.0/16"), ip_network("fd20::/64")),
        ),
        sessions={each.name: each for each in sessions},
        announcements={each.prefix: each for each in announcements},
        blocks={ip_network(block): node for node, blocks in BLOCKS.items() for block in blocks},
        nodes={node: NodeOrigin(tuple(map(ip_address, pair)), LOCAL_AS) for node, pair in ADDRESSES.items()},
    )
    return replace(made, **changes)


def settings(made: SpeakerState, **changes: object) -> SpeakerState:
    """The state with other settings."""
    return replace(made, settings=replace(made.settings, **changes))


def attribute(flags: int, kind: int, value: bytes) -> bytes:
    """One path attribute."""
    if flags & 0x10 or len(value) > 255:
        return bytes((flags | 0x10, kind)) + struct.pack("!H", len(value)) + value
    return bytes((flags, kind, len(value))) + value


def as_path(numbers: Iterable[int], *, width: int = 4) -> bytes:
    """AS_PATH of one sequence."""
    numbers = list(numbers)
    value = b"".join(number.to_bytes(width, "big") for number in numbers)
    return attribute(0x40, 2, bytes((2, len(numbers))) + value if numbers else b"")


def block(
    *, hop: str | None = "10.0.0.254", path: Iterable[int] = (TOR_AS,), preference: int | None = None, more: bytes = b""
) -> bytes:
    """ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF and more."""
    made = attribute(0x40, 1, b"\0") + as_path(path)
    if hop is not None:
        made += attribute(0x40, 3, ip_address(hop).packed)
    if preference is not None:
        made += attribute(0x40, 5, preference.to_bytes(4, "big"))
    return made + more


def body(withdrawn: bytes = b"", attributes: bytes = b"", announced: bytes = b"") -> bytes:
    """An UPDATE without its header."""
    return struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", len(attributes)) + attributes + announced


def wires(*prefixes: str | Prefix) -> bytes:
    """Packed wire prefixes."""
    return b"".join(to_wire(ip_network(prefix)) for prefix in prefixes)


def mp_reach(family: Family, hop: bytes, packed: bytes) -> bytes:
    """MP_REACH_NLRI."""
    return attribute(0x90, 14, struct.pack("!HBB", family.afi, 1, len(hop)) + hop + b"\0" + packed)


def mp_unreach(family: Family, packed: bytes) -> bytes:
    """MP_UNREACH_NLRI."""
    return attribute(0x90, 15, struct.pack("!HB", family.afi, 1) + packed)


def announce(prefix: str | Prefix, *, hop: str, **attributes: object) -> bytes:
    """An UPDATE that announces a prefix."""
    family = family_of(ip_network(prefix))
    if family is Family.IPV4:
        return body(attributes=block(hop=hop, **attributes), announced=wires(prefix))
    reach = mp_reach(family, ip_address(hop).packed, wires(prefix))
    return body(attributes=reach + block(hop=None, **attributes))


def withdraw(prefix: str | Prefix) -> bytes:
    """An UPDATE that withdraws a prefix."""
    family = family_of(ip_network(prefix))
    if family is Family.IPV4:
        return body(withdrawn=wires(prefix))
    return body(attributes=mp_unreach(family, wires(prefix)))


END = {Family.IPV4: body(), Family.IPV6: body(attributes=mp_unreach(Family.IPV6, b""))}


@dataclass
class World:
    """A table with a clock that stands still, and what an agent would have made of its frames."""

    state: SpeakerState = field(default_factory=state)
    now: float = 1000.0
    kicked: list[str] = field(default_factory=list)
    routes: dict[Prefix, tuple[tuple[Address, ...], bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.table = Table(kick=self.kicked.append, clock=lambda: self.now)
        self.table.apply(self.state)

    def apply(self, changed: SpeakerState) -> None:
        self.state = changed
        self.table.apply(changed)

    def negotiated(self, name: str, **changes: object) -> Negotiated:
        made = self.state.sessions[name]
        return replace(
            Negotiated(
                families=BOTH,
                peer_router_id=int(ip_address(str(made.peer_address))),
                peer_as=made.remote_as,
                local_as=made.local_as,
                local_address=IPv4Address("10.0.0.1"),
                peer_address=made.peer_address,
                hold_time=90,
                four_octet_as=True,
                message_size=4096,
                restart=RESTART,
            ),
            **changes,
        )

    def up(self, name: str, **changes: object) -> None:
        self.table.established(name, self.negotiated(name, **changes))

    def lost(self, name: str, kind: LossKind = LossKind.CONNECTION, code: int = 0) -> None:
        self.table.lost(name, Loss(kind, code))

    def hear(self, name: str, *bodies: bytes) -> None:
        self.table.updates(name, bodies)

    def wait(self, seconds: float) -> None:
        """Time passes; the table is woken when it asked for it."""
        until = self.now + seconds
        while (deadline := self.table.deadline()) is not None and self.now < deadline <= until:
            self.now = deadline
            self.table.expire(self.now)
        self.now = until
        self.table.expire(self.now)

    def take(self, frames: list[Routes | Withdrawn]) -> None:
        for frame in frames:
            for wire in split_wire(frame.prefixes):
                prefix = from_wire(frame.family, wire)
                if isinstance(frame, Routes):
                    self.routes[prefix] = (frame.next_hops, frame.provisional)
                else:
                    del self.routes[prefix]

    def drained(self, limit: int = 100) -> dict[Prefix, tuple[tuple[Address, ...], bool]]:
        while self.table.dirty:
            self.take(self.table.drain(limit))
        return self.routes

    def hops(self) -> dict[str, list[str]]:
        """The Loc-RIB as text."""
        return {str(prefix): [str(hop) for hop in hops] for prefix, (hops, _) in self.drained().items()}

    def refused(self, name: str) -> dict[str, int]:
        return refused(self.table.report({})).get(name, {})


def refused(report: Report) -> dict[str, dict[str, int]]:
    """How many prefixes are refused, by session and reason."""
    return {one.name: {each.reason: each.prefixes for each in one.refused} for one in report.sessions if one.refused}

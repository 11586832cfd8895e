"""Several paths of one prefix by one session (ADD-PATH, RFC 7911): taken in, told, withdrawn by identifier."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.bgp_table.test_outbound import messages
from tests.unit.bgp_table.test_reflection import ADDRESSES, BLOCKS, CLUSTER, internal, own_block, reflector
from tests.unit.bgp_table.world import (
    BOTH,
    END,
    RESTART,
    TOR_AS,
    World,
    block,
    body,
    mp_reach,
    mp_unreach,
    state,
    wires,
)
from tests.unit.bgp_table.world import announce as plain
from tests.unit.bgp_table.world import settings as with_settings
from towpath.bgp import layers
from towpath.bgp.identified import identified, identifier
from towpath.bgp.ports import SessionError
from towpath.bgp.update import multiprotocol, split
from towpath.model.net import Family, Prefix, family_of, from_wire, to_wire
from towpath.model.speaker import Announcement, MaxPrefix, SpeakerState

ANYCAST = ["20.0.0.1/32", "20.0.0.2/32", "2001:db8::1/128"]
SERVICE = ip_network("10.96.0.10/32")
HOPS = {4: ["10.0.0.254", "10.0.0.253", "10.0.0.9", "10.0.0.8"], 6: ["fd10::fe", "fd10::fd", "fd10::9", "fd10::8"]}


def number(one: int) -> bytes:
    """A path identifier."""
    return one.to_bytes(4, "big")


def announce(prefix: str | Prefix, one: int, *, hop: str, **attributes: object) -> bytes:
    """An UPDATE with one path."""
    family, nlri = family_of(ip_network(prefix)), number(one) + wires(prefix)
    if family is Family.IPV4:
        return body(attributes=block(hop=hop, **attributes), announced=nlri)
    return body(attributes=mp_reach(family, ip_address(hop).packed, nlri) + block(hop=None, **attributes))


def withdraw(prefix: str | Prefix, one: int) -> bytes:
    """An UPDATE that withdraws one path."""
    family, nlri = family_of(ip_network(prefix)), number(one) + wires(prefix)
    return body(withdrawn=nlri) if family is Family.IPV4 else body(attributes=mp_unreach(Family.IPV6, nlri))


def listening(**changes: object) -> World:
    """Both routers outside tell us several paths; everything from them is accepted."""
    made = World(with_settings(state(), maximum_paths=16))
    for name in ("tor", "tor2"):
        made.up(name, paths_taken=BOTH, **changes)
    return made


def used(world: World) -> dict[str, set[str]]:
    return {prefix: set(hops) for prefix, hops in world.hops().items()}


def test_each_path_counts_and_each_is_withdrawn_by_its_identifier() -> None:
    """All are used; one that goes leaves the others; one that was never announced is nobody's."""
    world = listening()
    first, second, third, _ = HOPS[4]
    prefix = ANYCAST[0]
    world.hear("tor", *(announce(prefix, one, hop=hop) for one, hop in enumerate((first, second, third))))
    assert used(world) == {prefix: {first, second, third}}
    world.hear("tor", withdraw(prefix, 1), withdraw(prefix, 7))
    assert used(world) == {prefix: {first, third}}
    world.hear("tor", announce(prefix, 2, hop=second))
    assert used(world) == {prefix: {first, second}}
    world.hear("tor", withdraw(prefix, 0), withdraw(prefix, 2))
    assert used(world) == {}
    assert world.table.report({}).sessions[2].received == 0


def test_the_best_of_several_paths_is_used_and_the_next_when_it_goes() -> None:
    """Paths of one session are compared like those of several."""
    world = listening()
    prefix = ANYCAST[0]
    world.hear("tor", announce(prefix, 1, hop=HOPS[4][0]), announce(prefix, 2, hop=HOPS[4][1], path=(TOR_AS, 7)))
    assert used(world) == {prefix: {HOPS[4][0]}}
    world.hear("tor", withdraw(prefix, 1))
    assert used(world) == {prefix: {HOPS[4][1]}}


def test_every_path_counts_for_the_limit() -> None:
    """With room for two, a third path is refused, and taken when another one goes."""
    world = World(state())
    tor = replace(world.state.sessions["tor"], max_prefix=MaxPrefix(2))
    world.apply(replace(world.state, sessions=world.state.sessions | {"tor": tor}))
    world.up("tor", paths_taken=BOTH)
    prefix = ANYCAST[0]
    world.hear("tor", *(announce(prefix, one, hop=hop) for one, hop in enumerate(HOPS[4][:3])))
    assert world.refused("tor") == {"MaxPrefix": 1}
    world.hear("tor", withdraw(prefix, 0))
    assert used(world) == {prefix: set(HOPS[4][1:3])}
    assert world.refused("tor") == {}


@pytest.mark.parametrize("family", Family, ids=lambda family: family.key)
def test_paths_kept_from_before_count_for_the_limit_too(family: Family) -> None:
    """A peer that comes back without path identifiers: what is kept of its other paths takes room, in either family."""
    world = World(state())
    tor = replace(world.state.sessions["tor"], max_prefix=MaxPrefix(3))
    world.apply(replace(world.state, sessions=world.state.sessions | {"tor": tor}))
    world.up("tor", paths_taken=BOTH)
    first, second = HOPS[family][:2]
    kept, *new = ("2001:db8:1::/48", "2001:db8:2::/48", "2001:db8:3::/48")
    if family is Family.IPV4:
        kept, *new = ("20.0.1.0/24", "20.0.2.0/24", "20.0.3.0/24")
    world.hear("tor", announce(kept, 1, hop=first), announce(kept, 2, hop=second))
    world.lost("tor")
    world.up("tor")
    world.hear("tor", *(plain(prefix, hop=first) for prefix in new))
    assert world.refused("tor") == {"MaxPrefix": 1}


def test_a_peer_with_endless_paths_of_one_prefix_loses_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each path costs grows with their number, so it is bounded."""
    monkeypatch.setattr(layers, "MOST", 5)
    world = listening()
    world.hear("tor", *(announce(ANYCAST[0], one, hop=HOPS[4][0]) for one in range(5)))
    with pytest.raises(SessionError) as caught:
        world.hear("tor", announce(ANYCAST[0], 5, hop=HOPS[4][0]))
    assert (caught.value.code, caught.value.subcode) == (6, 8)


@pytest.mark.parametrize("packed", [b"\0", number(1), number(1) + b"\x21" + bytes(5), number(1) + b"\x18\x01\x02"])
def test_prefixes_that_cannot_be_told_apart_end_the_session(packed: bytes) -> None:
    """RFC 7606 section 3: an identifier without a prefix, an impossible length, a prefix cut short."""
    world = listening()
    for broken in (body(withdrawn=packed), body(attributes=block(), announced=packed)):
        with pytest.raises(SessionError) as caught:
            world.hear("tor", broken)
        assert (caught.value.code, caught.value.subcode) == (3, 10)


def test_changed_policy_reaches_every_path() -> None:
    """Held paths are judged again, in whatever layer they lie."""
    world = listening()
    prefix = ANYCAST[0]
    world.hear("tor", *(announce(prefix, one, hop=hop) for one, hop in enumerate(HOPS[4][:3])))
    tor = world.state.sessions["tor"]
    world.apply(replace(world.state, sessions=world.state.sessions | {"tor": replace(tor, import_policy="None")}))
    assert used(world) == {}
    assert world.refused("tor") == {"ImportNone": 3}
    world.apply(replace(world.state, sessions=world.state.sessions | {"tor": tor}))
    assert used(world) == {prefix: set(HOPS[4][:3])}


def test_a_restart_moves_nothing_though_the_identifiers_are_others() -> None:
    """Stale paths are found again by their next hops; at End-of-RIB only what was not said again goes."""
    world = listening(restart=RESTART)
    prefix = ANYCAST[0]
    world.hear("tor", *(announce(prefix, one, hop=hop) for one, hop in enumerate(HOPS[4][:3])), *END.values())
    before = world.hops()
    world.lost("tor")
    world.up("tor", paths_taken=BOTH)
    for one, hop in enumerate(HOPS[4][1:3]):
        world.hear("tor", announce(prefix, one, hop=hop))
        assert world.hops() == before
    world.hear("tor", *END.values())
    assert used(world) == {prefix: set(HOPS[4][1:3])}
    assert world.table.report({}).sessions[2].received == 2


@dataclass
class Model:
    """Paths as heard, by session and prefix: next hop by identifier; and next hops of stale ones."""

    world: World = field(default_factory=listening)
    heard: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)
    stale: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def do(self, event: tuple[str, str, str, int, int]) -> None:
        kind, peer, prefix, one, at = event
        paths, stale = self.heard.setdefault((peer, prefix), {}), self.stale.setdefault((peer, prefix), [])
        if kind == "announce":
            hop = HOPS[ip_network(prefix).version][at]
            if one not in paths and hop in stale:
                stale.remove(hop)
            paths[one] = hop
            self.world.hear(peer, announce(prefix, one, hop=hop))
        elif kind == "withdraw":
            paths.pop(one, None)
            self.world.hear(peer, withdraw(prefix, one))
        elif kind == "end":
            self.world.hear(peer, *END.values())
            self._sweep(peer)
        else:
            for key, some in self.heard.items():
                if key[0] == peer:
                    self.stale.setdefault(key, []).extend(some.values())
                    some.clear()
            self.world.lost(peer)
            self.world.up(peer, paths_taken=BOTH, restart=RESTART)

    def _sweep(self, peer: str) -> None:
        for key, some in self.stale.items():
            if key[0] == peer:
                some.clear()

    def check(self) -> None:
        found: dict[str, set[str]] = {}
        received = dict.fromkeys(("tor", "tor2"), 0)
        for (peer, prefix), paths in self.heard.items():
            hops = [*paths.values(), *self.stale.get((peer, prefix), [])]
            received[peer] += len(hops)
            if hops:
                found.setdefault(prefix, set()).update(hops)
        assert used(self.world) == found
        report = self.world.table.report({})
        assert {one.name: one.received for one in report.sessions if one.name in received} == received


happenings = st.tuples(
    st.sampled_from(["announce"] * 5 + ["withdraw"] * 3 + ["end", "restart"]),
    st.sampled_from(["tor", "tor2"]),
    st.sampled_from(ANYCAST),
    st.integers(0, 3),
    st.integers(0, 3),
)


@given(st.lists(happenings, max_size=50))
def test_after_any_events_all_paths_are_there_and_no_other(events: list[tuple[str, str, str, int, int]]) -> None:
    """Announced, replaced, withdrawn, over restarts of the session with other identifiers: a plain list of them says the same."""
    model = Model()
    for event in events:
        model.do(event)
        if event[3] == 0:
            model.check()
    model.check()
    for peer in ("tor", "tor2"):
        for prefix in ANYCAST:
            for one in range(4):
                model.do(("withdraw", peer, prefix, one, 0))
        model.do(("end", peer, ANYCAST[0], 0, 0))
    assert used(model.world) == {}


@given(st.permutations([(one, hop) for one, hop in enumerate(HOPS[4])]), st.sets(st.integers(0, 3)))
def test_the_order_of_paths_does_not_matter(order: list[tuple[int, str]], gone: set[int]) -> None:
    """Announced in any order, some withdrawn in any: the same next hops in the same order."""
    results = []
    for some in (order, sorted(order)):
        world = listening()
        world.hear("tor", *(announce(ANYCAST[0], one, hop=hop) for one, hop in some))
        world.hear("tor", *(withdraw(ANYCAST[0], one) for one, _ in some if one in gone))
        results.append(world.hops())
    assert results[0] == results[1]


# told


class Listener:
    """A peer that takes all paths: blocks by prefix and identifier."""

    def __init__(self) -> None:
        self.paths: dict[tuple[Prefix, bytes], tuple[bytes, bytes]] = {}

    def hear(self, stream: bytes) -> None:
        for one in messages(stream):
            withdrawn, attributes, announced = split(one)
            parts = multiprotocol(attributes)
            gone = {Family.IPV4: withdrawn, Family.IPV6: parts.unreach.packed if parts.unreach else b""}
            come = {Family.IPV4: announced, Family.IPV6: parts.reach.packed if parts.reach else b""}
            for family in Family:
                for name, wire in identified(family, gone[family]):
                    del self.paths[from_wire(family, wire), name]
                for name, wire in identified(family, come[family]):
                    self.paths[from_wire(family, wire), name] = (
                        parts.rest,
                        parts.reach.next_hop if parts.reach else b"",
                    )

    def hops(self, prefix: Prefix) -> set[str]:
        """The next hops of a prefix of IPv4: each identifier is one."""
        return {str(ip_address(name)) for each, name in self.paths if each == prefix}


def pulled(world: World, name: str, listener: Listener, limit: int = 100_000) -> Listener:
    while stream := world.table.pull(name, limit):
        listener.hear(stream)
    return listener


def service_of(name: str, *, prefix: Prefix = SERVICE, **attributes: object) -> bytes:
    """A node announces the address of a service, as if it were one without identifiers."""
    made = block(hop=str(ADDRESSES[name]), **{"path": [], "preference": 500} | attributes)
    return body(attributes=made, announced=to_wire(prefix))


def reflecting(**changes: object) -> SpeakerState:
    """Node a reflects for b, c, e and f; f takes all paths."""
    made = reflector(*(internal(name, client=True) for name in "bcef"), services=(ip_network("10.96.0.0/16"),))
    return replace(made, **changes)


def up(world: World) -> Listener:
    """Everybody has said that they are done; what ``f`` has heard so far."""
    for name in world.state.sessions:
        world.up(name, paths_told=BOTH if name == "f" else ())
        world.hear(name, *END.values())
    return pulled(world, "f", Listener())


def test_a_reflector_tells_the_address_of_a_service_with_every_node_that_has_it() -> None:
    """Also with its own, where it has one; who takes one path hears one."""
    world = World(reflecting())
    listener = up(world)
    for name in "bce":
        world.hear(name, service_of(name))
    world.drained()
    pulled(world, "f", listener)
    assert listener.hops(SERVICE) == {str(ADDRESSES[name]) for name in "bce"}
    assert {name for prefix, name in listener.paths if prefix == SERVICE} == {ADDRESSES[name].packed for name in "bce"}
    made = Announcement(SERVICE, "Service", 1000)
    world.apply(replace(world.state, announcements=world.state.announcements | {SERVICE: made}))
    assert pulled(world, "f", listener).hops(SERVICE) == {str(ADDRESSES[name]) for name in "abce"}
    world.hear("c", body(withdrawn=to_wire(SERVICE)))
    world.drained()
    assert pulled(world, "f", listener).hops(SERVICE) == {str(ADDRESSES[name]) for name in "abe"}


def test_a_peer_hears_of_others_what_it_tells_itself() -> None:
    """Its own path does not come back; those of the others do."""
    world = World(reflecting())
    listener = up(world)
    for name in "bf":
        world.hear(name, service_of(name))
    world.drained()
    assert pulled(world, "f", listener).hops(SERVICE) == {str(ADDRESSES["b"])}


def test_with_ourselves_as_next_hop_there_is_one_path() -> None:
    """``nextHopMode: Self``: all paths lead here, so the best one is told."""
    made = reflecting()
    made = replace(made, sessions=made.sessions | {"f": internal("f", client=True, next_hop="Self")})
    world = World(made)
    listener = up(world)
    for name in "bce":
        world.hear(name, service_of(name))
    world.drained()
    assert pulled(world, "f", listener).hops(SERVICE) == {"10.0.0.1"}


def test_no_more_paths_are_told_than_may_be_used() -> None:
    """``multipath.maximumPaths``; the better ones go first."""
    world = World(with_settings(reflecting(), maximum_paths=2))
    listener = up(world)
    world.hear("b", service_of("b", preference=400))
    for name in "ce":
        world.hear(name, service_of(name))
    world.drained()
    assert pulled(world, "f", listener).hops(SERVICE) == {str(ADDRESSES[name]) for name in "ce"}
    world.apply(with_settings(world.state, maximum_paths=3))
    assert pulled(world, "f", listener).hops(SERVICE) == {str(ADDRESSES[name]) for name in "bce"}


def test_a_refresh_and_a_farewell_reach_every_path() -> None:
    """RFC 2918: all is said again; and all is withdrawn before a session ends for good."""
    world = World(reflecting())
    listener = up(world)
    for name in "bce":
        world.hear(name, service_of(name), own_block(name))
    world.drained()
    pulled(world, "f", listener)
    world.table.refresh("f", Family.IPV4)
    assert pulled(world, "f", Listener()).paths == listener.paths
    listener.hear(world.table.farewell("f"))
    assert listener.paths == {}


def test_identifiers_are_the_next_hops() -> None:
    """So they are the same after a restart, and from every reflector."""
    assert identifier(ip_address("10.0.0.1").packed) == bytes((10, 0, 0, 1))
    six = [identifier(ip_address(f"fd10::{one}").packed) for one in range(1, 9)]
    assert {len(one) for one in six} == {4}
    assert len(set(six)) == 8


changes = st.tuples(
    st.sampled_from("bcef"),
    st.integers(0, 2),
    st.sampled_from([None, 400, 500, 501]),
    st.booleans(),
    st.integers(1, 300),
)


def routes_of(events: list[tuple[str, int, int | None, bool, int]]) -> Iterator[tuple[str, Prefix, int | None]]:
    for name, at, preference, _, _ in events:
        yield name, ip_network(f"10.96.0.{at + 10}/32"), preference


@given(st.lists(changes, max_size=30))
def test_whatever_changes_the_peer_has_the_present_paths(events: list[tuple[str, int, int | None, bool, int]]) -> None:
    """In any order, pulled in any pieces: every path of the others, with the attributes it has now, and none else."""
    world = World(with_settings(reflecting(), maximum_paths=16))
    listener = up(world)
    present: dict[tuple[str, Prefix], int] = {}
    for (name, prefix, preference), (_, _, _, pull, limit) in zip(routes_of(events), events, strict=True):
        if preference is None:
            present.pop((name, prefix), None)
            world.hear(name, body(withdrawn=to_wire(prefix)))
        else:
            present[name, prefix] = preference
            world.hear(name, service_of(name, prefix=prefix, preference=preference))
        world.drained()
        if pull:
            listener.hear(world.table.pull("f", limit))
    pulled(world, "f", listener, limit=50)
    inside = ip_network("10.96.0.0/16")
    heard = {
        (prefix, name): made
        for (prefix, name), (made, _) in listener.paths.items()
        if prefix.subnet_of(inside)  # type: ignore[arg-type]
    }
    assert heard.keys() == {(prefix, ADDRESSES[name].packed) for name, prefix in present if name != "f"}
    for (name, prefix), preference in present.items():
        if name != "f":
            assert b"\x40\x05\x04" + preference.to_bytes(4, "big") in heard[prefix, ADDRESSES[name].packed]
    assert CLUSTER.packed in b"".join(heard.values()) or not heard
    assert pulled(world, "f", listener).paths.keys() >= {(BLOCKS["a"], ADDRESSES["a"].packed)}

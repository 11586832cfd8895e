"""Any sequence of events leaves the table where a plain reading of the rules puts it, whatever was drained in between.

The model here is slow and obvious: every path that was heard, judged with ``ipaddress`` from nothing each time.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.bgp_table.world import BOTH, END, RESTART, TOR_AS, World, announce, session, state, withdraw
from tests.unit.bgp_table.world import settings as with_settings
from towpath.bgp.ports import LossKind
from towpath.model.net import Prefix, family_of
from towpath.model.speaker import NodeOrigin

PREFIXES = [
    "10.244.1.0/26", "10.244.1.9/32", "10.244.2.0/26", "10.244.2.8/32", "10.244.3.0/26", "10.244.9.0/26", "10.244.2.0/23",
    "20.0.0.0/24", "20.0.0.0/8", "0.0.0.0/0", "4.0.0.0/6", "127.0.0.0/8",
    "fd20::2:0/122", "fd20::2:8/128", "fd20::9:0/122", "2001:db8::/64", "::/0", "fe80::/64",
]  # fmt: skip
RR = "10.0.0.200"
"""A reflector outside the cluster."""
HOPS = {
    4: ["10.0.0.2", "10.0.0.3", "10.0.0.254", "10.0.0.1", RR],
    6: ["fd10::2", "fd10::3", "fd10::fe", "fd10::1", "fd10::c8"],
}
PEERS = ["b", "c", "tor", "tor2", "rr"]
Heard = tuple[str, tuple[int, ...], int]


def new_world() -> World:
    made = state()
    return World(replace(made, sessions=made.sessions | {"rr": session("rr", RR, scope="Global")}))


@dataclass
class Model:
    """Paths as heard, by session and prefix: next hop, AS path, LOCAL_PREF; and which of them are stale."""

    world: World
    heard: dict[str, dict[Prefix, Heard]] = field(default_factory=lambda: {peer: {} for peer in PEERS})
    stale: dict[str, set[Prefix]] = field(default_factory=lambda: {peer: set() for peer in PEERS})
    up: set[str] = field(default_factory=set)

    def accepted(self, peer: str, prefix: Prefix) -> tuple[str, bool] | None:
        """Next hop and whether it is provisional, of a path that may be used."""
        if prefix not in self.heard[peer]:
            return None
        hop, path, _ = self.heard[peer][prefix]
        made = self.world.state
        session = made.sessions[peer]
        own = [block for block, node in made.blocks.items() if node == "a"]
        own += map(ip_network, made.settings.own_addresses)
        bad = [*own, *map(ip_network, ("127.0.0.0/8", "fe80::/10"))]
        if any(prefix.version == each.version and prefix.subnet_of(each) for each in bad):  # type: ignore[arg-type]
            return None
        if ip_address(hop) in made.settings.own_addresses or prefix.prefixlen == 0 or 64512 in path:
            return None
        if session.ebgp and (not path or path[0] != session.remote_as):
            return None
        owner = next((n for n, o in made.nodes.items() if ip_address(hop) in o.addresses), None)
        claim: str | int | None = path[-1] if session.ebgp else owner
        if claim is None:
            claim = path[-1] if path else 64512 if peer == "rr" and hop == RR else None
        mine = {b for b, n in made.blocks.items() if claim in (n, made.nodes[n].as_number)}
        same = [block for block in made.blocks if block.version == prefix.version]
        inside = [block for block in same if prefix.subnet_of(block)]  # type: ignore[arg-type]
        if inside:
            return (hop, False) if inside[0] in mine else None
        pools = [pool for pool in made.settings.pools if pool.version == prefix.version]
        if any(prefix.subnet_of(pool) for pool in pools):  # type: ignore[arg-type]
            if any(block.subnet_of(prefix) and block not in mine for block in same):  # type: ignore[arg-type]
                return None
            return (hop, True) if made.settings.provisional and not session.ebgp and owner else None
        return (hop, False) if session.import_policy == "All" else None

    def routes(self) -> dict[Prefix, tuple[list[str], bool]]:
        """The Loc-RIB: LOCAL_PREF, AS path length, eBGP; what is equal is used together, by router id."""
        found = {}
        for prefix in {prefix for paths in self.heard.values() for prefix in paths}:
            paths = []
            for peer in PEERS:
                use = self.accepted(peer, prefix)
                if use is not None:
                    _, path, preference = self.heard[peer][prefix]
                    session = self.world.state.sessions[peer]
                    preference = 2147483647 - 1024 if session.ebgp else preference
                    rank = (-preference, len(path), not session.ebgp)
                    paths.append((rank, int(session.peer_address), use))
            paths.sort()
            best = [path for path in paths if path[0] == paths[0][0]]
            hops = list(dict.fromkeys(hop for _, _, (hop, _) in best))
            if hops:
                first = {hop: next(use for _, _, use in best if use[0] == hop) for hop in hops}
                found[prefix] = hops[:4], any(use[1] for use in [first[hop] for hop in hops[:4]])
        return found

    def do(self, event: tuple[Any, ...]) -> None:
        kind, *what = event
        world = self.world
        if kind in {"announce", "withdraw"} and what[0] in self.up:
            peer, text = what[:2]
            prefix = ip_network(text)
            self.stale[peer].discard(prefix)
            if kind == "withdraw":
                self.heard[peer].pop(prefix, None)
                world.hear(peer, withdraw(prefix))
            else:
                hop = HOPS[prefix.version][what[2]]
                path = what[3] if world.state.sessions[peer].ebgp else what[3][1:]
                self.heard[peer][prefix] = hop, tuple(path), what[4]
                world.hear(peer, announce(prefix, hop=hop, path=path, preference=what[4]))
        elif kind == "up" and what[0] not in self.up:
            self.up.add(what[0])
            world.up(what[0], restart=RESTART)
        elif kind == "end" and what[0] in self.up:
            world.hear(what[0], *END.values())
            self.sweep(what[0])
        elif kind == "lost" and what[0] in self.up:
            self.up.discard(what[0])
            world.lost(what[0], what[1])
            if what[1] is not LossKind.REMOVED:
                self.stale[what[0]] = set(self.heard[what[0]])
            else:
                self.heard[what[0]].clear()
                self.stale[what[0]].clear()
        elif kind == "wait":
            world.wait(10_000)
            for peer in PEERS:
                self.sweep(peer)
        elif kind == "block":
            blocks = dict(world.state.blocks)
            blocks.pop(ip_network(what[0]), None)
            if what[1] is not None:
                blocks[ip_network(what[0])] = what[1]
            world.apply(replace(world.state, blocks=blocks))
        elif kind == "node":
            hops = tuple(ip_address(HOPS[version][what[1]]) for version in (4, 6))
            world.apply(replace(world.state, nodes=world.state.nodes | {what[0]: NodeOrigin(hops, what[2])}))
        elif kind == "provisional":
            world.apply(with_settings(world.state, provisional=what[0]))
        elif kind == "import":
            sessions = dict(world.state.sessions)
            sessions[what[0]] = replace(sessions[what[0]], import_policy=what[1])
            world.apply(replace(world.state, sessions=sessions))
        elif kind == "drain":
            world.take(world.table.drain(what[0]))

    def sweep(self, peer: str) -> None:
        for prefix in self.stale[peer]:
            self.heard[peer].pop(prefix, None)
        self.stale[peer].clear()


peers = st.sampled_from(PEERS)
announcements = st.tuples(
    st.just("announce"),
    peers,
    st.sampled_from(PREFIXES),
    st.integers(0, 4),
    st.sampled_from([(TOR_AS,), (TOR_AS, 65010), (TOR_AS, 65011), (TOR_AS, 64512), (65001,)]),
    st.sampled_from([100, 2147483647 - 1024]),
)
events = st.one_of(
    announcements,
    announcements,
    announcements,
    st.tuples(st.just("withdraw"), peers, st.sampled_from(PREFIXES)),
    st.tuples(st.just("up"), peers),
    st.tuples(st.just("end"), peers),
    st.tuples(st.just("lost"), peers, st.sampled_from([LossKind.CONNECTION, LossKind.CHANGED, LossKind.REMOVED])),
    st.tuples(st.just("wait")),
    st.tuples(
        st.just("block"),
        st.sampled_from(
            ["10.244.2.0/26", "10.244.3.0/26", "10.244.9.0/26", "fd20::2:0/122", "fd20::9:0/122", "20.0.0.0/24"]
        ),
        st.sampled_from([None, "a", "b", "c"]),
    ),
    st.tuples(st.just("node"), st.sampled_from(["b"]), st.sampled_from([0, 2]), st.sampled_from([64512, 65010])),
    st.tuples(st.just("provisional"), st.booleans()),
    st.tuples(st.just("import"), peers, st.sampled_from(["All", "Filtered"])),
    st.tuples(st.just("drain"), st.integers(1, 5)),
)


@given(st.lists(events, max_size=40))
def test_the_table_is_where_the_rules_put_it(sequence: list[tuple[Any, ...]]) -> None:
    """After any events; and a whole rebuild says the same as all the differences together."""
    model = Model(new_world())
    for peer in PEERS:
        model.do(("up", peer))
    for event in sequence:
        model.do(event)
    expected = model.routes()
    world = model.world
    assert {p: ([str(h) for h in hops], how) for p, (hops, how) in world.drained().items()} == expected
    differences = dict(world.routes)
    world.routes.clear()
    world.take(world.table.whole())
    assert world.routes == differences
    assert not world.table.dirty
    report = world.table.report({})
    assert {each.name: each.received for each in report.sessions} == {p: len(model.heard[p]) for p in PEERS}
    own = [block for block, node in world.state.blocks.items() if node == "a"]
    inside = [
        (block, prefix == block and block in world.state.announcements and 64512 in path)
        for block in own for paths in model.heard.values() for prefix, (_, path, _) in paths.items()
        if block.version == prefix.version and prefix.subnet_of(block)  # type: ignore[arg-type]
    ]  # fmt: skip
    # what may be an echo of our own is one, unless it is refused for another reason as well
    certain = {block for block, may_be_echo in inside if not may_be_echo}
    assert certain <= set(report.foreign_paths) <= {block for block, _ in inside}


@given(
    st.lists(announcements, max_size=12, unique_by=lambda event: event[1:3]).flatmap(
        lambda some: st.tuples(st.just(some), st.permutations(some))
    ),
    st.integers(1, 4),
)
def test_the_order_of_arrival_does_not_matter(
    orders: tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]], pieces: int
) -> None:
    """One announcement a peer and prefix, in any two orders, drained in any pieces: the same Loc-RIB."""
    results = []
    for order in orders:
        model = Model(new_world())
        for peer in PEERS:
            model.do(("up", peer))
        for event in order:
            model.do(event)
            model.do(("drain", pieces))
        results.append(dict(model.world.drained(pieces)))
    assert results[0] == results[1]


@given(st.lists(events, max_size=25))
def test_a_state_applied_late_is_a_state_applied_first(sequence: list[tuple[Any, ...]]) -> None:
    """The history of configurations does not matter: a fresh table that starts with the last one agrees."""
    changes = {"block", "node", "provisional", "import"}
    model = Model(new_world())
    for event in [("up", peer) for peer in PEERS] + sequence:
        model.do(event)
    fresh = Model(World(model.world.state))
    for event in [("up", peer) for peer in PEERS] + [event for event in sequence if event[0] not in changes]:
        fresh.do(event)
    assert fresh.world.drained() == model.world.drained()


def test_the_model_knows_both_families() -> None:
    """The prefixes of these tests are of both."""
    assert {family_of(ip_network(prefix)) for prefix in PREFIXES} == set(BOTH)
    assert set(new_world().state.sessions) == set(PEERS)

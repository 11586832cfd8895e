"""Reflection over random topologies of whole speakers' tables in memory: nothing is lost, nothing stays, it comes to rest."""

from collections import deque
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_network
from itertools import combinations, pairwise, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.effort import examples
from tests.unit.bgp_table.test_outbound import messages
from tests.unit.bgp_table.world import BOTH, LOCAL_AS, RESTART, refused, session, state
from towpath.bgp.ports import Loss, LossKind, Negotiated
from towpath.bgp.table import Table
from towpath.model.decode import decode
from towpath.model.kinds.filter import BGPFilterSpec
from towpath.model.net import Family, Prefix, from_wire, split_wire
from towpath.model.speaker import Announcement, NodeOrigin, Routes, Session, SpeakerState

Link = tuple[int, int]
ANYCAST: Prefix = ip_network("198.51.100.1/32")
PASSED: BGPFilterSpec = decode(
    "BGPFilter",
    {
        "metadata": {"name": "anycast"},
        "spec": {
            "importV4": [{"action": "Accept", "cidr": str(ANYCAST), "matchOperator": "Equal"}],
            "exportV4": [{"action": "Accept", "cidr": str(ANYCAST), "matchOperator": "Equal", "source": "RemotePeers"}],
        },
    },
).spec
"""Reflected, and used."""


@dataclass(frozen=True)
class Topology:
    """Nodes by number: ``clusters`` says whose reflectors they are, ``links`` who has sessions with whom."""

    size: int
    clusters: dict[int, int]
    links: tuple[Link, ...]
    one_path: frozenset[Link] = frozenset()
    """Links whose sessions carry the best path alone; the others carry all (RFC 7911)."""


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Clusters of one or two reflectors, all reflectors connected, each client with all reflectors of its clusters.

    So RFC 4456 §6 wants it. Of reflectors with several cluster ids some form a line, so that lists grow.
    """
    sizes = draw(st.lists(st.integers(1, 2), min_size=1, max_size=3))
    clusters: dict[int, int] = {}
    for number, size in enumerate(sizes):
        for _ in range(size):
            clusters[len(clusters)] = number
    clients = draw(st.integers(1, 4))
    members = {number: [node for node, mine in clusters.items() if mine == number] for number in range(len(sizes))}
    links: set[Link] = set()
    if draw(st.booleans()):
        links |= set(combinations(clusters, 2))
    else:
        for one, two in pairwise(range(len(sizes))):
            links |= set(product(members[one], members[two]))
        for some in members.values():
            links |= set(combinations(some, 2))
    for client in range(len(clusters), len(clusters) + clients):
        homes = draw(st.sets(st.integers(0, len(sizes) - 1), min_size=1, max_size=2))
        links |= {(node, client) for home in homes for node in members[home]}
    one_path = draw(st.sampled_from([set[Link](), links, None]))
    if one_path is None:
        one_path = draw(st.sets(st.sampled_from(sorted(links)))) if links else set()
    return Topology(len(clusters) + clients, clusters, tuple(sorted(links)), frozenset(one_path))


def address(node: int) -> IPv4Address:
    return IPv4Address(f"10.0.0.{node + 1}")


def prefix(node: int) -> Prefix:
    return ip_network(f"10.244.{node + 1}.0/26")


@dataclass
class Network:
    """Tables, and messages under way on each session in each direction; the order among sessions is random."""

    topology: Topology
    random: Random
    wire: dict[Link, deque[bytes]] = field(default_factory=dict)
    routes: dict[int, dict[Prefix, tuple[str, ...]]] = field(default_factory=dict)
    states: dict[int, SpeakerState] = field(default_factory=dict)
    tables: dict[int, Table] = field(default_factory=dict)
    announcing: set[int] = field(default_factory=set)
    anycast: set[int] = field(default_factory=set)
    """Nodes that announce ``ANYCAST`` too."""

    def __post_init__(self) -> None:
        self.announcing = set(range(self.topology.size))
        for node in range(self.topology.size):
            self.tables[node] = Table(kick=lambda _name: None, clock=lambda: 0.0)
            self.routes[node] = {}
            self.apply(node)
        for link in self.topology.links:
            self.connect(link, restarting=True)  # all have started together

    def session(self, node: int, peer: int) -> Session:
        mine, theirs = self.topology.clusters.get(node), self.topology.clusters.get(peer)
        return session(
            str(peer),
            str(address(peer)),
            peer_node=str(peer),
            filters=("anycast",),
            cluster_id=None if mine is None else IPv4Address(f"244.0.0.{mine + 1}"),
            route_reflector_client=mine is not None and mine != theirs,
        )

    def apply(self, node: int) -> None:
        peers = [b if a == node else a for a, b in self.topology.links if node in {a, b}]
        made = state()
        own = [Announcement(prefix(node), "Block", 1000)] if node in self.announcing else []
        own += [Announcement(ANYCAST, "Service", 1000)] if node in self.anycast else []
        self.states[node] = replace(
            made,
            settings=replace(
                made.settings,
                node=str(node),
                router_id=address(node),
                own_addresses=(address(node),),
                maximum_paths=16,
            ),
            sessions={str(peer): self.session(node, peer) for peer in peers},
            announcements={one.prefix: one for one in own},
            blocks={prefix(each): str(each) for each in range(self.topology.size)},
            nodes={str(each): NodeOrigin((address(each),), LOCAL_AS) for each in range(self.topology.size)},
            filters={"anycast": PASSED},
        )
        self.tables[node].apply(self.states[node])

    def connect(self, link: Link, *, restarting: bool = False) -> None:
        all_paths = () if link in self.topology.one_path else BOTH
        for node, peer in (link, link[::-1]):
            self.wire[node, peer] = deque()
            self.tables[node].established(
                str(peer),
                Negotiated(
                    families=BOTH,
                    peer_router_id=int(address(peer)),
                    peer_as=LOCAL_AS,
                    local_as=LOCAL_AS,
                    local_address=address(node),
                    peer_address=address(peer),
                    hold_time=90,
                    four_octet_as=True,
                    message_size=4096,
                    restart=replace(RESTART, restarting=restarting),
                    paths_taken=all_paths,
                    paths_told=all_paths,
                ),
            )

    def cut(self, link: Link) -> None:
        for node, peer in (link, link[::-1]):
            del self.wire[node, peer]
            self.tables[node].lost(str(peer), Loss(LossKind.HARD_RESET, 6))

    def step(self) -> bool:
        """One thing that can happen next, whichever; False: all is at rest."""
        links = list(self.wire)
        self.random.shuffle(links)
        for link in links:
            node, peer = link
            if self.wire[link] and self.random.random() < 0.7:
                self.tables[peer].updates(str(node), [self.wire[link].popleft()])
                return True
            made = self.tables[node].pull(str(peer), 200)
            if made:
                self.wire[link].extend(messages(made))
                return True
            if self.tables[node].dirty:
                self.drain(node)
                return True
        return any(self.wire.values())

    def drain(self, node: int) -> None:
        for frame in self.tables[node].drain(2):
            for one in split_wire(frame.prefixes):
                if isinstance(frame, Routes):
                    hops = tuple(map(str, frame.next_hops))
                    self.routes[node][from_wire(frame.family, one)] = hops
                else:
                    del self.routes[node][from_wire(frame.family, one)]

    def rest(self) -> None:
        """Until nothing is under way; a network that circles does not come to rest."""
        for _ in range(20_000):
            if not self.step():
                break
        else:
            pytest.fail("it does not come to rest")

    def blocks(self) -> dict[int, dict[Prefix, tuple[str, ...]]]:
        """What everybody has, ``ANYCAST`` apart."""
        return {
            node: {prefix: hops for prefix, hops in routes.items() if prefix != ANYCAST}
            for node, routes in self.routes.items()
        }

    def shared(self) -> dict[int, set[str]]:
        """The next hops of ``ANYCAST``."""
        return {node: set(routes.get(ANYCAST, ())) for node, routes in self.routes.items()}

    def check(self) -> None:
        """Everybody has every block, and by sessions that carry all paths every way to ``ANYCAST``; by others one at least."""
        assert self.blocks() == self.whole()
        found = self.shared()
        for node in self.tables:
            others = {str(address(other)) for other in self.anycast - {node}}
            assert found[node] <= others
            # a node that has it too may be the only way that a reflector tells the others of
            assert found[node] or not others or node in self.anycast
            if not self.topology.one_path:
                assert found[node] == others

    def whole(self) -> dict[int, dict[Prefix, tuple[str, ...]]]:
        """What everybody should have: the block of each other node that announces one, with its owner as next hop."""
        return {
            node: {prefix(other): (str(address(other)),) for other in self.announcing - {node}} for node in self.tables
        }


@settings(max_examples=examples(60))
@given(topology=topologies(), seed=st.integers(0, 2**32), data=st.data())
def test_every_block_reaches_every_node_and_none_outlives_its_announcement(
    topology: Topology, seed: int, data: st.DataObject
) -> None:
    """Whatever the order of messages, of withdrawals and of sessions that come and go: the end is the same."""
    network = Network(topology, Random(seed))
    network.rest()
    network.check()
    for _ in range(data.draw(st.integers(0, 4), label="events")):
        for _ in range(data.draw(st.integers(0, 20), label="steps")):
            network.step()
        down = [link for link in topology.links if link not in network.wire]
        up = [link for link in topology.links if link in network.wire]
        match data.draw(st.sampled_from(["announce", "anycast", "cut", "connect"]), label="event"):
            case "announce":
                node = data.draw(st.integers(0, topology.size - 1))
                network.announcing ^= {node}
                network.apply(node)
            case "anycast":
                node = data.draw(st.integers(0, topology.size - 1))
                network.anycast ^= {node}
                network.apply(node)
            case "cut" if up:
                network.cut(data.draw(st.sampled_from(up)))
            case "connect" if down:
                network.connect(data.draw(st.sampled_from(down)))
            case _:
                pass
    for link in topology.links:
        if link not in network.wire:
            network.connect(link)
    network.rest()
    network.check()
    network.announcing.clear()
    network.anycast.clear()
    for node in network.tables:
        network.apply(node)
    network.rest()
    assert network.routes == {node: {} for node in network.tables}
    assert all(not len(rib) for table in network.tables.values() for rib in table._ribs(Family.IPV4))


@pytest.mark.parametrize("shared", [True, False], ids=["one cluster id", "two"])
def test_two_reflectors_with_one_cluster_id_or_two(shared: bool) -> None:
    """Clients hear each other by both; with two ids the reflectors' own clients are reflected once more, with one they are not."""
    topology = Topology(4, {0: 0, 1: 0 if shared else 1}, ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3)))
    network = Network(topology, Random(1))
    network.rest()
    assert network.routes == network.whole()
    seen = [refused(table.report({})) for table in (network.tables[0], network.tables[1])]
    loops = [counts.get("ClusterLoop", 0) for by_session in seen for counts in by_session.values()]
    assert sum(loops) == (4 if shared else 0)
    # one of the two is enough
    network.cut((0, 2))
    network.cut((0, 3))
    network.rest()
    assert {node: network.routes[node] for node in (2, 3)} == {node: network.whole()[node] for node in (2, 3)}

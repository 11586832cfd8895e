"""What neighbours outside have told around next hops off the link, beside a model that looks at everything every time."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.effort import examples
from tests.unit.bgp_table.world import TOR_AS, World, announce, session, state, withdraw
from towpath.model.kinds.filter import BGPFilterSpec, FilterRule
from towpath.model.speaker import MaxPrefix, SpeakerState

ROUTERS = {4: {"r4": "10.0.0.254", "s4": "10.0.0.253"}, 6: {"r6": "fd10::fe", "s6": "fd10::fd"}}
OWNER = {4: "10.0.0.2", 6: "fd10::2"}
THIRD = {4: "10.0.0.77", 6: "fd10::77"}
BLOCK = {4: "10.244.2.0/26", 6: "fd20::2:0/122"}
EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
AROUND = {
    4: (EVERYTHING[4], "10.0.0.0/8", "10.0.0.0/30", "10.0.0.2/32"),
    6: (EVERYTHING[6], "fd10::/16", "fd10::/126", "fd10::2/128"),
}
"""Prefixes that the next hop of another node's block lies in, which no pool has."""
ELSEWHERE = {4: ("20.0.0.0/24", "10.0.0.3/32", "10.244.9.0/24"), 6: ("2001:db8::/64", "fd10::3/128", "fd20::9:0/122")}
FAMILIES = pytest.mark.parametrize("version", [4, 6])


def wanted() -> SpeakerState:
    """Node a: a mesh session to b, and two routers in each family, of which everything is taken."""
    routers = [
        session(
            name,
            address,
            scope="Global",
            remote_as=TOR_AS,
            import_policy="All",
            max_prefix=MaxPrefix(1000),
            filters=("everything",),
        )
        for pairs in ROUTERS.values()
        for name, address in pairs.items()
    ]
    made = state()
    rules = {
        version: (FilterRule(action="Accept", cidr=ip_network(text), match_operator="Equal"),)
        for version, text in EVERYTHING.items()
    }
    return replace(
        made,
        sessions={"b": made.sessions["b"]} | {each.name: each for each in routers},
        filters={"everything": BGPFilterSpec(import_v4=rules[4], import_v6=rules[6])},
    )


def learned(version: int) -> World:
    """Another node has told its block by its address, which is not this node's neighbour."""
    world = World(state=wanted())
    world.up("b")
    for name in ROUTERS[version]:
        world.up(name, restart=None)
    world.hear("b", announce(BLOCK[version], hop=OWNER[version], path=[], preference=100))
    return world


def ways(world: World) -> dict[str, set[str]]:
    """As the agent is told them, once everything is decided."""
    world.drained()
    return {str(prefix): {str(hop) for hop in hops} for prefix, hops in world.table.interest().ways.items()}


@FAMILIES
def test_what_neighbours_tell_of_themselves_leads_there(version: int) -> None:
    """Both where they are as good; neither the node that tells a block nor a third party's next hop, and no pool's prefix."""
    world = learned(version)
    assert ways(world) == {}
    one, other = ROUTERS[version].items()
    for name, hop in (one, other):
        world.hear(name, *(announce(each, hop=hop) for each in (*AROUND[version], *ELSEWHERE[version])))
    assert ways(world) == {each: {one[1], other[1]} for each in AROUND[version]}
    world.hear(one[0], announce(EVERYTHING[version], hop=one[1], path=[TOR_AS, 7]))
    assert ways(world)[EVERYTHING[version]] == {other[1]}
    world.hear(other[0], announce(EVERYTHING[version], hop=THIRD[version]))
    assert ways(world)[EVERYTHING[version]] == {one[1]}


@FAMILIES
def test_no_way_leads_to_a_neighbour(version: int) -> None:
    """It is looked for on the link alone, also where somebody else tells its address as a next hop."""
    world = learned(version)
    one, other = ROUTERS[version].items()
    world.hear(one[0], announce(EVERYTHING[version], hop=one[1]))
    world.hear(other[0], announce(ELSEWHERE[version][0], hop=one[1]))
    told = world.table.interest()
    assert told.near == {ip_address(one[1])}
    assert told.addresses == {ip_address(one[1]), ip_address(OWNER[version])}


@FAMILIES
def test_ways_do_not_depend_on_how_far_next_hops_off_the_link_are(version: int) -> None:
    """Whatever the kernel says of those: what is selected moves, the ways to it do not."""
    world = learned(version)
    for name, hop in ROUTERS[version].items():
        world.hear(name, announce(EVERYTHING[version], hop=hop))
    before = ways(world)
    for metric in (None, 0, 1180):
        world.table.metrics({ip_address(OWNER[version]): metric}, interfaces={})
        assert ways(world) == before
        assert (BLOCK[version] in world.hops()) is (metric is not None)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0, 1]),
        st.sampled_from(range(7)),
        st.sampled_from(["tells", "tells", "longer", "third party", "withdraws", "is lost", "asked"]),
    ),
    max_size=30,
)


@settings(max_examples=examples(200))
@given(version=st.sampled_from([4, 6]), events=EVENTS)
def test_like_the_naive_model(version: int, events: list[tuple[int, int, str]]) -> None:
    """Whatever neighbours tell, tell otherwise and take back, the owner of a block too: the best of what holds now."""
    world = learned(version)
    prefixes = (*AROUND[version], *ELSEWHERE[version])
    held: dict[str, dict[str, int]] = {name: {} for name in ROUTERS[version]}
    for at, number, deed in events:
        name, hop = list(ROUTERS[version].items())[at]
        prefix = prefixes[number]
        match deed:
            case "tells" | "longer":
                path = [TOR_AS, 7] if deed == "longer" else [TOR_AS]
                world.hear(name, announce(prefix, hop=hop, path=path))
                held[name][prefix] = len(path)
            case "third party":
                world.hear(name, announce(prefix, hop=OWNER[version]))
                held[name].pop(prefix, None)
            case "withdraws":
                world.hear(name, withdraw(prefix))
                held[name].pop(prefix, None)
            case "is lost":
                world.lost(name)
                world.up(name, restart=None)
                held[name].clear()
            case _:
                assert ways(world) == best(version, held)
    assert ways(world) == best(version, held)


def best(version: int, held: dict[str, dict[str, int]]) -> dict[str, set[str]]:
    """By prefix around the next hop: the neighbours that told it with the shortest path."""
    found: dict[str, set[str]] = {}
    for prefix in AROUND[version]:
        lengths = {name: told[prefix] for name, told in held.items() if prefix in told}
        if lengths:
            least = min(lengths.values())
            found[prefix] = {ROUTERS[version][name] for name, length in lengths.items() if length == least}
    return found

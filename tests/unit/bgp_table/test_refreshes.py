"""A peer of whom more is refused than is held: memory ends somewhere, and nothing is lost to a later policy for good."""

from ipaddress import ip_network

import pytest
from msgspec.structs import replace

from tests.unit.bgp_table.world import TOR_AS, World, block, body, refused, session, state
from towpath.bgp import rib
from towpath.bgp.outbound import route_refresh
from towpath.model.net import Family
from towpath.model.speaker import MaxPrefix

FIRST = int(ip_network("20.0.0.0/8").network_address)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten are held."""
    monkeypatch.setattr(rib, "HELD", 10)


def world(policy: str = "None", limit: int = 1000) -> World:
    """One ToR, of which nothing is accepted."""
    tor = session("tor", "10.0.0.254", remote_as=TOR_AS, import_policy=policy, max_prefix=MaxPrefix(limit))
    made = World(state=state(sessions={"tor": tor}))
    made.up("tor")
    while made.table.pull("tor", 4096):
        pass
    made.kicked.clear()
    return made


def hear(made: World, count: int, *, first: int = FIRST) -> None:
    wires = b"".join(b"\x20" + (first + number).to_bytes(4, "big") for number in range(count))
    made.hear("tor", body(attributes=block(), announced=wires))


def with_policy(made: World, policy: str) -> None:
    tor = replace(made.state.sessions["tor"], import_policy=policy)
    made.apply(replace(made.state, sessions={"tor": tor}))


def test_no_more_is_held_than_is_good() -> None:
    """The first ones stay, the others are counted no longer, and somebody is told."""
    made = world()
    hear(made, 30)
    assert refused(made.table.report({})) == {"tor": {"ImportNone": 10}}
    assert "TooManyRefused" in {one.reason for one in made.table.notices()}
    made.hear("tor", body(withdrawn=b"\x20" + FIRST.to_bytes(4, "big")))
    assert refused(made.table.report({})) == {"tor": {"ImportNone": 9}}


def test_a_peer_is_asked_again_when_policy_changes() -> None:
    """A route refresh for each family; what comes is judged by the new policy. Asked at most once a minute."""
    made = world()
    hear(made, 30)
    with_policy(made, "All")
    assert made.kicked == ["tor"]
    assert made.table.pull("tor", 4096) == route_refresh(Family.IPV4) + route_refresh(Family.IPV6)
    assert made.table.pull("tor", 4096) == b""
    hear(made, 30)
    assert len(made.drained()) == 30
    with_policy(made, "None")
    assert made.table.pull("tor", 4096) == b""
    made.kicked.clear()
    made.wait(61)
    assert "tor" in made.kicked
    assert made.table.pull("tor", 4096).startswith(route_refresh(Family.IPV4))


def test_a_peer_of_whom_all_is_held_is_not_asked() -> None:
    """What is held is judged again without a word."""
    made = world()
    hear(made, 10)
    with_policy(made, "All")
    assert len(made.drained()) == 10
    assert made.table.pull("tor", 4096) == b""


def test_a_peer_that_cannot_be_asked_is_not() -> None:
    """Without the capability a ROUTE-REFRESH would end the session."""
    made = world()
    made.lost("tor")
    made.up("tor", refresh=False)
    hear(made, 30)
    while made.table.pull("tor", 4096):
        pass
    with_policy(made, "All")
    assert made.table.pull("tor", 4096) == b""


def test_prefixes_beyond_the_limit_are_held_no_longer_either() -> None:
    """Of those that wait for room as many; what has room is used."""
    made = world(policy="All", limit=5)
    hear(made, 40)
    assert len(made.drained()) == 5
    assert refused(made.table.report({})) == {"tor": {"MaxPrefix": 10}}


def test_a_block_that_appears_asks_only_for_what_it_may_change() -> None:
    """Routes from outside are no matter of blocks; of those inside pools some may be somebody's now."""
    made = world(policy="Filtered")
    hear(made, 30)
    with_block(made, "10.244.80.0/26")
    assert made.table.pull("tor", 4096) == b""
    hear(made, 15, first=int(ip_network("10.244.64.0/18").network_address))
    with_block(made, "10.244.81.0/26")
    assert made.table.pull("tor", 4096).startswith(route_refresh(Family.IPV4))


def with_block(made: World, cidr: str) -> None:
    made.apply(replace(made.state, blocks={**made.state.blocks, ip_network(cidr): "b"}))


def test_a_new_session_begins_anew() -> None:
    """The peer sends everything: it need not be asked."""
    made = world()
    hear(made, 30)
    with_policy(made, "All")
    made.lost("tor")
    made.up("tor")
    assert route_refresh(Family.IPV4) not in made.table.pull("tor", 4096)

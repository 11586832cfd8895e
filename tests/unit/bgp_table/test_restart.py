"""Graceful restart, both roles, and when an absence may be believed."""

from ipaddress import ip_network

import pytest
from msgspec.structs import replace

from tests.unit.bgp_table.world import BOTH, END, RESTART, World, announce, state, withdraw
from towpath.bgp.ports import LossKind, PeerRestart
from towpath.model.net import Family
from towpath.model.reason import Reason

GONE: dict[str, list[str]] = {}
KEPT = {"10.244.2.0/26": ["10.0.0.2"], "fd20::2:0/122": ["fd10::2"]}


def told(restart: PeerRestart | None = RESTART) -> World:
    """Node b has announced its blocks."""
    world = World()
    world.up("b", restart=restart)
    world.hear("b", *(announce(prefix, hop=hops[0], path=[]) for prefix, hops in KEPT.items()), *END.values())
    assert world.hops() == KEPT
    return world


@pytest.mark.parametrize(
    ("kind", "with_n", "without_n"),
    [
        (LossKind.CONNECTION, KEPT, KEPT),
        (LossKind.REPLACED, KEPT, KEPT),
        (LossKind.CHANGED, KEPT, KEPT),
        (LossKind.NOTIFIED, KEPT, GONE),
        (LossKind.HOLD_TIMER, KEPT, GONE),
        (LossKind.REFUSED, KEPT, GONE),
        (LossKind.HARD_RESET, GONE, GONE),
        (LossKind.CARRIER, GONE, GONE),
        (LossKind.REMOVED, GONE, GONE),
    ],
)
def test_what_a_loss_keeps(kind: LossKind, with_n: dict[str, list[str]], without_n: dict[str, list[str]]) -> None:
    """By kind of loss, with and without the N bit; and nothing at all without graceful restart."""
    for restart, expected in (
        (RESTART, with_n),
        (replace(RESTART, notification=False), without_n),
        (None, GONE),
        (replace(RESTART, families=(), preserved=()), GONE),
    ):
        world = told(restart)
        world.lost("b", kind)
        assert world.hops() == expected


def test_a_session_that_we_ceased_keeps_nothing() -> None:
    """A limit that was reached is no restart."""
    world = told()
    world.lost("b", LossKind.REFUSED, 6)
    assert world.hops() == GONE


def test_stale_routes_stay_until_the_restart_time_is_over() -> None:
    """Not a second less, on the table's clock."""
    world = told()
    world.lost("b")
    assert world.table.deadline() == world.now + 120
    world.wait(119)
    assert world.hops() == KEPT
    world.wait(1)
    assert world.hops() == GONE


def test_end_of_rib_sweeps_what_was_not_sent_again() -> None:
    """Family by family; what was sent again stays, with no word to the agent."""
    world = told()
    world.lost("b")
    world.up("b", restart=replace(RESTART, restarting=True))
    world.hear("b", announce("10.244.2.0/26", hop="10.0.0.2", path=[]), END[Family.IPV4])
    assert world.hops() == KEPT
    assert world.table.deadline() is not None
    world.hear("b", END[Family.IPV6])
    assert world.hops() == {"10.244.2.0/26": ["10.0.0.2"]}
    world.wait(1000)
    assert world.hops() == {"10.244.2.0/26": ["10.0.0.2"]}


def test_a_route_that_comes_back_unchanged_makes_no_frame() -> None:
    """A restart that changes nothing is not seen by the agent."""
    world = told()
    world.lost("b")
    world.up("b")
    for prefix, hops in KEPT.items():
        world.hear("b", announce(prefix, hop=hops[0], path=[]))
    world.hear("b", *END.values())
    assert world.table.drain(100) == []


@pytest.mark.parametrize(
    ("restart", "expected"),
    [
        (RESTART, KEPT),
        (replace(RESTART, preserved=(Family.IPV4,)), {"10.244.2.0/26": ["10.0.0.2"]}),
        (replace(RESTART, families=(Family.IPV4,)), {"10.244.2.0/26": ["10.0.0.2"]}),
        (replace(RESTART, preserved=()), GONE),
        (None, GONE),
    ],
)
def test_what_the_new_open_keeps(restart: PeerRestart | None, expected: dict[str, list[str]]) -> None:
    """Only families that it names with the F bit (RFC 4724 §4.2)."""
    world = told()
    world.lost("b")
    world.up("b", restart=restart)
    assert world.hops() == expected


@pytest.mark.parametrize(
    ("restart", "expected"),
    [
        (replace(RESTART, preserved=()), KEPT),
        (replace(RESTART, preserved=(), restarting=True), GONE),
        (replace(RESTART, preserved=(Family.IPV4,), restarting=True), {"10.244.2.0/26": ["10.0.0.2"]}),
        (replace(RESTART, families=(Family.IPV4,), preserved=()), {"10.244.2.0/26": ["10.0.0.2"]}),
        (None, GONE),
    ],
)
def test_what_the_open_after_a_change_of_ours_keeps(
    restart: PeerRestart | None, expected: dict[str, list[str]]
) -> None:
    """A peer that says that it did not restart need not say that it forwards: we know why the session ended."""
    world = told()
    world.lost("b", LossKind.CHANGED)
    world.up("b", restart=restart)
    assert world.hops() == expected
    world.hear("b", *END.values())
    assert world.hops() == GONE


def test_a_change_that_meets_nobody_is_over_with_the_restart_time() -> None:
    """The peer was given other parameters and never came back."""
    world = told()
    world.lost("b", LossKind.CHANGED)
    world.wait(119)
    assert world.hops() == KEPT
    world.wait(1)
    assert world.hops() == GONE


def test_a_session_without_its_secret_goes_on_and_its_stale_routes_have_their_time() -> None:
    """Withheld for want of the secret takes no route, whether the session is up or its peer restarts."""
    world = told()
    sessions = dict(world.state.sessions)
    sessions["b"] = replace(sessions["b"], state="Withheld", reason=Reason.SECRET_MISSING)
    world.apply(replace(world.state, sessions=sessions))
    world.hear("b", announce("10.244.2.8/32", hop="10.0.0.2", path=[]))
    assert world.hops() == KEPT | {"10.244.2.8/32": ["10.0.0.2"]}
    world.lost("b")
    world.apply(replace(world.state, announcements={}))
    world.wait(119)
    assert len(world.hops()) == 3
    world.wait(1)
    assert world.hops() == GONE


def test_a_peer_that_never_finishes_is_not_waited_for_for_ever() -> None:
    """Back, but without End-of-RIB: the stale ones go after the restart time."""
    world = told()
    world.lost("b")
    world.wait(60)
    world.up("b")
    world.wait(119)
    assert world.hops() == KEPT
    world.wait(2)
    assert world.hops() == GONE


def test_a_flapping_peer_gets_no_endless_credit() -> None:
    """Lost again and again before it was complete: in the end its stale routes go although a timer is always new."""
    world = told()
    for _ in range(12):
        world.lost("b")
        world.wait(30)
        world.up("b")
        world.wait(1)
    world.lost("b")
    world.wait(1)
    assert world.hops() == GONE


def test_a_withdrawal_during_restart_counts() -> None:
    """Stale or not."""
    world = told()
    world.lost("b")
    world.up("b")
    world.hear("b", withdraw("10.244.2.0/26"), withdraw("fd20::2:0/122"))
    assert world.hops() == GONE


def test_a_removed_or_withheld_session_is_forgotten() -> None:
    """With all its routes, stale ones too."""
    for change in ("removed", "withheld", "other peer"):
        world = told()
        world.lost("b")
        sessions = dict(world.state.sessions)
        if change == "removed":
            del sessions["b"]
        elif change == "withheld":
            sessions["b"] = replace(sessions["b"], state="Withheld")
        else:
            sessions["b"] = replace(sessions["b"], remote_as=65009)
        world.apply(replace(world.state, sessions=sessions))
        assert world.hops() == GONE
        assert world.table.deadline() is None or world.table.deadline() <= world.now + 120


def test_stale_routes_are_judged_again_too() -> None:
    """A block that changes hands while its old owner restarts is nobody's route; and the mark stays."""
    world = told()
    world.lost("b")
    before = world.state
    world.apply(replace(before, blocks=before.blocks | {ip_network("10.244.2.0/26"): "c"}))
    assert "10.244.2.0/26" not in world.hops()
    world.apply(before)
    assert world.hops() == KEPT
    world.wait(120)
    assert world.hops() == GONE


def only(*names: str, **changes: object) -> World:
    made = state()
    return World(replace(made, sessions={name: replace(made.sessions[name], **changes) for name in names}))


def test_in_sync_when_every_peer_was_complete() -> None:
    """All families of all sessions; and it stays so."""
    world = only("b", "c")
    world.up("b")
    world.up("c")
    world.hear("b", *END.values())
    world.hear("c", END[Family.IPV4])
    assert not world.table.in_sync
    world.hear("c", END[Family.IPV6])
    assert world.table.in_sync
    world.lost("c")
    assert world.table.in_sync


def test_in_sync_when_the_missing_are_given_up() -> None:
    """A peer that is not there is waited for as long as our restart time, from the start."""
    world = only("b", "c")
    world.up("b")
    world.hear("b", *END.values())
    assert world.table.deadline() == 1120
    world.wait(119)
    assert not world.table.in_sync
    world.wait(1)
    assert world.table.in_sync
    assert world.table.deadline() is None


def test_a_peer_without_graceful_restart_is_complete_when_it_falls_silent() -> None:
    """Three seconds after its last UPDATE."""
    world = only("b")
    world.up("b", restart=None)
    world.wait(2)
    world.hear("b", announce("10.244.2.0/26", hop="10.0.0.2", path=[]))
    world.wait(2)
    assert not world.table.in_sync
    world.wait(1)
    assert world.table.in_sync


def test_who_falls_silent_between_two_questions_is_not_waited_for_for_ever() -> None:
    """Asked too early, the table has to be asked again, although the time has come while it was asked when that should be."""
    world = only("b")
    world.up("b", restart=None)
    world.now += 2.999
    assert not world.table.in_sync
    world.now += 0.002
    assert world.table.deadline() == world.now
    assert world.table.in_sync
    assert world.table.deadline() is None


def test_nothing_to_wait_for() -> None:
    """Without a state nothing is in sync, without sessions everything is, and withheld ones do not count."""
    world = World()
    assert not world.table.in_sync
    assert only().table.in_sync
    assert only("b", state="Withheld").table.in_sync
    assert not only("b", restart_time=None).table.in_sync


def test_a_second_establishment_counts_as_a_loss_first() -> None:
    """The engine need not say that the old session is gone."""
    world = told()
    world.up("b", restart=replace(RESTART, families=BOTH))
    assert world.hops() == KEPT
    world.hear("b", *END.values())
    assert world.hops() == GONE


def heard(world: World) -> set[str]:
    """Peers for which no other way waits."""
    return set(map(str, world.table.heard()))


def test_peer_by_peer_it_is_told_who_has_said_all() -> None:
    """With its End-of-RIB of all families; in sync there is nobody to speak of."""
    world = only("b", "c")
    assert heard(world) == set()
    world.up("b")
    world.hear("b", END[Family.IPV4])
    assert heard(world) == set()
    world.hear("b", END[Family.IPV6])
    assert heard(world) == {"10.0.0.2"}
    world.lost("b")
    assert heard(world) == {"10.0.0.2"}
    world.up("c")
    world.hear("c", *END.values())
    assert world.table.in_sync
    assert heard(world) == set()


def test_a_peer_that_stays_away_holds_up_no_other_way() -> None:
    """After half a minute, long before its absence is believed; one that is back is heard out."""
    world = only("b", "c")
    world.up("c")
    world.wait(29)
    assert heard(world) == set()
    assert world.table.deadline() == 1030
    world.wait(1)
    assert heard(world) == {"10.0.0.2"}
    assert not world.table.in_sync
    world.hear("c", *END.values())
    assert heard(world) == {"10.0.0.2", "10.0.0.3"}


def test_a_session_that_is_taken_away_holds_up_no_other_way() -> None:
    """Unless there is another one with the same peer."""
    made = only("b", "c").state
    twin = replace(made.sessions["c"], name="twin", peer_port=1790)
    world = World(replace(made, sessions={**made.sessions, "twin": twin}))
    world.apply(replace(made, sessions={"twin": twin}))
    assert heard(world) == {"10.0.0.2"}
    world.up("twin")
    world.hear("twin", END[Family.IPV4])
    assert heard(world) == {"10.0.0.2"}

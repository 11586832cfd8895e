"""RFC 9234: which routes are leaks, which are marked, and who is not told of them; for every role on both sides."""

import pytest
from msgspec.structs import replace

from tests.unit.bgp_table.world import TOR_AS, World, announce, attribute
from tests.unit.policy.test_export import OUTSIDE, REMOTE, heard, tor, world
from towpath.bgp.role import COUNTERPART, NUMBERS, agree
from towpath.model.kinds.peer import Role
from towpath.model.net import parse_prefix
from towpath.model.speaker import Session

OURS = 64512
ELSEWHERE = 65123
ACCEPTED, LEAK, MALFORMED = "", "RouteLeak", "Malformed"
OWN = "10.244.1.0/26"


def mark(number: int) -> bytes:
    """An OTC attribute."""
    return attribute(0xC0, 35, number.to_bytes(4, "big"))


def side(name: str, address: str, role: Role | None) -> Session:
    return tor(name, address, role=role, advertise="All", filters=("f",))


def between(arriving: Role | None, leaving: Role | None) -> World:
    """Node a between two routers, with a filter that lets everything through."""
    return world(side("tor", "10.0.0.254", arriving), side("tor2", "10.0.0.253", leaving), rules=(REMOTE,))


@pytest.mark.parametrize(
    ("role", "marked", "verdict", "mark_inside"),
    [
        (None, None, ACCEPTED, None),
        (None, ELSEWHERE, ACCEPTED, ELSEWHERE),
        ("Provider", None, ACCEPTED, None),
        ("Provider", ELSEWHERE, LEAK, None),
        ("Provider", TOR_AS, LEAK, None),
        ("RS", None, ACCEPTED, None),
        ("RS", TOR_AS, LEAK, None),
        ("Peer", None, ACCEPTED, TOR_AS),
        ("Peer", TOR_AS, ACCEPTED, TOR_AS),
        ("Peer", ELSEWHERE, LEAK, None),
        ("Customer", None, ACCEPTED, TOR_AS),
        ("Customer", ELSEWHERE, ACCEPTED, ELSEWHERE),
        ("RS-Client", None, ACCEPTED, TOR_AS),
        ("RS-Client", ELSEWHERE, ACCEPTED, ELSEWHERE),
    ],
)
def test_what_arrives(role: Role | None, marked: int | None, verdict: str, mark_inside: int | None) -> None:
    """Section 5, ingress: leaks are refused with a reason, what comes from above or beside is marked with the peer's AS."""
    made = between(role, None)
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", more=mark(marked) if marked else b""))
    assert made.refused("tor") == ({verdict: 1} if verdict else {})
    assert (parse_prefix(OUTSIDE) in made.drained()) is not bool(verdict)
    told = heard(made, "tor2")
    assert (OUTSIDE in told) is not bool(verdict)
    if not verdict:
        assert told[OUTSIDE].customers_only == mark_inside


@pytest.mark.parametrize(
    ("role", "marked", "told", "mark_on_the_wire"),
    [
        (None, None, True, None),
        (None, ELSEWHERE, True, ELSEWHERE),
        ("Provider", None, True, OURS),
        ("Provider", ELSEWHERE, True, ELSEWHERE),
        ("RS", None, True, OURS),
        ("RS", ELSEWHERE, True, ELSEWHERE),
        ("Peer", None, True, OURS),
        ("Peer", ELSEWHERE, False, None),
        ("Customer", None, True, None),
        ("Customer", ELSEWHERE, False, None),
        ("RS-Client", None, True, None),
        ("RS-Client", ELSEWHERE, False, None),
    ],
)
def test_what_leaves(role: Role | None, marked: int | None, told: bool, mark_on_the_wire: int | None) -> None:
    """Section 5, egress: downwards and sideways everything is marked, upwards and sideways nothing that has a mark goes.

    No filter changes that: this one accepts everything.
    """
    made = between(None, role)
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", more=mark(marked) if marked else b""))
    found = heard(made, "tor2")
    assert (OUTSIDE in found) is told
    if told:
        assert found[OUTSIDE].customers_only == mark_on_the_wire
    assert found[OWN].customers_only == (OURS if role in {"Provider", "RS", "Peer"} else None)


def test_a_provider_learned_route_goes_to_customers_only() -> None:
    """Both ends of a transit node: what a provider without any mark sends reaches a customer marked, and no other provider."""
    for leaving, told in (("Provider", True), ("Customer", False), ("Peer", False)):
        made = between("Customer", leaving)
        made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"))
        found = heard(made, "tor2")
        assert (OUTSIDE in found) is told
        if told:
            assert found[OUTSIDE].customers_only == TOR_AS


@pytest.mark.parametrize("value", [b"", b"\0\0\xfd", b"\0\0\xfd\xe8\0"])
@pytest.mark.parametrize("role", [None, "Customer"])
def test_a_mark_of_the_wrong_length_withdraws_the_route(role: Role | None, value: bytes) -> None:
    """Section 5: treat-as-withdraw, with and without a role."""
    made = between(role, None)
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"))
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", more=attribute(0xC0, 35, value)))
    assert made.refused("tor") == {MALFORMED: 1}
    assert made.drained() == {}


def test_another_role_judges_what_is_held() -> None:
    """A role that is set makes leaks of what was accepted, without the peer having to send it again."""
    made = between(None, None)
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", more=mark(ELSEWHERE)))
    assert OUTSIDE in heard(made, "tor2")
    sessions = made.state.sessions | {"tor": side("tor", "10.0.0.254", "Provider")}
    made.apply(replace(made.state, sessions=sessions))
    assert made.refused("tor") == {LEAK: 1}
    assert OUTSIDE not in heard(made, "tor2")


def test_a_role_that_marks_changes_what_others_are_told() -> None:
    """From Customer on the mark of what is held is the provider's AS: another provider is not told it any more."""
    made = between(None, "Customer")
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"))
    assert OUTSIDE in heard(made, "tor2")
    sessions = made.state.sessions | {"tor": side("tor", "10.0.0.254", "Customer")}
    made.apply(replace(made.state, sessions=sessions))
    assert OUTSIDE not in heard(made, "tor2")


def test_roles_come_in_pairs() -> None:
    """Table 2: five values, each with one counterpart; one that insists needs the other to say something."""
    assert NUMBERS == {"Provider": 0, "RS": 1, "RS-Client": 2, "Customer": 3, "Peer": 4}
    pairs = {(one, other) for one in NUMBERS for other in NUMBERS if agree((one, False), (other, True))}
    assert pairs == {("Provider", "Customer"), ("Customer", "Provider"), ("RS", "RS-Client"), ("RS-Client", "RS"), ("Peer", "Peer")}  # fmt: skip
    assert all(COUNTERPART[COUNTERPART[role]] == role for role in NUMBERS)
    assert agree(("Peer", False), (None, False))
    assert not agree(("Peer", True), (None, False))
    assert not agree((None, False), ("Peer", True))

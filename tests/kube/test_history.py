"""The judge of a store's history finds what must never be: histories in which each of it happened for a moment."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.kube.history import Judge, Machine, Version

BEGAN = 1_800_000_000.0
A, B = Machine("uid-a", "machine-a", "system-a"), Machine("uid-b", "machine-b", "system-b")
AGAIN, OTHER = A._replace(uid="uid-a2"), Machine("uid-a2", "machine-c", "system-c")
CIDR, INSIDE = "10.244.0.0/30", "10.244.0.0/29"
QUARANTINE = 20


def node(name: str, machine: Machine | None) -> Version:
    return Version("Node", name, machine, BEGAN)


def block(
    owner: str = "a", machine: Machine = A, *, state: str = "Active", cidr: str = CIDR, uid: str = "1", at: float = 0
) -> Version:
    """A version of a block that was written ``at`` seconds after the beginning, and read at once."""
    written = datetime.fromtimestamp(BEGAN + at, UTC).isoformat()
    spec = {
        "cidr": cidr,
        "node": owner,
        "nodeUID": machine.uid,
        "machineID": machine.machine_id,
        "systemUUID": machine.system_uuid,
        "state": state,
    }
    meta = {"name": cidr, "uid": uid, "managedFields": [{"time": written}]}
    return Version("IPAMBlock", cidr, {"metadata": meta, "spec": spec}, BEGAN + at)


def gone(at: float, *, cidr: str = CIDR) -> Version:
    return Version("IPAMBlock", cidr, None, BEGAN + at)


def report(*, machine: Machine = A, in_use: int = 0, drained: bool = True) -> Version:
    said: dict[str, Any] = {"cidr": CIDR, "inUse": in_use, "drained": drained}
    return Version("NodeStatus", "a", {"nodeUID": machine.uid, "blocks": [said]}, BEGAN)


THERE = (node("a", A), node("b", B), block())
DRAINED = (*THERE, block(state="Draining", at=1), report())
LEFT = (*THERE, node("a", None), block(state="Quarantined", at=1))
RIGHT = {
    "a node goes, and another one gets its block": (*LEFT, gone(1 + QUARANTINE), block("b", B, uid="2", at=30)),
    "a node comes back in time": (*LEFT, node("a", AGAIN), block(machine=AGAIN, at=5)),
    "a block drains": (*DRAINED, block(state="Quarantined", at=3), gone(3 + QUARANTINE)),
    "a block serves again": (*THERE, block(state="Draining", at=1), block(at=2)),
}
WRONG = {
    "another node's for a second": (*THERE, block("b", B, at=1), block(at=2)),
    "two blocks overlap": (*THERE, block("b", B, cidr=INSIDE, uid="2"), gone(1, cidr=INSIDE)),
    "deleted in use": (*THERE, gone(1)),
    "made anew for another without quarantine": (*THERE, block("b", B, uid="2", at=30)),
    "quarantine ended early": (*LEFT, gone(QUARANTINE)),
    "quarantine was interrupted": (*LEFT, block(state="Quarantined", at=15), gone(2 + QUARANTINE)),
    "another machine inherits": (*LEFT, node("a", OTHER), block(machine=OTHER, at=5)),
    "quarantine of a node that is there": (*THERE, block(state="Quarantined", at=1)),
    "not drained yet": (*DRAINED[:-1], report(drained=False), block(state="Quarantined", at=2)),
    "in use": (*DRAINED[:-1], report(in_use=1), block(state="Quarantined", at=2)),
    "drained before the node was made anew": (
        *(*DRAINED, node("a", None), node("a", AGAIN), block(state="Draining", machine=AGAIN, at=2)),
        block(state="Quarantined", machine=AGAIN, at=3),
    ),
    "taken out of quarantine for nobody": (*LEFT, block(at=3)),
}


def judged(history: tuple[Version, ...], living: dict[str, str] | None = None) -> list[str]:
    judge = Judge(quarantine=QUARANTINE, living=lambda: living or {})
    for version in history:
        judge.take(version)
    return judge.wrong


@pytest.mark.parametrize("history", RIGHT.values(), ids=RIGHT)
def test_what_may_be_is_not_complained_of(history: tuple[Version, ...]) -> None:
    """The ways that a block may go."""
    assert judged(history) == []


@pytest.mark.parametrize("history", WRONG.values(), ids=WRONG)
def test_what_must_not_be_is_found(history: tuple[Version, ...]) -> None:
    """Also where it lasted a moment and all was well afterwards."""
    assert judged(history)


def test_a_pods_address_is_not_given_away() -> None:
    """A block goes to another node, by the rules, while a pod of the former one runs on: each step is found."""
    history = RIGHT["a node goes, and another one gets its block"]
    released, claimed = judged(history, {"10.244.0.1": "a"})
    assert "was deleted while a pod of a has 10.244.0.1" in released
    assert "was claimed while a pod of a has 10.244.0.1" in claimed
    assert judged(history, {"10.244.0.5": "a"}) == []

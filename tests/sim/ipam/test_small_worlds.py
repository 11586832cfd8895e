"""Everything that can happen in small worlds, in every order: up to a length here, to a greater one in a soak."""

import pytest

from tests.effort import BRIEF, SOAK
from tests.sim.ipam.model.controller import KINDS
from tests.sim.ipam.model.explore import Menu, explore
from tests.sim.ipam.model.guards import DRAINED
from tests.sim.ipam.model.world import Shape

OFTEN = 99
CACHES = (KINDS, ("Node",), ("IPAMBlock",), ())
FATES = ("arrives", "answer lost", "late", "twice")
MENUS = {  # how many actions in a row, how many in a soak, and which
    "two controllers claim for two nodes, of two blocks": (
        5,
        12,
        Menu(
            Shape(pool="10.0.0.0/29", names=("a", "b"), spares=0),
            {"look": OFTEN, "call": OFTEN, "arrive": OFTEN, "end": 1},
            fates=FATES,
            raw=True,
        ),
    ),
    "a node is made anew under two controllers": (
        5,
        8,
        Menu(
            Shape(pool="10.0.0.0/29", names=("a",), spares=0),
            {"delete": 1, "register": 1, "look": OFTEN, "call": OFTEN, "arrive": OFTEN, "wait": 2, "sync": 1, "pod": 1},
            caches=CACHES,
            fates=FATES,
        ),
    ),
    "a name passes to another machine": (
        5,
        8,
        Menu(
            Shape(pool="10.0.0.0/29", names=("a",), spares=1, controllers=1),
            dict.fromkeys(("delete", "cut", "off", "pod", "restart_agent"), 1)
            | {"boot": 2, "register": 2, "wait": 2, "sync": 4, "pass": OFTEN},
        ),
    ),
    "one block for two nodes": (
        4,
        7,
        Menu(
            Shape(pool="10.0.0.0/30", names=("a", "b"), spares=0, controllers=1),
            dict.fromkeys(("delete", "cut", "off", "boot", "register"), 1)
            | {"pod": 2, "wait": 2, "sync": 4, "pass": OFTEN},
        ),
    ),
    "a block drains": (
        4,
        7,
        Menu(
            Shape(pool="10.0.0.0/29", names=("a",), spares=0, controllers=1),
            {
                "set_state": 2,
                "exclude": 1,
                "sync": OFTEN,
                "report": OFTEN,
                "pod": 2,
                "pod_ends": 1,
                "wait": 3,
                "pass": 3,
            },
            waits=(6.0,),
        ),
    ),
    "a block drains again": (
        6,
        9,
        Menu(
            Shape(pool="10.0.0.0/29", names=("a",), spares=0, controllers=1),
            {"set_state": 2, "sync": 2, "report": 2, "pod": 1, "pod_ends": 1, "pass": 2},
            first=DRAINED,
        ),
    ),
    "a store is restored": (
        4,
        6,
        Menu(
            Shape(pool="10.0.0.0/29", names=("a", "b"), spares=0, controllers=1),
            {
                "back_up": 1,
                "restore": 1,
                "exclude": 1,
                "set_state": 1,
                "sync": 3,
                "report": 3,
                "pod": 1,
                "wait": 2,
                "pass": 4,
            },
            waits=(31.0, 301.0),
        ),
    ),
}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("what", MENUS)
def test_no_sequence_breaks_an_invariant(what):
    """No address has two owners, none in use is released, nothing is free before its time."""
    depth, deeper, menu = MENUS[what]
    found = explore(menu, depth=deeper if SOAK else depth - 1 if BRIEF else depth)
    assert not found.violated, f"{found.violated} after {found.trace}"
    assert found.states > 100

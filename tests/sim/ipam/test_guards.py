"""The model can fail: without any one of the guards it finds what goes wrong, and with it the same search finds nothing."""

import random
import re
from pathlib import Path

import pytest

from tests.sim.ipam.model.chance import Chance, Plan
from tests.sim.ipam.model.explore import Found, Menu, explore
from tests.sim.ipam.model.guards import GUARDS, WORLDS, Guard, table
from tests.sim.ipam.model.world import ViolatedError

PAGE = Path(__file__).resolve().parents[3] / "docs" / "ipam-model.md"
DEPTH = 16


def found_at_random(plan: Plan) -> str:
    """What is wrong in the first world in which something is; empty: in none."""
    for number in range(WORLDS):
        try:
            Chance(plan, random.Random(f"guards:{number}")).run()
        except ViolatedError as error:
            return str(error)
    return ""


def found_in(menu: Menu, *, depth: int) -> Found:
    return explore(menu, depth=depth, states=20_000)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name.replace(" ", "-"))
def test_without_the_guard_the_model_finds_what_goes_wrong(guard: Guard, monkeypatch):
    """And nothing with it in all sequences of that length."""
    with monkeypatch.context() as patch:
        guard.remove(patch)
        if isinstance(guard.search, Plan):
            assert re.search(guard.breaks, found_at_random(guard.search))
            return
        found = found_in(guard.search, depth=DEPTH)
        assert re.search(guard.breaks, found.violated), found
    assert not found_in(guard.search, depth=len(found.trace)).violated


def test_the_page_says_what_is_tried():
    """The table of guards in the documentation is the one that is tried here."""
    assert table() in PAGE.read_text(), "docs/ipam-model.md: put in what tests.sim.ipam.model.guards.table() gives"

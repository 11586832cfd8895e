"""What keeps the allocator safe, each so that it can be taken away: then the model must find what goes wrong.

Nothing of production code knows of this; a guard is taken away by replacing a name for as long as a test runs.
"""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Struct, structs

from tests.sim.ipam.model import machine as machines
from tests.sim.ipam.model.chance import Plan
from tests.sim.ipam.model.controller import KINDS, PlainWriter
from tests.sim.ipam.model.explore import Menu
from tests.sim.ipam.model.server import Asked, Line, Request
from tests.sim.ipam.model.world import Shape
from towpath.controller.block_writes import BlockWrites
from towpath.controller.node.gate import Standing
from towpath.controller.written import OwnWrites
from towpath.ipam import changes, memory, plan
from towpath.ipam.hostlocal import DrainWatch
from towpath.model.net import parse_prefix

Remove = Callable[[pytest.MonkeyPatch], None]
WORLDS = 3000
"""Random worlds in which something must be found; the seed is fixed."""
TIGHT = Plan(Shape(pool="10.0.0.0/29", names=("a", "b"), spares=1), steps=80)
"""Two blocks, and names that pass from machine to machine."""
ALONE = Plan(
    Shape(pool="10.0.0.0/28", names=("a",), spares=0, controllers=1, limit=1),
    steps=40,
    fates=("arrives", "arrives", "answer lost", "lost"),
    honest=True,
)
"""One controller, which has to know what it has done."""
OFTEN = 99
SECOND, MINE = parse_prefix("10.0.0.4/30"), "10-0-0-4-30"
"""The block of a node that is alone."""
BLOCK = parse_prefix("10.0.0.0/30")


def _one(controllers: int = 1, **more: Any) -> Shape:
    """One node and two blocks, of which it has the second."""
    return Shape(pool="10.0.0.0/29", names=("a",), spares=0, controllers=controllers, **more)


SHARED = Shape(pool="10.0.0.0/30", names=("a", "b"), spares=0, controllers=1)
"""One block for two nodes."""


class Guard(Struct, frozen=True):
    """``name``: what is taken away; ``breaks``: words of the invariant that is broken then."""

    name: str
    without: str
    """What goes wrong, for people."""
    breaks: str
    remove: Remove
    search: Plan | Menu = TIGHT
    """Random worlds, with a fixed seed; or all sequences of a menu."""


def _overwriting(patch: pytest.MonkeyPatch) -> None:
    async def create(line, kind, body, *, namespace=""):
        return await Asked(Request("put", kind, body["metadata"]["name"], body))

    patch.setattr(Line, "create", create)


def _whatever_version(patch: pytest.MonkeyPatch) -> None:
    async def replace(line, kind, body, *, namespace=""):
        metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
        return await Asked(Request("replace", kind, body["metadata"]["name"], {**body, "metadata": metadata}))

    patch.setattr(Line, "replace", replace)


def _deleting(*, uid: bool) -> Remove:
    def remove(patch: pytest.MonkeyPatch) -> None:
        async def delete(line, kind, name, *, namespace="", resource_version="", **preconditions):
            await Asked(Request("delete", kind, name, uid=preconditions["uid"] if uid else ""))

        patch.setattr(Line, "delete", delete)

    return remove


def _believing_the_cache(patch: pytest.MonkeyPatch) -> None:
    async def is_gone(writer, node, *, uid=None):
        return True

    patch.setattr(PlainWriter, "is_gone", is_gone)


def _quarantined_by_uid(patch: pytest.MonkeyPatch) -> None:
    original = memory._quarantined

    def since(books, before, now):
        known = {uid: one for (uid, _), one in before.quarantined.items()}
        known |= {uid: one for uid, one in getattr(books, "kept", {}).items() if uid not in known}
        books.kept = known
        keys = [(one.meta.uid, one.meta.resource_version) for one in books.quarantined.values()]
        again = {key: known[key[0]] for key in keys if key[0] in known}
        return original(books, structs.replace(before, quarantined=again), now)

    patch.setattr(memory, "_quarantined", since)


def _seen_once(patch: pytest.MonkeyPatch) -> None:
    def observe(watch, draining, *, in_use):
        return frozenset(draining) - frozenset(in_use)

    patch.setattr(DrainWatch, "observe", observe)


def _without_reserve(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machines.Machine, "_reserve", lambda machine: None)


def _served_at_once(patch: pytest.MonkeyPatch) -> None:
    def standing(**known):
        return Standing(**{**known, "clear": known["in_kernel"]})

    patch.setattr(machines, "Standing", standing)


def _configured_after_boot(patch: pytest.MonkeyPatch) -> None:
    original = machines.Machine.boot

    def boot(machine):
        served = dict(machine.served)
        original(machine)
        machine.served = served

    patch.setattr(machines.Machine, "boot", boot)


def _claims_go_on(patch: pytest.MonkeyPatch) -> None:
    original = plan.observe
    patch.setattr(plan, "observe", lambda *a, **k: structs.replace(original(*a, **k), claims_wait=False))


def _forgets_its_writes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OwnWrites, "over", lambda writes, cached: cached)


def _forgets_its_claims(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OwnWrites, "lost", lambda writes, claim: None)


LATE = Menu(_one(), {"delete": 1, "look": 5, "call": OFTEN, "wait": 1, "register": 1, "arrive": 1})
"""One node is made anew once, and one request is late."""
DRAINED = (
    *(("set_state", MINE, "Draining"), ("sync", 0)),
    *(("wait", 6.0), ("report", 0), ("sync", 0), ("wait", 6.0), ("report", 0)),
)
"""The node reports that its block is free of pods."""
TAKEN_OVER = (
    *(("off", 0), ("delete", "a"), ("pass", 0), ("pass", 0), ("wait", 301.0), ("pass", 0), ("pass", 0)),
    *(("sync", 1), ("pod", 1, BLOCK)),
)
"""The first node is off, and its block is the second's by now."""
OTHERWISE = (
    *(("off", 0), ("delete", "a"), ("pass", 0), ("pass", 0), ("wait", 301.0), ("pass", 0), ("back_up",)),
    *(("pass", 0), ("sync", 1), ("pod", 1, BLOCK), ("report", 1), ("boot", 0, "a"), ("register", 0), ("sync", 0)),
    *(("report", 0), ("restore",), ("register", 0), ("wait", 6.0)),
)
"""A store is restored in which the block of the second node is nobody's, and the first is there again."""

RESTORED_TO = Menu(_one(2, between=0), {"delete": 2, "pass": 5, "wait": 1, "restore": 1}, first=(("back_up",),))
"""A store is restored, and the same happens again under the same numbers."""

GUARDS = (
    Guard(
        "a claim creates, and fails where the object exists",
        "whoever claims last has the block, and the first one's pods are on another node's addresses",
        "another machine's|took the place|was claimed while",
        _overwriting,
    ),
    Guard(
        "a change carries the version that it was decided on",
        "what was decided on an old state undoes a newer one: a block is put into quarantine that its node has back",
        "has pods and is put into quarantine|another machine's",
        _whatever_version,
        structs.replace(LATE, first=(("pod", 0, SECOND),)),
    ),
    Guard(
        "a deletion carries uid and version",
        "a deletion that is late takes the block from its next owner",
        "was deleted",
        _deleting(uid=False),
        LATE,
    ),
    Guard(
        "a deletion carries the version",
        "a deletion that is late takes the block from the node that has come back to it",
        "was deleted",
        _deleting(uid=True),
        LATE,
    ),
    Guard(
        "a node is asked for before its blocks are quarantined",
        "a list of nodes that is behind the list of blocks takes the blocks of a node that has just come",
        "has pods and is put into quarantine",
        _believing_the_cache,
        Menu(
            _one(2),
            {"delete": 1, "see": 1, "look": 2, "call": OFTEN, "register": 1},
            caches=(KINDS, ("Node",), ("IPAMBlock",)),
            first=(("pod", 0, SECOND),),
        ),
    ),
    Guard(
        "quarantine lasts",
        "the next owner begins while peers hold routes to the former one",
        "s of quarantine",
        lambda patch: patch.setattr(plan, "quarantine_time", lambda cluster: 0),
    ),
    Guard(
        "quarantine begins anew with every change of the block",
        "a block that was in use meanwhile is free before its time",
        "s of quarantine",
        _quarantined_by_uid,
    ),
    Guard(
        "quarantine begins anew with a restored store",
        "another change has the number that the controller remembers: the block is free before its time",
        "s of quarantine",
        lambda patch: patch.setattr(memory, "replace", lambda known, **_: known),
        RESTORED_TO,
    ),
    Guard(
        "after a restored store one's own writes are looked up",
        "a quarantine that was undone counts as begun: the next one is over before its time",
        "s of quarantine",
        lambda patch: patch.setattr(BlockWrites, "doubt", lambda writes: None),
        RESTORED_TO,
    ),
    Guard(
        "a block goes back to the same machine alone",
        "a new machine under an old name inherits addresses that the old one may still use",
        "another machine's",
        lambda patch: patch.setattr(changes, "same_machine", lambda block, node: True),
    ),
    Guard(
        "that a block is drained is said of a version of it",
        "what a node said of an earlier draining ends a later one, although pods have had addresses again in between",
        "has pods and is put into quarantine",
        lambda patch: patch.setattr(changes, "_is_of_this_draining", lambda report, block: True),
        Menu(_one(), {"set_state": 2, "sync": 1, "pod": 1, "pass": 1}, first=DRAINED),
    ),
    Guard(
        "two observations of a draining block",
        "a pod that ends gives its address back, and the next one has it before it is reserved",
        "has pods and is put into quarantine",
        _seen_once,
        Menu(
            _one(),
            {"sync": 1, "pod": 1, "pod_ends": 1, "report": 2, "pass": 1, "wait": 2},
            waits=(6.0,),
            first=(("pod", 0, SECOND), ("set_state", MINE, "Draining"), ("sync", 0)),
        ),
    ),
    Guard(
        "free addresses of a draining block are reserved",
        "a configuration that still names the block gives an address out after the last look",
        "has pods and is put into quarantine",
        _without_reserve,
        Menu(_one(), {"pod": 1, "sync": 1, "report": 1, "pass": 1}, first=DRAINED),
    ),
    Guard(
        "a block serves once nobody else's path lies in it",
        "a node that is cut off from the API server goes on with its block, and so does the next owner",
        "is found for its pods|are found",
        _served_at_once,
    ),
    Guard(
        "after a boot the configuration waits for the API server",
        "a machine that was off gives out addresses that are another's by now",
        "without having been told",
        _configured_after_boot,
        Menu(SHARED, {"boot": 1, "pod": 1, "sync": 1, "register": 1, "pass": 1}, first=TAKEN_OVER),
    ),
    Guard(
        "after a restored store claims wait for every node's report",
        "what was claimed since the backup is claimed again, for others",
        "was claimed while",
        _claims_go_on,
        Menu(SHARED, {"sync": 2, "report": 2, "look": 2, "call": OFTEN}, first=OTHERWISE),
    ),
    Guard(
        "what is gone and lived in is kept by its node, and reported",
        "after a restored store nobody knows that the block is in use",
        "was claimed while",
        lambda patch: patch.setattr(machines, "missing", lambda cluster, node, *, before: ()),
        Menu(SHARED, {"sync": 2, "report": 2, "look": 3, "call": OFTEN}, first=OTHERWISE),
    ),
    Guard(
        "one's own writes count before the cache shows them",
        "a node gets more blocks than it may have",
        "blocks of 1",
        _forgets_its_writes,
        ALONE,
    ),
    Guard(
        "a claim without an answer counts as made",
        "a node gets more blocks than it may have",
        "blocks of 1",
        _forgets_its_claims,
        ALONE,
    ),
)


def table() -> str:
    """For people: what each guard is for, and how the model shows it."""
    rows = ["| guard | without it | shown by |", "|---|---|---|"]
    rows += [f"| {one.name} | {one.without} | {_shown(one)} |" for one in GUARDS]
    return "\n".join(rows)


def _shown(guard: Guard) -> str:
    if isinstance(guard.search, Plan):
        return "random worlds"
    return f"all sequences of {', '.join(sorted(word.replace('_', ' ') for word in guard.search.times))}"

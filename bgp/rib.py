"""The two tables: what one session told us of one family (Adj-RIB-In), and what is used (Loc-RIB).

Prefixes are wire forms, paths are shared objects, and all work on many prefixes is a call that loops in C. The Loc-RIB
is not computed when paths change: the prefixes are marked dirty, and when the reader is ready they are decided once,
however often they changed. So a slow reader costs nothing, and a burst is one pass.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from towpath.bgp.decision import best
from towpath.bgp.path import Path, Selection
from towpath.model.net import Address, Family
from towpath.model.reason import Reason
from towpath.model.speaker import Routes, Withdrawn

HELD = 250_000
"""So many prefixes that may not be used are held of one session and family, so that they can be judged again."""
FRAME = 1 << 16
"""Bytes of prefixes in one frame to the agent, about."""


class AdjRibIn:
    """Paths of one session and family. A prefix is in exactly one of ``accepted``, ``refused`` and ``capped``."""

    __slots__ = ("accepted", "capped", "dirty", "family", "passing", "refused", "stale")

    def __init__(self, family: Family, dirty: dict[bytes, None]) -> None:
        self.family = family
        self.accepted: dict[bytes, Path] = {}
        self.refused: dict[bytes, Path] = {}
        self.capped: dict[bytes, Path] = {}
        """Acceptable paths for which the prefix limit leaves no room."""
        self.passing: dict[bytes, Path] = {}
        """Those of ``refused`` that are for others: service ranges, which a reflector passes on and nobody uses."""
        self.stale: dict[bytes, None] = {}
        """Prefixes that the restarting peer has not sent again yet (RFC 4724 §4.2)."""
        self.dirty = dirty

    def __len__(self) -> int:
        return len(self.accepted) + len(self.refused) + len(self.capped)

    def __iter__(self) -> Iterator[tuple[bytes, Path]]:
        for part in (self.accepted, self.refused, self.capped):
            yield from part.items()

    def paths(self) -> dict[bytes, Path]:
        """All of them."""
        return {**self.accepted, **self.refused, **self.capped}

    def get(self, wire: bytes) -> Path | None:
        """The path of a prefix, whatever was made of it."""
        return self.accepted.get(wire) or self.refused.get(wire) or self.capped.get(wire)

    def store(self, wires: list[bytes], path: Path, *, room: int) -> None:
        """Set the path of prefixes; ``room``: how many more prefixes may be accepted."""
        accepted = self.accepted
        if self.passing or path.verdict is Reason.SERVICE_RANGE:
            self._pass(wires, path)
        if not path.accepted or room >= len(wires):
            self._set(dict.fromkeys(wires, path), accepted=path.accepted)
            return
        for wire in wires:
            if wire in accepted or room > 0:
                room -= wire not in accepted
                self._set({wire: path}, accepted=True)
            else:
                self.capped[wire] = path
                self.refused.pop(wire, None)
        self._fresh(wires)

    def store_each(self, paths: dict[bytes, Path]) -> None:
        """Set the path of each prefix; all paths have one verdict, there is one at least, and there is room for all."""
        path = next(iter(paths.values()))
        if self.passing or path.verdict is Reason.SERVICE_RANGE:
            for wire, one in paths.items():
                self._pass((wire,), one)
        self._set(paths, accepted=path.accepted)

    def store_one(self, wire: bytes, path: Path, *, room: int) -> None:
        """``store`` for one prefix, in fewer steps."""
        if not path.accepted or room < 1 or self.stale or self.passing:
            self.store([wire], path, room=room)
            return
        self.accepted[wire] = path
        self.dirty[wire] = None
        if self.refused:
            self.refused.pop(wire, None)
        if self.capped:
            self.capped.pop(wire, None)

    def _pass(self, wires: Iterable[bytes], path: Path | None) -> None:
        """What a reflector may pass on of these prefixes changes; None: nothing is left of them."""
        for wire in wires:
            if path is not None and path.verdict is Reason.SERVICE_RANGE:
                self.passing[wire] = path
                self.dirty[wire] = None
            elif self.passing.pop(wire, None) is not None:
                self.dirty[wire] = None

    def _set(self, paths: dict[bytes, Path], *, accepted: bool) -> None:
        """Put these where they belong, and take them from where they were."""
        if accepted:
            self.accepted.update(paths)
            self.dirty.update(dict.fromkeys(paths))
            if self.refused:
                for wire in paths:
                    self.refused.pop(wire, None)
        else:
            self.refused.update(paths)
            if self.accepted:
                for wire in paths:
                    if self.accepted.pop(wire, None) is not None:
                        self.dirty[wire] = None
        if self.capped:
            for wire in paths:
                self.capped.pop(wire, None)
        self._fresh(paths)

    def _fresh(self, wires: Iterable[bytes]) -> None:
        if self.stale:
            for wire in wires:
                self.stale.pop(wire, None)

    def remove(self, wires: Iterable[bytes]) -> None:
        """Forget prefixes: withdrawn, or stale for too long."""
        accepted, refused, capped, stale, dirty = self.accepted, self.refused, self.capped, self.stale, self.dirty
        if self.passing:
            wires = list(wires)
            self._pass(wires, None)
        for wire in wires:
            if accepted.pop(wire, None) is not None:
                dirty[wire] = None
            elif refused.pop(wire, None) is None:
                capped.pop(wire, None)
            if stale:
                stale.pop(wire, None)

    def clear(self) -> None:
        """Forget everything."""
        self.dirty.update(dict.fromkeys(self.accepted))
        self.dirty.update(dict.fromkeys(self.passing))
        for part in (self.accepted, self.refused, self.capped, self.passing, self.stale):
            part.clear()

    def mark_stale(self) -> None:
        """Everything held now is stale, until it is sent again or swept."""
        for part in (self.accepted, self.refused, self.capped):
            self.stale.update(dict.fromkeys(part))

    def candidates(self) -> Iterator[bytes]:
        """Prefixes that others may be told."""
        yield from self.accepted
        yield from self.passing

    def sweep(self) -> None:
        """Forget what is still stale."""
        self.remove(list(self.stale))

    def trim(self) -> set[Reason]:
        """Forget what was refused last, where that is more than is held; the verdicts of what was forgotten."""
        forgotten: set[Reason] = set()
        while len(self.refused) > HELD:
            wire, path = self.refused.popitem()
            forgotten.add(path.verdict)
            self.stale.pop(wire, None)
            self.passing.pop(wire, None)
        while len(self.capped) > HELD:
            wire, _ = self.capped.popitem()
            forgotten.add(Reason.MAX_PREFIX)
            self.stale.pop(wire, None)
        return forgotten

    def admit(self, room: int) -> None:
        """Accept capped paths while there is room."""
        for wire in list(islice(self.capped, max(room, 0))):
            self.accepted[wire] = self.capped.pop(wire)
            self.dirty[wire] = None

    def refusals(self) -> Counter[Reason]:
        """How many prefixes are not used, by reason."""
        counts = Counter(path.verdict for path in self.refused.values())
        if self.capped:
            counts[Reason.MAX_PREFIX] = len(self.capped)
        return counts


class LocRib:
    """The used paths of one family, as last told to the agent, and the prefixes to decide again."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.dirty: dict[bytes, None] = {}
        self.selected: dict[bytes, Selection] = {}
        self.decided: dict[bytes, None] = {}
        """The prefixes of the last ``drain``, whatever came of them."""

    def drain(self, ribs: list[AdjRibIn], *, limit: int, maximum_paths: int) -> list[Routes | Withdrawn]:
        """Decide up to ``limit`` dirty prefixes and say what is different from last time."""
        batch = self.decided = self._batch(limit)
        filled = sorted((rib.accepted for rib in ribs if rib.accepted), key=len, reverse=True)
        fullest = filled[0] if filled else {}
        lookup = fullest.get
        several = self._several(batch, filled)
        if not several and (new := self._all_new(batch, fullest)) is not None:
            return self._routes(new, list(batch))
        selected = self.selected
        known = selected.get
        gone: list[bytes] = []
        groups: dict[int, tuple[Selection, list[bytes]]] = {}
        last: Selection | None = None
        append = gone.append
        for wire in batch:
            path = lookup(wire)
            if several and wire in several:
                others = several[wire]
                new = select([path, *others] if path is not None else others, maximum_paths=maximum_paths)
            else:
                new = path.via.selection if path is not None else None
            old = known(wire)
            if new is old or new == old:
                continue
            if new is None:
                del selected[wire]
                gone.append(wire)
                continue
            selected[wire] = new
            if new is not last:
                last = new
                append = groups.setdefault(id(new), (new, []))[1].append
            append(wire)
        merged: dict[Selection, list[bytes]] = {}
        for selection, wires in groups.values():
            merged.setdefault(selection, []).extend(wires)
        frames: list[Routes | Withdrawn] = []
        for selection, wires in merged.items():
            frames += self._routes(selection, wires)
        frames += [Withdrawn(self.family, packed) for packed in _frames(gone)]
        return frames

    def _all_new(self, batch: dict[bytes, None], accepted: dict[bytes, Path]) -> Selection | None:
        """What all these prefixes use, where none of them was used before and each has one path, by the same way.

        That is what a full table from a peer looks like, and it is found out and noted by loops in C alone.
        """
        if not self.selected.keys().isdisjoint(batch):
            return None
        paths = [accepted.get(wire) for wire in batch]
        ways = {path.via for path in paths if path is not None}
        if len(ways) != 1 or not all(paths):
            return None
        selection = ways.pop().selection
        if selection is not None:
            self.selected.update(dict.fromkeys(batch, selection))
        return selection

    def _routes(self, selection: Selection, wires: list[bytes]) -> list[Routes | Withdrawn]:
        return [
            Routes(self.family, selection.next_hops, selection.sessions, packed, selection.provisional)
            for packed in _frames(wires)
        ]

    def _batch(self, limit: int) -> dict[bytes, None]:
        if len(self.dirty) <= limit:
            batch = self.dirty.copy()
            self.dirty.clear()
            return batch
        batch = dict.fromkeys(islice(self.dirty, limit))
        for wire in batch:
            del self.dirty[wire]
        return batch

    @staticmethod
    def _several(batch: dict[bytes, None], filled: list[dict[bytes, Path]]) -> dict[bytes, list[Path]]:
        """Paths beyond the fullest table: few, and found by intersecting keys in C."""
        found: dict[bytes, list[Path]] = {}
        for accepted in filled[1:]:
            for wire in batch.keys() & accepted.keys():
                found.setdefault(wire, []).append(accepted[wire])
        return found

    def forget(self, ribs: list[AdjRibIn]) -> None:
        """Nothing has been told: the next drains say everything."""
        self.selected.clear()
        self.dirty.clear()
        for rib in ribs:
            self.dirty.update(dict.fromkeys(rib.accepted))


def select(paths: list[Path], *, maximum_paths: int) -> Selection | None:
    """The selection of a prefix that several sessions have paths for."""
    used = best(paths, maximum_paths=maximum_paths)
    if len(used) < 2:
        return used[0].via.selection if used else None
    next_hops: tuple[Address, ...] = tuple(path.via.hop.address for path in used)
    return Selection(
        next_hops, tuple(path.via.source.session for path in used), any(path.via.provisional for path in used)
    )


def _frames(wires: list[bytes]) -> Iterator[bytes]:
    packed = b"".join(wires)
    if len(packed) <= FRAME:
        if packed:
            yield packed
        return
    step = FRAME // 5 if len(wires[0]) <= 5 else FRAME // 17
    for start in range(0, len(wires), step):
        yield b"".join(wires[start : start + step])

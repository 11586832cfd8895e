"""The difference of two keyed wholes: the heart of every writer.

A writer is given the whole desired mapping and applies what differs from the actual one. There is no other way to
change anything, so a restart and an event take the same path.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from operator import is_not
from typing import Generic, TypeVar

from msgspec import Struct

K = TypeVar("K")
V = TypeVar("V")


class Delta(Struct, Generic[K, V], frozen=True):
    """What to set (new or changed) and what to remove to get from ``actual`` to ``desired``."""

    changed: dict[K, V]
    removed: frozenset[K]

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


def diff(actual: Mapping[K, V], desired: Mapping[K, V]) -> Delta[K, V]:
    """The delta from actual to desired, such that applying it to ``actual`` gives ``desired``."""
    return Delta(
        changed={key: value for key, value in desired.items() if key not in actual or actual[key] != value},
        removed=frozenset(key for key in actual if key not in desired),
    )


def apply(actual: Mapping[K, V], delta: Delta[K, V]) -> dict[K, V]:
    """The mapping after a delta."""
    result = {key: value for key, value in actual.items() if key not in delta.removed}
    result.update(delta.changed)
    return result


class Edition(dict[K, V]):
    """A whole mapping, never changed, that knows by which keys it differs from the one that it was made from.

    Whoever has seen that one need look at these alone (``exchanged``); to everybody else it is a mapping like any other.
    """

    __slots__ = ("_base", "_keys", "itself")

    def __init__(self, entries: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        super().__init__(entries)
        self.itself = object()
        """What this one is told by: that one must not be kept only because this one was made from it."""
        self._base: object = None
        self._keys: tuple[K, ...] = ()

    def edited(self, changes: Mapping[K, V | None]) -> "Edition[K, V]":
        """With these values, and without the keys of those that are None; the same object where that changes nothing.

        What is new comes last; what has another value stays where it was.
        """
        differing = {key: value for key, value in changes.items() if self.get(key) is not value}
        if not differing:
            return self
        edition = Edition(self)
        edition._base, edition._keys = self.itself, tuple(differing)
        for key, value in differing.items():
            if value is None:
                del edition[key]
            else:
                edition[key] = value
        return edition

    def keys_since(self, before: Mapping[K, V]) -> tuple[K, ...] | None:
        """The keys by which it differs from the one that it was made from; None: that is another one."""
        return self._keys if isinstance(before, Edition) and before.itself is self._base else None


def exchanged(before: Mapping[K, V], after: Mapping[K, V]) -> Iterator[tuple[K, V | None, V | None]]:
    """Every key whose value is another object than before, with both values (None: not there).

    Snapshots share what did not change: objects are told apart by identity, which costs next to nothing.
    """
    if before is after:
        return
    known = after.keys_since(before) if isinstance(after, Edition) else None
    if known is not None:
        for key in known:
            yield key, before.get(key), after.get(key)
        return
    # the pass itself runs in C: a snapshot of thousands costs a fraction of a millisecond
    differing = list(compress(after, map(is_not, map(before.get, after), after.values())))
    came = 0
    for key in differing:
        old = before.get(key)
        came += old is None
        yield key, old, after[key]
    if len(after) - came < len(before):
        for key in before.keys() - after.keys():
            yield key, before[key], None


def kept(mapping: Mapping[K, V]) -> Mapping[K, V]:
    """What to compare the next one with: nobody changes it any more."""
    return mapping if isinstance(mapping, Edition) else dict(mapping)

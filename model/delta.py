"""The difference of two keyed wholes: the heart of every writer.

A writer is given the whole desired mapping and applies what differs from the actual one. There is no other way to
change anything, so a restart and an event take the same path.
"""

from collections.abc import Iterator, Mapping
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


def exchanged(before: Mapping[K, V], after: Mapping[K, V]) -> Iterator[tuple[K, V | None, V | None]]:
    """Every key whose value is another object than before, with both values (None: not there).

    Snapshots share what did not change: objects are told apart by identity, which costs next to nothing.
    """
    if before is after:
        return
    for key, new in after.items():
        old = before.get(key)
        if old is not new:
            yield key, old, new
    if not before.keys() <= after.keys():
        for key in before.keys() - after.keys():
            yield key, before[key], None

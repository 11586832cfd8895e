"""The objects of one kind as last seen: what is in force, and what is wrong with what is not.

An object that does not decode leaves its last good version in force. One that vanished in a mass stays in force while
the breaker holds it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from towpath.controller.breaker import BREAKER_KINDS, Breaker
from towpath.model.cluster import Node
from towpath.model.reason import InvalidSpecError, Reason
from towpath.model.resource import Resource

Value = Node | Resource[Any, Any]
Decode = Callable[[str, Mapping[str, Any]], Value]


class Problem(Struct, frozen=True, order=True):
    """An object, or a kind (empty ``name``), of which something is not as it should be."""

    kind: str
    name: str
    reason: Reason
    message: str
    field: str = ""
    uid: str = ""
    generation: int = 0


class Seen(Struct, frozen=True):
    """What an object said: a value, or what is wrong with it. Neither: the same as the last time."""

    identity: tuple[str, str]
    """uid and resourceVersion."""
    value: Value | None = None
    problem: Problem | None = None


class KindStore:
    """One kind. Every feeding method returns whether something changed that a reader would care for."""

    def __init__(self, kind: str, *, decode: Decode, clock: Callable[[], float]) -> None:
        self.kind = kind
        self._decode = decode
        self._clock = clock
        self._good: dict[str, Value] = {}
        self._seen: dict[str, tuple[str, str]] = {}
        """uid and resourceVersion of what was decoded last, good or bad."""
        self._recalled: set[str] = set()
        """Objects that are gone and of which the good version is kept, for the breaker may bring them back."""
        self.rejected: dict[str, Problem] = {}
        self.breaker = Breaker() if kind in BREAKER_KINDS else None
        self.listed_once = False
        self.missing = False
        """The API server does not know the kind."""
        self.forbidden = ""
        """What the API server said when it did not let us list or watch the kind."""
        self.version = 0

    def seed(self, values: Iterable[Value]) -> None:
        """Good versions from an earlier life, in force for objects that exist and do not decode now.

        If too many of them are gone by now, that is not believed before a second listing agrees.
        """
        for value in values:
            self._good.setdefault(value.meta.name, value)
            self.expect((value.meta.name,))

    def expect(self, names: Collection[str]) -> None:
        """Objects of these names were there not long ago."""
        if self.breaker:
            self.breaker.expect(names, now=self._clock())

    def unsure(self) -> frozenset[str]:
        """Objects that may exist: a listing lacks them, which is not believed yet, and what they say is not known."""
        return frozenset(self.breaker.held.keys() - self._good.keys()) if self.breaker else frozenset()

    def in_force(self) -> dict[str, Value]:
        """What counts, by name."""
        names = self.breaker.in_force if self.breaker else self._seen.keys()
        return {name: self._good[name] for name in sorted(names) if name in self._good}

    def problems(self) -> list[Problem]:
        """Everything that is wrong with objects of this kind, and with the kind."""
        found = list(self.rejected.values())
        if self.missing:
            text = "the API server does not serve this kind; what was read last stays in force"
            found.append(Problem(self.kind, "", Reason.KIND_MISSING, text))
        if self.forbidden:
            text = f"{self.forbidden}; what was read last stays in force"
            found.append(Problem(self.kind, "", Reason.FORBIDDEN, text))
        if self.breaker and self.breaker.held:
            text = f"{len(self.breaker.held)} objects vanished at once and stay in force until a second listing agrees"
            found.append(Problem(self.kind, "", Reason.MASS_WITHDRAW, text))
        return found

    def read(self, body: Mapping[str, Any]) -> Seen:
        """What an object says; nothing is changed by that."""
        metadata = body["metadata"]
        name = str(metadata["name"])
        identity = (str(metadata.get("uid", "")), str(metadata.get("resourceVersion", "")))
        if identity[1] and self._seen.get(name) == identity:
            return Seen(identity)
        try:
            return Seen(identity, value=self._decode(self.kind, body))
        except InvalidSpecError as error:
            problem = Problem(
                kind=self.kind,
                name=name,
                reason=Reason.INVALID_SPEC,
                message=error.message,
                field=error.where.field,
                uid=identity[0],
                generation=int(metadata.get("generation", 0)),
            )
            return Seen(identity, problem=problem)

    def listed(self, found: Mapping[str, Seen], *, version: str) -> bool:
        """A complete listing, by name. Returns whether something changed."""
        before = self._summary()
        if self.breaker:
            self.breaker.listed(found.keys(), now=self._clock())
        changed = [self._take(name, seen) for name, seen in found.items()]
        for name in self._seen.keys() - found.keys():
            self._drop(name)
        self._good = {name: value for name, value in self._good.items() if name in self._seen or self._recalls(name)}
        self.listed_once, self.missing, self.forbidden = True, False, ""
        self.version = number(version)
        return any(changed) or self._summary() != before

    def upserted(self, body: Mapping[str, Any]) -> bool:
        """A watch says that this object is there."""
        name = str(body["metadata"]["name"])
        before = self._standing(name)
        if self.breaker:
            self.breaker.added(name)
        changed = self._take(name, self.read(body))
        self.version = max(self.version, number(body["metadata"].get("resourceVersion", "")))
        return changed or self._standing(name) != before

    def deleted(self, name: str) -> bool:
        """A watch says that the object is gone."""
        before = self._standing(name)
        if self.breaker:
            self.breaker.deleted(name, now=self._clock())
        self._drop(name)
        self._let_go()
        return self._standing(name) != before

    def gone(self) -> bool:
        """The API server does not know the kind (any more): everything stays, also what vanished just now."""
        before = self._summary()
        self.missing = True
        if self.breaker:
            self.breaker.doubt(now=self._clock())
        return self._summary() != before

    def refused(self, message: str) -> bool:
        """The API server does not let us list or watch the kind (empty: it does again)."""
        before, self.forbidden = self.forbidden, message
        return message != before

    def _standing(self, name: str) -> tuple[object, ...]:
        """What a change of one object may change for a reader, beside its value."""
        counts = name in (self.breaker or self._seen)
        return counts, self.rejected.get(name), len(self.breaker.held) if self.breaker else 0

    def _summary(self) -> tuple[object, ...]:
        names = self.breaker.in_force if self.breaker else frozenset(self._seen)
        return names, dict(self.rejected), self.missing, self.forbidden, self.listed_once

    def _take(self, name: str, seen: Seen) -> bool:
        """Keep what an object says; True if its good version now reads differently."""
        if seen.value is None and seen.problem is None:
            return False
        self._seen[name] = seen.identity
        before = self._good.get(name)
        if seen.problem is not None:
            self.rejected[name] = seen.problem
            if before is not None and seen.identity[0] and before.meta.uid != seen.identity[0]:
                del self._good[name]  # another object of the same name: nothing of it was ever good
                return True
            return False
        assert seen.value is not None
        self.rejected.pop(name, None)
        self._good[name] = seen.value
        return before is None or _without_version(before) != _without_version(seen.value)

    def _drop(self, name: str) -> None:
        self._seen.pop(name, None)
        self.rejected.pop(name, None)
        if self._recalls(name):
            self._recalled.add(name)
        else:
            self._good.pop(name, None)

    def _let_go(self) -> None:
        """Forget what cannot come back any more."""
        for name in [name for name in self._recalled if not self._recalls(name)]:
            self._recalled.discard(name)
            if name not in self._seen:
                self._good.pop(name, None)

    def _recalls(self, name: str) -> bool:
        return self.breaker is not None and self.breaker.recalls(name)


def number(version: str) -> int:
    """A resourceVersion as a number, 0 where it is none."""
    return int(version) if version.isdecimal() else 0


def _without_version(value: Value) -> Value:
    meta = msgspec.structs.replace(value.meta, resource_version="")
    return msgspec.structs.replace(value, meta=meta)
